/* worker.h - one loop with everything that it serves: a server, an engine, the script's generations. */
#ifndef TG_API_WORKER_H
#define TG_API_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <tidegate.h>

#include "engine/exchange.h"
#include "engine/stream.h"
#include "http/memory.h"
#include "http/server.h"
#include "http/tls.h"
#include "io/alarm.h"
#include "io/deadline.h"
#include "io/lag.h"
#include "lua/script.h"
#include "lua/slice.h"
#include "topic/post.h"

struct tg_worker;
struct tg_asked;        /* snapshot.h */
struct tg_call_of_host; /* call.c */

/* One loading of the script, in one worker. */
struct tg_generation {
    struct tg_lua_script *script;
    uint64_t number;          /* 1 is the first */
    bool stopping;            /* its on_stop runs */
    struct tg_worker *worker; /* that has adopted it */
    struct tg_generation *next;
};

/* What the workers of a gateway have in common.  All of it may be read on any thread. */
struct tg_common {
    const struct tg_log *log;
    enum tidegate_access_log access_log;
    void (*access)(void *arg, const char *line); /* or NULL */
    void *access_arg;
    void (*on_stopped)(void *arg); /* on a host's loop; or NULL */
    void *on_stopped_arg;
    bool dev;
    bool shared;                 /* there is more than one worker */
    int alarm_signal;            /* 0: there is none, and scripts may compute for ever */
    atomic_uint stops;           /* how often the gateway was asked to stop */
    atomic_uint_fast64_t number; /* of the generation that new requests go to */
    atomic_size_t connections;
    struct tg_stores *stores;
    struct tg_stores *own; /* not the scripts' */
    struct tg_store *addresses;
    struct tg_broker *broker; /* of the topics */
    unsigned char ticket_key[TG_TLS_TICKET_KEY];
};

struct tg_worker {
    struct tg_common *common;
    unsigned index;
    struct event_base *base;
    bool own_base;
    struct tg_wake *wake;
    struct tg_port *port; /* jobs and resumes from other threads */
    struct tg_deadlines deadlines;
    struct tg_deadline drain;
    bool drain_made;
    unsigned stops_seen;
    bool serving;      /* the gateway has started */
    bool disconnected; /* it has been stopped, and all connections are gone */
    bool drained;      /* its loop has nothing more to do */
    bool told;         /* the host knows that */

    struct tg_slices slices;
    struct tg_alarm alarm;
    uint64_t watched_turn; /* the watching thread's: as it saw slices.turn last */
    unsigned stuck_for;    /* how often it has seen the same; about seconds */

    struct tg_limits limits; /* the current script's */
    struct tg_gather gather;
    struct tg_engine engine;
    struct tg_route_figures routes;
    struct tg_route_stats *refused; /* heads that were; or NULL */
    struct tg_lag lag;
    atomic_uint_fast64_t waits;      /* how often a task has begun to wait */
    atomic_uint_fast64_t lua_memory; /* bytes of its states, as of the last look at the lag */
    struct tg_upstream *upstream;
    struct tg_server *server;
    struct tg_memories memories;        /* requests that come from no socket */
    LIST_HEAD(, tg_call_of_host) calls; /* those that the host has made */
    struct tg_post *post;               /* where it hears of what was published */
    struct tg_streams streams;

    struct tg_generation *current;
    struct tg_generation *retired; /* whose exchanges go on */
    struct event *sweep;           /* frees those whose exchanges are over */

    pthread_mutex_t lock;
    bool lock_made;
    struct tg_generation *next; /* under lock: not yet published, or not yet taken */
    struct tg_asked *asked;     /* under lock: snapshots that are wanted of it */
    bool over;                  /* under lock: its loop has ended */
};

/* Its loop: base, or one of its own where that is NULL.  On a failure w is to be closed all the same. */
enum tg_status tg_worker_open(struct tg_worker *w, struct tg_common *common, unsigned index,
                              struct event_base *base);

/* Serves its first generation, which is the worker's from here on.  Listens to nothing yet. */
enum tg_status tg_worker_serve(struct tg_worker *w, struct tg_generation *first);

/* The same after a stop, while its loop does not run, or from a callback of the host's on it: lets go of
 * what it had. */
enum tg_status tg_worker_serve_again(struct tg_worker *w, struct tg_generation *first);

/* Any thread: hands over a generation, for when its number is that in common.  Returns the one before
 * that was never taken, or NULL: it is the caller's. */
struct tg_generation *tg_worker_offer(struct tg_worker *w, struct tg_generation *next);

/* On the loop's thread: the last of w->calls is over. */
void tg_worker_calls_over(struct tg_worker *w);

/* On the loop's thread: a request of the current script's, that comes from no socket. */
void tg_worker_begin(struct tg_worker *w, struct tg_conn *conn);

/* Any thread: common has changed. */
void tg_worker_wake(struct tg_worker *w);

/* For scripts that are loaded for this worker: what flushes when one of its coroutines waits. */
void tg_worker_on_suspended(void *arg);

/* On the loop's thread: lets scripts compute for no longer than their limits say. */
void tg_worker_start_alarm(struct tg_worker *w);
void tg_worker_stop_alarm(struct tg_worker *w);

/* On the loop's thread: it serves from now on. */
void tg_worker_start(struct tg_worker *w);

/* Runs the loop until the gateway was stopped and the worker is drained.  False: the loop has ended by
 * itself. */
bool tg_worker_run(struct tg_worker *w);

void tg_worker_close(struct tg_worker *w); /* ends every exchange */

/* Any thread, while no worker has it.  NULL is fine. */
void tg_generation_free(struct tg_generation *generation);

#endif
