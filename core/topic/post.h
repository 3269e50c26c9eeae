/* post.h - where a worker hears of what was published: its subscribers, served on its own thread.
 *
 * A subscriber is a place in its topic's history.  While its client keeps up it is sent what is new;
 * while its socket is full it waits, and holds nothing of its own.
 */
#ifndef TG_TOPIC_POST_H
#define TG_TOPIC_POST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/source.h"
#include "body/writer.h"
#include "topic/broker.h"

struct event_base;

/* For one loop.  NULL when out of memory or descriptors. */
struct tg_post *tg_post_new(struct tg_broker *broker, struct event_base *base);
struct tg_deadlines *tg_post_deadlines(struct tg_post *post); /* of heartbeats, and what else */
void tg_post_free(
    struct tg_post *post); /* it has no subscribers, readers and waits any more; NULL is fine */

struct tg_broker *tg_post_broker(const struct tg_post *post);

/* Ends the streams of all subscribers there are and of all that come: the worker stops. */
void tg_post_stop(struct tg_post *post);
void tg_post_start(struct tg_post *post); /* for those that come from now on it does not */

/* --- Subscribers ------------------------------------------------------------------------------ */

struct tg_subscribe {
    struct tg_topic *topic;
    struct tg_writer *writer; /* it has begun, and is ended by whoever set source->done */
    enum tg_form form;
    struct tg_slice after; /* the last id that the client has seen; p is NULL: from now on */

    /* Writes who it is, for people who look for the slow ones.  Called while it subscribes. */
    void (*describe)(void *arg, char *out, size_t size);
    void *arg;
};

/* Begins the stream: what the client is to know first is in the writer, for the caller to flush, and
 * the rest goes out from the loop.  Holds the topic.  The options are read now; after need not last.
 * TG_ENOMEM; or what the writer says.  May be called from inside Lua. */
TG_MUST_CHECK enum tg_status tg_subscribe(struct tg_source **out, struct tg_post *post,
                                          const struct tg_subscribe *subscribe);

/* --- Readers: events one by one, for code --------------------------------------------------------- */

struct tg_reader;

/* on_news(arg) is called from the loop, once for each TG_AGAIN of tg_reader_next().  It may free the
 * reader.  NULL: no memory. */
struct tg_reader *tg_reader_new(struct tg_post *post, struct tg_topic *topic, struct tg_slice after,
                                void (*on_news)(void *arg), void *arg);
void tg_reader_free(struct tg_reader *reader); /* NULL is fine */

struct tg_news {
    struct tg_record *record; /* with a reference, the caller's; NULL: there is a gap here */
    uint64_t missed;          /* events in the gap; 0 where nobody knows */
};

/* TG_OK, TG_AGAIN: nothing new, or TG_ECLOSED: nothing more will come. */
TG_MUST_CHECK enum tg_status tg_reader_next(struct tg_reader *reader, struct tg_news *out);

/* The id to go on after. */
void tg_reader_position(const struct tg_reader *reader, char id[TG_EVENT_ID_MAX]);

#endif
