/* worker.c - puts the layers together for one loop, and moves it from generation to generation. */
#include "api/worker.h"

#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "api/gateway.h"
#include "api/snapshot.h"
#include "io/loop.h"
#include "io/port.h"
#include "upstream/client.h"
#include "util/mem.h"

/* --- Generations ------------------------------------------------------------------------------ */

void tg_generation_free(struct tg_generation *generation)
{
    if (!generation)
        return;
    tg_lua_script_free(generation->script);
    tg_free(generation);
}

/* From inside the end of an exchange, and so perhaps from inside the script's own Lua. */
static void on_unused(void *arg)
{
    struct tg_worker *w = arg;
    event_active(w->sweep, EV_TIMEOUT, 1);
}

static void on_generation_stopped(void *arg)
{
    struct tg_generation *generation = arg;
    generation->stopping = false;
    event_active(generation->worker->sweep, EV_TIMEOUT, 1);
}

/* Its exchanges are over; its on_stop may have more to do. */
static bool is_over(struct tg_generation *generation)
{
    if (tg_lua_script_engine(generation->script)->users || generation->stopping)
        return false;
    generation->stopping =
        tg_lua_script_stop(generation->script, on_generation_stopped, generation);
    return !generation->stopping;
}

static void free_unused(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_worker *w = arg;
    struct tg_generation **link = &w->retired;
    while (*link) {
        struct tg_generation *generation = *link;
        if (!is_over(generation)) {
            link = &generation->next;
            continue;
        }
        *link = generation->next;
        tg_log(w->common->log, TG_LOG_DEBUG, "worker %u: generation %llu has ended", w->index,
               (unsigned long long)generation->number);
        tg_generation_free(generation);
    }
}

static void choose_access_log(struct tg_worker *w)
{
    static const enum tg_access_format formats[] = {
        [TIDEGATE_ACCESS_OFF] = TG_ACCESS_OFF,
        [TIDEGATE_ACCESS_TEXT] = TG_ACCESS_TEXT,
        [TIDEGATE_ACCESS_JSON] = TG_ACCESS_JSON,
    };
    enum tidegate_access_log asked = w->common->access_log;
    w->engine.access.format =
        asked == TIDEGATE_ACCESS_SCRIPT ? tg_lua_script_log(w->current->script) : formats[asked];
    w->gather.timed = w->engine.access.format == TG_ACCESS_JSON;
}

static void adopt(struct tg_worker *w, struct tg_generation *generation)
{
    struct tg_script *script = tg_lua_script_engine(generation->script);
    w->current = generation;
    w->limits = *tg_lua_script_limits(generation->script);
    w->engine.script = script;
    if (w->server)
        tg_server_set_tls(w->server, tg_lua_script_tls(generation->script));
    if (w->alarm.started && tg_slices_tick(&w->limits) != w->slices.tick) {
        tg_worker_stop_alarm(w);
        tg_worker_start_alarm(w);
    }
    generation->worker = w;
    tg_lua_script_adopt(generation->script);
    tg_lua_script_count_in(generation->script, &w->routes);
    choose_access_log(w);
    if (w->serving)
        tg_lua_script_start(generation->script);
}

static void retire(struct tg_worker *w, struct tg_generation *generation)
{
    struct tg_script *script = tg_lua_script_engine(generation->script);
    generation->next = w->retired;
    w->retired = generation;
    script->on_unused_arg = w;
    script->on_unused = on_unused;
    if (!script->users)
        on_unused(w);
}

/* All workers go over with the first request, or wake, that they see after common->number was set. */
static void switch_over(struct tg_worker *w)
{
    struct tg_generation *next = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->next && w->next->number == atomic_load(&w->common->number)) {
        next = w->next;
        w->next = NULL;
    }
    pthread_mutex_unlock(&w->lock);
    if (!next)
        return;
    struct tg_generation *last = w->current;
    adopt(w, next);
    retire(w, last);
}

static void follow(struct tg_worker *w)
{
    if (atomic_load_explicit(&w->common->number, memory_order_acquire) != w->current->number)
        switch_over(w);
}

struct tg_generation *tg_worker_offer(struct tg_worker *w, struct tg_generation *next)
{
    pthread_mutex_lock(&w->lock);
    struct tg_generation *before = w->next;
    w->next = next;
    pthread_mutex_unlock(&w->lock);
    return before;
}

/* --- What the server calls -------------------------------------------------------------------- */

static void on_request(void *arg, struct tg_conn *conn)
{
    struct tg_worker *w = arg;
    follow(w);
    tg_exchange_begin(&w->engine, conn);
}

void tg_worker_begin(struct tg_worker *w, struct tg_conn *conn)
{
    on_request(w, conn);
}

static void on_refused(void *arg, struct tg_conn *conn, int status)
{
    struct tg_worker *w = arg;
    uint16_t port;
    tg_access_log_refused(&w->engine.access, tg_conn_peer(conn, &port), status);
    tg_route_count(w->refused, status, 0, 0);
}

