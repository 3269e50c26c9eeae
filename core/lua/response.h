/* response.h - ctx.response: whether it is one, and what it says to the engine. */
#ifndef TG_LUA_RESPONSE_H
#define TG_LUA_RESPONSE_H

#include <lua.h>

#include "engine/exchange.h"

struct tg_call;

/* After a stage: tells the engine whether ctx.response, on top, is a response; it stays there.  Raises when it is
 * not a valid one. */
void tg_response_check(lua_State *L, struct tg_exchange *x);

/* Makes ctx.response of a response that was set in C, so that leave stages see and change it. */
void tg_response_show_plain(lua_State *L, struct tg_call *call);

/* What a response table's headers say beside their field lines. */
struct tg_response_info {
    const char *content_type; /* on the Lua stack, in the table; NULL when there is none */
    size_t content_type_len;
    uint64_t length; /* Content-Length, or TG_LENGTH_UNKNOWN */
    bool headless;   /* it has no headers */
};

/* Takes the status and the fields of the response table at index into the exchange's head. Raises on
 * what must not go on the wire.  With part its body may come later: without a status it is 200. */
void tg_response_take(lua_State *L, struct tg_exchange *x, int index, bool part,
                      struct tg_response_info *info);

/* Of a response that lacks something: raises for a key that is nearly one of its fields. */
void tg_response_check_keys(lua_State *L, int index);

#endif
