/* generation.c - loads a script for every worker, and switches all of them or none. */
#include "api/gateway.h"

#include <sched.h>
#include <string.h>

#include "api/trial.h"
#include "util/clock.h"
#include "util/mem.h"

enum { ROUTES_SHOWN = 10 };

static bool give_up(void *arg)
{
    struct tidegate *g = arg;
    return atomic_load_explicit(&g->loader.give_up, memory_order_relaxed);
}

static void on_file(void *arg, const char *path)
{
    struct tidegate *g = arg;
    enum tg_status status = tg_watch_add(g->watch, path);
    if (status != TG_OK)
        tg_log(&g->log, TG_LOG_WARN, "watch: %s: %s", path, tg_status_text(status));
}

static void on_saved(void *arg)
{
    tg_loader_ask(arg); /* its failure shows at the next save */
}

static void override_limits(struct tg_limits *limits, void *arg)
{
    const struct tidegate *g = arg;
    for (size_t i = 0; i < g->limit_count; i++)
        (void)tg_limits_set(limits, g->limits[i].name,
                            g->limits[i].value); /* it was tried before */
}

enum tg_status tg_gateway_add_stage(const struct tg_host_stage *stage, struct tg_lua_script *script,
                                    struct tg_buf *problems)
{
    if (!stage->path)
        return tg_lua_script_add_interceptor(script, &stage->interceptor.base);
    enum tg_status status =
        tg_lua_script_add_route(script, stage->method, stage->path, &stage->interceptor.base);
    if (status == TG_EINVAL)
        (void)!tg_buf_addf(problems, "%s: not a route", stage->interceptor.name);
    if (status == TG_ELIMIT)
        (void)!tg_buf_addf(problems, "%s: there is another such route", stage->interceptor.name);
    return status == TG_ELIMIT ? TG_EINVAL : status;
}

/* What the host has added so far, for a script that comes later. */
static enum tg_status add_host_stages(const struct tidegate *g, struct tg_lua_script *script,
                                      struct tg_buf *problems)
{
    enum tg_status status = TG_OK;
    for (const struct tg_host_stage *s = g->stages; s && status == TG_OK; s = s->next)
        status = tg_gateway_add_stage(s, script, problems);
    return status;
}

enum tg_status tg_gateway_load(struct tidegate *g, struct tg_worker *w,
                               const struct tg_loading *loading, struct tg_generation **out,
                               struct tg_buf *problems)
{
    struct tg_limits limits;
    tg_limits_init(&limits);
    struct tg_lua_script_options options = {
        .path = g->script,
        .text = g->text,
        .program = loading->program,
        .base = w->base,
        .log = &g->log,
        .upstream = w->upstream,
        .tls = {g->tls_cert, g->tls_key},
        .limits = &limits,
        .override = override_limits,
        .override_arg = g,
        .host = {.stores = g->common.stores,
                 .port = w->port,
                 .post = w->post,
                 .streams = &w->streams,
                 .ticket_key = g->common.ticket_key,
                 .gather = &w->gather,
                 .memories = &w->memories,
                 .trial = loading->trial,
                 .alone = loading->program,
                 .worker = loading->trial ? 0 : w->index + 1,
                 .generation = loading->number,
                 .stats = tg_gateway_stats,
                 .loop_stats = tg_gateway_loop_stats,
                 .routes = tg_gateway_routes,
                 .gateway = g},
        .slices = loading->program ? NULL : &w->slices,
        .suspended = tg_worker_on_suspended,
        .suspended_arg = w,
        .setup = g->setup,
        .setup_arg = g->setup_arg,
        .on_file = g->watch ? on_file : NULL,
        .on_file_arg = g,
        .give_up = give_up,
        .give_up_arg = g,
    };
    *out = tg_calloc(1, sizeof **out);
    if (!*out)
        return TG_ENOMEM;
    (*out)->number = loading->number;
    enum tg_status status = tg_lua_script_new(&(*out)->script, &options, problems);
    if (status == TG_OK) {
        status = add_host_stages(g, (*out)->script, problems);
        if (status == TG_OK)
            return TG_OK;
        tg_lua_script_free((*out)->script);
    }
    tg_free(*out);
    *out = NULL;
    return status;
}

static enum tg_status load_one(struct tidegate *g, struct tg_worker *w, uint64_t number,
                               struct tg_generation **out, struct tg_buf *problems)
{
    struct tg_loading loading = {.number = number};
    return tg_gateway_load(g, w, &loading, out, problems);
}

/* --- The first -------------------------------------------------------------------------------- */

static unsigned processors(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : (unsigned)count;
}

