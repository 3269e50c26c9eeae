/* tidegate.c - the public interface, on top of everything else. */
#include <tidegate.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <event2/event.h>

#include "api/worker.h"
#include "io/deadline.h"
#include "io/loop.h"
#include "util/mem.h"

#define STRING(x) #x
#define VALUE(x)  STRING(x)

enum { ERROR_MAX = 65536 };

struct tidegate {
    struct tg_log log;
    void (*host_log)(void *arg, enum tidegate_level level, const char *line);
    void *host_log_arg;

    struct tg_worker worker;
    bool worker_open;
    char **listen;
    size_t listen_count;
    bool own_base;
    bool started;

    struct tg_wake *wake; /* tidegate_stop() */
    atomic_uint stops;
    unsigned stops_seen;
    struct tg_deadlines deadlines;
    bool deadlines_made;
    struct tg_deadline drain;
    struct tg_buf error;
};

/* --- Options and errors ----------------------------------------------------------------------- */

const char *tidegate_version(void)
{
    return VALUE(TIDEGATE_VERSION_MAJOR) "." VALUE(TIDEGATE_VERSION_MINOR) "." VALUE(
        TIDEGATE_VERSION_PATCH);
}

void tidegate_options_init(struct tidegate_options *options, size_t size)
{
    memset(options, 0, size);
    options->size = size;
    options->access_log = 1;
    options->log_level = TIDEGATE_INFO;
}

const char *tidegate_error(const struct tidegate *g)
{
    return g->error.p ? g->error.p : "";
}

static enum tidegate_status public_status(enum tg_status status)
{
    switch (status) {
    case TG_OK:
        return TIDEGATE_OK;
    case TG_AGAIN:
        return TIDEGATE_AGAIN;
    case TG_ENOMEM:
        return TIDEGATE_ENOMEM;
    case TG_ECLOSED:
        return TIDEGATE_ECLOSED;
    case TG_EINVAL:
    case TG_ELIMIT:
        return TIDEGATE_EINVAL;
    case TG_EIO:
        break;
    }
    return TIDEGATE_EIO;
}

static void set_error(struct tidegate *g, const char *what, const char *why)
{
    tg_buf_clear(&g->error);
    if (tg_buf_addf(&g->error, "%s: %s", what, why) != TG_OK)
        tg_buf_clear(&g->error);
}

static void pass_log(void *arg, enum tg_level level, const char *line)
{
    const struct tidegate *g = arg;
    g->host_log(g->host_log_arg, (enum tidegate_level)level, line);
}

/* --- Life ------------------------------------------------------------------------------------- */

static enum tg_status copy_listen(struct tidegate *g, const struct tidegate_options *options)
{
    if (!options->listen_count)
        return TG_OK;
    g->listen = tg_calloc(options->listen_count, sizeof *g->listen);
    if (!g->listen)
        return TG_ENOMEM;
    for (size_t i = 0; i < options->listen_count; i++) {
        g->listen[i] = tg_strdup(options->listen[i]);
        if (!g->listen[i])
            return TG_ENOMEM;
        g->listen_count++;
    }
    return TG_OK;
}

static void on_idle(void *arg)
{
    struct tidegate *g = arg;
    if (g->own_base)
        event_base_loopbreak(g->worker.base);
}

static void stop_at_once(void *arg)
{
    struct tidegate *g = arg;
    tg_server_free(g->worker.server);
    g->worker.server = NULL;
    on_idle(g);
}

static void on_stop(void *arg)
{
    struct tidegate *g = arg;
    unsigned stops = atomic_load(&g->stops);
    bool first = g->stops_seen == 0;
    g->stops_seen = stops;
    if (!g->worker.server)
        return;
    if (first && stops == 1) {
        tg_server_stop(g->worker.server, on_idle, g);
        if (g->worker.limits.drain)
            tg_deadline_set(&g->drain, g->worker.limits.drain);
    } else {
        stop_at_once(g);
    }
}

static enum tg_status open_all(struct tidegate *g, const struct tidegate_options *options)
{
    struct tg_worker_options worker = {
        .base = options->base,
        .log = &g->log,
        .access_log = options->access_log,
        .dev = options->dev,
        .path = options->script ? options->script : "script",
        .text = options->script_text,
        .setup = options->setup,
        .setup_arg = options->setup_arg,
    };
    if (options->workers > 1)
        tg_log(&g->log, TG_LOG_WARN, "workers: %u were asked for, there is one so far",
               options->workers);
    enum tg_status status = copy_listen(g, options);
    if (status != TG_OK)
        return status;
    g->worker_open = true;
    status = tg_worker_open(&g->worker, &worker, &g->error);
    if (status != TG_OK)
        return status;
    g->wake = tg_wake_new(g->worker.base, on_stop, g);
    tg_deadlines_init(&g->deadlines, g->worker.base);
    g->deadlines_made = true;
    status = tg_deadline_init(&g->drain, &g->deadlines, stop_at_once, g);
    if (status != TG_OK)
        return status;
    return g->wake ? TG_OK : TG_EIO;
}

