/* bind_shared.h - tg.shared: stores that all workers and generations have in common. */
#ifndef TG_LUA_BIND_SHARED_H
#define TG_LUA_BIND_SHARED_H

#include <lua.h>

void tg_shared_open(lua_State *L); /* adds tg.shared to the table on top; once per state */

#endif
