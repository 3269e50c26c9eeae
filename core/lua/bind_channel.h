/* bind_channel.h - tg.channel, its methods, and tg.select. */
#ifndef TG_LUA_BIND_CHANNEL_H
#define TG_LUA_BIND_CHANNEL_H

#include <lua.h>

void tg_channels_open(lua_State *L); /* adds them to the table on top; once per state */

/* ch:get(), for channel_body.c: a function of the channel. */
int tg_channel_l_get(lua_State *L);

#endif
