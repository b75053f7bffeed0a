/* DPDK's static inline functions, called once per burst; and three that are macros. */
#include "shim.h"
#include <rte_cycles.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <string.h>

uint16_t pdm_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t most)
{
    return rte_eth_rx_burst(port, queue, packets, most);
}

uint16_t pdm_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
    return rte_eth_tx_burst(port, queue, packets, count);
}

struct rte_mbuf *pdm_alloc(struct rte_mempool *pool)
{
    return rte_pktmbuf_alloc(pool);
}

void pdm_free(struct rte_mbuf *mbuf)
{
    rte_pktmbuf_free(mbuf);
}

struct rte_mbuf *pdm_copy(const struct rte_mbuf *mbuf, struct rte_mempool *pool)
{
    /* A pool of mbufs without room of their own would never hold a copy. */
    if (rte_pktmbuf_data_room_size(pool) <= 2 * RTE_PKTMBUF_HEADROOM)
        return NULL;
    return rte_pktmbuf_copy(mbuf, pool, 0, UINT32_MAX);
}

struct rte_mbuf *pdm_clone(struct rte_mbuf *mbuf, struct rte_mempool *pool)
{
    return rte_pktmbuf_clone(mbuf, pool);
}

static void free_external(void *memory, void *unused)
{
    (void)unused;
    rte_free(memory);
}

struct rte_mbuf *pdm_external(struct rte_mempool *pool, const uint8_t *octets, uint16_t len)
{
    /* The octets, then what DPDK keeps with them, aligned as it wants it. */
    size_t whole = (size_t)len + sizeof(uintptr_t) + sizeof(struct rte_mbuf_ext_shared_info);
    uint8_t *memory = whole > UINT16_MAX ? NULL : rte_malloc(NULL, whole, 0);
    struct rte_mbuf *mbuf = memory ? rte_pktmbuf_alloc(pool) : NULL;
    uint16_t room = (uint16_t)whole;
    struct rte_mbuf_ext_shared_info *info;

    if (mbuf == NULL) {
        rte_free(memory);
        return NULL;
    }
    memcpy(memory, octets, len);
    info = rte_pktmbuf_ext_shinfo_init_helper(memory, &room, free_external, NULL);
    rte_pktmbuf_attach_extbuf(mbuf, memory, rte_malloc_virt2iova(memory), room, info);
    mbuf->data_off = 0;
    mbuf->data_len = len;
    mbuf->pkt_len = len;
    return mbuf;
}

int pdm_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
    return rte_pktmbuf_chain(head, tail);
}

void pdm_read(const struct rte_mbuf *mbuf, uint8_t *into)
{
    for (; mbuf != NULL; mbuf = mbuf->next) {
        memcpy(into, rte_pktmbuf_mtod(mbuf, const uint8_t *), mbuf->data_len);
        into += mbuf->data_len;
    }
}

int pdm_errno(void)
{
    return rte_errno;
}

int pdm_log_to_stderr(void)
{
    return rte_openlog_stream(stderr);
}

uint64_t pdm_tsc(void)
{
    return rte_get_tsc_cycles();
}

uint32_t pdm_pool_size(const struct rte_mempool *pool)
{
    return pool->size;
}

uint32_t pdm_pool_octets_each(const struct rte_mempool *pool)
{
    return pool->header_size + pool->elt_size + pool->trailer_size;
}

uint64_t pdm_pool_page(const struct rte_mempool *pool)
{
    const struct rte_mempool_memhdr *chunk = STAILQ_FIRST(&pool->mem_list);
    const struct rte_memseg_list *list = chunk ? rte_mem_virt2memseg_list(chunk->addr) : NULL;

    return list ? list->page_sz : 0;
}

int pdm_link(uint16_t port, uint32_t *mbit_per_second, uint8_t *full_duplex)
{
    struct rte_eth_link link = {0};
    int ret = rte_eth_link_get_nowait(port, &link);

    if (ret < 0)
        return ret;
    *mbit_per_second = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
    *full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
    return link.link_status == RTE_ETH_LINK_UP;
}
