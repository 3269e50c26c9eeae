/* tidegate.c - the public interface, on top of everything else. */
#include <tidegate.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/gateway.h"
#include "api/trial.h"
#include "io/sigpipe.h"
#include "util/clock.h"
#include "util/mem.h"
#include "util/percent.h"
#include "util/store.h"

#define STRING(x) #x
#define VALUE(x)  STRING(x)

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
    options->access_log = TIDEGATE_ACCESS_SCRIPT;
    options->log_level = TIDEGATE_INFO;
}

const char *tidegate_error(const struct tidegate *g)
{
    return g && g->error.p ? g->error.p : "";
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
    size_t one = options->listen ? 1 : 0;
    size_t count = one + options->address_count;
    if (!count)
        return TG_OK;
    g->listen = tg_calloc(count, sizeof *g->listen);
    if (!g->listen)
        return TG_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        g->listen[i] = tg_strdup(i < one ? options->listen : options->addresses[i - one]);
        if (!g->listen[i])
            return TG_ENOMEM;
        g->listen_count++;
    }
    return TG_OK;
}

/* Reads "NAME=VALUE" into *set: NULL, or why not. */
static const char *read_limit(const char *text, struct tg_limit_set *set)
{
    struct tg_limits unused;
    char *end;
    const char *equals = strchr(text, '=');
    if (!equals || (size_t)(equals - text) >= sizeof set->name)
        return "expected NAME=VALUE, with the name of a limit";
    memcpy(set->name, text, (size_t)(equals - text));
    set->name[equals - text] = '\0';
    set->value = strtod(equals + 1, &end);
    if (end == equals + 1 || *end)
        return "expected a number, of bytes or seconds";
    return tg_limits_set(&unused, set->name, set->value);
}

static enum tg_status copy_limits(struct tidegate *g, const struct tidegate_options *options)
{
    if (!options->limit_count)
        return TG_OK;
    g->limits = tg_calloc(options->limit_count, sizeof *g->limits);
    if (!g->limits)
        return TG_ENOMEM;
    for (size_t i = 0; i < options->limit_count; i++) {
        const char *why = read_limit(options->limits[i], &g->limits[i]);
        if (why) {
            set_error(g, options->limits[i], why);
            return TG_ELIMIT;
        }
        g->limit_count++;
    }
    return TG_OK;
}

static void copy_callbacks(struct tidegate *g, const struct tidegate_options *options)
{
    g->host_log = options->log;
    g->host_log_arg = options->log_arg;
    g->on_reload = options->on_reload;
    g->on_reload_arg = options->on_reload_arg;
    g->log = (struct tg_log){options->log ? pass_log : NULL, g, (enum tg_level)options->log_level};
    g->setup = options->setup;
    g->setup_arg = options->setup_arg;
    g->common.access = options->access;
    g->common.access_arg = options->access_arg;
    g->common.on_stopped = options->on_stopped;
    g->common.on_stopped_arg = options->on_stopped_arg;
}

static enum tg_status copy_options(struct tidegate *g, const struct tidegate_options *options)
{
    g->base = options->base;
    g->workers_asked = options->workers;
    g->watched = options->watch;
    g->common.log = &g->log;
    g->common.stores = tg_stores_new();
    g->common.own = tg_stores_new();
    g->common.access_log = (enum tidegate_access_log)options->access_log;
    g->common.dev = options->dev;
    g->common.broker = tg_broker_new();
    g->common.alarm_signal = options->alarm_signal;
    g->script = tg_strdup(options->script ? options->script : "script");
    g->text = options->script_text ? tg_strdup(options->script_text) : NULL;
    g->tls_cert = options->tls_cert ? tg_strdup(options->tls_cert) : NULL;
    g->tls_key = options->tls_key ? tg_strdup(options->tls_key) : NULL;
    if (!options->script && !options->script_text) {
        set_error(g, "script", "there is none: neither its path nor its text");
        return TG_ELIMIT;
    }
    if (!options->tls_cert != !options->tls_key) {
        set_error(g, "tls", "a certificate needs its key, and a key its certificate");
        return TG_ELIMIT;
    }
    if (!tg_tls_make_key(g->common.ticket_key))
        return TG_EIO;
    if (!g->common.stores || !g->common.broker || !g->common.own || !g->script ||
        (options->script_text && !g->text) || (options->tls_cert && !g->tls_cert) ||
        (options->tls_key && !g->tls_key))
        return TG_ENOMEM;
    enum tg_status status =
        tg_stores_open(g->common.own, TG_SLICE("addresses"), 0, &g->common.addresses);
    if (status == TG_OK)
        status = copy_limits(g, options);
    return status == TG_OK ? copy_listen(g, options) : status;
}

