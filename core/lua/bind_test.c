/* bind_test.c - services that are tried in their own state, and their clients in memory. */
#include "lua/bind_test.h"

#include <stdint.h>
#include <string.h>

#include <event2/event.h>
#include <lauxlib.h>

#include "engine/exchange.h"
#include "engine/route_stats.h"
#include "http/memory.h"
#include "io/soon.h"
#include "lua/failure.h"
#include "lua/fields.h"
#include "lua/host.h"
#include "lua/script.h"
#include "lua/task.h"
#include "util/buf.h"

#define SERVICE_TYPE "tidegate.test.Service"
#define CLIENT_TYPE  "tidegate.test.Client"

enum { ERROR_MAX = 16384, LOG_MAX = 65536, PATIENCE = 30 }; /* bytes; seconds */

/* --- Services ------------------------------------------------------------------------------------- */

/* A userdata, which is anchored while it has exchanges. */
struct service {
    struct tg_lua *lua;
    struct tg_lua_script *script;
    struct tg_limits limits;
    struct tg_engine engine;
    struct tg_route_figures figures;
    struct tg_log log;
    struct tg_buf lines; /* of the log, since they were last asked for */
    unsigned coming;     /* clients whose exchanges have not begun */
    int ref;
};

static void let_go(void *arg)
{
    struct service *s = arg;
    if (s->coming || s->engine.script->users || s->engine.none.users)
        return;
    luaL_unref(tg_lua_main(s->lua), LUA_REGISTRYINDEX, s->ref);
    s->ref = LUA_NOREF;
}

static int service_gc(lua_State *L)
{
    struct service *s = lua_touserdata(L, 1);
    tg_lua_script_free(s->script);
    tg_route_figures_fini(&s->figures);
    tg_buf_fini(&s->lines);
    s->script = NULL;
    return 0;
}

static void on_ended(struct tg_exchange *x, enum tg_ending ending);

/* What a gateway would log of its exchanges is for the test to see, or not to. */
static void on_log(void *arg, enum tg_level level, const char *line)
{
    struct service *s = arg;
    (void)!tg_buf_addf(&s->lines, "%s %s\n", level == TG_LOG_ERROR ? "error" : "warn", line);
}

static void set_engine(struct service *s, const struct tg_lua_host *host)
{
    s->limits = *tg_lua_script_limits(s->script);
    tg_lua_script_count_in(s->script, &s->figures);
    s->engine.limits = &s->limits;
    s->log = (struct tg_log){on_log, s, TG_LOG_WARN};
    s->engine.log = &s->log;
    s->engine.gather = host->gather;
    s->engine.script = tg_lua_script_engine(s->script);
    s->engine.ended = on_ended;
    s->engine.script->on_unused = let_go;
    s->engine.script->on_unused_arg = s;
    s->engine.none.on_unused = let_go;
    s->engine.none.on_unused_arg = s;
}

/* _test_service(service): what _test_client takes, and the service's description. */
static int l_service(lua_State *L)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    if (!host || !host->memories)
        return luaL_error(L, "tg.test: there is no gateway around this state");
    lua_settop(L, 1);
    struct service *s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    s->lua = tg_lua_of(L);
    s->ref = LUA_NOREF;
    tg_buf_init(&s->lines, LOG_MAX);
    tg_route_figures_init(&s->figures);
    luaL_setmetatable(L, SERVICE_TYPE);
    tg_lua_script_guest(L, 1, &s->script);
    set_engine(s, host);
    return 2;
}

/* --- Clients -------------------------------------------------------------------------------------- */

/* A userdata; its user value is its service. */
struct client {
    struct tg_memory *memory; /* NULL once it is collected */
    struct service *service;
    struct tg_soon begin;
    bool begun;
    bool leaves;            /* at once */
    struct tg_task *reader; /* that waits for more of the response */
    struct tg_task *feeder; /* that waits until less of the request waits */
    struct event patience;  /* real time, whatever clock a test has */
    bool impatient;
    bool ended;
    enum tg_ending ending;
    struct tg_buf error; /* that nobody has handled */
};