static unsigned count_workers(const struct tidegate *g, unsigned asked,
                              const struct tg_lua_script *script)
{
    if (g->base)
        return 1;
    if (!asked)
        asked = tg_lua_script_workers(script);
    if (!asked)
        asked = processors();
    return asked < TG_WORKERS_MAX ? asked : TG_WORKERS_MAX;
}

/* A worker's place, loop and first generation; *space is grown for those to come. */
static enum tg_status open_worker(struct tidegate *g, unsigned index)
{
    struct tg_worker *w = &g->workers[index];
    g->worker_count++;
    return tg_worker_open(w, &g->common, index, g->base);
}

static enum tg_status open_others(struct tidegate *g, struct tg_generation *first, unsigned count)
{
    g->common.shared = count > 1;
    atomic_store(&g->common.number, first->number);
    enum tg_status status = tg_worker_serve(&g->workers[0], first);
    for (unsigned i = 1; i < count && status == TG_OK; i++) {
        struct tg_generation *generation;
        status = open_worker(g, i);
        if (status == TG_OK)
            status = load_one(g, &g->workers[i], 1, &generation, &g->error);
        if (status == TG_OK)
            status = tg_worker_serve(&g->workers[i], generation);
    }
    return status;
}

enum tg_status tg_gateway_open(struct tidegate *g)
{
    struct tg_generation *first;
    unsigned most = g->base ? 1 : TG_WORKERS_MAX;
    g->workers = tg_calloc(most, sizeof *g->workers); /* they stay where they are */
    if (!g->workers)
        return TG_ENOMEM;
    enum tg_status status = open_worker(g, 0);
    if (status != TG_OK)
        return status;
    if (g->watched) {
        g->watch = tg_watch_new(g->workers[0].base, on_saved, g);
        if (!g->watch)
            return TG_EIO;
    }
    status = load_one(g, &g->workers[0], 1, &first, &g->error);
    if (status != TG_OK)
        return status;
    if (tg_lua_script_has_check(first->script))
        status = tg_trial_check(g, 1, &g->error);
    if (status != TG_OK) {
        tg_generation_free(first);
        return status;
    }
    g->last = first;
    return open_others(g, first, count_workers(g, g->workers_asked, first->script));
}

/* --- Reloading -------------------------------------------------------------------------------- */

static bool has_route(const struct tg_lua_script *script, const struct tg_lua_route *wanted)
{
    const struct tg_lua_route *route;
    for (size_t n = 0; (route = tg_lua_script_route(script, n)) != NULL; n++)
        if (strcmp(route->method, wanted->method) == 0 && strcmp(route->path, wanted->path) == 0 &&
            strcmp(route->host ? route->host : "", wanted->host ? wanted->host : "") == 0)
            return true;
    return false;
}

/* The routes of a that b has not, each after the sign. */
static size_t add_missing(struct tg_buf *text, char sign, const struct tg_lua_script *a,
                          const struct tg_lua_script *b)
{
    const struct tg_lua_route *route;
    size_t count = 0;
    for (size_t n = 0; (route = tg_lua_script_route(a, n)) != NULL; n++) {
        if (has_route(b, route))
            continue;
        if (++count <= ROUTES_SHOWN)
            (void)!tg_buf_addf(text, " %c%s %s%s", sign, *route->method ? route->method : "any",
                               route->host ? route->host : "", route->path);
    }
    if (count > ROUTES_SHOWN)
        (void)!tg_buf_addf(text, " and %zu more", count - ROUTES_SHOWN);
    return count;
}

static void report(struct tidegate *g, const struct tg_generation *next, uint64_t began)
{
    struct tg_buf routes;
    tg_buf_init(&routes, 8192);
    size_t count = add_missing(&routes, '+', next->script, g->last->script);
    count += add_missing(&routes, '-', g->last->script, next->script);
    tg_log(&g->log, TG_LOG_INFO, "reload: %s: generation %llu in %.1f ms; routes:%s", g->script,
           (unsigned long long)next->number, (double)(tg_clock_ns() - began) / 1e6,
           count ? routes.p : " the same");
    tg_buf_fini(&routes);
}

/* What a running gateway does not take from a new script. */
static void warn_of_fixed(struct tidegate *g, const struct tg_lua_script *next)
{
    const char *before;
    const char *after;
    size_t n = 0;
    do {
        before = tg_lua_script_listen(g->last->script, n);
        after = tg_lua_script_listen(next, n++);
    } while (before && after && strcmp(before, after) == 0);
    if (!g->listen_count && (before || after))
        tg_log(&g->log, TG_LOG_WARN, "reload: listen has changed: that takes a restart");
    if (!g->workers_asked && !g->base &&
        tg_lua_script_workers(g->last->script) != tg_lua_script_workers(next))
        tg_log(&g->log, TG_LOG_WARN, "reload: workers has changed: that takes a restart");
    if (tg_lua_script_tls(next) && !tg_lua_script_tls(g->last->script))
        tg_log(&g->log, TG_LOG_WARN, "reload: to listen with TLS takes a restart");
}