static enum tg_status open_workers(struct tidegate *g)
{
    enum tg_status status = tg_loader_open(g);
    if (status == TG_OK)
        status = tg_gateway_open(g);
    g->loaded = status == TG_OK;
    return status;
}

static void close_workers(struct tidegate *g)
{
    tg_loader_close(g);
    if (g->base && g->worker_count)
        tg_worker_stop_alarm(&g->workers[0]);
    tg_watch_free(g->watch);
    for (unsigned i = 0; i < g->worker_count; i++)
        tg_worker_close(&g->workers[i]);
    tg_free(g->workers);
    g->watch = NULL;
    g->workers = NULL;
    g->worker_count = 0;
    g->last = NULL;
}

static enum tg_status open_all(struct tidegate *g, const struct tidegate_options *options)
{
    enum tg_status status = copy_options(g, options);
    if (status != TG_OK)
        return status;
    g->sound = true;
    return open_workers(g);
}

/* Hosts that were compiled with an older header have fewer of them. */
static bool take_options(struct tidegate_options *out, const struct tidegate_options *options)
{
    if (options->size < offsetof(struct tidegate_options, on_stopped) ||
        options->size > sizeof *options)
        return false;
    tidegate_options_init(out, sizeof *out);
    memcpy(out, options, options->size);
    return true;
}

static struct tidegate *make(const struct tidegate_options *options)
{
    struct tidegate *g = tg_calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->made_at = tg_clock_coarse_ms();
    copy_callbacks(g, options);
    tg_buf_init(&g->error, TG_ERROR_MAX);
    return g;
}

enum tidegate_status tidegate_new(struct tidegate **out, const struct tidegate_options *given)
{
    struct tidegate_options options;
    *out = NULL;
    if (!take_options(&options, given))
        return TIDEGATE_EINVAL;
    struct tidegate *g = make(&options);
    if (!g)
        return TIDEGATE_ENOMEM;
    enum tg_status status = open_all(g, &options);
    if (status == TG_EINVAL) { /* the script's problems are in g->error */
        *out = g;
        return TIDEGATE_ESCRIPT;
    }
    if (status == TG_ELIMIT) { /* an option */
        *out = g;
        return TIDEGATE_EINVAL;
    }
    if (status != TG_OK) {
        tidegate_free(g);
        return tg_public_status(status);
    }
    *out = g;
    return TIDEGATE_OK;
}

/* --- What the host adds ----------------------------------------------------------------------- */

static void free_stage(struct tg_host_stage *stage)
{
    tg_free(stage->interceptor.name);
    tg_free(stage->method);
    tg_free(stage->path);
    tg_free(stage);
}

static struct tg_host_stage *new_stage(const char *name)
{
    struct tg_host_stage *stage = tg_calloc(1, sizeof *stage);
    if (!stage)
        return NULL;
    stage->interceptor.name = tg_strdup(name);
    if (stage->interceptor.name)
        return stage;
    tg_free(stage);
    return NULL;
}

/* Whether a route or an interceptor may still come; tidegate_error() has why not. */
static bool may_add(struct tidegate *g)
{
    tg_buf_clear(&g->error);
    if (g->loaded && g->state == TG_GATEWAY_LOADED)
        return true;
    set_error(g, g->script,
              g->loaded ? "it was started, and takes no more routes or interceptors"
                        : "it is not loaded");
    return false;
}