static struct client *client_at(lua_State *L)
{
    return luaL_checkudata(L, 1, CLIENT_TYPE);
}

/* The exchange is about to end: why. */
static void on_ended(struct tg_exchange *x, enum tg_ending ending)
{
    struct client *c = tg_memory_owner(x->conn);
    if (!c)
        return;
    c->ended = true;
    c->ending = ending;
    if (!x->error.set)
        return;
    (void)!tg_buf_addf(
        &c->error, "%s: %s%s%s", x->error.interceptor ? x->error.interceptor : "(chain)",
        x->error.message ? x->error.message : "not enough memory", x->error.traceback ? "\n" : "",
        x->error.traceback ? x->error.traceback : "");
}

static void wake(struct client *c)
{
    struct tg_task *reader = c->reader;
    c->reader = NULL;
    event_del(&c->patience);
    if (reader)
        tg_task_wake_later(reader);
}

static void on_change(void *arg)
{
    struct client *c = arg;
    struct tg_task *feeder = c->feeder;
    c->feeder = NULL;
    if (feeder)
        tg_task_wake_later(feeder);
    wake(c);
}

static void on_impatient(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct client *c = arg;
    c->impatient = true;
    wake(c);
}

/* Not inside Lua, where the engine runs nothing. */
static void begin(void *arg)
{
    struct client *c = arg;
    struct service *s = c->service;
    c->begun = true;
    tg_exchange_begin(&s->engine, tg_memory_conn(c->memory)); /* what is anchored is so for it */
    s->coming--;
    if (c->leaves)
        tg_memory_leave(c->memory);
    let_go(s);
}

static int client_gc(lua_State *L)
{
    struct client *c = lua_touserdata(L, 1);
    if (!c->memory)
        return 0;
    if (!c->begun) {
        c->service->coming--;
        let_go(c->service);
    }
    tg_soon_fini(&c->begin);
    event_del(&c->patience);
    tg_memory_release(c->memory);
    c->memory = NULL;
    tg_buf_fini(&c->error);
    return 0;
}

/* _test_client(service, head, secure): a client whose exchange begins in the loop's next turn;
 * or nil and the status that its head is refused with. */
