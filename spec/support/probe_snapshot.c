/* probe_snapshot.c - a gateway on a loop of the spec's own, by the public header alone: what it tells its host. */
#include <tidegate.h>

#include <string.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

enum { TEXT_MAX = 65536 };

static struct event_base *loop;
static struct tidegate *gateway;
static char told[TEXT_MAX]; /* a line for each call */

static void note(const char *before, const char *text, const char *behind)
{
    size_t used = strlen(told);
    evutil_snprintf(told + used, sizeof told - used, "%s%s%s", before, text, behind);
}

static void on_access(void *arg, const char *line)
{
    (void)arg;
    note("access ", line, "\n");
}

static void on_log(void *arg, enum tidegate_level level, const char *line)
{
    (void)arg;
    (void)level;
    note("log ", line, "\n");
}

static void on_reload(void *arg, enum tidegate_status status)
{
    (void)arg;
    note("reload ",
         status == TIDEGATE_AGAIN     ? "begins"
         : status == TIDEGATE_OK      ? "done"
         : status == TIDEGATE_ESCRIPT ? "script"
                                      : "?",
         "\n");
}

static void on_exchange(void *arg, const struct tidegate_exchange_info *info)
{
    (void)arg;
    note("exchange ", info->method, "");
    note(" ", info->target, "");
    note(" ", info->route, "");
    note(" ", info->where, "\n");
}

static void on_worker(void *arg, const struct tidegate_worker_info *info)
{
    (void)arg;
    note("worker ", info->ended ? "ended" : "serves", "\n");
}

static void on_done(void *arg)
{
    (void)arg;
    note("", "done", "\n");
}

/* new(script's path, { access = with a callback of its own, log = what the access log is }) → port */
static int p_new(lua_State *L)
{
    struct tidegate_options options;
    tidegate_options_init(&options, sizeof options);
    loop = event_base_new();
    told[0] = '\0';
    options.base = loop;
    options.script = luaL_checkstring(L, 1);
    options.listen = "127.0.0.1:0";
    options.log = on_log;
    options.on_reload = on_reload;
    lua_getfield(L, 2, "access");
    options.access = lua_toboolean(L, -1) ? on_access : NULL;
    lua_getfield(L, 2, "log");
    options.access_log = (int)luaL_optinteger(L, -1, options.access_log);
    if (tidegate_new(&gateway, &options) != TIDEGATE_OK || tidegate_start(gateway) != TIDEGATE_OK)
        return luaL_error(L, "cannot start: %s", gateway ? tidegate_error(gateway) : "?");
    lua_pushinteger(L, tidegate_port(gateway, 0));
    return 1;
}

static int p_snapshot(lua_State *L)
{
    size_t most = (size_t)luaL_checkinteger(L, 1);
    lua_pushboolean(L, tidegate_snapshot(gateway, most, on_exchange, on_worker, on_done, NULL) ==
                           TIDEGATE_OK);
    return 1;
}

static int p_reload(lua_State *L)
{
    lua_pushboolean(L, tidegate_reload(gateway) == TIDEGATE_OK);
    return 1;
}

/* run(seconds): the loop turns for so long. */
static int p_run(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    struct timeval tv = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    event_base_loopexit(loop, &tv);
    event_base_dispatch(loop);
    return 0;
}

/* All lines since it was asked last. */
static int p_told(lua_State *L)
{
    lua_pushstring(L, told);
    told[0] = '\0';
    return 1;
}

static int p_free(lua_State *L)
{
    (void)L;
    tidegate_free(gateway);
    event_base_loop(loop, EVLOOP_NONBLOCK); /* bufferevents are freed from the loop */
    event_base_free(loop);
    gateway = NULL;
    return 0;
}

__attribute__((visibility("default"))) int luaopen_probe_snapshot(lua_State *L);
int luaopen_probe_snapshot(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"new", p_new},   {"snapshot", p_snapshot}, {"reload", p_reload}, {"run", p_run},
        {"told", p_told}, {"free", p_free},         {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
