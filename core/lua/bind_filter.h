/* bind_filter.h - tg.map_body(body, fn[, finish]): a body whose chunks pass through a function. */
#ifndef TG_LUA_BIND_FILTER_H
#define TG_LUA_BIND_FILTER_H

#include <lua.h>

void tg_filters_open(lua_State *L); /* adds map_body to the table on top; once per state */

#endif
