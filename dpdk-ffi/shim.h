/* What bindgen reads: DPDK's headers, the functions of shim.c, and the constants that DPDK has as macros it cannot evaluate. */
#include <stddef.h>
#include <stdint.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_version.h>

uint16_t pdm_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t most);
uint16_t pdm_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
struct rte_mbuf *pdm_alloc(struct rte_mempool *pool);
void pdm_free(struct rte_mbuf *mbuf);
/* Into a buffer of this pool. */
struct rte_mbuf *pdm_copy(const struct rte_mbuf *mbuf, struct rte_mempool *pool);
struct rte_mbuf *pdm_clone(struct rte_mbuf *mbuf, struct rte_mempool *pool);
/* With its octets in memory that is not the pool's. */
struct rte_mbuf *pdm_external(struct rte_mempool *pool, const uint8_t *octets, uint16_t len);
/* Puts `tail` behind `head`, of which it is a part then. 0: done; negative: too many segments, nothing changed. */
int pdm_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
/* Copies the octets of all segments; there is room for as many as there are. */
void pdm_read(const struct rte_mbuf *mbuf, uint8_t *into);
int pdm_errno(void);
/* DPDK's log lines go to standard error; left alone it writes them there and to syslog. */
int pdm_log_to_stderr(void);
uint64_t pdm_tsc(void);
uint32_t pdm_pool_size(const struct rte_mempool *pool);
/* Octets of an mbuf in it, with all that the pool keeps beside. */
uint32_t pdm_pool_octets_each(const struct rte_mempool *pool);
/* Of what its pages are: their octets, 0 where DPDK does not know. */
uint64_t pdm_pool_page(const struct rte_mempool *pool);
/* 0: down, 1: up, negative: an error. */
int pdm_link(uint16_t port, uint32_t *mbit_per_second, uint8_t *full_duplex);

/* Where the fields of a struct rte_mbuf are; their places differ between releases. */
enum {
    PDM_AT_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
    PDM_AT_DATA_OFF = offsetof(struct rte_mbuf, data_off),
    PDM_AT_REFCNT = offsetof(struct rte_mbuf, refcnt),
    PDM_AT_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
    PDM_AT_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
    PDM_AT_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
    PDM_AT_DATA_LEN = offsetof(struct rte_mbuf, data_len),
    PDM_AT_POOL = offsetof(struct rte_mbuf, pool),
    PDM_AT_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
    PDM_HEADROOM = RTE_PKTMBUF_HEADROOM,
};

static const uint64_t PDM_RSS_FIELDS = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_SCTP;
/* Of IPv6 packets: by addresses, whatever follows them; and what adds the ports. */
static const uint64_t PDM_RSS_IPV6 = RTE_ETH_RSS_IPV6;
static const uint64_t PDM_RSS_IPV6_PORTS = RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |
    RTE_ETH_RSS_NONFRAG_IPV6_SCTP | RTE_ETH_RSS_IPV6_TCP_EX | RTE_ETH_RSS_IPV6_UDP_EX;
static const uint64_t PDM_RX_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t PDM_RX_TIMESTAMP = RTE_ETH_RX_OFFLOAD_TIMESTAMP;
static const uint64_t PDM_TX_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t PDM_TX_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint64_t PDM_NOT_OURS = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
static const uint64_t PDM_HAS_WORK = RTE_MBUF_F_TX_OFFLOAD_MASK;
/* Work that makes several packets of one: what changes in its headers would be in each of them. */
static const uint64_t PDM_CUTS_UP = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG | RTE_MBUF_F_RX_LRO;
/* The checksum of TCP or UDP is to be made by whoever sends: what a driver says of what it received. */
static const uint64_t PDM_RX_L4 = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t PDM_RX_L4_LEFT = RTE_MBUF_F_RX_L4_CKSUM_NONE;
/* And what says so to a driver that sends. */
static const uint64_t PDM_TX_L4 = RTE_MBUF_F_TX_L4_MASK;
static const uint64_t PDM_TX_TCP = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint32_t PDM_INTR_RMV = RTE_ETH_DEV_INTR_RMV;
static const uint32_t PDM_MQ_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t PDM_MQ_RSS = RTE_ETH_MQ_RX_RSS;
