/* channel_body.h - channels as bodies. */
#ifndef TG_LUA_CHANNEL_BODY_H
#define TG_LUA_CHANNEL_BODY_H

#include "lua/body_kind.h"

extern const struct tg_body_kind tg_channel_kind;

#endif
