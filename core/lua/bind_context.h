/* bind_context.h - ctx: the methods of an exchange's context. */
#ifndef TG_LUA_BIND_CONTEXT_H
#define TG_LUA_BIND_CONTEXT_H

#include <lua.h>

void tg_context_open(lua_State *L); /* makes the metatable; once per state */

#endif
