/* exchange.h - one request and its response: the chain that it runs through, and how it ends.
 *
 * The chain is a queue of interceptors.  enter runs along it, leave and error run back over those
 * that have entered.  When all have left the body is produced.  Each step may wait.
 */
#ifndef TG_ENGINE_EXCHANGE_H
#define TG_ENGINE_EXCHANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/source.h"
#include "body/writer.h"
#include "engine/access_log.h"
#include "engine/host.h"
#include "engine/interceptor.h"
#include "engine/route_stats.h"
#include "engine/router.h"
#include "http/conn.h"
#include "util/buf.h"
#include "util/limits.h"
#include "util/log.h"

enum { TG_RESPONSE_FIELDS_MAX = 65536, TG_QUEUE_MAX = 10000 };

/* How an exchange ended, as on_close callbacks and the log call it. */
enum tg_ending {
    TG_ENDING_DONE,
    TG_ENDING_CLIENT_CLOSED,
    TG_ENDING_TIMEOUT,
    TG_ENDING_ERROR,
    TG_ENDING_SHUTDOWN,
    TG_ENDING_CANCELLED,
};
const char *tg_ending_name(enum tg_ending ending);

struct tg_exchange;

/* What the language of the handlers does for an exchange. */
struct tg_script_ops {
    /* Writes the response that the script has set, head and body, to x->writer, and ends it. */
    enum tg_step (*produce)(struct tg_exchange *x);
    /* After each enter of an exchange that is watched: may call tg_exchange_terminate(). */
    enum tg_step (*entered)(struct tg_exchange *x);
    /* The body of its response has failed: another must be set. */
    void (*drop_response)(struct tg_exchange *x);
    /* For engine->dev: sets a response that tells of x->error.  False: it has not. */
    bool (*explain)(struct tg_exchange *x);
    /* Ends what waits, without a word to the engine; its resources are given back. */
    void (*cancel)(struct tg_exchange *x);
    /* The exchange is over: calls who wanted to know, and lets go of x. */
    void (*close)(struct tg_exchange *x, enum tg_ending ending);
    /* The rest of the body needs no script: true when nothing else of the exchange does, and the
     * script has let go of x. */
    bool (*release)(struct tg_exchange *x);
    /* Prints where the script waits ("app.lua:12"), cut to size, or nothing. */
    void (*where)(const struct tg_exchange *x, char *text, size_t size);
};

/* A route's interceptors, its handler last. */
struct tg_chain {
    const struct tg_interceptor **items;
    size_t count;
    const char *name;             /* the route's name, or "METHOD /path", for messages */
    const char *route_name;       /* NULL when it has none */
    struct tg_route_stats *stats; /* where its exchanges are counted; NULL: nowhere */
};

/* One loaded script on one worker, as the engine knows it. */
struct tg_script {
    const struct tg_script_ops *ops;
    void *arg;
    struct tg_router *router;         /* its routes are struct tg_chain */
    const struct tg_chain *around;    /* the service's interceptors, with no handler */
    const struct tg_chain *not_found; /* the same and the script's handler; NULL: a plain 404 */
    uint64_t generation;              /* which loading it is; 0 for engine->none */
    const struct tg_access_fields *access_fields; /* for its lines in the log; NULL: none */
    size_t users;                                 /* exchanges that are not over */
    void (*on_unused)(void *arg); /* the last of them has ended; it must not free the script */
    void *on_unused_arg;
};

/* Written by the engine's thread, read by any. */
struct tg_engine_stats {
    atomic_uint_fast64_t begun;
    atomic_uint_fast64_t ended[TG_ENDING_CANCELLED + 1]; /* by how they ended */
    atomic_uint_fast64_t
        answered[6];            /* by the first digit of the status that was sent; 0: none was */
    atomic_uint_fast64_t bytes; /* of bodies */
};