/* To the scripts that there are; takes stage. */
static enum tidegate_status add_stage(struct tidegate *g, struct tg_host_stage *stage)
{
    struct tg_host_stage **last = &g->stages;
    enum tg_status status = TG_OK;
    tg_host_interceptor_init(&stage->interceptor);
    tg_buf_clear(&g->error);
    for (unsigned i = 0; i < g->worker_count && status == TG_OK; i++)
        status = tg_gateway_add_stage(stage, g->workers[i].current->script, &g->error);
    if (status == TG_EINVAL || status == TG_ELIMIT) { /* not even the first has it */
        free_stage(stage);
        return TIDEGATE_EINVAL;
    }
    while (*last)
        last = &(*last)->next;
    *last = stage; /* some may have it, even when there was no memory for others */
    return tg_public_status(status);
}

enum tidegate_status tidegate_route(struct tidegate *g, const char *method, const char *path,
                                    tidegate_handler handler, void *arg)
{
    char name[128];
    if (!may_add(g))
        return TIDEGATE_EINVAL;
    if (!method || !path || !handler) {
        set_error(g, path ? path : "route", "a route has a method, a path and a handler");
        return TIDEGATE_EINVAL;
    }
    snprintf(name, sizeof name, "%s %s", *method ? method : "any", path);
    struct tg_host_stage *stage = new_stage(name);
    if (!stage)
        return TIDEGATE_ENOMEM;
    stage->method = tg_strdup(method);
    stage->path = tg_strdup(path);
    if (!stage->method || !stage->path) {
        free_stage(stage);
        return TIDEGATE_ENOMEM;
    }
    stage->interceptor.fn[TG_STAGE_ENTER] = handler;
    stage->interceptor.is_handler = true;
    stage->interceptor.arg = arg;
    return add_stage(g, stage);
}

enum tidegate_status tidegate_intercept(struct tidegate *g, const struct tidegate_interceptor *i)
{
    if (!may_add(g))
        return TIDEGATE_EINVAL;
    if (!i) {
        set_error(g, "interceptor", "there is none");
        return TIDEGATE_EINVAL;
    }
    struct tg_host_stage *stage = new_stage(i->name ? i->name : "host");
    if (!stage)
        return TIDEGATE_ENOMEM;
    stage->interceptor.fn[TG_STAGE_ENTER] = i->enter;
    stage->interceptor.fn[TG_STAGE_LEAVE] = i->leave;
    stage->interceptor.fn[TG_STAGE_ERROR] = i->error;
    stage->interceptor.arg = i->arg;
    return add_stage(g, stage);
}

void tidegate_free(struct tidegate *g)
{
    if (!g)
        return;
    close_workers(g);
    while (g->stages) {
        struct tg_host_stage *next = g->stages->next;
        free_stage(g->stages);
        g->stages = next;
    }
    tg_stores_free(g->common.stores);
    tg_stores_free(g->common.own);
    tg_broker_free(g->common.broker);
    for (size_t i = 0; i < g->listen_count; i++)
        tg_free(g->listen[i]);
    tg_free(g->listen);
    tg_free(g->script);
    tg_free(g->text);
    tg_free(g->tls_cert);
    tg_free(g->tls_key);
    tg_free(g->limits);
    tg_buf_fini(&g->error);
    tg_free(g);
}

enum tidegate_status tidegate_script_run(const struct tidegate_options *given,
                                         const char *const *args, size_t arg_count, int *code)
{
    struct tidegate_options options;
    *code = 0;
    if (!take_options(&options, given) || options.base)
        return TIDEGATE_EINVAL;
    struct tidegate *g = make(&options);
    if (!g)
        return TIDEGATE_ENOMEM;
    enum tg_status status = copy_options(g, &options);
    if (status == TG_OK)
        status = tg_trial_run(g, args, arg_count, code, &g->error);
    if (status == TG_EINVAL || status == TG_ELIMIT)
        tg_log(&g->log, TG_LOG_ERROR, "%s", tidegate_error(g));
    tidegate_free(g);
    return status == TG_EINVAL ? TIDEGATE_ESCRIPT : tg_public_status(status);
}

