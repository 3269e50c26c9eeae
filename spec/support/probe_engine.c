/* probe_engine.c - a worker in the spec's own process: chains of C and Lua, and a fact about evhttp. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <lauxlib.h>

#include "api/gateway.h"
#include "io/loop.h"
#include "util/mem.h"

static struct event_base *loop;
static struct tidegate *gateway;
static char trace[4096];

static void note(const char *mark, const char *name)
{
    size_t len = strlen(trace);
    snprintf(trace + len, sizeof trace - len, "%s%s%s", len ? " " : "", mark, name);
}

/* --- Interceptors in C: what they do is in their name ---------------------------------------------- */

static const struct timeval moment = {0, 1000};

static void go_on(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tg_exchange_go_on(arg, TG_STEP_DONE);
}

static enum tg_step act(struct tg_exchange *x, const char *name, enum tg_stage stage)
{
    if (stage == TG_STAGE_ENTER && strstr(name, "fail-enter")) {
        tg_exchange_fail(x, 500, "c failed", NULL);
        return TG_STEP_FAILED;
    }
    if (stage == TG_STAGE_LEAVE && strstr(name, "fail-leave")) {
        tg_exchange_fail(x, 500, "c failed late", NULL);
        return TG_STEP_FAILED;
    }
    if (stage == TG_STAGE_ERROR && !strstr(name, "handle"))
        return TG_STEP_FAILED; /* declined: the error stands */
    enum tg_stage answers = strstr(name, "handle") ? TG_STAGE_ERROR : TG_STAGE_ENTER;
    if (strstr(name, "respond") && stage == answers)
        if (tg_exchange_respond(x, 299, TG_SLICE("X-From: c\r\n"), TG_SLICE("from c")) != TG_OK)
            return TG_STEP_FAILED;
    if (strstr(name, "wait")) {
        event_base_once(loop, -1, EV_TIMEOUT, go_on, x, &moment);
        return TG_STEP_WAIT;
    }
    return TG_STEP_DONE;
}

static enum tg_step run(const struct tg_interceptor *self, struct tg_exchange *x,
                        enum tg_stage stage)
{
    static const char *const marks[] = {"+", "-", "!"};
    note(marks[stage], self->name);
    return act(x, self->name, stage);
}

static const struct tg_interceptor_ops ops = {run};
static struct tg_interceptor made[64];
static size_t made_count;

static const struct tg_interceptor *make(const char *name)
{
    struct tg_interceptor *interceptor = &made[made_count++];
    *interceptor = (struct tg_interceptor){.ops = &ops, .name = tg_strdup(name), .stages = 7};
    return interceptor;
}

/* --- The worker ------------------------------------------------------------------------------------ */

/* start(script) → port */
static int p_start(lua_State *L)
{
    struct tidegate_options options;
    tidegate_options_init(&options, sizeof options);
    loop = tg_loop_new();
    options.base = loop;
    options.script = "probe.lua";
    options.script_text = luaL_checkstring(L, 1);
    options.listen = "127.0.0.1:0";
    if (tidegate_new(&gateway, &options) != TIDEGATE_OK || tidegate_start(gateway) != TIDEGATE_OK)
        return luaL_error(L, "cannot start: %s", gateway ? tidegate_error(gateway) : "?");
    lua_pushinteger(L, tidegate_port(gateway, 0));
    return 1;
}

static int p_stop(lua_State *L)
{
    (void)L;
    tidegate_free(gateway);
    event_base_loop(loop, EVLOOP_NONBLOCK); /* bufferevents are freed from the loop */
    event_base_free(loop);
    gateway = NULL;
    while (made_count)
        tg_free((void *)(uintptr_t)made[--made_count].name);
    return 0;
}

/* mix(route, list): the route's chain becomes the list, of names (C) and places in its old chain. */
static int p_mix(lua_State *L)
{
    size_t n = (size_t)luaL_checkinteger(L, 1);
    const struct tg_lua_route *route =
        tg_lua_script_route(gateway->workers[0].current->script, n - 1);
    luaL_argcheck(L, route, 1, "no such route");
    struct tg_chain *chain = (struct tg_chain *)(uintptr_t)&route->chain;
    size_t count = lua_rawlen(L, 2);
    const struct tg_interceptor **items = tg_calloc(count, sizeof *items);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        if (lua_isinteger(L, -1))
            items[i] = chain->items[lua_tointeger(L, -1) - 1];
        else
            items[i] = make(luaL_checkstring(L, -1));
        lua_pop(L, 1);
    }
    tg_free(chain->items);
    chain->items = items;
    chain->count = count;
    return 0;
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

/* note(text), for Lua interceptors would be another state: they use the response instead. */
static int p_trace(lua_State *L)
{
    lua_pushstring(L, trace);
    trace[0] = '\0';
    return 1;
}

/* --- evhttp ---------------------------------------------------------------------------------------- */

struct fact {
    struct event_base *base;
    struct bufferevent *bev;
    void *argument;
    struct evhttp_connection *connection;
};

static struct bufferevent *make_bev(struct event_base *base, void *arg)
{
    struct fact *fact = arg;
    fact->bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    return fact->bev;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct fact *fact = arg;
    bufferevent_getcb(fact->bev, NULL, NULL, NULL, &fact->argument);
    fact->connection = evhttp_request_get_connection(req);
    evhttp_send_reply(req, 200, "OK", NULL);
    event_base_loopbreak(fact->base);
}

/* Whether the argument of a connection's callbacks is the evhttp_connection. */
static int p_evhttp_fact(lua_State *L)
{
    static const char text[] = "GET / HTTP/1.1\r\n\r\n";
    struct fact fact = {.base = event_base_new()};
    struct evhttp *http = evhttp_new(fact.base);
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    evhttp_set_bevcb(http, make_bev, &fact);
    evhttp_set_gencb(http, on_request, &fact);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&address, &len);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int failed = connect(fd, (struct sockaddr *)&address, len) != 0 ||
                 send(fd, text, sizeof text - 1, 0) != (ssize_t)sizeof text - 1;
    if (!failed)
        event_base_dispatch(fact.base);
    evutil_closesocket(fd);
    evhttp_free(http);
    event_base_loop(fact.base, EVLOOP_NONBLOCK);
    event_base_free(fact.base);
    lua_pushboolean(L, !failed && fact.connection && fact.argument == fact.connection);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_probe_engine(lua_State *L);
int luaopen_probe_engine(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"start", p_start}, {"stop", p_stop},   {"mix", p_mix},
        {"run", p_run},     {"trace", p_trace}, {"evhttp_fact", p_evhttp_fact},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
