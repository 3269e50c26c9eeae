/* negotiate.h - which format a client would like best (RFC 9110, 12.5.1). */
#ifndef TG_LUA_NEGOTIATE_H
#define TG_LUA_NEGOTIATE_H

#include <stddef.h>

#include "util/slice.h"

struct tg_conn;
struct tg_format;

/* Which of these media types: the first where the client says nothing, or accepts none. */
size_t tg_negotiate(const struct tg_conn *conn, const struct tg_slice *types, size_t count);

/* Never NULL: JSON where the client says nothing, accepts it as much as any, or accepts none. */
const struct tg_format *tg_negotiate_format(const struct tg_conn *conn);

#endif
