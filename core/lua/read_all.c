/* read_all.c - gathers chunks in a table: one string is made of them at the end. */
#include "lua/read_all.h"

#include <inttypes.h>

#include <lauxlib.h>

#include "lua/failure.h"

enum { STREAM = 1, READ, CHUNKS, COUNT, BYTES, MOST, WHAT, CHUNK };

static void keep(lua_State *L)
{
    lua_Integer count = lua_tointeger(L, COUNT) + 1;
    lua_Integer bytes = lua_tointeger(L, BYTES) + (lua_Integer)lua_rawlen(L, CHUNK);
    lua_Integer most = lua_tointeger(L, MOST);
    if (most && bytes > most) {
        const char *what = lua_touserdata(L, WHAT);
        tg_failure_raise_status(L, 413, "%s is larger than %" PRIdMAX " bytes", what,
                                (intmax_t)most);
    }
    lua_rawseti(L, CHUNKS, count);
    lua_pushinteger(L, count);
    lua_replace(L, COUNT);
    lua_pushinteger(L, bytes);
    lua_replace(L, BYTES);
}

static int join(lua_State *L)
{
    lua_Integer count = lua_tointeger(L, COUNT);
    luaL_Buffer whole;
    luaL_buffinit(L, &whole);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, CHUNKS, i);
        luaL_addvalue(&whole);
    }
    luaL_pushresult(&whole);
    return 1;
}

/* has_chunk: what read gave is on top. */
static int go_on(lua_State *L, int status, lua_KContext has_chunk)
{
    (void)status;
    for (;;) {
        if (has_chunk && lua_isnil(L, CHUNK))
            return join(L);
        if (has_chunk)
            keep(L);
        lua_pushvalue(L, READ);
        lua_pushvalue(L, STREAM);
        lua_callk(L, 1, 1, 1, go_on);
        has_chunk = 1;
    }
}

int tg_read_all(lua_State *L, lua_CFunction read, uint64_t most, const char *what)
{
    lua_settop(L, STREAM);
    lua_pushcfunction(L, read);
    lua_newtable(L);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, most > LUA_MAXINTEGER ? 0 : (lua_Integer)most);
    lua_pushlightuserdata(L, (void *)(uintptr_t)what);
    return go_on(L, LUA_OK, 0);
}
