/* route_stats.c - counters by name: a list that only grows, so that it can be read without a lock. */
#include "engine/route_stats.h"

#include <string.h>

#include "util/mem.h"

#define OTHERS "(others)"

void tg_route_figures_init(struct tg_route_figures *table)
{
    tg_map_init(&table->by_name);
    atomic_init(&table->last, NULL);
    table->others = NULL;
}

void tg_route_figures_fini(struct tg_route_figures *table)
{
    struct tg_route_stats *stats = atomic_load(&table->last);
    tg_map_fini(&table->by_name);
    while (stats) {
        struct tg_route_stats *next = stats->next;
        tg_free(stats->name);
        tg_free(stats);
        stats = next;
    }
    atomic_store(&table->last, NULL);
}

static struct tg_route_stats *make(struct tg_route_figures *table, struct tg_slice name)
{
    struct tg_route_stats *stats = tg_calloc(1, sizeof *stats);
    if (!stats)
        return NULL;
    stats->name = tg_strndup(name.p, name.len);
    struct tg_slice key = {stats->name, name.len};
    if (!stats->name || tg_map_add(&table->by_name, &stats->node, key) != TG_OK) {
        tg_free(stats->name);
        tg_free(stats);
        return NULL;
    }
    stats->next = atomic_load_explicit(&table->last, memory_order_relaxed);
    atomic_store_explicit(&table->last, stats, memory_order_release);
    return stats;
}

struct tg_route_stats *tg_route_stats_of(struct tg_route_figures *table, const char *name)
{
    struct tg_slice key = {name, strnlen(name, TG_ROUTE_NAME_MAX)};
    struct tg_map_node *node = tg_map_find(&table->by_name, key);
    if (node)
        return (struct tg_route_stats *)(void *)((char *)node -
                                                 offsetof(struct tg_route_stats, node));
    if (table->by_name.count < TG_ROUTE_NAMES_MAX)
        return make(table, key);
    if (!table->others)
        table->others = make(table, TG_SLICE(OTHERS));
    return table->others;
}

static void add(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static struct tg_route_answers *answers_of(struct tg_route_stats *stats, int status)
{
    size_t count = atomic_load_explicit(&stats->statuses, memory_order_relaxed);
    for (size_t i = 0; i < count && i < TG_ROUTE_STATUSES_MAX; i++)
        if (atomic_load_explicit(&stats->answers[i].status, memory_order_relaxed) == status)
            return &stats->answers[i];
    if (count > TG_ROUTE_STATUSES_MAX)
        return &stats->answers[TG_ROUTE_STATUSES_MAX];
    atomic_store_explicit(&stats->answers[count].status,
                          count == TG_ROUTE_STATUSES_MAX ? -1 : status, memory_order_relaxed);
    atomic_store_explicit(&stats->statuses, count + 1, memory_order_release);
    return &stats->answers[count];
}

void tg_route_count(struct tg_route_stats *stats, int status, uint64_t us, uint64_t bytes)
{
    if (!stats)
        return;
    add(&answers_of(stats, status)->count, 1);
    add(&stats->us, us);
    add(&stats->bytes, bytes);
}
