/* bind_paths.h - Lua's functions that take the names of files, which C would cut at a NUL. */
#ifndef TG_LUA_BIND_PATHS_H
#define TG_LUA_BIND_PATHS_H

#include <lua.h>

/* Takes the place of io.open, io.lines, os.remove and os.rename; once per state. */
void tg_paths_open(lua_State *L);

#endif