/* Nothing sits in a buffer while its producer waits. */
void tg_worker_on_suspended(void *arg)
{
    struct tg_worker *w = arg;
    tg_count(&w->waits, 1);
    tg_gather_flush(&w->gather);
}

/* --- Stopping --------------------------------------------------------------------------------- */

static void finish(void *arg)
{
    struct tg_worker *w = arg;
    w->drained = true;
    w->serving = false;
    tg_lag_stop(&w->lag);
    tg_deadline_set(&w->drain, 0);
    if (w->own_base)
        event_base_loopbreak(w->base);
    else
        tg_wake(w->wake); /* the host hears of it from the loop: tell() */
}

static void end_exchanges(struct tg_worker *w)
{
    tg_memories_close(&w->memories);
    tg_calls_end(w);
    tg_server_free(w->server);
    w->server = NULL;
}

static void stop_at_once(void *arg)
{
    struct tg_worker *w = arg;
    end_exchanges(w);
    finish(w);
}

/* The last exchange has ended; the script may have something to say to that, until the drain limit. */
static void stop_script(struct tg_worker *w)
{
    if (!tg_lua_script_stop(w->current->script, finish, w))
        finish(w);
}

static void on_disconnected(void *arg)
{
    struct tg_worker *w = arg;
    w->disconnected = true;
    if (LIST_EMPTY(&w->calls))
        stop_script(w);
}

void tg_worker_calls_over(struct tg_worker *w)
{
    if (w->disconnected && !w->drained)
        stop_script(w);
}

static void stop(struct tg_worker *w)
{
    unsigned stops = atomic_load(&w->common->stops);
    bool first = !w->stops_seen;
    if (stops == w->stops_seen || !w->server)
        return;
    w->stops_seen = stops;
    if (!first || stops > 1) {
        stop_at_once(w);
        return;
    }
    tg_streams_stop(&w->streams); /* first: no script is to see the ends of its topics */
    tg_post_stop(w->post);
    tg_server_stop(w->server, on_disconnected, w);
    if (w->limits.drain)
        tg_deadline_set(&w->drain, w->limits.drain);
}

/* The last of all: the host may start the gateway again, or free it. */
static void tell(struct tg_worker *w)
{
    if (!w->drained || w->told)
        return;
    w->told = true;
    if (w->common->on_stopped && !w->own_base)
        w->common->on_stopped(w->common->on_stopped_arg);
}

static void on_wake(void *arg)
{
    struct tg_worker *w = arg;
    if (w->current)
        follow(w);
    tg_snapshot_answer(w);
    stop(w);
    tell(w);
}

void tg_worker_wake(struct tg_worker *w)
{
    tg_wake(w->wake);
}

/* --- Looking ---------------------------------------------------------------------------------- */

/* Memory is looked at together with the loop: it belongs to this thread. */
static void on_lag(void *arg)
{
    struct tg_worker *w = arg;
    size_t bytes = tg_lua_memory(tg_lua_script_state(w->current->script));
    for (const struct tg_generation *old = w->retired; old; old = old->next)
        bytes += tg_lua_memory(tg_lua_script_state(old->script));
    atomic_store_explicit(&w->lua_memory, bytes, memory_order_relaxed);
}

/* --- Life ------------------------------------------------------------------------------------- */

enum tg_status tg_worker_open(struct tg_worker *w, struct tg_common *common, unsigned index,
                              struct event_base *base)
{
    *w = (struct tg_worker){.common = common, .index = index, .base = base};
    w->slices.limits = &w->limits;
    if (pthread_mutex_init(&w->lock, NULL) != 0)
        return TG_ENOMEM;
    w->lock_made = true;
    if (!w->base) {
        w->base = tg_loop_new();
        w->own_base = true;
    }
    if (!w->base)
        return TG_EIO;
    w->wake = tg_wake_new(w->base, on_wake, w);
    if (!w->wake)
        return TG_EIO;
    tg_route_figures_init(&w->routes);
    tg_lag_init(&w->lag, w->base, on_lag, w);
    w->port = tg_port_new(w->base);
    if (!w->port)
        return TG_EIO;
    w->engine.port = w->port;
    w->sweep = event_new(w->base, -1, 0, free_unused, w);
    if (!w->sweep)
        return TG_ENOMEM;
    w->post = tg_post_new(common->broker, w->base);
    if (!w->post)
        return TG_EIO;
    tg_deadlines_init(&w->deadlines, w->base);
    tg_memories_init(&w->memories, w->base, &w->deadlines);
    tg_streams_init(&w->streams, w->base);
    enum tg_status status = tg_deadline_init(&w->drain, &w->deadlines, stop_at_once, w);
    w->drain_made = true;
    tg_limits_init(&w->limits);
    struct tg_upstream_options upstream = {
        .base = w->base, .limits = &w->limits, .host_loop = !w->own_base};
    w->upstream = tg_upstream_new(&upstream);
    return w->upstream ? status : TG_ENOMEM;
}

