/* DPDK's static inline functions, called once per burst; and three that are macros. */
#include "shim.h"
#include <rte_cycles.h>

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

int pdm_errno(void)
{
    return rte_errno;
}

uint64_t pdm_tsc(void)
{
    return rte_get_tsc_cycles();
}

uint32_t pdm_pool_size(const struct rte_mempool *pool)
{
    return pool->size;
}

int pdm_link(uint16_t port, uint32_t *mbit_per_second)
{
    struct rte_eth_link link = {0};
    int ret = rte_eth_link_get_nowait(port, &link);

    if (ret < 0)
        return ret;
    *mbit_per_second = link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : link.link_speed;
    return link.link_status == RTE_ETH_LINK_UP;
}
