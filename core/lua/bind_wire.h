/* bind_wire.h - below tg.test.upstream: a listener and its connections, byte for byte. */
#ifndef TG_LUA_BIND_WIRE_H
#define TG_LUA_BIND_WIRE_H

#include <lua.h>

void tg_wires_open(lua_State *L); /* adds _test_listen to the table on top; once per state */

#endif
