/* body_reader.c - spawns the producer of a body, and hands its bytes to whoever reads them. */
#include "lua/body_reader.h"

#include <lauxlib.h>

#include "lua/bind_format.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/fetch_response.h"
#include "lua/read_all.h"

enum { CHUNK_MAX = 65536 }; /* bytes */

#define GUARD_TYPE "tidegate.BodyGuard"

enum { READER_BODY = 1, READER_REQUEST }; /* its user values */

/* While the producer runs C anchors it. */
struct tg_body_reader {
    struct tg_lua *lua;
    struct tg_pipe pipe;
    struct tg_writer writer;
    struct tg_response_head head;
    struct tg_out out;
    struct tg_task *task;    /* the producer; NULL before and after */
    struct tg_task *waiting; /* who reads, while that waits */
    int failure;             /* reference: { value, traceback }; LUA_REFNIL: no memory */
    bool begun;
    bool released; /* the body */
};

/* --- The producer's end ----------------------------------------------------------------------- */

/* Whatever the body holds that was not written is let go of, once. */
static void release_body(lua_State *L, struct tg_body_reader *reader, int index)
{
    if (reader->released)
        return;
    reader->released = true;
    lua_getiuservalue(L, index, READER_BODY);
    const struct tg_body_kind *kind = tg_body_kind_of(L, -1);
    if (kind && kind->drop)
        kind->drop(L, &reader->out, lua_gettop(L));
    lua_pop(L, 1);
}

/* Runs on every way out of the producer. */
static int guard_close(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    release_body(L, lua_touserdata(L, -1), lua_gettop(L));
    return 0;
}

static int keep_failure(lua_State *L)
{
    struct tg_body_reader *reader = lua_touserdata(L, 1);
    lua_createtable(L, 2, 0);
    tg_task_push_error(L, reader->task);
    lua_rawseti(L, -3, 2);
    lua_rawseti(L, -2, 1);
    reader->failure = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* out takes no more: who holds on to it finds it closed. */
static void end_production(struct tg_body_reader *reader)
{
    if (!reader->out.writer)
        return;
    reader->out.writer = NULL;
    tg_writer_fini(&reader->writer);
}

static void on_done(void *owner, enum tg_lua_result result)
{
    struct tg_body_reader *reader = owner;
    if (result == TG_LUA_FAILED || result == TG_LUA_NOMEM) {
        reader->failure = LUA_REFNIL;
        tg_lua_enter(reader->lua, keep_failure, reader);
    }
    if (result != TG_LUA_DONE)
        tg_pipe_fail(&reader->pipe, TG_EIO);
    end_production(reader);
    tg_task_free(reader->task);
    reader->task = NULL;
    int ref = reader->out.ref;
    reader->out.ref = LUA_NOREF;
    luaL_unref(tg_lua_main(reader->lua), LUA_REGISTRYINDEX, ref); /* last: it may be gone */
}

static int produced(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct tg_body_reader *reader = (struct tg_body_reader *)context;
    tg_out_check(L, tg_writer_end(&reader->writer));
    return 0;
}

/* Stack: reader, as a light userdata, and body. */
static int produce(lua_State *L)
{
    struct tg_body_reader *reader = lua_touserdata(L, 1);
    lua_newuserdatauv(L, 0, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, reader->out.ref);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, GUARD_TYPE);
    lua_toclose(L, -1);
    if (lua_isnil(L, 2))
        return produced(L, LUA_OK, (lua_KContext)reader);
    tg_body_push_way(L, 2);
    lua_pushlightuserdata(L, &reader->out);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 0, (lua_KContext)reader, produced);
    return produced(L, LUA_OK, (lua_KContext)reader);
}

/* --- Its life --------------------------------------------------------------------------------- */

static struct tg_body_reader *check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, TG_BODY_READER_TYPE);
}

struct tg_out *tg_body_reader_out(struct tg_body_reader *reader)
{
    return &reader->out;
}

struct tg_pipe *tg_body_reader_pipe(struct tg_body_reader *reader)
{
    return &reader->pipe;
}

