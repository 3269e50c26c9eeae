/* conn.h - one client connection as the engine sees it: a request at a time, and its way back.
 *
 * A connection takes one request, gives it to the server's on_request, carries the response (the
 * sink), and goes on to the next request by itself.  All calls are for the request in hand and stop
 * being allowed once `gone` or `finished` was called.
 */
#ifndef TG_HTTP_CONN_H
#define TG_HTTP_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/sink.h"
#include "http/head.h"
#include "util/status.h"

struct event_base;
struct tg_conn;

enum tg_gone {
    TG_GONE_CLIENT,  /* it closed, or reset, or shut down its side */
    TG_GONE_TIMEOUT, /* it took nothing for limits.write_timeout */
    TG_GONE_SHUTDOWN,
    TG_GONE_ABORTED, /* tg_conn_abort(), or the system failed us */
};

struct tg_conn_events {
    void (*gone)(void *arg, enum tg_gone why); /* the last call: conn is freed after it */
    void (*finished)(void *arg); /* the last call: the whole response is with the kernel */
    /* limits.response_timeout has passed since the request, or since it was called, and nothing was
     * committed */
    void (*late)(void *arg);
};

/* From on_request only; arg is borrowed until gone or finished.  Those may be called from the loop
 * only, not from inside the calls below. */
void tg_conn_take(struct tg_conn *conn, const struct tg_conn_events *events, void *arg);

/* --- The request ------------------------------------------------------------------------------ */

const struct tg_head *tg_conn_head(const struct tg_conn *conn);
const struct tg_field *tg_conn_fields(const struct tg_conn *conn); /* head->field_count of them */
const char *tg_conn_bytes(const struct tg_conn *conn); /* that fields and spans are offsets into */
struct tg_slice tg_conn_span(const struct tg_conn *conn, struct tg_span span);
struct tg_slice tg_conn_field_name(const struct tg_conn *conn, const struct tg_field *field);
struct tg_slice tg_conn_field_value(const struct tg_conn *conn, const struct tg_field *field);

/* The request's fields and authority are not needed any more: a stream that may last for days gives
 * their memory back.  Method and target stay. */
void tg_conn_forget_fields(struct tg_conn *conn);

struct event_base *tg_conn_base(const struct tg_conn *conn);          /* its worker's loop */
bool tg_conn_secure(const struct tg_conn *conn);                      /* TLS */
const char *tg_conn_peer(const struct tg_conn *conn, uint16_t *port); /* "unix:" and 0 for those */
uint16_t tg_conn_local_port(const struct tg_conn *conn);

enum tg_body_state {
    TG_BODY_DATA,
    TG_BODY_WAIT, /* nothing just now: tg_conn_body_wait() */
    TG_BODY_END,
    TG_BODY_BROKEN,    /* bad framing: 400 */
    TG_BODY_TOO_LARGE, /* more than limits.body_bytes: 413 */
};

enum { TG_BODY_PIECE_MAX = 65536 }; /* bytes of a body that are shown at a time */

/* The next run of the request's body, of TG_BODY_PIECE_MAX bytes at the most; it stays until that many
 * are consumed.  The first call answers `Expect: 100-continue`. */
enum tg_body_state tg_conn_body_peek(struct tg_conn *conn, struct tg_slice *data);
void tg_conn_body_consume(struct tg_conn *conn, size_t n);

/* How many bytes of the body have not been consumed; UINT64_MAX when it does not say its length. */
uint64_t tg_conn_body_left(const struct tg_conn *conn);

/* Calls fn(arg) once, from the loop, when tg_conn_body_peek() would say something new.  NULL takes
 * it back. */
void tg_conn_body_wait(struct tg_conn *conn, void (*fn)(void *arg), void *arg);

/* --- The response ----------------------------------------------------------------------------- */

const struct tg_sink_ops *tg_conn_sink(const struct tg_conn *conn); /* the sink is the conn */

bool tg_conn_committed(const struct tg_conn *conn);
uint64_t tg_conn_sent(const struct tg_conn *conn); /* bytes of body taken so far */

/* Bytes of it that wait for the client, those of a file that is being sent too, and for how many
 * milliseconds it has taken none of them. */
uint64_t tg_conn_unsent(const struct tg_conn *conn, uint64_t *stalled);

/* The response is whole (its last send said so): `finished` follows, from the loop or, when
 * everything is with the kernel already, before it returns. */
void tg_conn_finish(struct tg_conn *conn);

/* Breaks the connection in a way that no client takes for a whole response: FIN where the framing
 * shows it, RST where it would not.  No event is called; conn is freed. */
void tg_conn_abort(struct tg_conn *conn);

#endif
