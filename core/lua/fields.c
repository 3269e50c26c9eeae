/* fields.c - plain tables, name to value or list of values, with a metatable for other cases. */
#include "lua/fields.h"

#include <stdbool.h>

#include <lauxlib.h>

#define FIELDS_TYPE "tidegate.Fields"

/* Pushes the key of the table at index that is this name in some case; false when there is none. */
static bool find_key(lua_State *L, int index, struct tg_slice name)
{
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            continue;
        struct tg_slice key;
        key.p = lua_tolstring(L, -1, &key.len);
        if (tg_slice_equal_nocase(key, name))
            return true;
    }
    return false;
}

static bool find_second(lua_State *L)
{
    struct tg_slice name;
    if (lua_type(L, 2) != LUA_TSTRING)
        return false;
    name.p = lua_tolstring(L, 2, &name.len);
    return find_key(L, 1, name);
}

static int fields_index(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (!find_second(L))
        lua_pushnil(L);
    else
        lua_rawget(L, 1);
    return 1;
}

/* A name takes the place of the same one in another case, lest a field be sent twice. */
static int fields_newindex(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    if (!find_second(L))
        lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, 1);
    return 0;
}

void tg_fields_push(lua_State *L)
{
    lua_createtable(L, 0, 8);
    luaL_setmetatable(L, FIELDS_TYPE);
}

void tg_fields_set_new(lua_State *L, int index, struct tg_slice name, struct tg_slice value)
{
    index = lua_absindex(L, index);
    lua_pushlstring(L, name.p, name.len);
    lua_pushlstring(L, value.p, value.len);
    lua_rawset(L, index);
}

/* The key is on top, and is popped. */
static void append(lua_State *L, int index, struct tg_slice value)
{
    lua_pushvalue(L, -1);
    if (lua_rawget(L, index) != LUA_TTABLE) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, index);
    }
    lua_pushlstring(L, value.p, value.len);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}

void tg_fields_append(lua_State *L, int index, struct tg_slice name, struct tg_slice value)
{
    index = lua_absindex(L, index);
    lua_pushlstring(L, name.p, name.len);
    append(L, index, value);
}

void tg_fields_add(lua_State *L, int index, struct tg_slice name, struct tg_slice value)
{
    index = lua_absindex(L, index);
    if (find_key(L, index, name))
        append(L, index, value);
    else
        tg_fields_set_new(L, index, name, value);
}

void tg_fields_open(lua_State *L)
{
    luaL_newmetatable(L, FIELDS_TYPE);
    lua_pushcfunction(L, fields_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, fields_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);
}
