/* negotiate.h - which format a client would like best (RFC 9110, 12.5.1). */
#ifndef TG_LUA_NEGOTIATE_H
#define TG_LUA_NEGOTIATE_H

struct tg_conn;
struct tg_format;

/* Never NULL: JSON where the client says nothing, accepts it as much as any, or accepts none. */
const struct tg_format *tg_negotiate_format(const struct tg_conn *conn);

#endif
