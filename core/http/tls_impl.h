/* tls_impl.h - TLS between a connection's socket and its buffers, for the files of core/http only. */
#ifndef TG_HTTP_TLS_IMPL_H
#define TG_HTTP_TLS_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <openssl/bio.h>
#include <openssl/types.h>

#include "http/conn_impl.h"
#include "http/tls.h"

enum {
    TG_TLS_RECORD = 16384, /* bytes of plain text */
    TG_TLS_WINDOW =
        262144, /* of cipher text that may wait; what is behind it stays plain until then */
};

/* What all connections of a server share: one is at work at a time. */
struct tg_tls_space {
    BIO_METHOD *method;
    char *plain;             /* a record's bytes: read, or joined to be written */
    const unsigned char *in; /* cipher text that came, and was not read yet */
    size_t in_len;
    bool refused;      /* among it was an attempt to renegotiate */
    struct tg_buf out; /* cipher text that is to be sent */
};

enum tg_status tg_tls_space_init(struct tg_tls_space *space);
void tg_tls_space_fini(struct tg_tls_space *space);

/* A context's SSL; of one that is bound to space. */
SSL *tg_tls_context_open(struct tg_tls_context *context, struct tg_tls_space *space);

enum tg_tls_outcome {
    TG_TLS_FINE,
    TG_TLS_ENDED,  /* the client has said that it sends no more */
    TG_TLS_BROKEN, /* an alert may have been sent */
    TG_TLS_NO_TLS, /* what came is plain HTTP */
};

enum tg_status tg_tls_open(struct tg_conn *conn, struct tg_tls_context *context,
                           struct tg_tls_space *space);
void tg_tls_close(struct tg_conn *conn); /* frees; says nothing to the client */

/* Adds what cipher text, len bytes of it, holds to the connection's input; in_place: without a copy. */
enum tg_tls_outcome tg_tls_receive(struct tg_conn *conn, const void *bytes, size_t len,
                                   bool in_place);

/* Takes all of runs. */
enum tg_status tg_tls_write(struct tg_conn *conn, const struct iovec *runs, int n);
/* The same; what of a lent run cannot go now is kept, not copied, where it is worth that. */
enum tg_status tg_tls_write_lent(struct tg_conn *conn, const struct iovec *runs, int n,
                                 struct tg_lent *lent);

size_t tg_tls_waiting(const struct tg_conn *conn); /* plain text that was taken and waits */
void tg_tls_go_on(struct tg_conn *conn);           /* the output is empty */
void tg_tls_say_goodbye(struct tg_conn *conn);     /* close_notify (RFC 8446, 6.1) */

#endif
