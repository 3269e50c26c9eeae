/* bind_csv.h - tg.csv(rows[, options]): rows that print as CSV, whatever the client accepts. */
#ifndef TG_LUA_BIND_CSV_H
#define TG_LUA_BIND_CSV_H

#include <lua.h>

void tg_csv_open(lua_State *L); /* adds tg.csv to the table on top; once per state */

#endif
