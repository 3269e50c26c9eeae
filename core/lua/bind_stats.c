/* bind_stats.c - a table of the gateway's figures, of all workers. */
#include "lua/bind_stats.h"

#include <malloc.h>

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

static int l_stats(lua_State *L)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    struct tg_host_stats stats;
    if (!host || !host->stats)
        return luaL_error(L, "tg.stats: there is no gateway around this state");
    host->stats(host->gateway, &stats);
    lua_createtable(L, 0, 8);
    set_count(L, "worker", host->worker);
    set_count(L, "workers", stats.workers);
    set_count(L, "generation", stats.generation);
    set_count(L, "connections", stats.connections);
    lua_pushnumber(L, (double)stats.uptime / 1000);
    lua_setfield(L, -2, "uptime");
    set_exchanges(L, &stats);
    set_memory(L);
    tg_topics_push_stats(L);
    lua_setfield(L, -2, "topics");
    return 1;
}

void tg_stats_open(lua_State *L)
{
    lua_pushcfunction(L, l_stats);
    lua_setfield(L, -2, "stats");
}
