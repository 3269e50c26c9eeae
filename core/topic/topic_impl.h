/* topic_impl.h - what the files of core/topic share.
 *
 * Locks, in the order in which they are taken: a broker's, a topic's, a post's.  What is marked `own`
 * belongs to the post's thread and needs none.
 */
#ifndef TG_TOPIC_TOPIC_IMPL_H
#define TG_TOPIC_TOPIC_IMPL_H

#include <pthread.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "io/deadline.h"
#include "topic/broker.h"
#include "topic/history.h"
#include "topic/post.h"
#include "util/map.h"

enum { TG_SWEEP_MS = 5000 };

struct tg_broker {
    pthread_mutex_t lock;
    struct tg_map topics;
    uint64_t base;      /* a number above those of all topics that are gone */
    uint64_t swept;     /* coarse milliseconds */
    uint64_t published; /* by topics that are gone */
    uint64_t delivered;
    uint64_t dropped;
    char epoch[TG_EPOCH_LEN + 1];
};

TAILQ_HEAD(tg_seats, tg_seat);

struct tg_topic {
    struct tg_broker *broker;
    struct tg_map_node by_name;
    size_t holders;       /* the broker's lock */
    uint64_t alone_since; /* the same: coarse milliseconds, when there are none */
    bool named;           /* the same: it is in the broker's map */

    pthread_mutex_t lock; /* of the rest */
    struct tg_topic_options o;
    struct tg_history history;
    bool closed;
    struct tg_seats seats;
    struct tg_publish_wait *waits;
    LIST_HEAD(, tg_slow) slow;
    uint64_t published;
    uint64_t delivered;
    uint64_t dropped;
    size_t subscribers;
    char name[];
};

/* A subscriber that is waiting for its client, as others may see it: the topic's lock. */
struct tg_slow {
    LIST_ENTRY(tg_slow) link;
    uint64_t next;
    uint64_t dropped;
    char who[96];
};

struct tg_subscriber {
    struct tg_source source; /* first */
    struct tg_seat *seat;
    struct tg_writer *writer;
    TAILQ_ENTRY(tg_subscriber) link;
    uint64_t next; /* number of the event that it is to get next */
    uint64_t dropped;
    uint64_t sent_at; /* coarse milliseconds */
    struct tg_slow *slow;
    enum tg_form form : 8;
    bool waits : 1;  /* for its client: it is in the seat's waiting */
    bool sparse : 1; /* it is catching up by the latest of each key */
    void (*describe)(void *arg, char *out, size_t size);
    void *arg;
};
TAILQ_HEAD(tg_subscribers, tg_subscriber);

struct tg_reader {
    struct tg_seat *seat;
    TAILQ_ENTRY(tg_reader) of_seat;
    TAILQ_ENTRY(tg_reader) in_news;
    uint64_t next;
    uint64_t missed; /* in the gap before next */
    bool gap;
    bool sparse;  /* it is catching up by the latest of each key */
    bool waiting; /* on_news is due when there are some */
    bool told;    /* and now: it is in the post's news */
    void (*on_news)(void *arg);
    void *arg;
};
TAILQ_HEAD(tg_readers, tg_reader);

/* One topic's listeners on one worker. */
struct tg_seat {
    struct tg_topic *topic; /* held */
    struct tg_post *post;
    TAILQ_ENTRY(tg_seat) of_topic; /* the topic's lock */
    TAILQ_ENTRY(tg_seat) of_post;  /* own, as what follows */
    TAILQ_ENTRY(tg_seat) in_busy;
    bool busy;
    bool ending; /* its streams end when they have everything */
    bool blocks; /* publishers may wait for its subscribers */
    unsigned pins;
    size_t count;                  /* of subscribers and readers */
    uint64_t head;                 /* events below this number have been heard of */
    struct tg_subscribers current; /* have all below head; who was sent something last is last */
    struct tg_subscribers behind;
    struct tg_subscribers waiting; /* for their clients */
    struct tg_readers readers;     /* all of them */
    uint64_t delivered;            /* since the topic was told */
    uint64_t dropped;
    struct tg_deadline heartbeat;
    uint64_t heartbeat_ms;

