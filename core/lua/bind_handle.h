/* bind_handle.h - open Lua files (io.open, io.popen) as bodies. */
#ifndef TG_LUA_BIND_HANDLE_H
#define TG_LUA_BIND_HANDLE_H

#include <lua.h>

/* Makes bodies of Lua's files; once per state, after the standard libraries. */
void tg_handle_open(lua_State *L);

/* Closes the Lua file at index, if it is open, without waiting for a process behind it. */
void tg_handle_close(lua_State *L, int index);

#endif
