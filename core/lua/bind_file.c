/* bind_file.c - tg.file(path, options): what is to be served, and how.  Nothing is opened by it. */
#include "lua/bind_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "http/conditional.h"
#include "http/head.h"
#include "io/beneath.h"
#include "lua/body_kind.h"
#include "lua/failure.h"
#include "lua/file_body.h"

struct tg_slice tg_file_text(lua_State *L, int index, int which)
{
    struct tg_slice text = {NULL, 0};
    if (lua_getiuservalue(L, index, which) == LUA_TSTRING)
        text.p = lua_tolstring(L, -1, &text.len);
    lua_pop(L, 1); /* the user value keeps it */
    return text;
}

/* --- Options ---------------------------------------------------------------------------------- */

/* Stack: path, options, the file; then the option's value. */
enum { OPTIONS = 2, FILE_AT = 3, VALUE = 4 };

static bool boolean(lua_State *L, const char *name)
{
    if (!lua_isboolean(L, VALUE))
        luaL_error(L, "tg.file: %s is a %s, expected a boolean", name, luaL_typename(L, VALUE));
    return lua_toboolean(L, VALUE);
}

static const char *text(lua_State *L, const char *name)
{
    if (lua_type(L, VALUE) != LUA_TSTRING)
        luaL_error(L, "tg.file: %s is a %s, expected a string", name, luaL_typename(L, VALUE));
    return lua_tostring(L, VALUE);
}

static void keep_value(lua_State *L, int which)
{
    lua_pushvalue(L, VALUE);
    lua_setiuservalue(L, FILE_AT, which);
}

static void take_root(lua_State *L)
{
    const char *root = text(L, "root");
    if (!*root || strlen(root) != lua_rawlen(L, VALUE))
        luaL_error(L, "tg.file: root is the path of a folder");
    keep_value(L, TG_FILE_ROOT);
}

static void take_content_type(lua_State *L)
{
    const char *type = text(L, "content_type");
    if (!tg_is_field_value(type, lua_rawlen(L, VALUE)) || !*type)
        luaL_error(L, "tg.file: content_type is no value for Content-Type");
    keep_value(L, TG_FILE_CONTENT_TYPE);
}

/* false for none; what is not quoted yet is quoted. */
static void take_etag(lua_State *L, struct tg_file *file)
{
    file->tagged = true;
    if (lua_isboolean(L, VALUE)) {
        file->tagged = lua_toboolean(L, VALUE);
        return;
    }
    struct tg_slice tag = {text(L, "etag"), lua_rawlen(L, VALUE)};
    if (!tg_is_etag(tag)) {
        lua_pushfstring(L, "\"%s\"", tag.p);
        lua_replace(L, VALUE);
        tag = (struct tg_slice){lua_tostring(L, VALUE), lua_rawlen(L, VALUE)};
    }
    if (!tg_is_etag(tag))
        luaL_error(L, "tg.file: etag has characters that an entity-tag may not have");
    keep_value(L, TG_FILE_ETAG);
}

/* Seconds since 1970, or false. */
static void take_last_modified(lua_State *L, struct tg_file *file)
{
    static const lua_Number year_10000 = 253402300800.0;
    file->dated = true;
    if (lua_isboolean(L, VALUE)) {
        file->dated = lua_toboolean(L, VALUE);
        return;
    }
    lua_Number seconds = lua_type(L, VALUE) == LUA_TNUMBER ? lua_tonumber(L, VALUE) : -1;
    if (!(seconds >= 0 && seconds < year_10000))
        luaL_error(L, "tg.file: last_modified is in seconds since 1970, or false");
    file->date_given = true;
    file->modified = (time_t)seconds;
}

/* true for the file's own name, or another. */
static void take_download(lua_State *L, struct tg_file *file)
{
    if (lua_isboolean(L, VALUE)) {
        file->download = lua_toboolean(L, VALUE);
        return;
    }
    text(L, "download");
    file->download = true;
    keep_value(L, TG_FILE_NAME);
}

static void take_option(lua_State *L, struct tg_file *file, const char *name)
{
    if (strcmp(name, "root") == 0)
        take_root(L);
    else if (strcmp(name, "content_type") == 0)
        take_content_type(L);
    else if (strcmp(name, "etag") == 0)
        take_etag(L, file);
    else if (strcmp(name, "last_modified") == 0)
        take_last_modified(L, file);
    else if (strcmp(name, "download") == 0)
        take_download(L, file);
    else if (strcmp(name, "ranges") == 0)
        file->ranges = boolean(L, name);
    else if (strcmp(name, "follow") == 0)
        file->follow = boolean(L, name);
    else if (strcmp(name, "sendfile") == 0)
        file->by_reading = !boolean(L, name);
    else
        luaL_error(L, "tg.file: there is no option %s", name);
}

