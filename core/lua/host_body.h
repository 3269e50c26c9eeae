/* host_body.h - a body of the host's, that is in C, as a script's interceptors see it. */
#ifndef TG_LUA_HOST_BODY_H
#define TG_LUA_HOST_BODY_H

#include <lua.h>

struct tg_exchange;

void tg_host_body_open(lua_State *L); /* makes the metatable; once per state */

/* Pushes the body of an exchange that the host has answered with one. */
void tg_host_body_push(lua_State *L, struct tg_exchange *x);

#endif