    uint64_t low; /* the topic's lock: none of its subscribers needs an event below this number */

    TAILQ_ENTRY(tg_seat) in_inbox; /* the post's lock */
    bool due;                      /* the same: it is there */
};

/* A text that the next subscriber may be in for, too. */
struct tg_batch {
    const struct tg_seat *seat;
    uint64_t from;
    uint64_t to;
    enum tg_form form;
    bool sparse;
    bool still_sparse; /* behind it, too */
    bool overflow;     /* the subscriber is too far behind */
    size_t events;
    struct tg_text *text; /* NULL: there is nothing to be sent */
};

struct tg_post {
    struct tg_broker *broker;
    struct event_base *base;
    struct tg_wake *wake;
    struct event turn; /* there is work in the loop's next turn */
    struct tg_deadlines deadlines;
    struct tg_deadline sweep;
    struct tg_seats seats;
    struct tg_seats busy;
    struct tg_readers news; /* whose on_news is to be called */
    struct tg_batch batch;
    bool stopping;

    pthread_mutex_t lock;
    struct tg_seats inbox; /* something was published, or closed */
    struct tg_publish_wait *room;
};

/* --- broker.c --------------------------------------------------------------------------------- */

void tg_topic_hold(struct tg_topic *topic);

/* Under the topic's lock: publishers that wait may try again. */
void tg_topic_tell_waits(struct tg_topic *topic);

/* Lets go of what is too old, in topics that nobody else looks at. */
void tg_broker_sweep(struct tg_broker *broker);

/* --- post.c ----------------------------------------------------------------------------------- */

void tg_post_later(struct tg_post *post); /* there is work: own thread */

/* Under the topic's lock. from: the post of the calling thread, or NULL. */
void tg_post_signal(struct tg_seat *seat, const struct tg_post *from);
void tg_post_give_room(struct tg_publish_wait *wait); /* the same; it is in no list */

/* The post's seat at the topic, made when it has none, with one listener more.  NULL: no memory. */
struct tg_seat *tg_seat_take(struct tg_post *post, struct tg_topic *topic);

/* What was read under the topic's lock: the number that the next event gets, and what else is new. */
struct tg_notice {
    uint64_t head;
    bool closed;
    bool blocks;
};
struct tg_notice tg_topic_notice(const struct tg_topic *topic);
void tg_seat_learn(struct tg_seat *seat, struct tg_notice notice);

/* Tells the topic what was delivered, and publishers that wait whether there is room. */
void tg_seat_report(struct tg_seat *seat);
void tg_seat_leave(struct tg_seat *seat); /* with one less; seat may be gone */
void tg_seat_set_busy(struct tg_seat *seat);
void tg_seat_unpin(struct tg_seat *seat); /* seat may be gone */

/* --- subscriber.c: own thread ----------------------------------------------------------------- */

void tg_seat_serve(struct tg_seat *seat, unsigned *budget); /* takes what it sends off *budget */
void tg_seat_beat(void *arg); /* the heartbeat's deadline: arg is the seat */
void tg_batch_clear(struct tg_batch *batch);

/* Where one who has seen everything up to the id `after` goes on.  Under the topic's lock. */
struct tg_place {
    uint64_t next;
    uint64_t missed; /* in the gap; 0 where nobody knows */
    bool gap;
};
struct tg_place tg_topic_place(struct tg_topic *topic, struct tg_slice after);

/* What one who is to go on with the event *next gets. */
enum { TG_TAKE_MAX = 64 };
struct tg_taken {
    struct tg_record *records[TG_TAKE_MAX]; /* with a reference each */
    size_t count;
    uint64_t next; /* behind them */
    uint64_t lost; /* events between, that are not there any more */
    bool sparse;   /* those that have a newer one of their key were left out */
    bool overflow; /* it is too far behind: there is nothing for it */
};
void tg_topic_take(struct tg_topic *topic, uint64_t next, bool sparse, size_t max,
                   struct tg_taken *out);

#endif
