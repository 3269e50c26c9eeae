/* bind_paths.c - a name with a NUL is refused rather than cut.
 *
 * A request's "a%00.png" is "a\0.png" for Lua, where it ends in ".png", and "a" for open().  The
 * functions are written anew, not wrapped: what Lua's own raise has the place of their caller.
 */
#include "lua/bind_paths.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

/* The name at index; NULL, and errno, when it holds a NUL. */
static const char *name_at(lua_State *L, int index)
{
    size_t len;
    const char *name = luaL_checklstring(L, index, &len);
    if (strlen(name) == len)
        return name;
    errno = EINVAL;
    return NULL;
}

/* --- io --------------------------------------------------------------------------------------- */

static int close_file(lua_State *L)
{
    luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(stream->f) == 0, NULL);
}

/* As the manual has it: r, w or a, then perhaps +, then b, which says nothing here. */
static bool is_mode(const char *mode)
{
    if (*mode == '\0' || !strchr("rwa", *mode))
        return false;
    mode++;
    if (*mode == '+')
        mode++;
    return mode[strspn(mode, "b")] == '\0';
}

static int l_open(lua_State *L)
{
    const char *shown = luaL_checkstring(L, 1);
    const char *name = name_at(L, 1);
    const char *mode = luaL_optstring(L, 2, "r");
    luaL_argcheck(L, is_mode(mode), 2, "invalid mode");
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    stream->closef = NULL; /* closed, until it is open */
    luaL_setmetatable(L, LUA_FILEHANDLE);
    stream->f = name ? fopen(name, mode) : NULL;
    if (!stream->f)
        return luaL_fileresult(L, 0, shown);
    stream->closef = close_file;
    return 1;
}

/* Lua's own, when there is a name that it could open. */
static int l_lines(lua_State *L)
{
    const char *shown = luaL_optstring(L, 1, NULL);
    const char *name = shown ? name_at(L, 1) : NULL;
    if (shown && (!name || access(name, R_OK) != 0))
        return luaL_error(L, "cannot open file '%s' (%s)", shown, strerrordesc_np(errno));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* --- os --------------------------------------------------------------------------------------- */

static int l_remove(lua_State *L)
{
    const char *shown = luaL_checkstring(L, 1);
    const char *name = name_at(L, 1);
    return luaL_fileresult(L, name && remove(name) == 0, shown);
}

static int l_rename(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    const char *from = name_at(L, 1);
    const char *to = from ? name_at(L, 2) : NULL;
    return luaL_fileresult(L, to && rename(from, to) == 0, NULL);
}

/* Stack: the function's table. */
static void replace(lua_State *L, const char *field, lua_CFunction f)
{
    lua_getfield(L, -1, field);
    lua_pushcclosure(L, f, 1);
    lua_setfield(L, -2, field);
}

void tg_paths_open(lua_State *L)
{
    lua_getglobal(L, "io");
    replace(L, "open", l_open);
    replace(L, "lines", l_lines);
    lua_getglobal(L, "os");
    replace(L, "remove", l_remove);
    replace(L, "rename", l_rename);
    lua_pop(L, 2);
}
