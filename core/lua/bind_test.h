/* bind_test.h - below tg.test: exchanges without sockets. */
#ifndef TG_LUA_BIND_TEST_H
#define TG_LUA_BIND_TEST_H

#include <lua.h>

void tg_test_open(lua_State *L); /* adds its functions to the table on top; once per state */

#endif
