/* DPDK's rte_hash as `bench flow` compares with it: lock-free look-ups, several writers, removal behind its own RCU. */
#include <stdint.h>
#include <stdlib.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>

#define KEY_OCTETS 40
#define MOST_THREADS 4

struct bench_hash {
    struct rte_hash *table;
    struct rte_rcu_qsbr *readers;
};

void bench_hash_free(struct bench_hash *hash)
{
    if (hash == NULL)
        return;
    rte_hash_free(hash->table);
    rte_free(hash->readers);
    free(hash);
}

/* `function` NULL: rte_hash's own, which is CRC32 here. On failure NULL, and why in `error`. */
struct bench_hash *bench_hash_new(const char *name, uint32_t entries, rte_hash_function function, int *error)
{
    struct bench_hash *hash = calloc(1, sizeof(*hash));
    const size_t readers = rte_rcu_qsbr_get_memsize(MOST_THREADS);
    struct rte_hash_parameters parameters = {
        .name = name,
        .entries = entries,
        .key_len = KEY_OCTETS,
        .hash_func = function,
        .socket_id = SOCKET_ID_ANY,
        .extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF | RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD,
    };
    struct rte_hash_rcu_config rcu = {.mode = RTE_HASH_QSBR_MODE_DQ};

    *error = ENOMEM;
    if (hash == NULL)
        return NULL;
    hash->readers = rte_zmalloc(NULL, readers, RTE_CACHE_LINE_SIZE);
    if (hash->readers == NULL || rte_rcu_qsbr_init(hash->readers, MOST_THREADS) != 0)
        goto failed;
    hash->table = rte_hash_create(&parameters);
    rcu.v = hash->readers;
    if (hash->table == NULL || rte_hash_rcu_qsbr_add(hash->table, &rcu) != 0) {
        *error = rte_errno;
        goto failed;
    }
    return hash;
failed:
    bench_hash_free(hash);
    return NULL;
}

int bench_hash_add(struct bench_hash *hash, const uint64_t *key, const void *data)
{
    return rte_hash_add_key_data(hash->table, key, (void *)(uintptr_t)data);
}

int bench_hash_del(struct bench_hash *hash, const uint64_t *key)
{
    return rte_hash_del_key(hash->table, key);
}

/* Which of `count` keys (at most 64, one behind the other) are there; `found` gets their data. */
uint64_t bench_hash_find(struct bench_hash *hash, const uint64_t *keys, uint32_t count, const void **found)
{
    const void *each[RTE_HASH_LOOKUP_BULK_MAX];
    uint64_t hits = 0;

    for (uint32_t i = 0; i < count; i++)
        each[i] = keys + i * (KEY_OCTETS / sizeof(*keys));
    if (rte_hash_lookup_bulk_data(hash->table, each, count, &hits, (void **)(uintptr_t)found) < 0)
        return 0;
    return hits;
}

int bench_hash_enter(struct bench_hash *hash, uint32_t thread)
{
    if (thread >= MOST_THREADS || rte_rcu_qsbr_thread_register(hash->readers, thread) != 0)
        return -1;
    rte_rcu_qsbr_thread_online(hash->readers, thread);
    return 0;
}

void bench_hash_quiescent(struct bench_hash *hash, uint32_t thread)
{
    rte_rcu_qsbr_quiescent(hash->readers, thread);
}

void bench_hash_leave(struct bench_hash *hash, uint32_t thread)
{
    rte_rcu_qsbr_thread_offline(hash->readers, thread);
    rte_rcu_qsbr_thread_unregister(hash->readers, thread);
}
