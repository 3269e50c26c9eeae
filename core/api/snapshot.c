/* snapshot.c - asks the workers, and lets each answer from its loop: nothing is shared and nobody waits. */
#include "api/snapshot.h"

#include <stdio.h>
#include <string.h>

#include <tidegate.h>

#include "api/gateway.h"
#include "util/clock.h"
#include "util/mem.h"

enum { TARGET_MAX = 1024, METHOD_MAX = 64, WHERE_MAX = 256 };

struct snapshot;

/* Of one worker. */
struct tg_asked {
    struct snapshot *snapshot;
    struct tg_asked *next;
};

struct snapshot {
    size_t most;
    void (*exchange)(void *arg, const struct tidegate_exchange_info *info);
    void (*worker)(void *arg, const struct tidegate_worker_info *info);
    void (*done)(void *arg);
    void *arg;
    atomic_uint left; /* workers that have not answered */
    struct tg_asked asked[];
};

/* --- Answering -------------------------------------------------------------------------------- */

struct visit {
    const struct tg_worker *w;
    const struct snapshot *snapshot;
    size_t count;
};

static void print(char *text, size_t size, struct tg_slice slice)
{
    snprintf(text, size, "%.*s", (int)(slice.len < size ? slice.len : size - 1), slice.p);
}

static bool tell_of(void *arg, const void *owner)
{
    struct visit *visit = arg;
    const struct tg_exchange *x = owner;
    const struct tg_head *head = tg_conn_head(x->conn);
    char id[TG_EXCHANGE_ID_SIZE];
    char method[METHOD_MAX];
    char target[TARGET_MAX];
    char where[WHERE_MAX];
    uint16_t port;
    if (visit->count == visit->snapshot->most)
        return false;
    visit->count++;
    tg_exchange_print_id(x, id);
    print(method, sizeof method, tg_conn_span(x->conn, head->method));
    print(target, sizeof target, tg_conn_span(x->conn, head->target));
    x->script->ops->where(x, where, sizeof where);
    struct tidegate_exchange_info info = {
        .worker = visit->w->index + 1,
        .generation = x->generation,
        .id = id,
        .peer = tg_conn_peer(x->conn, &port),
        .method = method,
        .target = target,
        .route = tg_exchange_route(x),
        .phase = tg_exchange_phase(x),
        .where = where,
        .age = (tg_clock_ns() - x->started) / 1000000U,
        .bytes = x->writer.bytes,
    };
    info.unsent = tg_conn_unsent(x->conn, &info.stalled);
    visit->snapshot->exchange(visit->snapshot->arg, &info);
    return true;
}

static uint64_t look(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void fill(const struct tg_worker *w, struct tidegate_worker_info *info)
{
    const struct tg_engine_stats *stats = &w->engine.stats;
    info->generation = w->current->number;
    info->generations = 1;
    for (const struct tg_generation *old = w->retired; old; old = old->next)
        info->generations++;
    info->connections = tg_server_connections(w->server);
    info->exchanges = look(&stats->begun);
    for (size_t i = 0; i <= TG_ENDING_CANCELLED; i++)
        info->exchanges -= look(&stats->ended[i]);
    info->lua_memory = tg_lua_memory(tg_lua_script_state(w->current->script));
}

static void answer(const struct tg_worker *w, struct snapshot *snapshot, bool over)
{
    struct visit visit = {w, snapshot, 0};
    bool serves = !over && w->server && w->current && !w->drained;
    struct tidegate_worker_info info = {.worker = w->index + 1, .ended = !serves};
    if (serves) {
        tg_server_each(w->server, tell_of, &visit);
        fill(w, &info);
    }
    snapshot->worker(snapshot->arg, &info);
    if (atomic_fetch_sub(&snapshot->left, 1) > 1)
        return;
    snapshot->done(snapshot->arg);
    tg_free(snapshot);
}

static void answer_all(struct tg_worker *w, bool over)
{
    pthread_mutex_lock(&w->lock);
    struct tg_asked *asked = w->asked;
    w->asked = NULL;
    w->over = w->over || over;
    pthread_mutex_unlock(&w->lock);
    while (asked) {
        struct tg_asked *next = asked->next; /* the last answer frees it */
        answer(w, asked->snapshot, over);
        asked = next;
    }
}

void tg_snapshot_answer(struct tg_worker *w)
{
    answer_all(w, false);
}

void tg_snapshot_end(struct tg_worker *w)
{
    answer_all(w, true);
}

/* --- Asking ----------------------------------------------------------------------------------- */

/* False: its loop has ended. */
static bool ask(struct tg_worker *w, struct tg_asked *asked)
{
    pthread_mutex_lock(&w->lock);
    bool runs = !w->over;
    if (runs) {
        asked->next = w->asked;
        w->asked = asked;
    }
    pthread_mutex_unlock(&w->lock);
    if (runs)
        tg_worker_wake(w);
    return runs;
}

unsigned tidegate_workers(const struct tidegate *g)
{
    return g->worker_count;
}

/* NOLINTNEXTLINE(readability-function-size): what becomes of a snapshot is this much */
enum tidegate_status tidegate_snapshot(struct tidegate *g, size_t most,
                                       void (*exchange)(void *arg,
                                                        const struct tidegate_exchange_info *),
                                       void (*worker)(void *arg,
                                                      const struct tidegate_worker_info *),
                                       void (*done)(void *arg), void *arg)
{
    unsigned count = g->worker_count;
    if (!count)
        return TIDEGATE_EINVAL;
    struct snapshot *snapshot = tg_calloc(1, sizeof *snapshot + count * sizeof *snapshot->asked);
    if (!snapshot)
        return TIDEGATE_ENOMEM;
    snapshot->most = most;
    snapshot->exchange = exchange;
    snapshot->worker = worker;
    snapshot->done = done;
    snapshot->arg = arg;
    atomic_init(&snapshot->left, count);
    for (unsigned i = 0; i < count; i++) {
        struct tg_asked *asked = &snapshot->asked[i];
        asked->snapshot = snapshot;
        if (!ask(&g->workers[i], asked))
            answer(&g->workers[i], snapshot, true);
    }
    return TIDEGATE_OK;
}
