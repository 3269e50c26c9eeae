/* tls.h - certificates, and what TLS does for a connection (RFC 8446).
 *
 * Only TLS 1.2 and 1.3, no renegotiation, tickets instead of a store of sessions, ALPN for http/1.1.
 */
#ifndef TG_HTTP_TLS_H
#define TG_HTTP_TLS_H

#include <stddef.h>

#include "util/buf.h"
#include "util/status.h"

enum { TG_TLS_TICKET_KEY = 80, TG_TLS_PAIRS_MAX = 1000 };

/* A certificate with its chain, and its key, as PEM files. */
struct tg_tls_pair {
    const char *cert;
    const char *key;
};

/* Certificates that were loaded; of one thread, but for its count of references. */
struct tg_tls_context;

/* Reads the files.  The first pair is for clients that name no host, or none of them all; the names are
 * those of the certificates (SNI, RFC 6066, 3).  Tickets are sealed with ticket_key, of
 * TG_TLS_TICKET_KEY bytes, so that whoever has the same key resumes them; NULL: a key of its own.  On TG_EINVAL *problems has
 * what is wrong, a line each. */
TG_MUST_CHECK enum tg_status tg_tls_context_new(struct tg_tls_context **out,
                                                const struct tg_tls_pair *pairs, size_t count,
                                                const unsigned char *ticket_key,
                                                struct tg_buf *problems);

/* Fills key with random bytes; false: there are none. */
bool tg_tls_make_key(unsigned char key[TG_TLS_TICKET_KEY]);

struct tg_tls_context *tg_tls_context_hold(struct tg_tls_context *context);
void tg_tls_context_release(struct tg_tls_context *context); /* NULL is fine */

/* Whether the peer of an SSL of OpenSSL's, a client's or a server's, has said goodbye (RFC 8446, 6.1). */
bool tg_tls_has_goodbye(const void *ssl);

#endif
