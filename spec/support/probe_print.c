/* probe_print.c - prints what scripts give, in a task, to a sink that specs steer. */
#include <stdlib.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/core.h"
#include "lua/failure.h"
#include "lua/print.h"
#include "lua/state.h"
#include "lua/task.h"
#include "util/buf.h"

#define PRINT "probe.Print"

enum { OUTPUT_MAX = 1 << 30 };

struct print {
    struct event_base *base;
    struct tg_lua *lua;
    struct tg_task *task;
    struct tg_task *beside; /* another one in the same state */
    struct tg_gather gather;
    struct tg_writer writer;
    struct tg_out out;
    struct tg_response_head head;
    struct tg_log log;
    const struct tg_format *format;
    const char *code;
    struct tg_buf output;
    struct tg_buf error;
    size_t pending;
    uint64_t total;
    unsigned sends;
    unsigned waits; /* times that the writer's producer asked to be told of a drain */
    bool full;      /* what is sent stays pending until a drain */
    bool discard;   /* keep no output */
    bool gone;      /* the client has left */
    bool element;   /* print as an element, not as a body */
    bool has_writer;
    enum tg_lua_result result;
    void (*drain_fn)(void *arg);
    void *drain_arg;
};

/* --- The sink --------------------------------------------------------------------------------- */

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    (void)head;
    return ((const struct print *)sink)->gone ? TG_ECLOSED : TG_OK;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct print *p = sink;
    (void)flags;
    if (p->gone)
        return TG_ECLOSED;
    for (int i = 0; i < n; i++) {
        p->total += runs[i].iov_len;
        p->pending += p->full ? runs[i].iov_len : 0;
        if (!p->discard && tg_buf_add(&p->output, runs[i].iov_base, runs[i].iov_len) < 0)
            return TG_ENOMEM;
    }
    p->sends++;
    return TG_OK;
}

static size_t pending(void *sink)
{
    return ((const struct print *)sink)->pending;
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct print *p = sink;
    (void)low_water;
    p->drain_fn = fn;
    p->drain_arg = arg;
    p->waits += fn != NULL;
}

static const struct tg_sink_ops ops = {
    .commit = commit, .send = send_runs, .pending = pending, .on_drain = on_drain};

/* --- The task --------------------------------------------------------------------------------- */

static void end_writer(struct print *p)
{
    if (p->has_writer)
        tg_writer_fini(&p->writer);
    p->has_writer = false;
}

static int keep_error_of(lua_State *L, struct print *p, struct tg_task *task)
{
    tg_task_push_error(L, task);
    size_t len;
    const char *text = luaL_tolstring(L, -2, &len);
    if (tg_buf_add(&p->error, text, len) < 0)
        return luaL_error(L, "no memory");
    return 0;
}

static int keep_error(lua_State *L)
{
    struct print *p = lua_touserdata(L, 1);
    return keep_error_of(L, p, p->task);
}

static void ended(struct print *p, enum tg_lua_result result)
{
    p->result = result;
    if (result == TG_LUA_WAITING)
        return;
    if (result == TG_LUA_DONE && tg_writer_end(&p->writer) < 0)
        p->result = TG_LUA_FAILED;
    if (result == TG_LUA_FAILED)
        tg_lua_enter(p->lua, keep_error, p);
    end_writer(p);
}

static void on_done(void *owner, enum tg_lua_result result)
{
    ended(owner, result);
}

static void on_suspended(void *arg)
{
    const struct print *p = arg;
    if (p->gather.owner)
        (void)!tg_writer_flush(p->gather.owner);
}

static int print_it(lua_State *L, int status, lua_KContext context)
{
    struct print *p = (struct print *)context;
    (void)status;
    p->out = (struct tg_out){.writer = &p->writer, .format = p->format};
    return p->element ? tg_print_element(L, &p->out, 2) : tg_print_body(L, &p->out, 2);
}

static int run_code(lua_State *L)
{
    struct print *p = lua_touserdata(L, 1);
    if (luaL_loadstring(L, p->code) != LUA_OK)
        return lua_error(L);
    lua_callk(L, 0, 1, (lua_KContext)p, print_it);
    return print_it(L, LUA_OK, (lua_KContext)p);
}

/* --- What a script has besides the library ------------------------------------------------------ */

