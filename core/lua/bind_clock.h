/* bind_clock.h - tg.test.clock: time that stands still until a test moves it. */
#ifndef TG_LUA_BIND_CLOCK_H
#define TG_LUA_BIND_CLOCK_H

#include <lua.h>

void tg_clock_open(lua_State *L); /* adds it to the table on top; once per state */

#endif
