/* options.c - finds the keys that are no options. */
#include "lua/options.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

static bool is_among(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

void tg_options_check_names(lua_State *L, int index, const char *what, const char *const *names)
{
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING && is_among(lua_tostring(L, -1), names))
            continue;
        const char *name = luaL_tolstring(L, -1, NULL);
        luaL_Buffer known;
        luaL_buffinit(L, &known);
        for (size_t i = 0; names[i]; i++) {
            luaL_addstring(&known, i ? ", " : "");
            luaL_addstring(&known, names[i]);
        }
        luaL_pushresult(&known);
        luaL_error(L, "%s: unknown option %s; there are %s", what, name, lua_tostring(L, -1));
    }
}
