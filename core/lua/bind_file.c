/* bind_file.c - tg.file(path): opened when its body is begun, closed on every way out. */
#include "lua/bind_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "http/mime.h"
#include "lua/call.h"
#include "lua/failure.h"

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

uint64_t tg_file_take(lua_State *L, struct tg_call *call, int index)
{
    struct stat info = {0};
    const char *path = path_of(L, index);
    tg_file_drop(call);
    call->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (call->file < 0 || fstat(call->file, &info) != 0)
        raise_errno(L, path);
    if (!S_ISREG(info.st_mode)) /* a folder, a FIFO, a device */
        tg_failure_raise_status(L, 404, "%s: not a regular file", path);
    return (uint64_t)info.st_size;
}

const char *tg_file_media_type(lua_State *L, int index)
{
    return tg_mime_type(path_of(L, index));
}

void tg_file_drop(struct tg_call *call)
{
    if (call->file >= 0)
        close(call->file);
    call->file = -1;
}

static int file_to_string(lua_State *L)
{
    luaL_checkudata(L, 1, TG_FILE_TYPE);
    lua_pushfstring(L, "%s: %s", TG_FILE_TYPE, path_of(L, 1));
    return 1;
}

void tg_file_open(lua_State *L)
{
    luaL_newmetatable(L, TG_FILE_TYPE);
    lua_pushcfunction(L, file_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}
