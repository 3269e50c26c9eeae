/* broker.h - topics by name: who publishes, what is remembered, and where it is heard.
 *
 * One broker for all workers of a gateway.  It and its topics may be used from any thread; each worker
 * has a post (post.h), which brings what was published to the worker's own subscribers.  No callback
 * is called under a lock.
 */
#ifndef TG_TOPIC_BROKER_H
#define TG_TOPIC_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topic/record.h"
#include "util/slice.h"
#include "util/status.h"

struct tg_broker;
struct tg_post;
struct tg_topic;

enum {
    TG_TOPICS_MAX = 100000,
    TG_TOPIC_NAME_MAX = 255,
    TG_EVENT_NAME_MAX = 255,      /* of an event's name, and of its key */
    TG_EVENT_BYTES_MAX = 1048576, /* of an event's data */
    TG_HISTORY_MAX = 100000,      /* events */
    TG_BACKLOG_MIN =
        64, /* events that are there for subscribers on their way, however short the history */
};

struct tg_broker *tg_broker_new(void); /* NULL: no memory */

/* Its posts are gone by then, and so is whoever held a topic.  NULL is fine. */
void tg_broker_free(struct tg_broker *broker);

/* --- Topics ----------------------------------------------------------------------------------- */

/* What becomes of a subscriber that reads more slowly than others publish, once it is behind by more
 * than the history holds. */
enum tg_overflow {
    TG_OVERFLOW_DROP_OLDEST, /* it is told how many it has missed, and goes on with the oldest there is */
    TG_OVERFLOW_LATEST, /* it gets the latest event of each key, and goes on from there */
    TG_OVERFLOW_CLOSE,  /* its stream ends */
    TG_OVERFLOW_BLOCK,  /* publishers that wait are held up before that; else as drop_oldest */
};

struct tg_topic_options {
    uint32_t history;     /* events that a subscriber may ask for again */
    size_t history_bytes; /* of memory, about; the newest event is there whatever its size */
    uint64_t max_age;     /* milliseconds, of the history; 0: none */
    uint64_t linger;      /* milliseconds that a history is kept for when nobody holds the topic */
    uint64_t heartbeat;   /* milliseconds of silence before subscribers get a comment; 0: none */
    enum tg_overflow overflow;
};
void tg_topic_options_init(struct tg_topic_options *options); /* the defaults */

/* The topic of this name, made when there is none, held until it is released.  TG_EINVAL: a name of 0
 * bytes, or with a control character; TG_ELIMIT: one that is too long, or too many topics; TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_topic_open(struct tg_topic **out, struct tg_broker *broker,
                                           struct tg_slice name);
void tg_topic_release(struct tg_topic *topic); /* NULL is fine */

struct tg_slice tg_topic_name(const struct tg_topic *topic); /* the topic's */

/* Options hold from now on, for what is there already too.  TG_ELIMIT: a history that is too long. */
void tg_topic_get_options(struct tg_topic *topic, struct tg_topic_options *out);
TG_MUST_CHECK enum tg_status tg_topic_set_options(struct tg_topic *topic,
                                                  const struct tg_topic_options *options);

/* Gives everybody the event, which is copied, and its id.  from is the caller's own post, when it is
 * on a worker's thread; else NULL.  TG_EINVAL: a line break or a NUL in its name, or a name that
 * begins with "tidegate-"; TG_ELIMIT: one of them is too long; TG_ECLOSED; TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_topic_publish(struct tg_topic *topic, struct tg_post *from,
                                              const struct tg_message *message,
                                              char id[TG_EVENT_ID_MAX]);

/* The same; but where the overflow is TG_OVERFLOW_BLOCK and a subscriber would now miss an event,
 * nothing is published, TG_AGAIN returned, and wait->fn(wait->arg) called once from the loop of
 * wait->post when it is worth another try, unless wait is taken back before.  wait is the caller's. */
struct tg_publish_wait {
    struct tg_post *post; /* the caller's own */
    void (*fn)(void *arg);
    void *arg;
    struct tg_topic *topic; /* from here on the broker's */
    struct tg_publish_wait *next;
    struct tg_publish_wait **link; /* NULL: it is in no list */
    bool due;                      /* it is in its post's */
};
TG_MUST_CHECK enum tg_status tg_topic_publish_wait(struct tg_topic *topic,
                                                   const struct tg_message *message,
                                                   char id[TG_EVENT_ID_MAX],
                                                   struct tg_publish_wait *wait);
void tg_topic_unwait(struct tg_publish_wait *wait); /* does nothing when it is in no list */

/* Ends the streams of its subscribers, when they have all that was published.  The name is free: whoever
 * opens it now gets another topic. */
void tg_topic_close(struct tg_topic *topic, struct tg_post *from);

/* --- Figures ---------------------------------------------------------------------------------- */

struct tg_topic_stats {
    struct tg_slice name;
    size_t subscribers;
    uint64_t published;
    uint64_t delivered; /* events, each counted for each who got it */
    uint64_t dropped;   /* the same for who did not */
    size_t history;     /* events */
    size_t history_bytes;
    size_t slow; /* subscribers that have not taken yet what they were sent */
};

struct tg_slow_stats {
    const char *who;
    uint64_t behind; /* events */
    uint64_t dropped;
};

void tg_topic_get_stats(struct tg_topic *topic, struct tg_topic_stats *out);

/* Calls fn for each slow subscriber.  Under the topic's lock: fn calls nothing of this header. */
void tg_topic_each_slow(struct tg_topic *topic,
                        void (*fn)(void *arg, const struct tg_slow_stats *slow), void *arg);

/* What topics have counted that are gone: published, delivered, dropped.  The rest is 0. */
void tg_broker_get_gone(struct tg_broker *broker, struct tg_topic_stats *out);

/* The topics there are, at most max of them, each held for the caller; returns how many. */
size_t tg_broker_topics(struct tg_broker *broker, struct tg_topic **out, size_t max);
size_t tg_broker_topic_count(struct tg_broker *broker);

#endif