/* The same as for a response, with a pipe in the place of the connection. */
static void begin_writer(struct tg_body_reader *reader, const struct tg_exchange *x)
{
    const struct tg_limits *limits = x->engine->limits;
    struct tg_writer_options options = {
        .ops = &tg_pipe_sink,
        .sink = &reader->pipe,
        .gather = x->engine->gather,
        .high_water = limits->high_water ? limits->high_water : SIZE_MAX,
        .low_water = limits->low_water,
    };
    tg_pipe_init(&reader->pipe, tg_conn_base(x->conn));
    tg_writer_init(&reader->writer, &options);
    reader->head = (struct tg_response_head){.status = 200, .length = TG_LENGTH_UNKNOWN};
    tg_writer_begin(&reader->writer, &reader->head);
}

struct tg_body_reader *tg_body_reader_new(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    struct tg_call *call = tg_call_current(L);
    if (!call || !call->exchange) {
        luaL_error(L, "bodies are produced for an exchange, and none is running");
        return NULL; /* it does not come here */
    }
    struct tg_body_reader *reader = lua_newuserdatauv(L, sizeof *reader, 2);
    *reader = (struct tg_body_reader){.lua = tg_lua_of(L), .failure = LUA_NOREF};
    reader->out = (struct tg_out){.ref = LUA_NOREF, .call = call, .format = &tg_format_json};
    lua_pushvalue(L, index);
    tg_fetch_response_unwrap(L, lua_gettop(L));
    lua_setiuservalue(L, -2, READER_BODY);
    tg_call_push_request(L, call);
    lua_setiuservalue(L, -2, READER_REQUEST);
    begin_writer(reader, call->exchange);
    reader->out.writer = &reader->writer;
    luaL_setmetatable(L, TG_BODY_READER_TYPE);
    return reader;
}

void tg_body_reader_start(lua_State *L, int index)
{
    struct tg_body_reader *reader = check(L, index);
    if (reader->begun)
        return;
    index = lua_absindex(L, index);
    if (!reader->out.writer || tg_call_current(L) != reader->out.call)
        luaL_error(L, "a body is read in the exchange that it is produced for");
    tg_task_spawn_check(L);
    lua_pushvalue(L, index);
    reader->out.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getiuservalue(L, index, READER_BODY);
    reader->task = tg_task_spawn(L, 1, produce, on_done, reader);
    reader->begun = true;
    if (reader->task)
        return;
    luaL_unref(L, LUA_REGISTRYINDEX, reader->out.ref);
    reader->out.ref = LUA_NOREF;
    tg_pipe_fail(&reader->pipe, TG_ENOMEM);
    luaL_error(L, "not enough memory");
}

void tg_body_reader_close(struct tg_body_reader *reader)
{
    tg_pipe_close(&reader->pipe);
    if (reader->task)
        tg_task_cancel_spawned(reader->task);
}

void tg_body_reader_close_at(lua_State *L, int index)
{
    struct tg_body_reader *reader = check(L, index);
    tg_body_reader_close(reader);
    if (reader->begun)
        return;
    reader->begun = true;
    release_body(L, reader, lua_absindex(L, index));
    end_production(reader);
}

static int l_close(lua_State *L)
{
    tg_body_reader_close_at(L, 1);
    return 0;
}

