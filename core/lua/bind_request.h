/* bind_request.h - request: what a script sees of a request, made when it looks. */
#ifndef TG_LUA_BIND_REQUEST_H
#define TG_LUA_BIND_REQUEST_H

#include <lua.h>

void tg_request_open(lua_State *L); /* makes the metatables; once per state */

#endif