static bool lacks_tls(const struct tidegate *g, const struct tg_lua_script *next)
{
    return !tg_lua_script_tls(next) && atomic_load(&g->secure);
}

static void publish(struct tidegate *g, struct tg_generation **loaded, uint64_t number)
{
    g->last = loaded[0];
    for (unsigned i = 0; i < g->worker_count; i++)
        tg_generation_free(tg_worker_offer(&g->workers[i], loaded[i]));
    atomic_store(&g->common.number, number);
    for (unsigned i = 0; i < g->worker_count; i++)
        tg_worker_wake(&g->workers[i]);
}

static void log_problems(struct tidegate *g, struct tg_buf *problems, enum tg_status status)
{
    const char *why = problems->len && status == TG_EINVAL ? problems->p : tg_status_text(status);
    if (!atomic_load(&g->loader.give_up))
        tg_log(&g->log, TG_LOG_ERROR, "reload: the last good script serves on: %s", why);
}

static void free_all(const struct tidegate *g, struct tg_generation **loaded)
{
    for (unsigned i = 0; i < g->worker_count; i++)
        tg_generation_free(loaded[i]);
}

/* One for each worker, or on a failure none. */
static enum tg_status load_all(struct tidegate *g, uint64_t number, struct tg_generation **loaded,
                               struct tg_buf *problems)
{
    enum tg_status status = TG_OK;
    for (unsigned i = 0; i < g->worker_count && status == TG_OK; i++)
        status = load_one(g, &g->workers[i], number, &loaded[i], problems);
    if (status == TG_OK && lacks_tls(g, loaded[0]->script)) {
        (void)!tg_buf_addf(problems, "%s: no tls, and the gateway listens with it", g->script);
        status = TG_EINVAL;
    }
    if (status == TG_OK && tg_lua_script_has_check(loaded[0]->script))
        status = tg_trial_check(g, number, problems);
    if (status != TG_OK)
        free_all(g, loaded);
    return status;
}

static enum tg_status reload(struct tidegate *g)
{
    uint64_t began = tg_clock_ns();
    uint64_t number = atomic_load(&g->common.number) + 1;
    struct tg_buf problems;
    struct tg_generation **loaded = tg_calloc(g->worker_count, sizeof(struct tg_generation *));
    if (!loaded)
        return TG_ENOMEM;
    tg_buf_init(&problems, TG_ERROR_MAX);
    enum tg_status status = load_all(g, number, loaded, &problems);
    if (status == TG_OK) {
        report(g, loaded[0], began);
        warn_of_fixed(g, loaded[0]->script);
        publish(g, loaded, number);
    } else {
        log_problems(g, &problems, status);
    }
    tg_buf_fini(&problems);
    tg_free(loaded);
    return status;
}

static void tell(const struct tidegate *g, enum tidegate_status status)
{
    if (g->on_reload)
        g->on_reload(g->on_reload_arg, status);
}

enum tg_status tg_gateway_reload(struct tidegate *g)
{
    tell(g, TIDEGATE_AGAIN);
    tg_loader_begin(g);
    enum tg_status status = reload(g);
    tg_loader_end(g);
    if (status != TG_OK)
        atomic_fetch_add(&g->reloads_failed, 1);
    tell(g, status == TG_EINVAL ? TIDEGATE_ESCRIPT : tg_public_status(status));
    return status;
}

/* --- Starting again --------------------------------------------------------------------------- */

static enum tg_status reopen(struct tidegate *g, struct tg_generation **loaded)
{
    uint64_t number = atomic_load(&g->common.number) + 1;
    tg_buf_clear(&g->error);
    atomic_store(&g->secure, false); /* it does not listen */
    enum tg_status status = load_all(g, number, loaded, &g->error);
    if (status != TG_OK)
        return status;
    g->last = loaded[0];
    for (unsigned i = 0; i < g->worker_count; i++) {
        enum tg_status served = tg_worker_serve_again(&g->workers[i], loaded[i]);
        status = status == TG_OK ? served : status;
    }
    atomic_store(&g->common.number, number);
    atomic_store(&g->common.stops, 0);
    return status;
}

enum tg_status tg_gateway_reopen(struct tidegate *g)
{
    struct tg_generation **loaded = tg_calloc(g->worker_count, sizeof(struct tg_generation *));
    if (!loaded)
        return TG_ENOMEM;
    tg_loader_begin(g);
    enum tg_status status = reopen(g, loaded);
    tg_loader_end(g);
    tg_free(loaded);
    return status;
}
