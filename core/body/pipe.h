/* pipe.h - joins whoever produces a body to whoever reads it: a sink at one end, bytes at the other.
 *
 * The producer writes through a writer whose sink is the pipe, and is held back by it as by a slow
 * client: what waits for the reader is the writer's high water and one write.  The reader peeks,
 * consumes, and waits, as with a request's body.  Neither is ever called from inside a call of the
 * other: both are told from the loop.
 *
 *     producer → tg_writer (ops = &tg_pipe_sink, sink = pipe) → pipe → tg_pipe_peek() …
 */
#ifndef TG_BODY_PIPE_H
#define TG_BODY_PIPE_H

#include <stdbool.h>
#include <stdint.h>

#include "body/chunks.h"
#include "body/sink.h"
#include "io/soon.h"

struct tg_pipe {
    struct tg_chunks chunks;
    struct tg_soon soon;
    uint64_t length;       /* of all that is written, once that is known; else TG_LENGTH_UNKNOWN */
    bool ended;            /* the producer has ended it */
    bool closed;           /* the reader wants no more */
    enum tg_status failed; /* or TG_OK: why there is no end */
    size_t low_water;
    void (*drain_fn)(void *arg);
    void *drain_arg;
    void (*read_fn)(void *arg);
    void *read_arg;
};

void tg_pipe_init(struct tg_pipe *pipe, struct event_base *base);
void tg_pipe_fini(struct tg_pipe *pipe); /* tells nobody; lent bytes are released */

/* The producer's end; the sink is the pipe.  It takes no files: they are read.  Sends say TG_ECLOSED once
 * the reader has closed it. */
extern const struct tg_sink_ops tg_pipe_sink;

/* The producer has failed: the reader finds that out after the bytes that are there. */
void tg_pipe_fail(struct tg_pipe *pipe, enum tg_status status);

enum tg_pipe_state {
    TG_PIPE_DATA,
    TG_PIPE_WAIT, /* nothing just now: tg_pipe_wait() */
    TG_PIPE_END,
    TG_PIPE_FAILED, /* pipe->failed says why */
};

/* The next run of bytes; it stays until that many bytes are consumed. */
enum tg_pipe_state tg_pipe_peek(const struct tg_pipe *pipe, struct tg_slice *data);
void tg_pipe_consume(struct tg_pipe *pipe, size_t n);

/* Calls fn(arg) once, from the loop, when tg_pipe_peek() says something else than TG_PIPE_WAIT.  NULL
 * takes it back. */
void tg_pipe_wait(struct tg_pipe *pipe, void (*fn)(void *arg), void *arg);

/* The reader wants no more: what waits is thrown away, and the producer told at its next write. */
void tg_pipe_close(struct tg_pipe *pipe);

#endif