enum tidegate_status tidegate_new(struct tidegate **out, const struct tidegate_options *options)
{
    *out = NULL;
    if (options->size != sizeof *options || (!options->script && !options->script_text))
        return TIDEGATE_EINVAL;
    struct tidegate *g = tg_calloc(1, sizeof *g);
    if (!g)
        return TIDEGATE_ENOMEM;
    g->own_base = !options->base;
    g->host_log = options->log;
    g->host_log_arg = options->log_arg;
    g->log = (struct tg_log){options->log ? pass_log : NULL, g, (enum tg_level)options->log_level};
    tg_buf_init(&g->error, ERROR_MAX);

    enum tg_status status = open_all(g, options);
    if (status == TG_EINVAL) { /* the script's problems are in g->error */
        *out = g;
        return TIDEGATE_ESCRIPT;
    }
    if (status != TG_OK) {
        tidegate_free(g);
        return public_status(status);
    }
    *out = g;
    return TIDEGATE_OK;
}

void tidegate_free(struct tidegate *g)
{
    if (!g)
        return;
    tg_deadline_fini(&g->drain);
    if (g->deadlines_made)
        tg_deadlines_fini(&g->deadlines);
    tg_wake_free(g->wake);
    if (g->worker_open)
        tg_worker_close(&g->worker);
    for (size_t i = 0; i < g->listen_count; i++)
        tg_free(g->listen[i]);
    tg_free(g->listen);
    tg_buf_fini(&g->error);
    tg_free(g);
}

static const char *address_to_listen_on(const struct tidegate *g, size_t n)
{
    if (g->listen_count)
        return n < g->listen_count ? g->listen[n] : NULL;
    if (tg_lua_script_listen(g->worker.script, 0))
        return tg_lua_script_listen(g->worker.script, n);
    return n == 0 ? "127.0.0.1:8080" : NULL;
}

enum tidegate_status tidegate_start(struct tidegate *g)
{
    const char *address;
    const char *why;
    if (!g->worker.server || g->started)
        return TIDEGATE_EINVAL;
    g->started = true;
    for (size_t n = 0; (address = address_to_listen_on(g, n)) != NULL; n++) {
        enum tg_status status = tg_server_listen(g->worker.server, address, &why);
        if (status != TG_OK) {
            set_error(g, address, why);
            return public_status(status == TG_EINVAL ? TG_EIO : status);
        }
    }
    return TIDEGATE_OK;
}

enum tidegate_status tidegate_run(struct tidegate *g)
{
    if (!g->own_base || !g->started)
        return TIDEGATE_EINVAL;
    return event_base_dispatch(g->worker.base) < 0 ? TIDEGATE_EIO : TIDEGATE_OK;
}

void tidegate_stop(struct tidegate *g)
{
    atomic_fetch_add(&g->stops, 1);
    tg_wake(g->wake);
}

/* --- What there is ---------------------------------------------------------------------------- */

const char *tidegate_listener(const struct tidegate *g, size_t n)
{
    return g->worker.server ? tg_server_url(g->worker.server, n) : NULL;
}

uint16_t tidegate_port(const struct tidegate *g, size_t n)
{
    return g->worker.server ? tg_server_port(g->worker.server, n) : 0;
}

void tidegate_each_route(const struct tidegate *g,
                         void (*fn)(void *arg, const struct tidegate_route_info *), void *arg)
{
    const struct tg_lua_route *route;
    if (!g->worker.script)
        return;
    for (size_t n = 0; (route = tg_lua_script_route(g->worker.script, n)) != NULL; n++) {
        const char *names[64];
        struct tidegate_route_info info = {
            .method = *route->method ? route->method : "any",
            .host = route->host ? route->host : "",
            .path = route->path,
            .name = route->chain.route_name ? route->chain.route_name : "",
            .interceptors = names,
        };
        for (size_t i = 0; i < route->chain.count && i < sizeof names / sizeof *names; i++)
            names[info.interceptor_count++] = route->chain.items[i]->name;
        fn(arg, &info);
    }
}
