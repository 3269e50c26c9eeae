/* bind_time.h - tg.sleep, tg.wait, tg.now, tg.monotonic and tg.log. */
#ifndef TG_LUA_BIND_TIME_H
#define TG_LUA_BIND_TIME_H

#include <sys/time.h>

#include <lua.h>

/* The argument as a time to wait; raises unless it is a number of seconds of zero or more. */
struct timeval tg_check_duration(lua_State *L, int index);

void tg_time_open(lua_State *L); /* adds them to the table on top; once per state */

#endif