static struct print *of(lua_State *L)
{
    return tg_lua_user(tg_lua_of(L));
}

/* out(value): as out:print(value) does. */
static int s_out(lua_State *L)
{
    struct print *p = of(L);
    if (!p->has_writer)
        return luaL_error(L, "no body");
    lua_settop(L, 1);
    p->out = (struct tg_out){.writer = &p->writer, .format = p->format};
    return tg_print_element(L, &p->out, 1);
}

static int s_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

/* pause(): waits until the spec goes on with it. */
static int s_pause(lua_State *L)
{
    struct tg_task_wait wait = {NULL, NULL};
    tg_task_check(L);
    return tg_task_wait(L, &wait, s_resumed);
}

static int open_state(lua_State *L)
{
    tg_failure_open(L);
    tg_core_open(L);
    lua_register(L, "out", s_out);
    lua_register(L, "pause", s_pause);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate.core");
    lua_call(L, 1, 1);
    lua_setglobal(L, "tg");
    return 0;
}

/* --- What a spec has --------------------------------------------------------------------------- */

static struct print *check(lua_State *L)
{
    return luaL_checkudata(L, 1, PRINT);
}

static int p_gc(lua_State *L)
{
    struct print *p = check(L);
    tg_task_free(p->task);
    tg_task_free(p->beside);
    end_writer(p);
    tg_lua_free(p->lua);
    if (p->base)
        event_base_free(p->base);
    tg_gather_fini(&p->gather);
    tg_buf_fini(&p->output);
    tg_buf_fini(&p->error);
    *p = (struct print){0};
    return 0;
}

/* new(memory_max) */
static int p_new(lua_State *L)
{
    size_t memory = (size_t)luaL_optinteger(L, 1, 0);
    struct print *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct print){0};
    luaL_setmetatable(L, PRINT);
    tg_buf_init(&p->output, OUTPUT_MAX);
    tg_buf_init(&p->error, 1 << 16);
    p->base = event_base_new();
    struct tg_lua_options options = {
        .memory_max = memory, .base = p->base, .log = &p->log, .suspended = on_suspended, .arg = p};
    p->lua = tg_lua_new(&options);
    if (tg_gather_init(&p->gather, 65536) < 0 || !p->lua)
        return luaL_error(L, "no memory");
    tg_lua_set_user(p->lua, p);
    p->task = tg_task_new(p->lua, on_done, p);
    p->beside = tg_task_new(p->lua, NULL, NULL);
    if (tg_lua_enter(p->lua, open_state, p) != TG_LUA_DONE)
        return luaL_error(L, "%s", tg_lua_error(p->lua));
    return 1;
}

static bool flag(lua_State *L, const char *name)
{
    lua_getfield(L, 3, name);
    bool is = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is;
}