static int l_client(lua_State *L)
{
    struct tg_slice head;
    struct service *s = luaL_checkudata(L, 1, SERVICE_TYPE);
    head.p = luaL_checklstring(L, 2, &head.len);
    lua_settop(L, 3);
    struct event_base *base = tg_lua_base(tg_lua_of(L));
    struct client *c = lua_newuserdatauv(L, sizeof *c, 1);
    memset(c, 0, sizeof *c);
    c->service = s;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    struct tg_memory_options options = {
        .all = tg_lua_host(L)->memories,
        .limits = &s->limits,
        .secure = lua_toboolean(L, 3),
        .peer = "127.0.0.1",
        .peer_port = 49152,
        .local_port = lua_toboolean(L, 3) ? 443 : 80,
        .on_change = on_change,
        .arg = c,
    };
    int status = tg_memory_new(&c->memory, &options, head);
    if (status) {
        lua_pushnil(L);
        lua_pushinteger(L, status);
        return 2;
    }
    tg_buf_init(&c->error, ERROR_MAX);
    event_assign(&c->patience, base, -1, 0, on_impatient, c);
    tg_soon_init(&c->begin, base, begin, c);
    luaL_setmetatable(L, CLIENT_TYPE);
    if (s->ref == LUA_NOREF) {
        lua_pushvalue(L, 1);
        s->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    s->coming++;
    tg_soon_call(&c->begin);
    return 1;
}

/* --- Waiting -------------------------------------------------------------------------------------- */

static void cancel_read(void *arg)
{
    struct client *c = arg;
    c->reader = NULL;
    event_del(&c->patience);
}

static void cancel_feed(void *arg)
{
    ((struct client *)arg)->feeder = NULL;
}

/* Until something has changed; k begins with go_on(). */
static int wait_for_change(lua_State *L, struct client *c, lua_KFunction k)
{
    static const struct timeval patience = {PATIENCE, 0};
    struct tg_task_wait wait = {cancel_read, c};
    if (c->reader)
        return luaL_error(L, "another task waits for this response already");
    struct tg_task *task = tg_task_check(L);
    c->impatient = false;
    if (event_add(&c->patience, &patience) != 0)
        return luaL_error(L, "not enough memory");
    c->reader = task;
    return tg_task_wait(L, &wait, k);
}

static struct client *go_on(lua_State *L, lua_KContext context)
{
    tg_task_resumed(L, context);
    struct client *c = client_at(L);
    if (c->impatient)
        luaL_error(L,
                   "nothing has come for %d s: what is waited for does not happen, or a clock of "
                   "tg.test.clock stands still",
                   PATIENCE);
    return c;
}

static bool is_over(const struct client *c)
{
    return c->begun && tg_memory_state(c->memory) != TG_MEMORY_OPEN;
}

/* --- The response's head ---------------------------------------------------------------------------- */

static bool next_field(struct tg_slice *rest, struct tg_slice *name, struct tg_slice *value)
{
    const char *colon = rest->len ? memchr(rest->p, ':', rest->len) : NULL;
    const char *end = colon ? memchr(colon, '\r', rest->len - (size_t)(colon - rest->p)) : NULL;
    if (!end)
        return false;
    *name = (struct tg_slice){rest->p, (size_t)(colon - rest->p)};
    *value = (struct tg_slice){colon + 2, (size_t)(end - colon - 2)};
    rest->len -= (size_t)(end + 2 - rest->p);
    rest->p = end + 2;
    return true;
}

static int push_head(lua_State *L, const struct tg_response_head *head)
{
    struct tg_slice rest = head->fields;
    struct tg_slice name;
    struct tg_slice value;
    lua_pushinteger(L, head->status);
    tg_fields_push(L);
    while (next_field(&rest, &name, &value))
        tg_fields_add(L, -1, name, value);
    if (head->length == TG_LENGTH_UNKNOWN || head->status == 204 || head->status == 304)
        return 2;
    lua_pushfstring(L, "%I", (LUAI_UACINT)head->length);
    value.p = lua_tolstring(L, -1, &value.len);
    tg_fields_add(L, -2, TG_SLICE("Content-Length"), value);
    lua_pop(L, 1);
    return 2;
}

static int head_on(lua_State *L, struct client *c);

static int head_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    return head_on(L, go_on(L, context));
}

static int head_on(lua_State *L, struct client *c)
{
    const struct tg_response_head *head = c->begun ? tg_memory_head(c->memory) : NULL;
    if (head)
        return push_head(L, head);
    if (is_over(c))
        return 0;
    return wait_for_change(L, c, head_resumed);
}

/* client:head(): status and headers; nothing when it ends without. */
static int l_head(lua_State *L)
{
    lua_settop(L, 1);
    return head_on(L, client_at(L));
}

/* --- The response's body ---------------------------------------------------------------------------- */

static int take_on(lua_State *L, struct client *c);

static int take_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    return take_on(L, go_on(L, context));
}

static int take_on(lua_State *L, struct client *c)
{
    struct tg_memory_chunk chunk;
    size_t most = (size_t)lua_tointeger(L, 2);
    if (c->begun && tg_memory_peek(c->memory, &chunk)) {
        size_t n = most && most < chunk.data.len ? most : chunk.data.len;
        lua_pushlstring(L, chunk.data.p, n);
        lua_pushnumber(L, (double)chunk.at / 1e6);
        tg_memory_consume(c->memory, n);
        return 2;
    }
    if (is_over(c))
        return 0;
    return wait_for_change(L, c, take_resumed);
}

