/* stats.c - the figures of a gateway, of all its workers: read from whichever thread asks. */
#include "api/gateway.h"
#include "upstream/client.h"
#include "util/clock.h"

static uint64_t look(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_exchanges(struct tg_host_stats *out, const struct tg_worker *w)
{
    const struct tg_engine_stats *stats = &w->engine.stats;
    out->begun += look(&stats->begun);
    out->bytes += look(&stats->bytes);
    out->streams += look(&w->gather.open);
    for (size_t i = 0; i <= TG_ENDING_CANCELLED; i++)
        out->ended[i] += look(&stats->ended[i]);
    for (size_t i = 0; i < sizeof out->answered / sizeof *out->answered; i++)
        out->answered[i] += look(&stats->answered[i]);
}

static void add_upstream(struct tg_host_stats *out, const struct tg_worker *w)
{
    if (!w->upstream)
        return;
    const struct tg_upstream_stats *stats = tg_upstream_stats(w->upstream);
    out->upstream_begun += look(&stats->begun);
    out->upstream_ended += look(&stats->ended);
    out->upstream_connections += look(&stats->links);
    for (size_t i = 0; i <= TG_FETCH_MEMORY; i++)
        out->upstream_failed[i] += look(&stats->failed[i]);
}

void tg_gateway_stats(void *gateway, struct tg_host_stats *out)
{
    const struct tidegate *g = gateway;
    *out = (struct tg_host_stats){
        .workers = g->worker_count,
        .generation = atomic_load(&g->common.number),
        .reloads_failed = atomic_load(&g->reloads_failed),
        .uptime = tg_clock_coarse_ms() - g->made_at,
        .connections = atomic_load(&g->common.connections),
    };
    for (unsigned i = 0; i < g->worker_count; i++) {
        add_exchanges(out, &g->workers[i]);
        add_upstream(out, &g->workers[i]);
    }
}

void tg_gateway_loop_stats(void *gateway, unsigned worker, struct tg_loop_stats *out)
{
    const struct tidegate *g = gateway;
    const struct tg_worker *w = &g->workers[worker];
    out->waits = look(&w->waits);
    out->lua_memory = look(&w->lua_memory);
    out->late = look(&w->lag.sum);
    for (size_t i = 0; i < TG_LAG_BUCKETS; i++)
        out->lag[i] = look(&w->lag.counts[i]);
}

const struct tg_route_stats *tg_gateway_routes(void *gateway, unsigned worker)
{
    const struct tidegate *g = gateway;
    return atomic_load_explicit(&g->workers[worker].routes.last, memory_order_acquire);
}
