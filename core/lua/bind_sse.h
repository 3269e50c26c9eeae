/* bind_sse.h - event streams: handlers that send one event after the other. */
#ifndef TG_LUA_BIND_SSE_H
#define TG_LUA_BIND_SSE_H

#include <lua.h>

/* Adds `_sse`, on which tg.sse is built, to the table on top; once per state. */
void tg_sse_open(lua_State *L);

#endif