static const char *address_to_listen_on(const struct tidegate *g, size_t n)
{
    const struct tg_lua_script *script = g->workers[0].current->script;
    if (g->listen_count)
        return n < g->listen_count ? g->listen[n] : NULL;
    if (tg_lua_script_listen(script, 0))
        return tg_lua_script_listen(script, n);
    return n == 0 ? "127.0.0.1:8080" : NULL;
}

static struct tg_server *server_of(const struct tidegate *g)
{
    return g->worker_count ? g->workers[0].server : NULL;
}

static enum tidegate_status refused(struct tidegate *g, const char *address, const char *why,
                                    enum tg_status status)
{
    set_error(g, address, why);
    return tg_public_status(status == TG_EINVAL ? TG_EIO : status);
}

static enum tidegate_status listen_all(struct tidegate *g)
{
    const char *address;
    const char *why;
    for (size_t n = 0; (address = address_to_listen_on(g, n)) != NULL; n++) {
        enum tg_status status = tg_server_listen(server_of(g), address, &why);
        if (status != TG_OK)
            return refused(g, address, why, status);
    }
    for (unsigned i = 1; i < g->worker_count; i++) {
        enum tg_status status = tg_server_join(g->workers[i].server, server_of(g), &why);
        if (status != TG_OK)
            return refused(g, "workers", why, status);
    }
    atomic_store(&g->secure, tg_server_is_secure(server_of(g)));
    return TIDEGATE_OK;
}

static enum tg_status load_first(struct tidegate *g)
{
    tg_buf_clear(&g->error);
    close_workers(g);
    return open_workers(g);
}

/* What it has then is loaded just now. */
static enum tidegate_status reopen(struct tidegate *g)
{
    enum tg_status status = g->loaded ? tg_gateway_reopen(g) : load_first(g);
    if (status != TG_OK && !g->error.len)
        set_error(g, g->script, tg_status_text(status));
    if (status == TG_OK)
        g->state = TG_GATEWAY_LOADED;
    return status == TG_EINVAL ? TIDEGATE_ESCRIPT : tg_public_status(status);
}

/* Nothing of what was started goes on. */
static bool is_over(const struct tidegate *g)
{
    if (g->base)
        return g->workers[0].drained;
    return g->state == TG_GATEWAY_STARTED && !g->running && atomic_load(&g->common.stops);
}

enum tidegate_status tidegate_start(struct tidegate *g)
{
    if (!g->sound)
        return TIDEGATE_EINVAL;
    if (!g->loaded || is_over(g))
        g->state = TG_GATEWAY_ENDED;
    if (g->state == TG_GATEWAY_STARTED) {
        set_error(g, "start", "it was started, and has not stopped");
        return TIDEGATE_EINVAL;
    }
    tg_buf_clear(&g->error);
    enum tidegate_status status = g->state == TG_GATEWAY_ENDED ? reopen(g) : TIDEGATE_OK;
    if (status != TIDEGATE_OK)
        return status;
    status = listen_all(g);
    if (status != TIDEGATE_OK) { /* none of it: it may be tried again */
        for (unsigned i = 0; i < g->worker_count; i++)
            tg_server_unlisten(g->workers[i].server);
        return status;
    }
    g->state = TG_GATEWAY_STARTED;
    if (g->base)
        tg_worker_start(&g->workers[0]);
    return TIDEGATE_OK;
}

/* --- Running ---------------------------------------------------------------------------------- */

struct running {
    struct tidegate *g;
    struct tg_worker *worker;
    pthread_t thread;
    bool started;
    bool drained;
};

/* A worker that has died must not be hidden: the others stop. */
static void *run_worker(void *arg)
{
    struct running *r = arg;
    r->drained = tg_worker_run(r->worker);
    if (!r->drained) {
        tg_log(&r->g->log, TG_LOG_ERROR, "worker %u: its loop has ended by itself",
               r->worker->index);
        tidegate_stop(r->g);
    }
    return NULL;
}

/* They have the signal mask of this one, as what scripts start has in turn. */
static bool start_threads(struct running *all, unsigned count)
{
    bool started = true;
    for (unsigned i = 1; i < count && started; i++)
        started = all[i].started = pthread_create(&all[i].thread, NULL, run_worker, &all[i]) == 0;
    return started;
}

