/* encode_sink.h - a sink that codes a response's body on its way to another sink.
 *
 * A flush of the writer's is one of the coding's, so that what was flushed can be decoded by the client;
 * pushes that are followed by more (TG_SEND_MORE) are coded as one run.  What it has taken and not coded
 * yet counts as pending, so a producer is held back as by a slow client.  It codes no more than
 * TG_ENCODE_TURN bytes in one turn of the loop, and nothing while the other sink is full.
 *
 * A body that has ended before anything went out, and is not longer than TG_ENCODE_TURN, goes out whole,
 * with the length of what was coded.
 */
#ifndef TG_BODY_ENCODE_SINK_H
#define TG_BODY_ENCODE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/encoder.h"
#include "body/sink.h"

enum { TG_ENCODE_TURN = 131072 };

struct event_base;

struct tg_encode_options {
    const struct tg_sink_ops *ops; /* of the other sink */
    void *sink;
    struct event_base *base;
    enum tg_coding coding;
    int level;
    uint64_t min_length; /* a body that is known to be shorter goes out as it is */
    size_t high_water;   /* bytes pending in the other sink: no more is coded */
    size_t low_water;    /* and here it goes on */
    bool bodyless;       /* HEAD: the head alone is another one */
};

struct tg_encode_sink;

extern const struct tg_sink_ops tg_encode_sink_ops;

/* fields, which are copied, stand in the place of the head's when the body is coded.  NULL when out of
 * memory. */
struct tg_encode_sink *tg_encode_sink_new(const struct tg_encode_options *options,
                                          struct tg_slice fields);
void tg_encode_sink_free(struct tg_encode_sink *s); /* NULL is fine; nobody is told */

/* Whether the body has ended, but not all of it has been given to the other sink. */
bool tg_encode_sink_busy(const struct tg_encode_sink *s);

/* Then: calls fn(arg, status) once, from the loop, when it has, or with why it never will. */
void tg_encode_sink_on_end(struct tg_encode_sink *s, void (*fn)(void *arg, enum tg_status status),
                           void *arg);

#endif
