/* negotiate.h - which format a client would like best (RFC 9110, 12.5.1). */
#ifndef TG_LUA_NEGOTIATE_H
#define TG_LUA_NEGOTIATE_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

#include "util/slice.h"

struct tg_conn;
struct tg_format;

/* Which of these media types: the first where the client says nothing, or accepts none. */
size_t tg_negotiate(const struct tg_conn *conn, const struct tg_slice *types, size_t count);

/* JSON where the client says nothing, accepts it as much as any, or accepts none; NULL in that last case
 * if strict. */
const struct tg_format *tg_negotiate_format(lua_State *L, const struct tg_conn *conn, bool strict);

#endif