static int gc(lua_State *L)
{
    struct tg_body_reader *reader = check(L, 1);
    end_production(reader);
    release_body(L, reader, 1); /* where it was not begun, or its producer was stopped for good */
    tg_pipe_fini(&reader->pipe);
    luaL_unref(L, LUA_REGISTRYINDEX, reader->failure);
    reader->failure = LUA_NOREF;
    return 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

int tg_body_reader_raise(lua_State *L, int index)
{
    struct tg_body_reader *reader = check(L, index);
    struct tg_task *task = tg_lua_current(tg_lua_of(L));
    if (reader->failure == LUA_REFNIL || reader->pipe.failed == TG_ENOMEM)
        return luaL_error(L, "not enough memory");
    if (reader->failure == LUA_NOREF) /* it was closed, or cancelled */
        return tg_failure_raise_closed(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, reader->failure);
    lua_rawgeti(L, -1, 1);
    lua_insert(L, -2);
    if (task)
        tg_task_set_cause(L, task);
    else
        lua_pop(L, 1);
    return lua_error(L);
}

static void on_news(void *arg)
{
    struct tg_body_reader *reader = arg;
    struct tg_task *task = reader->waiting;
    reader->waiting = NULL;
    tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct tg_body_reader *reader = arg;
    reader->waiting = NULL;
    tg_pipe_wait(&reader->pipe, NULL, NULL);
}

static int read_on(lua_State *L);

static int read_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return read_on(L);
}

static int wait_for_news(lua_State *L, struct tg_body_reader *reader)
{
    struct tg_task_wait wait = {stop_waiting, reader};
    if (reader->waiting)
        return luaL_error(L, "another task reads this body");
    struct tg_task *task = tg_task_check(L);
    reader->waiting = task;
    if (reader->task && tg_task_scope(reader->task) == tg_task_scope(task))
        tg_task_stick(task);
    tg_pipe_wait(&reader->pipe, on_news, reader);
    return tg_task_wait(L, &wait, read_resumed);
}

static int read_on(lua_State *L)
{
    struct tg_body_reader *reader = check(L, 1);
    struct tg_slice data;
    switch (tg_pipe_peek(&reader->pipe, &data)) {
    case TG_PIPE_DATA:
        if (data.len > CHUNK_MAX)
            data.len = CHUNK_MAX;
        lua_pushlstring(L, data.p, data.len);
        tg_pipe_consume(&reader->pipe, data.len);
        return 1;
    case TG_PIPE_END:
        lua_pushnil(L);
        return 1;
    case TG_PIPE_FAILED:
        return tg_body_reader_raise(L, 1);
    case TG_PIPE_WAIT:
        break;
    }
    return wait_for_news(L, reader);
}

int tg_body_reader_read(lua_State *L)
{
    lua_settop(L, 1);
    tg_body_reader_start(L, 1);
    return read_on(L);
}

/* for chunk in reader:chunks() do */
static int l_chunks(lua_State *L)
{
    check(L, 1);
    lua_pushcfunction(L, tg_body_reader_read);
    lua_pushvalue(L, 1);
    return 2;
}

/* all([most]) */
static int l_all(lua_State *L)
{
    const struct tg_body_reader *reader = check(L, 1);
    lua_Integer most = luaL_optinteger(L, 2, -1);
    const struct tg_exchange *x = reader->out.call->exchange;
    uint64_t limit = x ? x->engine->limits->body_buffer : 0;
    return tg_read_all(L, tg_body_reader_read, most < 0 ? limit : (uint64_t)most, "the body");
}

/* --- tg.read_body ------------------------------------------------------------------------------- */

/* read_body(body[, content_type]) */
static int l_read_body(lua_State *L)
{
    struct tg_slice type = {NULL, 0};
    type.p = luaL_optlstring(L, 2, NULL, &type.len);
    lua_settop(L, 2);
    struct tg_body_reader *reader = tg_body_reader_new(L, 1);
    if (!type.p)
        return 1;
    reader->out.format = tg_formats_find(L, type);
    if (!reader->out.format && tg_body_is_printed(L, 1))
        return luaL_error(L, "no format prints a table or sequence as %s", type.p);
    if (!reader->out.format)
        reader->out.format = &tg_format_json;
    return 1;
}

void tg_body_readers_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"read_body", l_read_body}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"read", tg_body_reader_read},
                                       {"chunks", l_chunks},
                                       {"all", l_all},
                                       {"close", l_close},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__close", l_close}, {"__gc", gc}, {NULL, NULL}};
    luaL_newmetatable(L, GUARD_TYPE);
    lua_pushcfunction(L, guard_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    luaL_newmetatable(L, TG_BODY_READER_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
