/* probe_pipe.c - opens pipes to specs: a writer at one end, a loop that they turn, and the reader's end. */
#include <stdlib.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

#include "body/pipe.h"
#include "body/writer.h"
#include "io/loop.h"
#include "util/mem.h"

#define PIPE "probe.Pipe"

struct end_to_end {
    struct event_base *base;
    struct tg_gather gather;
    struct tg_writer writer;
    struct tg_response_head head;
    struct tg_pipe pipe;
    unsigned drains;
    unsigned reads;
    size_t released;
    bool live;
    bool ends; /* it goes with the next callback, as an exchange may */
};

static void fini(struct end_to_end *e)
{
    if (!e->live)
        return;
    e->live = false;
    tg_writer_fini(&e->writer);
    tg_pipe_fini(&e->pipe);
    tg_gather_fini(&e->gather);
}

static int e_gc(lua_State *L)
{
    struct end_to_end *e = luaL_checkudata(L, 1, PIPE);
    fini(e);
    if (e->base)
        event_base_free(e->base);
    e->base = NULL;
    return 0;
}

static lua_Integer option(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, 1, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

/* new { high_water =, low_water =, gather = } */
static int p_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct end_to_end *e = lua_newuserdatauv(L, sizeof *e, 0);
    *e = (struct end_to_end){.base = tg_loop_new()};
    luaL_setmetatable(L, PIPE);
    if (!e->base || tg_gather_init(&e->gather, (size_t)option(L, "gather", 4096)) != TG_OK)
        return luaL_error(L, "no loop, or no memory");
    tg_pipe_init(&e->pipe, e->base);
    struct tg_writer_options options = {
        .ops = &tg_pipe_sink,
        .sink = &e->pipe,
        .gather = &e->gather,
        .high_water = (size_t)option(L, "high_water", 10000),
        .low_water = (size_t)option(L, "low_water", 1000),
    };
    tg_writer_init(&e->writer, &options);
    e->head = (struct tg_response_head){.status = 200, .length = TG_LENGTH_UNKNOWN};
    tg_writer_begin(&e->writer, &e->head);
    e->live = true;
    return 1;
}

static struct end_to_end *check(lua_State *L)
{
    struct end_to_end *e = luaL_checkudata(L, 1, PIPE);
    luaL_argcheck(L, e->live, 1, "it is gone");
    return e;
}

static int push_status(lua_State *L, enum tg_status status)
{
    static const char *const names[] = {"limit",  "invalid", "io",   "memory",
                                        "closed", "ok",      "again"};
    lua_pushstring(L, names[status - TG_ELIMIT]);
    return 1;
}

/* --- The producer's end ----------------------------------------------------------------------- */

static int e_write(lua_State *L)
{
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write(&check(L)->writer, data, len));
}

static void on_release(const void *data, size_t len, void *arg)
{
    (void)data;
    ((struct end_to_end *)arg)->released += len;
}

/* The string is the spec's to keep. */
static int e_lend(lua_State *L)
{
    size_t len;
    struct end_to_end *e = check(L);
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write_lent(&e->writer, data, len, on_release, e));
}

static int e_flush(lua_State *L)
{
    return push_status(L, tg_writer_flush(&check(L)->writer));
}

static int e_finish(lua_State *L)
{
    return push_status(L, tg_writer_end(&check(L)->writer));
}

static int e_fail(lua_State *L)
{
    tg_pipe_fail(&check(L)->pipe, TG_EIO);
    return 0;
}

static void on_drained(void *arg)
{
    struct end_to_end *e = arg;
    e->drains++;
    if (e->ends)
        fini(e);
}

static int e_on_drain(lua_State *L)
{
    bool wish = lua_isnone(L, 2) || lua_toboolean(L, 2);
    struct end_to_end *e = check(L);
    tg_writer_on_drain(&e->writer, wish ? on_drained : NULL, e);
    return 0;
}

/* --- The reader's end ------------------------------------------------------------------------- */

/* peek() -> "data", the run; or "wait", "end", "failed" */
static int e_peek(lua_State *L)
{
    static const char *const names[] = {"data", "wait", "end", "failed"};
    struct tg_slice data;
    enum tg_pipe_state state = tg_pipe_peek(&check(L)->pipe, &data);
    lua_pushstring(L, names[state]);
    if (state != TG_PIPE_DATA)
        return 1;
    lua_pushlstring(L, data.p, data.len);
    return 2;
}

static int e_consume(lua_State *L)
{
    tg_pipe_consume(&check(L)->pipe, (size_t)luaL_checkinteger(L, 2));
    return 0;
}

static void on_read(void *arg)
{
    struct end_to_end *e = arg;
    e->reads++;
    if (e->ends)
        fini(e);
}

static int e_wait(lua_State *L)
{
    bool wish = lua_isnone(L, 2) || lua_toboolean(L, 2);
    struct end_to_end *e = check(L);
    tg_pipe_wait(&e->pipe, wish ? on_read : NULL, e);
    return 0;
}

static int e_close(lua_State *L)
{
    tg_pipe_close(&check(L)->pipe);
    return 0;
}

/* --- Both ------------------------------------------------------------------------------------- */

/* One turn of the loop. */
static int e_turn(lua_State *L)
{
    struct end_to_end *e = luaL_checkudata(L, 1, PIPE);
    event_base_loop(e->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return 0;
}

static int e_end_soon(lua_State *L)
{
    check(L)->ends = true;
    return 0;
}

static int e_free(lua_State *L)
{
    fini(check(L));
    return 0;
}

static int e_state(lua_State *L)
{
    const struct end_to_end *e = luaL_checkudata(L, 1, PIPE);
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, (lua_Integer)e->drains);
    lua_setfield(L, -2, "drains");
    lua_pushinteger(L, (lua_Integer)e->reads);
    lua_setfield(L, -2, "reads");
    lua_pushinteger(L, (lua_Integer)e->released);
    lua_setfield(L, -2, "released");
    lua_pushboolean(L, e->live);
    lua_setfield(L, -2, "live");
    lua_pushinteger(L, e->live ? (lua_Integer)e->pipe.chunks.len : 0);
    lua_setfield(L, -2, "waiting");
    lua_pushinteger(L, (lua_Integer)e->pipe.length); /* -1: unknown */
    lua_setfield(L, -2, "length");
    return 1;
}

static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

__attribute__((visibility("default"))) int luaopen_probe_pipe(lua_State *L);
int luaopen_probe_pipe(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", e_write}, {"lend", e_lend},         {"flush", e_flush}, {"finish", e_finish},
        {"fail", e_fail},   {"on_drain", e_on_drain}, {"peek", e_peek},   {"consume", e_consume},
        {"wait", e_wait},   {"close", e_close},       {"turn", e_turn},   {"end_soon", e_end_soon},
        {"free", e_free},   {"state", e_state},       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", p_new}, {"fail_at", p_fail_at}, {NULL, NULL}};
    luaL_newmetatable(L, PIPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, e_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
