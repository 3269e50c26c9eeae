/* probe_file.c - opens what serves files to specs: ranges, conditions, dates, types, names, folders. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>

#include "http/conditional.h"
#include "http/date.h"
#include "http/disposition.h"
#include "http/mime.h"
#include "http/range.h"
#include "io/beneath.h"
#include "util/clock.h"
#include "util/mem.h"

enum { FIELDS = 32 };

/* The bytes in a block of their own, so that a sanitizer sees a read past their end. */
static struct tg_slice exact_copy(lua_State *L, int index)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, index, &len);
    char *copy = tg_malloc(len ? len : 1);
    if (!copy)
        luaL_error(L, "not enough memory");
    else
        memcpy(copy, bytes, len);
    return (struct tg_slice){copy, len};
}

static void release(struct tg_slice copy)
{
    tg_free((void *)(uintptr_t)copy.p);
}

/* ranges(value, size) -> "whole", "unsatisfiable", or a list of { first, len } */
static int p_ranges(lua_State *L)
{
    struct tg_ranges ranges;
    struct tg_slice value = exact_copy(L, 1);
    enum tg_range_result result = tg_range_parse(value, (uint64_t)luaL_checkinteger(L, 2), &ranges);
    release(value);
    if (result != TG_RANGE_PARTIAL) {
        lua_pushstring(L, result == TG_RANGE_WHOLE ? "whole" : "unsatisfiable");
        return 1;
    }
    lua_newtable(L);
    for (size_t i = 0; i < ranges.count; i++) {
        lua_createtable(L, 2, 0);
        lua_pushinteger(L, (lua_Integer)ranges.items[i].first);
        lua_rawseti(L, -2, 1);
        lua_pushinteger(L, (lua_Integer)ranges.items[i].len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* date(text, now) -> seconds since 1970, or nil */
static int p_date(lua_State *L)
{
    time_t seconds;
    struct tg_slice text = exact_copy(L, 1);
    if (tg_http_date_parse(text, (time_t)luaL_checkinteger(L, 2), &seconds))
        lua_pushinteger(L, (lua_Integer)seconds);
    else
        lua_pushnil(L);
    release(text);
    return 1;
}

/* print_date(seconds since 1970) -> text */
static int p_print_date(lua_State *L)
{
    char text[TG_HTTP_DATE_SIZE];
    tg_http_date(text, (time_t)luaL_checkinteger(L, 1));
    lua_pushstring(L, text);
    return 1;
}

/* conditions(head, etag, modified or nil, now) -> 304, 412 or 0; the range that counts, or nil */
static int p_conditions(lua_State *L)
{
    struct tg_head_limits limits = {0, 0};
    struct tg_field fields[FIELDS];
    struct tg_head head;
    struct tg_validators v = {
        .dated = !lua_isnil(L, 3), .modified = lua_tointeger(L, 3), .now = luaL_checkinteger(L, 4)};
    v.etag.p = luaL_checklstring(L, 2, &v.etag.len);
    struct tg_slice bytes = exact_copy(L, 1);
    if (tg_head_parse(bytes.p, bytes.len, &limits, &head, fields, FIELDS) != 0)
        return luaL_error(L, "no head");
    lua_pushinteger(L, tg_conditional_status(bytes.p, fields, head.field_count, &v));
    struct tg_slice range = tg_conditional_range(bytes.p, fields, head.field_count, &v);
    if (range.p)
        lua_pushlstring(L, range.p, range.len);
    else
        lua_pushnil(L);
    release(bytes);
    return 2;
}

static int p_is_etag(lua_State *L)
{
    struct tg_slice text = exact_copy(L, 1);
    lua_pushboolean(L, tg_is_etag(text));
    release(text);
    return 1;
}

/* disposition(name) */
static int p_disposition(lua_State *L)
{
    struct tg_buf value;
    struct tg_slice name = exact_copy(L, 1);
    tg_buf_init(&value, 4096);
    enum tg_status status = tg_disposition_add(&value, name);
    release(name);
    lua_pushstring(L, status == TG_OK ? value.p : NULL);
    tg_buf_fini(&value);
    return 1;
}

/* media_type(path[, file of types]) -> type; whether the file was read */
static int p_media_type(lua_State *L)
{
    struct tg_mime *mime = lua_isnoneornil(L, 2) ? NULL : tg_mime_load(lua_tostring(L, 2));
    lua_pushstring(L, tg_mime_type(mime, luaL_checkstring(L, 1)));
    lua_pushboolean(L, mime != NULL);
    tg_mime_free(mime);
    return 2;
}

static int push_text(lua_State *L, int fd)
{
    char text[256];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n >= 0) {
        lua_pushlstring(L, text, (size_t)n);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerrorname_np(error));
    return 2;
}

/* read_beneath(folder, path[, by steps]) -> the file's text, or nil and the error's name */
static int p_read_beneath(lua_State *L)
{
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    int folder = open(luaL_checkstring(L, 1), O_PATH | O_DIRECTORY | O_CLOEXEC);
    luaL_argcheck(L, folder >= 0, 1, "a folder");
    const char *path = luaL_checkstring(L, 2);
    int fd = lua_toboolean(L, 3) ? tg_open_beneath_by_steps(folder, path, flags)
                                 : tg_open_beneath(folder, path, flags);
    int error = errno;
    close(folder);
    errno = error;
    return push_text(L, fd);
}

__attribute__((visibility("default"))) int luaopen_probe_file(lua_State *L);
int luaopen_probe_file(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"ranges", p_ranges},
        {"date", p_date},
        {"print_date", p_print_date},
        {"conditions", p_conditions},
        {"is_etag", p_is_etag},
        {"disposition", p_disposition},
        {"media_type", p_media_type},
        {"read_beneath", p_read_beneath},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
