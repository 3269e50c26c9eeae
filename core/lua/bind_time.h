/* bind_time.h - tg.sleep, tg.wait, tg.now, tg.monotonic and tg.log. */
#ifndef TG_LUA_BIND_TIME_H
#define TG_LUA_BIND_TIME_H

#include <lua.h>

void tg_time_open(lua_State *L); /* adds them to the table on top; once per state */

#endif
