/* bind_fetch.h - tg.fetch(url, options): a request to another server. */
#ifndef TG_LUA_BIND_FETCH_H
#define TG_LUA_BIND_FETCH_H

#include <lua.h>

void tg_fetch_open(lua_State *L); /* adds fetch to the table on top; once per state */

#endif
