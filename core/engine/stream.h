/* stream.h - responses that go on until somebody leaves: they are kept alive, and told of a stop.
 *
 * All on one worker's thread.  One timer serves all streams of a worker, at moments that they share:
 * thousands of them do not wake the loop thousands of times.
 */
#ifndef TG_ENGINE_STREAM_H
#define TG_ENGINE_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "body/writer.h"
#include "io/deadline.h"
#include "util/status.h"

struct event_base;
struct tg_exchange;

TAILQ_HEAD(tg_stream_list, tg_stream);

/* A worker's. */
struct tg_streams {
    struct tg_deadlines deadlines;
    struct tg_stream_list open;
    uint64_t beat_at; /* coarse milliseconds, of the last heartbeat */
    unsigned beats;   /* at that time */
    bool stopping;
};

void tg_streams_init(struct tg_streams *all, struct event_base *base);
void tg_streams_fini(struct tg_streams *all); /* its streams are closed by then */

/* Ends the streams there are, as they are, telling each when to come back.  For those that come it is
 * too late: tg_stream_say_goodbye().  Not from inside Lua. */
void tg_streams_stop(struct tg_streams *all);
void tg_streams_start(struct tg_streams *all); /* for those that come from now on it is not */

/* One event stream (text/event-stream), in its owner's memory. */
struct tg_stream {
    struct tg_streams *all; /* NULL: it is closed */
    TAILQ_ENTRY(tg_stream) link;
    struct tg_exchange *x;
    struct tg_writer_watch watch; /* x's writer: w is NULL once x is over */
    struct tg_deadline heartbeat;
    uint64_t heard;    /* the writer's bytes when it was last known to speak */
    uint32_t interval; /* milliseconds; 0: no heartbeat */
    uint32_t retry;    /* milliseconds, that its client was told; 0: nothing */
};

/* The head of x's response has gone.  An event is to be written to x->writer in one piece, without a
 * wait: comments come between any two writes.  TG_ENOMEM: stream is closed, then. */
TG_MUST_CHECK enum tg_status tg_stream_open(struct tg_stream *stream, struct tg_streams *all,
                                            struct tg_exchange *x, uint32_t interval);
void tg_stream_close(struct tg_stream *stream); /* a second time does nothing */

/* Something was written just now: there is time again until the next heartbeat. */
void tg_stream_spoke(struct tg_stream *stream);

/* When to come back: not all at once. */
void tg_stream_say_goodbye(const struct tg_stream *stream);

#endif
