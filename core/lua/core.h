/* core.h - the module tidegate.core: what C provides, for lua/tidegate/init.lua to hand on. */
#ifndef TG_LUA_CORE_H
#define TG_LUA_CORE_H

#include <lua.h>

void tg_core_open(lua_State *L); /* puts it into package.preload; once per state */

#endif
