/* bind_stats.c - a table of the gateway's figures, of all workers. */
#include "lua/bind_stats.h"

#include <malloc.h>
#include <stdio.h>

#include <lauxlib.h>

#include "lua/host.h"
#include "lua/state.h"
#include "lua/topic_stats.h"
#include "util/mem.h"

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static void set_exchanges(lua_State *L, const struct tg_host_stats *stats)
{
    static const char *const answers[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    uint64_t open = stats->begun;
    lua_createtable(L, 0, 12);
    for (int i = 0; i <= TG_ENDING_CANCELLED; i++) {
        open -= stats->ended[i];
        set_count(L, tg_ending_name((enum tg_ending)i), stats->ended[i]);
    }
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        set_count(L, answers[i], stats->answered[i]);
    set_count(L, "total", stats->begun);
    set_count(L, "open", open);
    set_count(L, "bytes", stats->bytes);
    set_count(L, "streams", stats->streams);
    lua_setfield(L, -2, "exchanges");
}

/* Of this state, and of the process as its allocator counts it. */
static void set_memory(lua_State *L)
{
    struct mallinfo2 info = mallinfo2();
    lua_createtable(L, 0, 3);
    set_count(L, "blocks", tg_mem_blocks());
    set_count(L, "lua", tg_lua_memory(tg_lua_of(L)));
    set_count(L, "heap", info.uordblks + info.hblkhd);
    lua_setfield(L, -2, "memory");
}

static void set_upstream(lua_State *L, const struct tg_host_stats *stats)
{
    lua_createtable(L, 0, 4);
    set_count(L, "total", stats->upstream_begun);
    set_count(L, "open", stats->upstream_begun - stats->upstream_ended);
    set_count(L, "connections", stats->upstream_connections);
    lua_newtable(L);
    for (int i = TG_FETCH_FINE + 1; i <= TG_FETCH_MEMORY; i++)
        set_count(L, tg_fetch_failure_name((enum tg_fetch_failure)i), stats->upstream_failed[i]);
    lua_setfield(L, -2, "failed");
    lua_setfield(L, -2, "upstream");
}

/* { seconds, count, { as many up to each bound } }: each bound counts those before it, too. */
static void set_lag(lua_State *L, const struct tg_loop_stats *stats)
{
    uint64_t count = 0;
    lua_createtable(L, 0, 3);
    lua_createtable(L, TG_LAG_BUCKETS - 1, 0);
    for (int i = 0; i < TG_LAG_BUCKETS; i++) {
        count += stats->lag[i];
        if (i == TG_LAG_BUCKETS - 1)
            break;
        lua_createtable(L, 0, 2);
        lua_pushnumber(L, tg_lag_bounds[i] / 1e6);
        lua_setfield(L, -2, "up_to");
        set_count(L, "count", count);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "buckets");
    set_count(L, "count", count);
    lua_pushnumber(L, (double)stats->late / 1e6);
    lua_setfield(L, -2, "sum");
    lua_setfield(L, -2, "lag");
}

static void set_loops(lua_State *L, const struct tg_lua_host *host, unsigned workers)
{
    lua_createtable(L, (int)workers, 0);
    for (unsigned i = 0; i < workers; i++) {
        struct tg_loop_stats stats;
        host->loop_stats(host->gateway, i, &stats);
        lua_createtable(L, 0, 3);
        set_count(L, "waits", stats.waits);
        set_count(L, "lua", stats.lua_memory);
        set_lag(L, &stats);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "loops");
}

static const struct tg_lua_host *host_of(lua_State *L, const char *who)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    if (!host || !host->stats)
        luaL_error(L, "tg.%s: there is no gateway around this state", who);
    return host;
}

static int l_stats(lua_State *L)
{
    const struct tg_lua_host *host = host_of(L, "stats");
    struct tg_host_stats stats;
    host->stats(host->gateway, &stats);
    lua_createtable(L, 0, 12);
    set_count(L, "worker", host->worker);
    set_count(L, "workers", stats.workers);
    set_count(L, "generation", stats.generation);
    set_count(L, "reloads_failed", stats.reloads_failed);
    set_count(L, "connections", stats.connections);
    lua_pushnumber(L, (double)stats.uptime / 1000);
    lua_setfield(L, -2, "uptime");
    set_exchanges(L, &stats);
    set_memory(L);
    set_upstream(L, &stats);
    set_loops(L, host, stats.workers);
    tg_topics_push_stats(L);
    lua_setfield(L, -2, "topics");
    return 1;
}

/* --- By route --------------------------------------------------------------------------------- */

static void add_to_field(lua_State *L, const char *name, lua_Integer by)
{
    lua_getfield(L, -1, name);
    lua_pushinteger(L, lua_tointeger(L, -1) + by);
    lua_setfield(L, -3, name);
    lua_pop(L, 1);
}

static uint64_t look(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Adds to the table on top: status to count, "none" for those that sent nothing. */
static void add_answers(lua_State *L, const struct tg_route_stats *stats)
{
    size_t count = atomic_load_explicit(&stats->statuses, memory_order_acquire);
    for (size_t i = 0; i < count; i++) {
        int status = atomic_load_explicit(&stats->answers[i].status, memory_order_relaxed);
        char name[16];
        snprintf(name, sizeof name, "%d", status);
        add_to_field(L,
                     status > 0 ? name
                     : status   ? "other"
                                : "none",
                     (lua_Integer)look(&stats->answers[i].count));
    }
}

/* The table at index -1 has a field of this name, a table, which is pushed. */
static void push_field(lua_State *L, const char *name)
{
    if (lua_getfield(L, -1, name) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
}

static void add_route(lua_State *L, const struct tg_route_stats *stats)
{
    push_field(L, stats->name);
    add_to_field(L, "bytes", (lua_Integer)look(&stats->bytes));
    add_to_field(L, "microseconds", (lua_Integer)look(&stats->us));
    push_field(L, "answers");
    add_answers(L, stats);
    lua_pop(L, 2);
}

/* Of all workers, by the routes' names. */
static int l_route_stats(lua_State *L)
{
    const struct tg_lua_host *host = host_of(L, "route_stats");
    struct tg_host_stats stats;
    host->stats(host->gateway, &stats);
    lua_newtable(L);
    for (unsigned i = 0; i < stats.workers; i++) {
        const struct tg_route_stats *route = host->routes(host->gateway, i);
        for (; route; route = route->next)
            if (atomic_load_explicit(&route->statuses, memory_order_relaxed))
                add_route(L, route);
    }
    return 1;
}

void tg_stats_open(lua_State *L)
{
    lua_pushcfunction(L, l_stats);
    lua_setfield(L, -2, "stats");
    lua_pushcfunction(L, l_route_stats);
    lua_setfield(L, -2, "route_stats");
}
