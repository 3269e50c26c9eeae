/* bind_stats.h - tg.stats: what the gateway does, in figures. */
#ifndef TG_LUA_BIND_STATS_H
#define TG_LUA_BIND_STATS_H

#include <lua.h>

void tg_stats_open(lua_State *L); /* adds stats to the table on top; once per state */

#endif