static lua_Integer number(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, 3, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

static void read_options(lua_State *L, struct print *p)
{
    lua_settop(L, 3);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    lua_getfield(L, 3, "as");
    struct tg_slice type;
    type.p = luaL_optlstring(L, -1, "application/json", &type.len);
    p->format = tg_format_find(type);
    lua_pop(L, 1);
    if (!p->format)
        luaL_error(L, "no such format");
    p->full = flag(L, "full");
    p->discard = flag(L, "discard");
    p->gone = flag(L, "gone");
    p->element = flag(L, "element");
    struct tg_writer_options options = {&ops, p, &p->gather, 0, 0};
    options.high_water = (size_t)number(L, "high_water", 1 << 18);
    options.low_water = options.high_water / 4;
    tg_writer_init(&p->writer, &options);
    p->head = (struct tg_response_head){.status = 200, .length = TG_LENGTH_UNKNOWN};
    tg_writer_begin(&p->writer, &p->head);
    p->has_writer = true;
}

static int push_result_of(lua_State *L, const struct print *p, enum tg_lua_result result)
{
    static const char *const names[] = {"done", "waiting", "failed", "no memory"};
    lua_pushstring(L, names[result]);
    lua_pushlstring(L, p->error.p ? p->error.p : "", p->error.len);
    return 2;
}

static int push_result(lua_State *L, const struct print *p)
{
    return push_result_of(L, p, p->result);
}

/* run(code, { as=, full=, discard=, gone=, element=, high_water= }): prints what the code returns ->
 * "done", "waiting", "failed" or "no memory", and the error */
static int p_run(lua_State *L)
{
    struct print *p = check(L);
    p->code = luaL_checkstring(L, 2);
    tg_task_cancel(p->task);
    end_writer(p);
    read_options(L, p);
    tg_buf_clear(&p->output);
    tg_buf_clear(&p->error);
    p->pending = 0;
    p->total = 0;
    p->sends = 0;
    p->waits = 0;
    p->drain_fn = NULL;
    ended(p, tg_task_start(p->task, run_code, p));
    return push_result(L, p);
}

static void drain(struct print *p)
{
    void (*fn)(void *) = p->drain_fn;
    p->pending = 0;
    p->drain_fn = NULL;
    if (fn)
        fn(p->drain_arg);
}

/* The client takes all that waits for it. */
static int p_drain(lua_State *L)
{
    struct print *p = check(L);
    drain(p);
    return push_result(L, p);
}

/* Drains until nothing waits for it any more: how often. */
static int p_drain_all(lua_State *L)
{
    struct print *p = check(L);
    lua_Integer n = 0;
    for (; p->drain_fn; n++)
        drain(p);
    lua_pushinteger(L, n);
    return 1;
}

/* Goes on after a pause(). */
static int p_go_on(lua_State *L)
{
    struct print *p = check(L);
    tg_task_wake(p->task);
    return push_result(L, p);
}

static int run_beside(lua_State *L)
{
    const struct print *p = lua_touserdata(L, 1);
    if (luaL_loadstring(L, p->code) != LUA_OK)
        return lua_error(L);
    lua_callk(L, 0, 0, 0, s_resumed);
    return 0;
}

static int keep_beside_error(lua_State *L)
{
    struct print *p = lua_touserdata(L, 1);
    return keep_error_of(L, p, p->beside);
}

/* run_beside(code): runs it in a task of its own, which prints nothing -> as run() */
static int p_run_beside(lua_State *L)
{
    struct print *p = check(L);
    p->code = luaL_checkstring(L, 2);
    tg_buf_clear(&p->error);
    tg_task_cancel(p->beside);
    enum tg_lua_result result = tg_task_start(p->beside, run_beside, p);
    if (result == TG_LUA_FAILED)
        tg_lua_enter(p->lua, keep_beside_error, p);
    return push_result_of(L, p, result);
}

/* The exchange ends while its task waits. */
static int p_cancel(lua_State *L)
{
    struct print *p = check(L);
    tg_task_cancel(p->task);
    end_writer(p);
    return 0;
}

static int p_leave(lua_State *L)
{
    check(L)->gone = true;
    return 0;
}

static int p_output(lua_State *L)
{
    const struct print *p = check(L);
    lua_pushlstring(L, p->output.p ? p->output.p : "", p->output.len);
    return 1;
}

static int p_state(lua_State *L)
{
    const struct print *p = check(L);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)p->total);
    lua_setfield(L, -2, "total");
    lua_pushinteger(L, (lua_Integer)p->sends);
    lua_setfield(L, -2, "sends");
    lua_pushinteger(L, (lua_Integer)p->waits);
    lua_setfield(L, -2, "waits");
    lua_pushboolean(L, p->drain_fn != NULL);
    lua_setfield(L, -2, "waits_for_drain");
    lua_pushinteger(L, (lua_Integer)tg_lua_memory(p->lua));
    lua_setfield(L, -2, "memory");
    return 1;
}

/* The content type of the format of a media type; nil when there is none. */
static int p_content_type(lua_State *L)
{
    struct tg_slice type;
    type.p = luaL_checklstring(L, 1, &type.len);
    const struct tg_format *format = tg_format_find(type);
    lua_pushstring(L, format ? format->content_type : NULL);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_probe_print(lua_State *L);
int luaopen_probe_print(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"run", p_run},     {"run_beside", p_run_beside},
        {"drain", p_drain}, {"drain_all", p_drain_all},
        {"go_on", p_go_on}, {"cancel", p_cancel},
        {"leave", p_leave}, {"output", p_output},
        {"state", p_state}, {"__gc", p_gc},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", p_new}, {"content_type", p_content_type}, {NULL, NULL}};
    luaL_newmetatable(L, PRINT);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