static void take_options(lua_State *L, struct tg_file *file)
{
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, OPTIONS)) { /* stack: …, the name, the value */
        if (lua_type(L, VALUE) != LUA_TSTRING)
            luaL_error(L, "tg.file: the name of an option is a %s", luaL_typename(L, VALUE));
        lua_insert(L, VALUE);
        take_option(L, file, lua_tostring(L, VALUE + 1));
        lua_remove(L, VALUE);
    }
}

int tg_file_new(lua_State *L)
{
    size_t len;
    luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0, 1, "a path is not empty");
    lua_settop(L, OPTIONS);
    struct tg_file *file = lua_newuserdatauv(L, sizeof *file, TG_FILE_TEXTS);
    *file = (struct tg_file){.ranges = true, .tagged = true, .dated = true};
    luaL_setmetatable(L, TG_FILE_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, FILE_AT, TG_FILE_PATH);
    if (!lua_isnil(L, OPTIONS))
        take_options(L, file);
    return 1;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int raise_errno(lua_State *L, const char *path)
{
    int error = errno;
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EXDEV: /* outside of its root */
    case ENXIO: /* a socket, or a device that is not there */
        return tg_failure_raise_status(L, 404, "%s: %s", path, strerrordesc_np(error));
    case EACCES:
    case EPERM:
        return tg_failure_raise_status(L, 403, "%s: %s", path, strerrordesc_np(error));
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return tg_failure_raise_status(L, 503, "%s: %s", path, strerrordesc_np(error));
    default:
        return tg_failure_raise_status(L, 500, "%s: %s", path, strerrordesc_np(error));
    }
}

/* Whether the path itself, links apart, leads out of where it begins. */
static bool leads_out(const char *path)
{
    if (*path == '/')
        return true;
    for (const char *at = path; *at; at += strspn(at, "/")) {
        size_t len = strcspn(at, "/");
        if (len == 2 && at[0] == '.' && at[1] == '.')
            return true;
        at += len;
    }
    return false;
}

int tg_file_open_below(lua_State *L, const char *root, const char *path, bool follow, int flags)
{
    int fd = -1;
    int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) /* a mistake of the script's, which no client should see as a missing file */
        return luaL_error(L, "tg.file: root %s: %s", root, strerrordesc_np(errno));
    flags |= O_CLOEXEC;
    if (!follow)
        fd = tg_open_beneath(folder, path, flags);
    else if (leads_out(path))
        errno = EXDEV;
    else
        fd = openat(folder, path, flags);
    int error = errno;
    close(folder);
    errno = error;
    return fd;
}

int tg_file_open_fd(lua_State *L, int index, struct stat *info)
{
    static const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    const struct tg_file *file = lua_touserdata(L, index);
    struct tg_slice given = tg_file_text(L, index, TG_FILE_PATH);
    const char *path = given.p;
    const char *root = tg_file_text(L, index, TG_FILE_ROOT).p;
    assert(path);
    if (memchr(path, '\0', given.len))
        return tg_failure_raise_status(L, 404, "%s: a path has no NUL", path);
    int fd = root ? tg_file_open_below(L, root, path, file->follow, flags) : open(path, flags);
    if (fd < 0)
        return raise_errno(L, path);
    if (fstat(fd, info) == 0 && S_ISREG(info->st_mode))
        return fd;
    close(fd); /* a folder, a FIFO, a device */
    return tg_failure_raise_status(L, 404, "%s: not a regular file", path);
}

/* --- The type --------------------------------------------------------------------------------- */

static int file_to_string(lua_State *L)
{
    luaL_checkudata(L, 1, TG_FILE_TYPE);
    lua_pushfstring(L, "%s: %s", TG_FILE_TYPE, tg_file_text(L, 1, TG_FILE_PATH).p);
    return 1;
}

void tg_file_open(lua_State *L)
{
    luaL_newmetatable(L, TG_FILE_TYPE);
    tg_body_kind_set(L, &tg_file_kind);
    lua_pushcfunction(L, file_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    tg_file_body_open(L);
}
