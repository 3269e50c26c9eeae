/* bind_file.c - tg.file(path): opened when its body is begun, closed on every way out. */
#include "lua/bind_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "http/mime.h"
#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/failure.h"
#include "lua/task.h"

int tg_file_new(lua_State *L)
{
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0 && strlen(path) == len, 1, "a path has no NUL and is not empty");
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, TG_FILE_TYPE);
    return 1;
}

static const char *path_of(lua_State *L, int index)
{
    lua_getiuservalue(L, index, 1);
    const char *path = lua_tostring(L, -1);
    lua_pop(L, 1); /* the user value keeps it */
    return path;
}

static int raise_errno(lua_State *L, const char *path)
{
    int error = errno;
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return tg_failure_raise_status(L, 404, "%s: %s", path, strerrordesc_np(error));
    case EACCES:
    case EPERM:
        return tg_failure_raise_status(L, 403, "%s: %s", path, strerrordesc_np(error));
    default:
        return tg_failure_raise_status(L, 500, "%s: %s", path, strerrordesc_np(error));
    }
}

/* --- As a body -------------------------------------------------------------------------------- */

void tg_file_drop(struct tg_out *out)
{
    if (out->file >= 0)
        close(out->file);
    out->file = -1;
}

static void take(lua_State *L, struct tg_out *out, int index)
{
    struct stat info = {0};
    const char *path = path_of(L, index);
    tg_file_drop(out);
    out->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (out->file < 0 || fstat(out->file, &info) != 0)
        raise_errno(L, path);
    if (!S_ISREG(info.st_mode)) /* a folder, a FIFO, a device */
        tg_failure_raise_status(L, 404, "%s: not a regular file", path);
    out->length = (uint64_t)info.st_size;
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    take(L, out, index);
    about->length = out->length;
    about->media_type = tg_mime_type(path_of(L, index));
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)L;
    (void)index;
    tg_file_drop(out);
}

static void on_sent(void *arg, enum tg_status status)
{
    struct tg_out *out = arg;
    out->sent = status;
    tg_task_wake(out->task);
}

static int sent(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct tg_out *out = lua_touserdata(L, 1);
    tg_file_drop(out);
    if (out->sent == TG_EIO)
        return luaL_error(L, "the file became shorter, or unreadable, while it was sent");
    tg_out_check(L, out->sent);
    return 0;
}

static int write_file(lua_State *L)
{
    struct tg_out *out = lua_touserdata(L, 1);
    struct tg_task_wait wait = {NULL, NULL}; /* the connection lets go of the file by itself */
    out->task = tg_task_check(L);
    if (out->file < 0)
        take(L, out, 2);
    out->sent = TG_OK;
    tg_out_check(L, tg_writer_send_file(out->writer, out->file, 0, out->length, on_sent, out));
    return tg_task_wait(L, &wait, sent);
}

/* --- The type --------------------------------------------------------------------------------- */

static int file_to_string(lua_State *L)
{
    luaL_checkudata(L, 1, TG_FILE_TYPE);
    lua_pushfstring(L, "%s: %s", TG_FILE_TYPE, path_of(L, 1));
    return 1;
}

void tg_file_open(lua_State *L)
{
    static const struct tg_body_kind kind = {.describe = describe, .write = write_file, .drop = drop};
    luaL_newmetatable(L, TG_FILE_TYPE);
    tg_body_kind_set(L, &kind);
    lua_pushcfunction(L, file_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}
