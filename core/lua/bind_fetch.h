/* bind_fetch.h - tg.fetch(url, options): a request to another server. */
#ifndef TG_LUA_BIND_FETCH_H
#define TG_LUA_BIND_FETCH_H

#include <lua.h>

#define TG_FETCH_RESPONSE_TYPE "tidegate.UpstreamResponse"

void tg_fetch_open(lua_State *L); /* adds fetch to the table on top; once per state */

/* Where the value at index is such a response: puts its body in its place. */
void tg_fetch_response_unwrap(lua_State *L, int index);

#endif