static enum tg_status open_server(struct tg_worker *w)
{
    struct tg_server_options server = {
        .base = w->base,
        .limits = &w->limits,
        .log = w->common->log,
        .host_loop = !w->own_base,
        .shared = w->common->shared,
        .addresses = w->common->addresses,
        .connections = &w->common->connections,
        .on_request = on_request,
        .on_refused = on_refused,
        .arg = w,
    };
    w->server = tg_server_new(&server);
    if (!w->server)
        return TG_ENOMEM;
    tg_server_set_tls(w->server, tg_lua_script_tls(w->current->script));
    return TG_OK;
}

enum tg_status tg_worker_serve(struct tg_worker *w, struct tg_generation *first)
{
    tg_access_log_init(&w->engine.access);
    w->engine.access.log = w->common->log;
    w->engine.access.write = w->common->access;
    w->engine.access.arg = w->common->access_arg;
    adopt(w, first);
    w->refused = tg_route_stats_of(&w->routes, "(refused)");
    enum tg_status status = tg_gather_init(&w->gather, w->limits.gather ? w->limits.gather : 65536);
    if (status != TG_OK)
        return status;
    choose_access_log(w); /* now there is a gather */
    w->engine.limits = &w->limits;
    w->engine.log = w->common->log;
    w->engine.gather = &w->gather;
    w->engine.dev = w->common->dev;
    w->engine.epoch = (uint32_t)time(NULL) + w->index * 0x9E3779B9U; /* ids differ by worker */
    return open_server(w);
}

static void free_generations(struct tg_worker *w)
{
    while (w->retired) {
        struct tg_generation *next = w->retired->next;
        tg_generation_free(w->retired);
        w->retired = next;
    }
    tg_generation_free(w->current);
    w->current = NULL;
    tg_generation_free(tg_worker_offer(w, NULL));
}

enum tg_status tg_worker_serve_again(struct tg_worker *w, struct tg_generation *first)
{
    end_exchanges(w);
    free_generations(w);
    tg_post_start(w->post);
    tg_streams_start(&w->streams);
    tg_deadline_set(&w->drain, 0);
    w->stops_seen = 0;
    w->serving = w->disconnected = w->drained = w->told = false;
    pthread_mutex_lock(&w->lock);
    w->over = false;
    pthread_mutex_unlock(&w->lock);
    adopt(w, first);
    return open_server(w);
}

void tg_worker_start_alarm(struct tg_worker *w)
{
    w->slices.tick = tg_slices_tick(&w->limits);
    if (!w->common->alarm_signal || !w->slices.tick || w->alarm.started)
        return;
    if (tg_alarm_start(&w->alarm, w->common->alarm_signal, w->slices.tick, tg_slices_on_tick,
                       &w->slices) != TG_OK)
        tg_log(w->common->log, TG_LOG_WARN,
               "worker %u: no timer for limits.slice and limits.script", w->index + 1);
}

void tg_worker_stop_alarm(struct tg_worker *w)
{
    tg_alarm_stop(&w->alarm);
}

void tg_worker_start(struct tg_worker *w)
{
    tg_worker_start_alarm(w);
    w->serving = true;
    tg_lag_start(&w->lag);
    tg_lua_script_start(w->current->script);
}

bool tg_worker_run(struct tg_worker *w)
{
    tg_worker_start(w);
    if (!w->drained)
        event_base_dispatch(w->base);
    tg_snapshot_end(w);
    tg_port_run(w->port); /* what was posted in time, nobody else would look at */
    tg_worker_stop_alarm(w);
    return w->drained;
}

void tg_worker_close(struct tg_worker *w)
{
    if (w->lock_made)
        tg_snapshot_end(w);
    end_exchanges(w);
    if (w->lock_made)
        free_generations(w);
    tg_port_close(w->port); /* now: who has waited for its jobs has left them */
    tg_upstream_free(w->upstream);
    tg_post_free(w->post);
    tg_gather_fini(&w->gather);
    tg_access_log_fini(&w->engine.access);
    tg_route_figures_fini(&w->routes);
    tg_lag_stop(&w->lag);
    if (w->drain_made) {
        tg_deadline_fini(&w->drain);
        tg_deadlines_fini(&w->deadlines);
        tg_streams_fini(&w->streams);
    }
    if (w->sweep)
        event_free(w->sweep);
    tg_wake_free(w->wake);
    tg_port_release(w->port);
    if (w->own_base && w->base) {
        event_base_loop(w->base, EVLOOP_NONBLOCK); /* bufferevents are freed from the loop */
        event_base_free(w->base);
    }
    if (w->lock_made)
        pthread_mutex_destroy(&w->lock);
    *w = (struct tg_worker){0};
}