static enum tidegate_status run(struct tidegate *g)
{
    struct running *all = tg_calloc(g->worker_count, sizeof *all);
    if (!all)
        return TIDEGATE_ENOMEM;
    for (unsigned i = 0; i < g->worker_count; i++)
        all[i] = (struct running){.g = g, .worker = &g->workers[i]};
    g->running = true;
    uint64_t script = g->workers[0].limits.script;
    g->stuck_after = script ? (unsigned)(script / 1000) + 2 : 30;
    bool started = tg_loader_start(g) == TG_OK && start_threads(all, g->worker_count);
    if (!started) {
        set_error(g, "workers", "no thread for one of them");
        tidegate_stop(g);
        tidegate_stop(g);
    }
    run_worker(&all[0]);
    bool drained = all[0].drained;
    for (unsigned i = 1; i < g->worker_count; i++) {
        if (!all[i].started)
            continue;
        pthread_join(all[i].thread, NULL);
        drained = drained && all[i].drained;
    }
    tg_free(all);
    g->state = TG_GATEWAY_ENDED;
    g->running = false;
    if (started && !drained)
        set_error(g, "workers", "the loop of one of them has ended by itself");
    return started && drained ? TIDEGATE_OK : TIDEGATE_EIO;
}

/* Where SIGPIPE would end the process no worker hears it.  Where the host handles or ignores it, it stays
 * as it is, for what scripts start inherits the mask. */
enum tidegate_status tidegate_run(struct tidegate *g)
{
    struct tg_sigpipe hold;
    if (g->base || g->state != TG_GATEWAY_STARTED || g->running) {
        if (!g->running) /* while it runs its error is that thread's */
            set_error(g, "run", g->base ? "the host's loop runs it" : "it was not started");
        return TIDEGATE_EINVAL;
    }
    bool kills = tg_sigpipe_kills();
    if (kills)
        tg_sigpipe_hold(&hold);
    enum tidegate_status status = run(g);
    if (kills)
        tg_sigpipe_let_go(&hold, true);
    return status;
}

void tidegate_on_alarm(int number, siginfo_t *info, void *context)
{
    tg_alarm_on_signal(number, info, context);
}

void tidegate_stop(struct tidegate *g)
{
    atomic_fetch_add(&g->common.stops, 1);
    for (unsigned i = 0; i < g->worker_count; i++)
        tg_worker_wake(&g->workers[i]);
}

enum tidegate_status tidegate_reload(struct tidegate *g)
{
    if (!g->loaded)
        return TIDEGATE_EINVAL;
    return tg_public_status(tg_loader_ask(g));
}

uint64_t tidegate_generation(const struct tidegate *g)
{
    return atomic_load(&g->common.number);
}

/* --- What there is ---------------------------------------------------------------------------- */

const char *tidegate_listener(const struct tidegate *g, size_t n)
{
    return server_of(g) ? tg_server_url(server_of(g), n) : NULL;
}

uint16_t tidegate_port(const struct tidegate *g, size_t n)
{
    return server_of(g) ? tg_server_port(server_of(g), n) : 0;
}

enum { NAMES_MAX = 64 };

static struct tidegate_route_info describe(const struct tg_lua_route *route,
                                           const char *names[NAMES_MAX])
{
    struct tidegate_route_info info = {
        .method = *route->method ? route->method : "any",
        .host = route->host ? route->host : "",
        .path = route->path,
        .name = route->chain.route_name ? route->chain.route_name : "",
        .interceptors = names,
    };
    for (size_t i = 0; i < route->chain.count && i < NAMES_MAX; i++)
        names[info.interceptor_count++] = route->chain.items[i]->name;
    return info;
}

