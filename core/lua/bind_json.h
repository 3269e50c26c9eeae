/* bind_json.h - tg.json.encode: the printer of bodies, into a string; tg.json.decode and valid. */
#ifndef TG_LUA_BIND_JSON_H
#define TG_LUA_BIND_JSON_H

#include <lua.h>

enum {
    TG_JSON_TEXT_MAX = 1 << 30
}; /* bytes; the string has to fit into limits.lua_memory besides */

void tg_json_open(lua_State *L); /* adds them to the table on top; once per state */

int tg_json_encode(lua_State *L);
int tg_json_decode(lua_State *L);

#endif
