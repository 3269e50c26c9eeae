/* bind_writer.c - out:write(…), out:print(value), out:flush(), out:close(), out.bytes. */
#include "lua/bind_writer.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "lua/body_kind.h"
#include "lua/failure.h"
#include "lua/print.h"
#include "lua/task.h"
#include "util/mem.h"

#define WRITER_TYPE "tidegate.Writer"

/* What a script has is a table: a method in it is found without a call, which a userdata's __index would
 * be for out.bytes' sake.  Its first element is a userdata, whose user value keeps out alive. */
enum { HANDLE = 1 };
struct handle {
    const void
        *mark; /* says that the block is one of these: no other userdata has this address in it */
    struct tg_out *out;
};
static const char mark;

void tg_out_check(lua_State *L, enum tg_status status)
{
    switch (status) {
    case TG_OK:
    case TG_AGAIN:
        return;
    case TG_ECLOSED:
        tg_failure_raise_closed(L);
        return;
    case TG_ELIMIT:
        luaL_error(L, "the body does not have the length that its Content-Length says");
        return;
    default:
        luaL_error(L, "cannot write the body: %s", tg_status_text(status));
    }
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* A task that waits for a writer, one of several perhaps. */
struct waiting {
    struct tg_writer_wish wish;
    struct tg_task *task;
};

static void on_room(void *arg, bool gone)
{
    struct tg_task *task = ((struct waiting *)arg)->task;
    tg_free(arg);
    if (gone)
        tg_task_wake_later(task); /* not inside the end of an exchange */
    else
        tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct waiting *waiting = arg;
    tg_writer_unwish(&waiting->wish);
    tg_free(waiting);
}

int tg_out_wait(lua_State *L, struct tg_writer *w, lua_KFunction k)
{
    struct tg_task *task = tg_task_check(L);
    struct waiting *waiting = tg_malloc(sizeof *waiting);
    if (!waiting)
        return luaL_error(L, "not enough memory");
    struct tg_task_wait wait = {stop_waiting, waiting};
    waiting->task = task;
    tg_writer_wish(w, &waiting->wish, on_room, waiting);
    return tg_task_wait(L, &wait, k);
}

/* --- The methods ------------------------------------------------------------------------------ */

/* The writer at index 1, whatever a script has done to its table.  Leaves the handle on the stack. */
static inline struct tg_out *out_of(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_rawgeti(L, 1, HANDLE);
        const struct handle *handle = lua_touserdata(L, -1);
        if (lua_rawlen(L, -1) == sizeof *handle && handle && handle->mark == &mark)
            return handle->out;
    }
    luaL_typeerror(L, 1, WRITER_TYPE);
    return NULL;
}

static inline struct tg_writer *check(lua_State *L)
{
    struct tg_writer *w = out_of(L)->writer;
    if (!w)
        tg_failure_raise_closed(L);
    else if (w->ended)
        luaL_error(L, "the body has ended: out was closed");
    return w;
}

static int resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, check(L)->failed);
    lua_settop(L, 1);
    return 1;
}

static int ended_by(lua_State *L, struct tg_writer *w, enum tg_status status)
{
    if (status < 0)
        tg_out_check(L, status);
    if (w->must_wait)
        return tg_out_wait(L, w, resumed);
    lua_pushvalue(L, 1);
    return 1;
}

static int l_write(lua_State *L)
{
    int top = lua_gettop(L);
    struct tg_writer *w = check(L);
    enum tg_status status = TG_OK;
    for (int i = 2; i <= top && status >= 0; i++) {
        size_t len;
        const char *data = lua_tolstring(L, i, &len);
        if (!data)
            return luaL_typeerror(L, i, "string");
        status = tg_writer_write(w, data, len);
    }
    return ended_by(L, w, status);
}

static int l_flush(lua_State *L)
{
    struct tg_writer *w = check(L);
    enum tg_status status = tg_writer_flush(w);
    if (status >= 0 && w->o.gather->root) /* a part of a larger body: that goes out with it */
        tg_gather_flush(w->o.gather->root);
    return ended_by(L, w, status);
}

static int l_close(lua_State *L)
{
    struct tg_writer *w = out_of(L)->writer;
    if (w)
        tg_out_check(L, tg_writer_end(w));
    return 0;
}

static int l_print(lua_State *L)
{
    int top = lua_gettop(L);
    const struct tg_out *out = out_of(L);
    check(L);
    luaL_argcheck(L, top >= 2, 2, "value expected");
    lua_settop(L, 2);
    return tg_print_element(L, out, 2);
}

/* The methods that are not in out itself, and out.bytes.  Upvalue: the methods. */
static int out_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    const struct tg_writer *w = out_of(L)->writer;
    const char *name = lua_tostring(L, 2);
    if (name && strcmp(name, "bytes") == 0)
        lua_pushinteger(L, w ? (lua_Integer)w->bytes : 0);
    else
        lua_pushnil(L);
    return 1;
}

void tg_out_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"write", l_write},
                                       {"print", l_print},
                                       {"flush", l_flush},
                                       {"close", l_close},
                                       {NULL, NULL}};
    luaL_newmetatable(L, WRITER_TYPE);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, out_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void tg_out_push(lua_State *L, struct tg_out *out)
{
    lua_createtable(L, HANDLE, 1);
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 1);
    *handle = (struct handle){&mark, out};
    lua_rawgeti(L, LUA_REGISTRYINDEX, out->ref);
    lua_setiuservalue(L, -2, 1);
    lua_rawseti(L, -2, HANDLE);
    lua_pushcfunction(L, l_write);
    lua_setfield(L, -2, "write");
    luaL_setmetatable(L, WRITER_TYPE);
}