void tidegate_each_route(const struct tidegate *g,
                         void (*fn)(void *arg, const struct tidegate_route_info *), void *arg)
{
    const struct tg_lua_route *route;
    const char *names[NAMES_MAX];
    if (!g->worker_count || !g->workers[0].current)
        return;
    const struct tg_lua_script *script = g->workers[0].current->script;
    for (size_t n = 0; (route = tg_lua_script_route(script, n)) != NULL; n++) {
        struct tidegate_route_info info = describe(route, names);
        fn(arg, &info);
    }
}

/* --- Explaining ------------------------------------------------------------------------------- */

struct explaining {
    struct tg_match match;
    struct tidegate_param_info params[TG_ROUTE_PARAMS_MAX];
    struct tg_buf text; /* names and values, each with its NUL */
};

static enum tg_status add_decoded(struct tg_buf *text, struct tg_slice value)
{
    size_t before = text->len;
    enum tg_status status = tg_buf_add(text, value.p, value.len);
    if (status == TG_OK && value.len)
        text->len =
            before + tg_percent_decode(text->p + before, value.len, false, text->p + before);
    return status;
}

/* Where each begins is known once the buffer does not move any more. */
static enum tg_status copy_params(struct explaining *e)
{
    size_t at = 0;
    enum tg_status status = TG_OK;
    for (size_t i = 0; i < e->match.param_count && status == TG_OK; i++) {
        const struct tg_param *param = &e->match.params[i];
        status = tg_buf_add(&e->text, param->name.p, param->name.len);
        if (status == TG_OK)
            status = tg_buf_add(&e->text, "", 1);
        if (status == TG_OK)
            status = add_decoded(&e->text, param->value);
        if (status == TG_OK)
            status = tg_buf_add(&e->text, "", 1);
    }
    for (size_t i = 0; i < e->match.param_count && status == TG_OK; i++) {
        e->params[i].name = e->text.p + at;
        at += strlen(e->text.p + at) + 1;
        e->params[i].value = e->text.p + at;
        at += strlen(e->text.p + at) + 1;
    }
    return status;
}

static const struct tg_lua_route *route_of(const struct tg_lua_script *script, const void *chain)
{
    const struct tg_lua_route *route;
    for (size_t n = 0; (route = tg_lua_script_route(script, n)) != NULL; n++)
        if (&route->chain == chain)
            return route;
    return NULL;
}

static enum tidegate_status missed(enum tg_match_kind kind)
{
    return kind == TG_MATCH_NO_METHOD  ? TIDEGATE_AGAIN
           : kind == TG_MATCH_BAD_PATH ? TIDEGATE_EINVAL
                                       : TIDEGATE_ECLOSED;
}

/* NOLINTNEXTLINE(readability-function-size): a request is this much */
enum tidegate_status tidegate_explain(const struct tidegate *g, const char *method,
                                      const char *host, const char *path,
                                      void (*fn)(void *arg, const struct tidegate_route_info *route,
                                                 const struct tidegate_param_info *params,
                                                 size_t count),
                                      void *arg)
{
    const char *names[NAMES_MAX];
    if (!g->worker_count || !g->workers[0].current || *path != '/')
        return TIDEGATE_EINVAL;
    struct tg_lua_script *script = g->workers[0].current->script;
    struct explaining *e = tg_calloc(1, sizeof *e);
    if (!e)
        return TIDEGATE_ENOMEM;
    tg_buf_init(&e->text, TG_ERROR_MAX);
    tg_router_match(tg_lua_script_engine(script)->router, (struct tg_slice){method, strlen(method)},
                    (struct tg_slice){host, strlen(host)}, (struct tg_slice){path, strlen(path)},
                    &e->match);
    if (tg_percent_has_nul(path, strlen(path)))
        e->match.kind = TG_MATCH_BAD_PATH; /* a parameter would not be a C string */
    enum tidegate_status status = missed(e->match.kind);
    const struct tg_lua_route *route =
        e->match.kind == TG_MATCH_FOUND ? route_of(script, e->match.route) : NULL;
    if (route) {
        struct tidegate_route_info info = describe(route, names);
        status = tg_public_status(copy_params(e));
        if (status == TIDEGATE_OK)
            fn(arg, &info, e->params, e->match.param_count);
    }
    tg_buf_fini(&e->text);
    tg_free(e);
    return status;
}