/* For the one thread that writes it: no locked instruction. */
static inline void tg_count(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

struct tg_engine {
    const struct tg_limits *limits;
    const struct tg_log *log;
    struct tg_gather *gather;
    struct tg_script *script; /* for the requests that come from now on */
    struct tg_port *port;     /* by which other threads resume what waits; for hosts */
    struct tg_script none;    /* of exchanges that have no script any more */
    struct tg_access_log access;
    bool dev;           /* unhandled errors are shown to the client */
    uint64_t exchanges; /* begun so far; ids are made of it */
    uint32_t epoch;     /* another at each start */
    /* An exchange is about to end; NULL: nobody cares. */
    void (*ended)(struct tg_exchange *x, enum tg_ending ending);
    struct tg_match match; /* space to match in */
    struct tg_engine_stats stats;
};

/* What went wrong, as the engine and the log know it. */
struct tg_error {
    bool set;
    enum tg_stage stage;
    const char *interceptor; /* lives as long as the exchange */
    int status;              /* of the answer when nobody handles it: 500, 503, 413, … */
    char *message;           /* NULL: there was no memory for it */
    char *traceback;         /* or NULL */
    bool in_script;          /* the script has an account of its own of it */
};

enum tg_phase {
    TG_PHASE_ENTER,
    TG_PHASE_LEAVE,
    TG_PHASE_ERROR,
    TG_PHASE_BODY,
    TG_PHASE_GIVE_UP, /* nobody has handled the error */
    TG_PHASE_SENT,    /* all is written; the client still reads */
};

enum tg_responded { TG_RESPONDED_NOT, TG_RESPONDED_PLAIN, TG_RESPONDED_HOST, TG_RESPONDED_SCRIPT };

struct tg_exchange {
    struct tg_engine *engine;
    struct tg_script *script;
    struct tg_conn *conn;
    void *script_data;                  /* the script's side of it; NULL until it has one */
    const struct tg_host_ops *host_ops; /* NULL: the host has nothing to do with it */
    void *host;                         /* its side of it */
    uint64_t number;
    uint64_t started;             /* nanoseconds */
    struct tg_route_stats *stats; /* its route's, or NULL */
    char *kept_log;               /* what the log has of fields that were let go of; or NULL */
    uint64_t generation;          /* of the script that it began with */

    const struct tg_chain *chain;
    struct tg_param *params; /* param_count of them */
    size_t param_count;
    enum tg_match_kind matched;
    char *allow; /* for TG_MATCH_NO_METHOD */

    const struct tg_interceptor *const *queue;
    const struct tg_interceptor **own_queue; /* once something was enqueued */
    size_t count;
    size_t own_size;
    size_t entered; /* how many have entered, so where enter goes on */
    size_t back;    /* leave and error: how many are still to come */
    enum tg_phase phase;
    bool terminated;
    bool watched;       /* script->ops->entered wants to be called */
    bool tried;         /* it was, since the last enter */
    bool waiting;       /* a step is out */
    bool produced;      /* the body, or a part of it */
    bool body_failed;   /* the leaves are over: no leave runs again */
    unsigned upstreams; /* requests to other servers whose answers are awaited */
    bool gave_up;       /* the answer is the engine's own 500 */
    bool late;          /* limits.response_timeout has passed once */
    bool hopeless;      /* and once more: what handles errors is not asked again */
    bool stopped;       /* by tg_exchange_stop() */
    struct tg_error error;

    enum tg_responded responded;
    int response_status; /* of the script's response */
    struct tg_response_head head;
    struct tg_buf fields; /* behind head.fields */
    struct tg_buf plain;  /* the body of a TG_RESPONDED_PLAIN */
    struct tg_writer writer;
    struct tg_compress *compress;  /* how its response is coded; NULL: not at all */
    struct tg_encode_sink *encode; /* in front of the connection, where it is; or NULL */
    struct tg_source *source;      /* what goes on with the body; NULL: the script, or nothing */
};

/* A request is in: takes conn, finds the route, and runs the chain as far as it goes. */
void tg_exchange_begin(struct tg_engine *engine, struct tg_conn *conn);

/* A step that had said TG_STEP_WAIT has ended.  From the loop; x may be gone after it. */
void tg_exchange_go_on(struct tg_exchange *x, enum tg_step step);

/* The gateway stops: cancels what the script waits for and ends the response, which was committed, as
 * it is.  Not from inside Lua; x may be gone after it. */
void tg_exchange_stop(struct tg_exchange *x);

/* The step that runs is done, and more of the same kind may follow: the interceptor of these ops whose
 * stage is next, which has begun by that; or NULL, where the step is to end. */
const struct tg_interceptor *tg_exchange_next(struct tg_exchange *x,
                                              const struct tg_interceptor_ops *ops,
                                              enum tg_stage *stage);

/* The same for the body after the last stage: true when the script's response is to be produced now, as
 * by ops->produce. */
bool tg_exchange_next_is_body(struct tg_exchange *x);

/* Goes on with the body by source, which is taken, and without a script where that may be; the writer
 * is ended when source is done.  For ops->produce, which returns TG_STEP_WAIT after it. */
void tg_exchange_drive(struct tg_exchange *x, struct tg_source *source);

/* Records what went wrong in the stage that is running.  The texts are copied. */
void tg_exchange_fail(struct tg_exchange *x, int status, const char *message,
                      const char *traceback);

/* Sets a whole response: fields are checked lines, each ending in CRLF; all is copied. */
enum tg_status tg_exchange_respond(struct tg_exchange *x, int status, struct tg_slice fields,
                                   struct tg_slice body);

/* Appends to the queue; interceptor is borrowed until the exchange ends. TG_ENOMEM, TG_ELIMIT. */
enum tg_status tg_exchange_enqueue(struct tg_exchange *x, const struct tg_interceptor *interceptor);
void tg_exchange_terminate(struct tg_exchange *x); /* drops what has not entered */

/* The interceptor whose stage is running, or the last one that ran; NULL before the first. */
const struct tg_interceptor *tg_exchange_running(const struct tg_exchange *x);
enum tg_stage tg_exchange_stage(const struct tg_exchange *x);

/* The route's name for messages: never NULL. */
const char *tg_exchange_route(const struct tg_exchange *x);

/* The status that was sent, 0 when none was. */
int tg_exchange_sent_status(const struct tg_exchange *x);

/* "enter", …; "sent" when all is written. */
const char *tg_exchange_phase(const struct tg_exchange *x);

/* Its id, as the request has it. */
enum { TG_EXCHANGE_ID_SIZE = 32 };
int tg_exchange_print_id(const struct tg_exchange *x, char id[TG_EXCHANGE_ID_SIZE]);

/* Whether the request's method is HEAD. */
bool tg_exchange_is_head(const struct tg_exchange *x);

/* Whether the response's head has a field of this name. */
bool tg_exchange_has_field(const struct tg_exchange *x, struct tg_slice name);

/* Whether a field of the response has this element in its list, in any of its lines. */
bool tg_exchange_lists(const struct tg_exchange *x, struct tg_slice name, struct tg_slice element);

/* The response will be coded by this policy, which the exchange holds; one that has begun is not. */
void tg_exchange_set_compress(struct tg_exchange *x, struct tg_compress *policy);

/* x->head and x->fields are complete: the body may be written.  TG_ENOMEM: nothing has begun. */
TG_MUST_CHECK enum tg_status tg_exchange_begin_body(struct tg_exchange *x);

/* Adds a field line to the response's head.  TG_EINVAL: name is no token, or value holds a control
 * character (CR, LF and NUL among them); nothing is added then. */
TG_MUST_CHECK enum tg_status tg_exchange_add_field(struct tg_exchange *x, struct tg_slice name,
                                                   struct tg_slice value);

/* The value of the first field of this name in the response's head; false when there is none.  It is
 * good until the next change of the head. */
bool tg_exchange_find_field(const struct tg_exchange *x, struct tg_slice name,
                            struct tg_slice *value);
void tg_exchange_remove_field(struct tg_exchange *x, struct tg_slice name); /* all of this name */

#endif