/* client:take([most]): what is next of the body, and when it was sent, on tg.monotonic's clock; nothing at
 * the end. */
static int l_take(lua_State *L)
{
    luaL_argcheck(L, luaL_optinteger(L, 2, 0) >= 0, 2, "expected a number of bytes");
    lua_settop(L, 2);
    return take_on(L, client_at(L));
}

/* --- The end ---------------------------------------------------------------------------------------- */

static int over_on(lua_State *L, struct client *c);

static int over_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    return over_on(L, go_on(L, context));
}

static int over_on(lua_State *L, struct client *c)
{
    if (!is_over(c))
        return wait_for_change(L, c, over_resumed);
    lua_pushboolean(L, tg_memory_state(c->memory) == TG_MEMORY_WHOLE);
    lua_pushstring(L, c->ended ? tg_ending_name(c->ending) : "error");
    if (c->error.len)
        lua_pushlstring(L, c->error.p, c->error.len);
    else
        lua_pushnil(L);
    lua_pushlstring(L, c->service->lines.p, c->service->lines.len);
    tg_buf_clear(&c->service->lines);
    return 4;
}

/* client:over(): whether the response is whole, how its exchange has ended, the error that nobody has
 * handled, and what was logged of the service since this was asked last. */
static int l_over(lua_State *L)
{
    lua_settop(L, 1);
    return over_on(L, client_at(L));
}

static int l_leave(lua_State *L)
{
    struct client *c = client_at(L);
    c->leaves = true;
    if (c->begun)
        tg_memory_leave(c->memory);
    return 0;
}

/* client:waiting(): how many bytes wait to be taken. */
static int l_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_memory_waiting(client_at(L)->memory));
    return 1;
}

/* --- The request's body ----------------------------------------------------------------------------- */

static int wait_to_feed(lua_State *L, struct client *c);

static int feed_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct client *c = client_at(L);
    if (!is_over(c) && tg_memory_unread(c->memory) >= TG_MEMORY_FEED_MAX)
        return wait_to_feed(L, c);
    lua_pushboolean(L, !is_over(c));
    return 1;
}

static int wait_to_feed(lua_State *L, struct client *c)
{
    struct tg_task_wait wait = {cancel_feed, c};
    if (c->feeder)
        return luaL_error(L, "another task sends the request's body already");
    c->feeder = tg_task_check(L);
    return tg_task_wait(L, &wait, feed_resumed);
}

/* client:feed(data): false when nobody reads it any more.  Waits while much waits to be read. */
static int l_feed(lua_State *L)
{
    struct tg_slice data;
    struct client *c = client_at(L);
    data.p = luaL_checklstring(L, 2, &data.len);
    if (is_over(c)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    enum tg_status status = tg_memory_feed(c->memory, data.p, data.len);
    if (status == TG_AGAIN)
        return wait_to_feed(L, c);
    if (status < 0 && status != TG_ECLOSED)
        return luaL_error(L, "the request's body: %s",
                          status == TG_ELIMIT ? "longer than was said" : tg_status_text(status));
    lua_pushboolean(L, status == TG_OK);
    return 1;
}

static int l_feed_end(lua_State *L)
{
    tg_memory_feed_end(client_at(L)->memory);
    return 0;
}

/* --- Opening ---------------------------------------------------------------------------------------- */

static void open_types(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"head", l_head},       {"take", l_take}, {"over", l_over},         {"leave", l_leave},
        {"waiting", l_waiting}, {"feed", l_feed}, {"feed_end", l_feed_end}, {NULL, NULL}};
    luaL_newmetatable(L, SERVICE_TYPE);
    lua_pushcfunction(L, service_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newmetatable(L, CLIENT_TYPE);
    lua_pushcfunction(L, client_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void tg_test_open(lua_State *L)
{
    open_types(L);
    lua_pushcfunction(L, l_service);
    lua_setfield(L, -2, "_test_service");
    lua_pushcfunction(L, l_client);
    lua_setfield(L, -2, "_test_client");
}
