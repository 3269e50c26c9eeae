/* bind_handle.c - Lua's open files as bodies: read as stdio has them, which may hold bytes already.
 *
 * What can be waited for (a pipe, a FIFO, a terminal, a socket) is read without blocking: stdio gives
 * what it has and what there is, and the loop says when there is more.  Regular files never block.
 */
#include "lua/bind_handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <lauxlib.h>

#include "lua/bind_popen.h"
#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/state.h"
#include "lua/task.h"

#define READING_TYPE "tidegate.Reading"

/* Its user value is the file. */
struct reading {
    luaL_Stream *stream;  /* NULL once it is over */
    lua_CFunction closef; /* the file's own */
    int fd;
    int flags; /* of the descriptor, to be given back; -1: they were not changed */
    struct event readable;
    struct tg_task *task;
};

enum { OUT = 1, HANDLE = 2, READING = 3 }; /* the stack of write_handle() */

/* Takes the place of the file's close while it is a body. */
static int close_later(lua_State *L)
{
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    stream->closef = close_later;
    lua_pushnil(L);
    lua_pushliteral(L, "the file is being sent as a body, which closes it");
    return 2;
}

static luaL_Stream *stream_at(lua_State *L, int index)
{
    luaL_Stream *stream = luaL_checkudata(L, index, LUA_FILEHANDLE);
    if (!stream->closef)
        luaL_error(L, "the file is closed");
    if (stream->closef == close_later)
        luaL_error(L, "the file is being sent as another body");
    return stream;
}

void tg_handle_close(lua_State *L, int index)
{
    luaL_Stream *stream = luaL_testudata(L, index, LUA_FILEHANDLE);
    if (!stream || !stream->closef || stream->closef == close_later || tg_popen_close(stream))
        return;
    lua_CFunction closef = stream->closef;
    index = lua_absindex(L, index);
    stream->closef = NULL; /* as Lua does: closef finds it closed */
    lua_pushcfunction(L, closef);
    lua_pushvalue(L, index);
    lua_call(L, 1, 0);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static int reading_close(lua_State *L)
{
    struct reading *r = luaL_checkudata(L, 1, READING_TYPE);
    if (!r->stream)
        return 0;
    r->stream->closef = r->closef;
    r->stream = NULL;
    event_del(&r->readable);
    if (r->flags >= 0)
        fcntl(r->fd, F_SETFL, r->flags);
    lua_getiuservalue(L, 1, 1);
    tg_handle_close(L, -1);
    return 0;
}

/* Without it a read of a slow pipe would stop the worker.  Other processes that share the open file
 * see it, too, so it is for no longer than we read. */
static void set_nonblocking(struct reading *r)
{
    struct stat info;
    if (fstat(r->fd, &info) != 0 || S_ISREG(info.st_mode))
        return;
    int flags = fcntl(r->fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK) && fcntl(r->fd, F_SETFL, flags | O_NONBLOCK) == 0)
        r->flags = flags;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tg_task_wake(((const struct reading *)arg)->task);
}

static void stop_waiting(void *arg)
{
    event_del(&((struct reading *)arg)->readable);
}

static int write_on(lua_State *L, int status, lua_KContext context);

static int wait_readable(lua_State *L, struct reading *r)
{
    struct tg_task_wait wait = {stop_waiting, r};
    r->task = tg_task_check(L);
    if (event_add(&r->readable, NULL) != 0)
        return luaL_error(L, "cannot wait for the file: %s", strerrordesc_np(errno));
    return tg_task_wait(L, &wait, write_on);
}

enum read_state { READ_SOME, READ_WAIT, READ_END };

/* Reads as much as the writer takes at a time. */
static enum read_state read_some(lua_State *L, struct tg_writer *w, FILE *file)
{
    size_t size = 0;
    char *space = tg_writer_space(w, &size);
    if (!space)
        tg_out_check(L, w->failed);
    clearerr(file);
    errno = 0;
    size_t n = fread(space, 1, size, file);
    int error = errno;
    tg_writer_advance(w, n);
    if (n == size)
        return READ_SOME;
    if (!ferror(file))
        return READ_END;
    clearerr(file);
    if (error == EAGAIN || error == EWOULDBLOCK)
        return READ_WAIT;
    if (error != EINTR)
        luaL_error(L, "cannot read the file: %s", strerrordesc_np(error));
    return READ_SOME;
}

static int write_on(lua_State *L, int status, lua_KContext context)
{
    struct tg_writer *w = ((const struct tg_out *)lua_touserdata(L, OUT))->writer;
    struct reading *r = lua_touserdata(L, READING);
    if (status == LUA_YIELD) {
        tg_task_resumed(L, context);
        tg_out_check(L, w->failed);
    }
    for (;;) {
        if (w->must_wait)
            return tg_out_wait(L, w, write_on);
        enum read_state state = read_some(L, w, r->stream->f);
        if (state == READ_WAIT)
            return wait_readable(L, r);
        if (state == READ_END)
            break;
    }
    lua_closeslot(L, READING);
    return 0;
}

/* --- As a body -------------------------------------------------------------------------------- */

static int write_handle(lua_State *L)
{
    luaL_Stream *stream = stream_at(L, HANDLE);
    struct reading *r = lua_newuserdatauv(L, sizeof *r, 1);
    *r = (struct reading){.closef = stream->closef, .fd = fileno(stream->f), .flags = -1};
    lua_pushvalue(L, HANDLE);
    lua_setiuservalue(L, READING, 1);
    luaL_setmetatable(L, READING_TYPE);
    event_assign(&r->readable, tg_lua_base(tg_lua_of(L)), r->fd, EV_READ, on_readable, r);
    r->stream = stream; /* from here on it is closed on every way out */
    stream->closef = close_later;
    lua_toclose(L, READING);
    set_nonblocking(r);
    return write_on(L, LUA_OK, 0);
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    (void)out;
    stream_at(L, index);
    about->media_type = "application/octet-stream";
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)out;
    tg_handle_close(L, index);
}

void tg_handle_open(lua_State *L)
{
    static const struct tg_body_kind kind = {
        .describe = describe, .write = write_handle, .drop = drop};
    luaL_getmetatable(L, LUA_FILEHANDLE);
    tg_body_kind_set(L, &kind);
    lua_pop(L, 1);

    luaL_newmetatable(L, READING_TYPE);
    lua_pushcfunction(L, reading_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, reading_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);

    tg_popen_open(L);
}
