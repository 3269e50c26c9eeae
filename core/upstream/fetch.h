/* fetch.h - one request to another server, and its response as a stream.
 *
 * The response is read at the reader's pace: what it has not taken is held, up to
 * limits.upstream_buffer, and then no more is read from the connection, and the server slowed by TCP.
 * Nothing here blocks: names are resolved by a thread of libcurl's.
 *
 * All calls are for the worker's own thread.  Callbacks that are said to come "from the loop" may call
 * anything, tg_fetch_free() too; the others (pull, take) may call nothing of this layer, nor Lua.
 */
#ifndef TG_UPSTREAM_FETCH_H
#define TG_UPSTREAM_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "upstream/failure.h"
#include "upstream/head.h"
#include "upstream/request.h"
#include "util/slice.h"
#include "util/status.h"

struct tg_fetch;
struct tg_upstream;

enum { TG_FETCH_LATER = -1, TG_FETCH_BROKEN = -2 };

/* Where the body of a request comes from. */
struct tg_fetch_source {
    /* Puts up to size bytes into buffer: how many, 0 at the end, TG_FETCH_LATER (then
     * tg_fetch_source_ready() says when to ask again) or TG_FETCH_BROKEN. */
    long (*pull)(void *arg, char *buffer, size_t size);
    /* Begins anew, for a redirect or another connection; NULL: it cannot. */
    void (*rewind)(void *arg);
};

/* All is copied but the source. Times in milliseconds, 0 for none. */
struct tg_fetch_request {
    const char *url;    /* http: or https:, of visible ASCII; sent as it is, without its fragment */
    const char *method; /* a token */
    const struct tg_fetch_field *fields; /* checked: tokens and field values; none of the framing */
    size_t field_count;
    const struct tg_fetch_source *source; /* NULL: no body */
    void *source_arg;
    uint64_t length;          /* of the body; TG_FETCH_LENGTH_UNKNOWN: chunked */
    const char *unix_path;    /* of a socket to connect to; NULL: what the URL says */
    const char *ca_file;      /* of certificates to trust; NULL: the system's */
    bool insecure;            /* any certificate will do */
    bool old;                 /* HTTP/1.0; not for a body without a length */
    unsigned redirects;       /* how many to follow */
    uint64_t decode_max;      /* bytes: undo gzip and deflate, up to so many; 0: leave them */
    uint64_t connect_timeout; /* name, connection, handshake */
    uint64_t head_timeout;    /* from the last byte of the request to the response's head */
    uint64_t idle_timeout;    /* nothing of the body comes though it is wanted */
};

/* Begins; *out is NULL on failure.  TG_ENOMEM; TG_EINVAL: the URL or the method is none.  What
 * happens later is told by tg_fetch_wait(). */
TG_MUST_CHECK enum tg_status tg_fetch_start(struct tg_fetch **out, struct tg_upstream *upstream,
                                            const struct tg_fetch_request *request);

/* Ends it, wherever it is: the connection is closed unless the response was whole. NULL is fine. */
void tg_fetch_free(struct tg_fetch *fetch);

/* The source has more, or its end. */
void tg_fetch_source_ready(struct tg_fetch *fetch);

/* --- The response ----------------------------------------------------------------------------- */

/* 0 until the head is there. */
int tg_fetch_status(const struct tg_fetch *fetch);

/* The body's codings were undone: Content-Encoding and Content-Length are of what was sent. */
bool tg_fetch_decoded(const struct tg_fetch *fetch);

/* Moves the head out, once it is there: it is the caller's, who ends it with tg_upstream_head_fini(). */
void tg_fetch_take_head(struct tg_fetch *fetch, struct tg_upstream_head *to);

enum tg_fetch_state {
    TG_FETCH_DATA,
    TG_FETCH_WAIT, /* nothing just now: tg_fetch_wait() */
    TG_FETCH_END,
    TG_FETCH_FAILED,
};

/* The next run of the body; it stays until that many bytes are consumed, or the next call that is not
 * one of the questions below. */
enum tg_fetch_state tg_fetch_peek(const struct tg_fetch *fetch, struct tg_slice *data);
void tg_fetch_consume(struct tg_fetch *fetch, size_t n);

/* Calls fn(arg) once, from the loop, when there is a head, or tg_fetch_peek() would say something
 * new.  NULL takes it back. */
void tg_fetch_wait(struct tg_fetch *fetch, void (*fn)(void *arg), void *arg);

enum tg_fetch_failure tg_fetch_failure(const struct tg_fetch *fetch);
const char *tg_fetch_message(const struct tg_fetch *fetch); /* of the failure; never NULL */

/* Something of the request may have reached a server. */
bool tg_fetch_sent(const struct tg_fetch *fetch);

/* --- The body, pushed ------------------------------------------------------------------------- */

struct tg_fetch_pipe {
    /* Takes all of data, or says false: not now, until tg_fetch_resume(). */
    bool (*take)(void *arg, const char *data, size_t len);
    /* From the loop, after what came was taken, and when tg_fetch_peek() would say END or FAILED. */
    void (*turn)(void *arg);
};

/* From now on the body goes to the pipe, which is borrowed; NULL: it is held, as before.  What is
 * held already goes to it at the next tg_fetch_resume(), which has to be called. */
void tg_fetch_pipe(struct tg_fetch *fetch, const struct tg_fetch_pipe *pipe, void *arg);

/* The pipe takes again.  Calls take and not turn. */
void tg_fetch_resume(struct tg_fetch *fetch);

#endif
