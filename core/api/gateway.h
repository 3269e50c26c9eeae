/* gateway.h - what is behind struct tidegate: its workers, and how a generation comes to them. */
#ifndef TG_API_GATEWAY_H
#define TG_API_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <tidegate.h>

#include "api/host.h"
#include "api/status.h"
#include "api/worker.h"
#include "io/watch.h"
#include "util/buf.h"
#include "util/log.h"

enum { TG_ERROR_MAX = 65536, TG_WORKERS_MAX = 1024 };

/* The thread that loads scripts, so that no worker waits while one loads, and that tells of workers that
 * are stuck. */
struct tg_loader {
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool made;
    unsigned wanted;         /* under lock: reloads asked for */
    bool quit;               /* under lock */
    pthread_mutex_t loading; /* one at a time: a reload, or what is loaded to be started again */
    atomic_bool give_up;
};

enum tg_gateway_state {
    TG_GATEWAY_LOADED, /* and does not listen */
    TG_GATEWAY_STARTED,
    TG_GATEWAY_ENDED, /* a stop is over: to be started again it has to be loaded again */
};

/* What a host has added to the script's routes and interceptors. */
struct tg_host_stage {
    struct tg_host_interceptor interceptor;
    char *method;
    char *path; /* NULL: it is around every request */
    struct tg_host_stage *next;
};

struct tg_limit_set {
    char name[32];
    double value;
};

struct tidegate {
    struct tg_log log;
    void (*host_log)(void *arg, enum tidegate_level level, const char *line);
    void *host_log_arg;
    void (*on_reload)(void *arg, enum tidegate_status status);
    void *on_reload_arg;
    int (*setup)(struct lua_State *L, void *arg);
    void *setup_arg;
    char *script;
    char *text;     /* or NULL */
    char *tls_cert; /* both, or NULL */
    char *tls_key;
    struct event_base *base;

    uint64_t made_at; /* coarse milliseconds */
    atomic_uint reloads_failed;
    struct tg_common common;
    struct tg_worker *workers;
    unsigned worker_count;
    char **listen;
    size_t listen_count;
    struct tg_limit_set *limits; /* that win over the script's */
    size_t limit_count;
    unsigned workers_asked; /* as the options say */
    bool watched;
    bool sound;         /* its options are all there */
    bool loaded;        /* its script once was, and it has workers */
    bool running;       /* tidegate_run() has not returned */
    atomic_bool secure; /* it listens with TLS */
    enum tg_gateway_state state;
    struct tg_host_stage *stages; /* in the order of adding */

    struct tg_loader loader;
    unsigned stuck_after;   /* seconds */
    struct tg_watch *watch; /* of the script's files; or NULL */
    struct tg_wake *reload; /* on the host's loop, where there is one: that is where it loads */
    const struct tg_generation *last; /* the first worker's newest; while it loads, the loader's */
    struct tg_buf error;
};

/* Loads the script for the first worker (and so learns how many there are to be) and then for the
 * others, and sets them up.  On TG_EINVAL g->error has the script's problems. */
enum tg_status tg_gateway_open(struct tidegate *g);

/* Loads the script for w, on any thread.  On TG_EINVAL *problems has its problems. */
struct tg_loading {
    uint64_t number; /* of the generation */
    bool trial;      /* w serves nobody */
    bool program;    /* the script is no service */
};
enum tg_status tg_gateway_load(struct tidegate *g, struct tg_worker *w,
                               const struct tg_loading *loading, struct tg_generation **out,
                               struct tg_buf *problems);

/* Adds what the host wants to a script that does not serve yet. */
enum tg_status tg_gateway_add_stage(const struct tg_host_stage *stage, struct tg_lua_script *script,
                                    struct tg_buf *problems);

/* Loads the script anew for every worker, aside, and switches them all or none.  Logs what came of it,
 * and why not.  On the loader's thread, or on the host's. */
enum tg_status tg_gateway_reload(struct tidegate *g);

/* Any thread, while the gateway is there: for struct tg_lua_host. */
void tg_gateway_stats(void *gateway, struct tg_host_stats *out);
void tg_gateway_loop_stats(void *gateway, unsigned worker, struct tg_loop_stats *out);
const struct tg_route_stats *tg_gateway_routes(void *gateway, unsigned worker);

/* After a stop, while no worker runs: loads the script anew for every worker, which is as new after it.
 * On TG_EINVAL g->error has the script's problems; on a failure it may be tried again. */
enum tg_status tg_gateway_reopen(struct tidegate *g);

/* Asks for a reload.  Any thread. */
enum tg_status tg_loader_ask(struct tidegate *g);
enum tg_status tg_loader_open(struct tidegate *g);
enum tg_status tg_loader_start(struct tidegate *g); /* its thread; for loops of our own */
void tg_loader_close(struct tidegate *g);           /* gives up what is being loaded */

/* Around whatever loads. */
void tg_loader_begin(struct tidegate *g);
void tg_loader_end(struct tidegate *g);

/* On its loop's thread, or where that does not run: the requests of tidegate_call() that w has, which
 * hear of it now. */
void tg_calls_end(struct tg_worker *w);

#endif
