/* memory.h - a request that no socket has brought, and a response that waits to be taken.
 *
 * To the engine it is a connection as any other (conn.h); whoever makes it has the client's side of it:
 * sends the request's body, takes the response at a pace of its own, and may leave at any time.  All on
 * the loop's thread, inside a script or not: what either side is to hear it hears from the loop.
 */
#ifndef TG_HTTP_MEMORY_H
#define TG_HTTP_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "body/sink.h"
#include "http/conn.h"
#include "util/limits.h"
#include "util/slice.h"
#include "util/status.h"

struct event_base;
struct tg_deadlines;
struct tg_memory;

/* What those of one loop have in common; in its owner's memory. */
struct tg_memories {
    struct event_base *base; /* borrowed, as all of these */
    struct tg_deadlines *deadlines;
    LIST_HEAD(, tg_memory) open; /* that have an exchange */
};

void tg_memories_init(struct tg_memories *all, struct event_base *base,
                      struct tg_deadlines *deadlines);

/* Ends the exchanges of all (gone: TG_GONE_SHUTDOWN).  Not from inside Lua. */
void tg_memories_close(struct tg_memories *all);

enum { TG_MEMORY_FEED_MAX = 65536 }; /* unread bytes of a request's body before more waits */

struct tg_memory_options {
    struct tg_memories *all;        /* borrowed */
    const struct tg_limits *limits; /* borrowed until its exchange is over */
    bool secure;                    /* as if by TLS */
    const char *peer;               /* the client's address; a literal */
    uint16_t peer_port;
    uint16_t local_port;
    /* From the loop: there is more to take, or more of the request's body is wanted, or it is over.
     * May release. */
    void (*on_change)(void *arg);
    void *arg;
};

enum tg_memory_state {
    TG_MEMORY_OPEN,
    TG_MEMORY_WHOLE,  /* nothing more comes: what was sent is the whole response */
    TG_MEMORY_BROKEN, /* nothing more comes, and the response is not whole */
};

/* A request with this head, as it would be sent, empty line and all; copied.  The framing fields say
 * what of a body there is to be: tg_memory_feed().  0, or the status that the head is refused with (413
 * for a Content-Length past limits.body_bytes, too; 503: not enough memory). *out is the caller's. */
int tg_memory_new(struct tg_memory **out, const struct tg_memory_options *options,
                  struct tg_slice head);

/* For tg_exchange_begin(), once. */
struct tg_conn *tg_memory_conn(struct tg_memory *m);

/* The options' arg of the client of conn, which is one of these; NULL: it was released. */
void *tg_memory_owner(struct tg_conn *conn);

/* The client is not interested any more: on_change is not called, and the exchange, where it still is,
 * hears from the loop that its client has gone.  NULL is fine. */
void tg_memory_release(struct tg_memory *m);

/* --- The request's body ----------------------------------------------------------------------- */

/* More of it; copied.  Nothing once it is whole, or its Content-Length reached: TG_ELIMIT.  TG_AGAIN:
 * it was taken, and TG_MEMORY_FEED_MAX bytes wait to be read: on_change tells when fewer do. */
enum tg_status tg_memory_feed(struct tg_memory *m, const char *data, size_t len);
void tg_memory_feed_end(
    struct tg_memory *m); /* shorter than its Content-Length: the client leaves */
size_t tg_memory_unread(const struct tg_memory *m); /* bytes that the script has not read yet */

/* --- The response ----------------------------------------------------------------------------- */

/* NULL until it was sent.  Its fields are the script's: no framing fields, and no Date. */
const struct tg_response_head *tg_memory_head(const struct tg_memory *m);

/* What is next to be taken, as one send of the body has brought it: false when there is nothing just
 * now.  It stays until it is consumed. */
struct tg_memory_chunk {
    struct tg_slice data;
    uint64_t at; /* when it was sent: microseconds, on the deadlines' clock, and exact */
};
bool tg_memory_peek(const struct tg_memory *m, struct tg_memory_chunk *chunk);
void tg_memory_consume(struct tg_memory *m, size_t n); /* no more than the chunk has */

size_t tg_memory_waiting(const struct tg_memory *m); /* bytes that were sent and not consumed */

enum tg_memory_state tg_memory_state(const struct tg_memory *m);

/* The client leaves: the response is broken, and the exchange hears of it from the loop. */
void tg_memory_leave(struct tg_memory *m);

#endif
