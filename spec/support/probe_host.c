/* probe_host.c - a host in C for specs: gateways on a loop of its own, with handlers of every kind. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <tidegate.h>

#include "util/mem.h"

#define HOST "probe.Host"

enum { TICKETS = 16, NOTES = 65536, OTHERS = 4 };

struct host {
    struct event_base *base;
    struct tidegate *g;
    struct tidegate_ticket *tickets[TICKETS]; /* that nobody has resumed yet */
    int ticket_count;
    pthread_t thread; /* of tidegate_run(), where the loops are the gateway's */
    bool running;
    enum tidegate_status ran;
    struct host *again;   /* is started again once it has stopped */
    pthread_mutex_t lock; /* of notes and tickets */
    pthread_t others[OTHERS];
    atomic_bool storms;
    atomic_uint asked;
    atomic_uint answers;
    char notes[NOTES]; /* what has happened, in its order */
    bool answered;
    int ref; /* of the answer of call() */
    lua_State *L;
};

static void note(struct host *host, const char *what)
{
    pthread_mutex_lock(&host->lock);
    size_t len = strlen(host->notes);
    snprintf(host->notes + len, sizeof host->notes - len, "%s%s", len ? " " : "", what);
    pthread_mutex_unlock(&host->lock);
}

/* Any thread.  What there is no room for is resumed at once. */
static void keep_ticket(struct host *host, struct tidegate_ticket *ticket)
{
    pthread_mutex_lock(&host->lock);
    bool kept = host->ticket_count < TICKETS;
    if (kept)
        host->tickets[host->ticket_count++] = ticket;
    pthread_mutex_unlock(&host->lock);
    if (!kept)
        tidegate_resume(ticket);
}

static struct tidegate_ticket *take_ticket(struct host *host)
{
    pthread_mutex_lock(&host->lock);
    struct tidegate_ticket *ticket =
        host->ticket_count ? host->tickets[--host->ticket_count] : NULL;
    pthread_mutex_unlock(&host->lock);
    return ticket;
}

static struct host *host_at(lua_State *L)
{
    return luaL_checkudata(L, 1, HOST);
}

/* --- Handlers --------------------------------------------------------------------------------- */

static void on_close(void *arg, const char *reason)
{
    char text[64];
    snprintf(text, sizeof text, "closed:%s", reason);
    note(arg, text);
}

static void h_bytes(struct tidegate_exchange *x, void *arg)
{
    char text[512];
    uint16_t port;
    tidegate_on_close(x, on_close, arg);
    const char *header = tidegate_header(x, "x-one");
    snprintf(text, sizeof text, "%s %s %s %s %s %s %s", tidegate_method(x), tidegate_target(x),
             tidegate_path(x), tidegate_query(x), tidegate_param(x, "name"),
             header ? header : "none", tidegate_peer(x, &port));
    tidegate_set_header(x, "X-From", "C");
    if (tidegate_set_header(x, "X-Bad", "a\r\nb") != TIDEGATE_EINVAL)
        note(arg, "took a bad header");
    tidegate_respond_bytes(x, 201, "text/plain", text, strlen(text));
}

/* What would speak against the framing, or is nothing. */
static void h_headers(struct tidegate_exchange *x, void *arg)
{
    static const char *const refused[][2] = {
        {"Content-Length", "3"},
        {"transfer-encoding", "chunked"},
        {"Connection", "upgrade"},
        {"X-Null", NULL},
        {NULL, "a"},
        {"", "a"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (tidegate_set_header(x, refused[i][0], refused[i][1]) != TIDEGATE_EINVAL)
            note(arg, "took a bad header");
    tidegate_set_header(x, "connection", "close");
    tidegate_set_header(x, "Date", "Thu, 01 Jan 1970 00:00:00 GMT");
    tidegate_set_header(x, "X-Two", "one");
    tidegate_set_header(x, "X-Two", "two");
    if (tidegate_respond_bytes(x, 200, "a\nb", "", 0) != TIDEGATE_EINVAL ||
        tidegate_respond_bytes(x, 200, NULL, NULL, 1) != TIDEGATE_EINVAL ||
        tidegate_respond_bytes(x, 100, NULL, "", 0) != TIDEGATE_EINVAL)
        note(arg, "took a bad response");
    if (*tidegate_failure(x))
        note(arg, "has failed");
    tidegate_respond_bytes(x, 200, NULL, "set", 3);
}

static void h_nothing(struct tidegate_exchange *x, void *arg)
{
    (void)x;
    (void)arg;
}

static void h_fail(struct tidegate_exchange *x, void *arg)
{
    (void)arg;
    tidegate_set_header(x, "X-Lost", "of the response that there is not");
    tidegate_fail(x, 418, "it is a teapot");
}

struct counted {
    struct host *host;
    int64_t left;
    bool fails;
    bool drains;
};

static void on_drain(void *arg)
{
    note(((struct counted *)arg)->host, "drained");
}

static enum tidegate_status produce(void *arg, struct tidegate_writer *w)
{
    static const char piece[1000] = "piece";
    struct counted *body = arg;
    while (body->left > 0) {
        size_t n = body->left < 1000 ? (size_t)body->left : 1000;
        enum tidegate_status status = tidegate_write(w, piece, n);
        if (status < 0)
            return status;
        body->left -= (int64_t)n;
        if (status != TIDEGATE_AGAIN)
            continue;
        if (body->drains)
            tidegate_on_drain(w, on_drain, body);
        body->drains = false;
        return TIDEGATE_AGAIN;
    }
    return body->fails ? TIDEGATE_EIO : TIDEGATE_OK;
}

static void close_body(void *arg)
{
    struct counted *body = arg;
    note(body->host, "body-closed");
    free(body);
}

static void respond_counted(struct tidegate_exchange *x, struct host *host, int64_t bytes,
                            bool length, bool fails)
{
    struct counted *body = malloc(sizeof *body);
    *body = (struct counted){host, bytes, fails, true};
    struct tidegate_body b = {"text/x-pieces", length ? bytes : -1, produce, close_body, body};
    if (tidegate_respond(x, 200, &b) != TIDEGATE_OK)
        note(host, "not taken");
}

static int64_t bytes_of(struct tidegate_exchange *x)
{
    const char *text = tidegate_param(x, "bytes");
    return text ? strtoll(text, NULL, 10) : -1;
}

static void h_body(struct tidegate_exchange *x, void *arg)
{
    int64_t bytes = bytes_of(x);
    tidegate_on_close(x, on_close, arg);
    if (bytes < 0)
        tidegate_fail(x, 503, "no memory");
    else
        respond_counted(x, arg, bytes, true, false);
}

static void h_chunked(struct tidegate_exchange *x, void *arg)
{
    int64_t bytes = bytes_of(x);
    if (bytes < 0)
        tidegate_fail(x, 503, "no memory");
    else
        respond_counted(x, arg, bytes, false, false);
}

static void h_broken(struct tidegate_exchange *x, void *arg)
{
    tidegate_on_close(x, on_close, arg);
    respond_counted(x, arg, 200000, true, true);
}

static void h_twice(struct tidegate_exchange *x, void *arg)
{
    respond_counted(x, arg, 10, true, false);
    respond_counted(x, arg, 20, true, false);
}

static enum tidegate_status stall(void *arg, struct tidegate_writer *w)
{
    (void)arg;
    (void)w;
    return TIDEGATE_AGAIN;
}

static void h_stall(struct tidegate_exchange *x, void *arg)
{
    struct tidegate_body b = {"text/plain", -1, stall, NULL, NULL};
    (void)arg;
    tidegate_respond(x, 200, &b);
}

/* A body that waits for tickets: a line for each. */
static enum tidegate_status lines(void *arg, struct tidegate_writer *w)
{
    struct counted *body = arg;
    if (body->left-- == 0)
        return TIDEGATE_OK;
    tidegate_write(w, "line\n", 5);
    struct host *host = body->host;
    struct tidegate_ticket *ticket = tidegate_body_suspend(w);
    if (!ticket)
        return TIDEGATE_ENOMEM;
    keep_ticket(host, ticket);
    return TIDEGATE_AGAIN;
}

static void h_lines(struct tidegate_exchange *x, void *arg)
{
    struct counted *body = malloc(sizeof *body);
    *body = (struct counted){arg, 2, false, false};
    struct tidegate_body b = {"text/plain", -1, lines, close_body, body};
    tidegate_on_close(x, on_close, arg);
    tidegate_respond(x, 200, &b);
}

static void resumed(struct tidegate_exchange *x, void *arg)
{
    note(arg, "resumed");
    tidegate_respond_bytes(x, 200, "text/plain", "later", 5);
}

static void h_suspend(struct tidegate_exchange *x, void *arg)
{
    struct host *host = arg;
    tidegate_on_close(x, on_close, arg);
    struct tidegate_ticket *ticket = tidegate_suspend(x, resumed, arg);
    if (ticket)
        keep_ticket(host, ticket);
}

static void echo(struct tidegate_exchange *x, void *arg);

static void echo_more(struct tidegate_exchange *x, void *arg)
{
    struct host *host = arg;
    (void)x;
    while (host->ticket_count)
        tidegate_resume(host->tickets[--host->ticket_count]);
}

static void echo(struct tidegate_exchange *x, void *arg)
{
    struct host *host = arg;
    char buf[1000];
    char text[64];
    static size_t total;
    size_t len;
    for (;;) {
        enum tidegate_status status = tidegate_read(x, buf, sizeof buf, &len);
        if (status == TIDEGATE_AGAIN) {
            keep_ticket(host, tidegate_suspend(x, echo, arg));
            tidegate_on_readable(x, echo_more, arg);
            return;
        }
        if (status != TIDEGATE_OK) {
            tidegate_fail(x, 400, "a bad body");
            return;
        }
        total += len;
        if (!len)
            break;
    }
    snprintf(text, sizeof text, "%zu", total);
    total = 0;
    tidegate_respond_bytes(x, 200, NULL, text, strlen(text));
}

static void i_enter(struct tidegate_exchange *x, void *arg)
{
    const char *stop = tidegate_header(x, "x-stop");
    note(arg, "enter");
    if (stop)
        tidegate_respond_bytes(x, 403, NULL, "stopped", 7);
}

static void i_leave(struct tidegate_exchange *x, void *arg)
{
    note(arg, "leave");
    if (!tidegate_header(x, "x-decorate"))
        return;
    tidegate_set_header(x, "X-Leave", "C");
    tidegate_set_header(x, "Content-Type", "text/of-no-response-of-mine");
}

static void i_error(struct tidegate_exchange *x, void *arg)
{
    note(arg, "error");
    const char *rescue = tidegate_header(x, "x-rescue");
    if (rescue)
        tidegate_respond_bytes(x, 200, NULL, tidegate_failure(x), strlen(tidegate_failure(x)));
    else if (tidegate_header(x, "x-pass"))
        tidegate_fail(x, 0, NULL);
    else
        tidegate_fail(x, 418, tidegate_failure(x));
}

/* --- Functions for scripts ---------------------------------------------------------------------- */

struct job {
    struct host *host;
    bool raises;
};

static void begin(struct tidegate_ticket *ticket, void *arg)
{
    struct job *job = arg;
    keep_ticket(job->host, ticket);
}

static int finish(lua_State *L, void *arg)
{
    struct job job = *(struct job *)arg;
    free(arg);
    note(job.host, "finished");
    if (job.raises)
        return luaL_error(L, "the host's error");
    lua_pushliteral(L, "from C");
    lua_pushinteger(L, 2);
    return 2;
}

static void cancelled(void *arg)
{
    note(((struct job *)arg)->host, "cancelled");
    free(arg);
}

/* work(raises) */
static int l_work(lua_State *L)
{
    struct job *job = malloc(sizeof *job);
    *job = (struct job){lua_touserdata(L, lua_upvalueindex(1)), lua_toboolean(L, 1)};
    return tidegate_lua_wait(L, begin, finish, cancelled, job);
}

static int setup(lua_State *L, void *arg)
{
    lua_pushlightuserdata(L, arg);
    lua_pushcclosure(L, l_work, 1);
    lua_setglobal(L, "work");
    return 0;
}

/* --- From the spec ------------------------------------------------------------------------------ */

static const struct {
    const char *method;
    const char *path;
    tidegate_handler fn;
} routes[] = {
    {"GET", "/bytes/:name", h_bytes}, {"GET", "/headers", h_headers},
    {"GET", "/nothing", h_nothing},   {"GET", "/fail", h_fail},
    {"GET", "/body/:bytes", h_body},  {"GET", "/chunked/:bytes", h_chunked},
    {"GET", "/broken", h_broken},     {"GET", "/twice", h_twice},
    {"GET", "/stall", h_stall},       {"GET", "/lines", h_lines},
    {"GET", "/suspend", h_suspend},   {"POST", "/echo", echo},
};

static void on_stopped(void *arg)
{
    struct host *host = arg;
    note(host, "stopped");
    if (host->again && tidegate_start(host->g) == TIDEGATE_OK)
        note(host, "started");
    host->again = NULL;
}

struct opening {
    const char *script;
    const char *path;      /* instead; or NULL */
    const char *listen[2]; /* the second one may be NULL */
    bool with_routes;
    bool idle; /* it is not started */
};

static const char *open_gateway(struct host *host, const struct opening *opening)
{
    bool with_routes = opening->with_routes;
    struct tidegate_options o;
    tidegate_options_init(&o, sizeof o);
    o.script = opening->path ? opening->path : "host.lua";
    o.script_text = opening->path ? NULL : opening->script;
    o.listen = opening->listen[0];
    o.addresses = opening->listen + 1;
    o.address_count = opening->listen[1] ? 1 : 0;
    o.base = host->base;
    o.workers = 2;
    o.on_stopped = on_stopped;
    o.on_stopped_arg = host;
    o.setup = setup;
    o.setup_arg = host;
    enum tidegate_status status = tidegate_new(&host->g, &o);
    struct tidegate_interceptor around = {"around", i_enter, i_leave, i_error, host};
    if (status == TIDEGATE_OK && with_routes)
        status = tidegate_intercept(host->g, &around);
    for (size_t i = 0; i < sizeof routes / sizeof *routes && status == TIDEGATE_OK && with_routes;
         i++)
        status = tidegate_route(host->g, routes[i].method, routes[i].path, routes[i].fn, host);
    if (status == TIDEGATE_OK && !opening->idle)
        status = tidegate_start(host->g);
    if (status == TIDEGATE_OK)
        return NULL;
    return host->g ? tidegate_error(host->g) : "no gateway";
}

/* The options of new(), whose strings stay on the stack. */
static bool read_opening(lua_State *L, struct opening *opening)
{
    opening->listen[0] = "127.0.0.1:0";
    if (lua_isnoneornil(L, 4))
        return false;
    lua_getfield(L, 4, "path");
    opening->path = lua_tostring(L, -1);
    lua_getfield(L, 4, "listen");
    if (!lua_isnil(L, -1))
        opening->listen[0] = lua_tostring(L, -1);
    lua_getfield(L, 4, "listen_too");
    opening->listen[1] = lua_tostring(L, -1);
    lua_getfield(L, 4, "idle");
    opening->idle = lua_toboolean(L, -1);
    lua_getfield(L, 4, "own");
    return lua_toboolean(L, -1);
}

/* new(script[, routes = true[, fail at[, { path, listen, listen_too, idle, own }]]]) -> host; or nil, why and host.
 * own: loops of its own, two of them. */
static int p_new(lua_State *L)
{
    struct opening opening = {.script = luaL_checkstring(L, 1)};
    opening.with_routes = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
    unsigned fail_at = (unsigned)luaL_optinteger(L, 3, 0);
    bool own = read_opening(L, &opening);
    struct host *host = lua_newuserdatauv(L, sizeof *host, 0);
    *host = (struct host){.base = own ? NULL : event_base_new(), .ref = LUA_NOREF};
    pthread_mutex_init(&host->lock, NULL);
    luaL_setmetatable(L, HOST);
    tg_mem_fail_at(fail_at);
    const char *why = open_gateway(host, &opening);
    tg_mem_fail_at(0);
    if (!why)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, why);
    lua_pushvalue(L, -3);
    return 3;
}

static int h_port(lua_State *L)
{
    lua_pushinteger(L, tidegate_port(host_at(L)->g, 0));
    return 1;
}

/* --- Its life ----------------------------------------------------------------------------------- */

static int push_status(lua_State *L, const struct host *host, enum tidegate_status status)
{
    lua_pushinteger(L, status);
    lua_pushstring(L, tidegate_error(host->g));
    return 2;
}

/* start([fail at]) -> status, error */
static int h_start(lua_State *L)
{
    struct host *host = host_at(L);
    tg_mem_fail_at((unsigned)luaL_optinteger(L, 2, 0));
    enum tidegate_status status = tidegate_start(host->g);
    tg_mem_fail_at(0);
    return push_status(L, host, status);
}

/* stop([again]): it is started again from its own callback */
static int h_stop(lua_State *L)
{
    struct host *host = host_at(L);
    host->again = lua_toboolean(L, 2) ? host : NULL;
    tidegate_stop(host->g);
    return 0;
}

static void *run_on_thread(void *arg)
{
    struct host *host = arg;
    host->ran = tidegate_run(host->g);
    return NULL;
}

/* run(): on a thread of its own */
static int h_run(lua_State *L)
{
    struct host *host = host_at(L);
    host->running = pthread_create(&host->thread, NULL, run_on_thread, host) == 0;
    return 0;
}

/* join() -> status, error, of what run() has begun */
static int h_join(lua_State *L)
{
    struct host *host = host_at(L);
    pthread_join(host->thread, NULL);
    host->running = false;
    return push_status(L, host, host->ran);
}

/* loop([seconds[, fail at]]): some turns */
static int h_loop(lua_State *L)
{
    struct host *host = host_at(L);
    double seconds = luaL_optnumber(L, 2, 0);
    struct timeval tv = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    if (seconds > 0)
        event_base_loopexit(host->base, &tv);
    tg_mem_fail_at((unsigned)luaL_optinteger(L, 3, 0));
    event_base_loop(host->base, seconds > 0 ? 0 : EVLOOP_NONBLOCK);
    tg_mem_fail_at(0);
    return 0;
}

static void on_answer(void *arg, const struct tidegate_call_response *response)
{
    struct host *host = arg;
    lua_State *L = host->L;
    host->answered = true;
    if (!L)
        return;
    lua_newtable(L);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    lua_pushboolean(L, response->whole);
    lua_setfield(L, -2, "whole");
    lua_pushstring(L, response->headers);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, response->body, response->body_len);
    lua_setfield(L, -2, "body");
    host->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void on_noted_answer(void *arg, const struct tidegate_call_response *response)
{
    char text[64];
    snprintf(text, sizeof text, "answer:%d:%zu:%s", response->status, response->body_len,
             response->whole ? "whole" : "broken");
    note(arg, text);
}

/* ask(target) -> status: what is answered is a note, some time */
static int h_ask(lua_State *L)
{
    struct host *host = host_at(L);
    struct tidegate_call_request request = {"GET", luaL_checkstring(L, 2), NULL, NULL, 0};
    lua_pushinteger(L, tidegate_call(host->g, &request, on_noted_answer, host));
    return 1;
}

/* call(method, target, headers, body[, fail at]) -> { status, whole, headers, body }; or nil */
static int h_call(lua_State *L)
{
    struct host *host = host_at(L);
    size_t len;
    const char *body = luaL_optlstring(L, 5, "", &len);
    struct tidegate_call_request request = {luaL_checkstring(L, 2), luaL_checkstring(L, 3),
                                            luaL_optstring(L, 4, NULL), body, len};
    unsigned fail_at = (unsigned)luaL_optinteger(L, 6, 0);
    host->L = L;
    host->answered = false;
    tg_mem_fail_at(fail_at);
    enum tidegate_status status = tidegate_call(host->g, &request, on_answer, host);
    for (int i = 0; i < 5000 && status == TIDEGATE_OK && !host->answered; i++)
        event_base_loop(host->base, i < 100 ? EVLOOP_NONBLOCK : EVLOOP_ONCE | EVLOOP_NONBLOCK);
    tg_mem_fail_at(0);
    host->L = NULL;
    if (!host->answered) {
        lua_pushnil(L);
        lua_pushinteger(L, status);
        return 2;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, host->ref);
    luaL_unref(L, LUA_REGISTRYINDEX, host->ref);
    return 1;
}

static void *resume_on_thread(void *arg)
{
    tidegate_resume(arg);
    return NULL;
}

/* resume(): all tickets, each from a thread of its own -> how many */
static int h_resume(lua_State *L)
{
    struct host *host = host_at(L);
    int count = host->ticket_count;
    host->ticket_count = 0;
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, resume_on_thread, host->tickets[i]) == 0)
            pthread_join(thread, NULL);
    }
    lua_pushinteger(L, count);
    return 1;
}

/* --- Other threads ------------------------------------------------------------------------------ */

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static void *publish_on(void *arg)
{
    struct host *host = arg;
    for (; atomic_load(&host->storms); pause_a_little())
        tidegate_publish(host->g, "t", "e", "data", 4);
    return NULL;
}

static void *reload_on(void *arg)
{
    struct host *host = arg;
    for (; atomic_load(&host->storms); pause_a_little()) {
        int64_t sum;
        tidegate_reload(host->g);
        tidegate_shared_increment(host->g, "storm", tidegate_generation(host->g) ? "n" : "m", 1,
                                  &sum);
    }
    return NULL;
}

static void *resume_on(void *arg)
{
    struct host *host = arg;
    for (; atomic_load(&host->storms); pause_a_little()) {
        struct tidegate_ticket *ticket = take_ticket(host);
        if (ticket)
            tidegate_resume(ticket);
    }
    return NULL;
}

static void count_answer(void *arg)
{
    atomic_fetch_add(&((struct host *)arg)->answers, 1);
}

static void on_counted_answer(void *arg, const struct tidegate_call_response *response)
{
    (void)response;
    count_answer(arg);
}

static void see_exchange(void *arg, const struct tidegate_exchange_info *info)
{
    (void)arg;
    (void)info;
}

static void see_worker(void *arg, const struct tidegate_worker_info *info)
{
    (void)arg;
    (void)info;
}

static void *ask_on(void *arg)
{
    static const char *const targets[] = {"/", "/suspend", "/lines", "/half"};
    struct host *host = arg;
    for (unsigned i = 0; atomic_load(&host->storms); i++, pause_a_little()) {
        struct tidegate_call_request request = {"GET", targets[i % 4], NULL, NULL, 0};
        if (tidegate_call(host->g, &request, on_counted_answer, host) == TIDEGATE_OK)
            atomic_fetch_add(&host->asked, 1);
        if (tidegate_snapshot(host->g, 10, see_exchange, see_worker, count_answer, host) ==
            TIDEGATE_OK)
            atomic_fetch_add(&host->asked, 1);
    }
    return NULL;
}

/* storm(): other threads use the gateway, until calm() */
static int h_storm(lua_State *L)
{
    static void *(*const fns[OTHERS])(void *) = {publish_on, reload_on, resume_on, ask_on};
    struct host *host = host_at(L);
    atomic_store(&host->storms, true);
    for (int i = 0; i < OTHERS; i++)
        if (pthread_create(&host->others[i], NULL, fns[i], host) != 0)
            return luaL_error(L, "no thread");
    return 0;
}

static int h_calm(lua_State *L)
{
    struct host *host = host_at(L);
    atomic_store(&host->storms, false);
    for (int i = 0; i < OTHERS; i++)
        pthread_join(host->others[i], NULL);
    return 0;
}

/* asked() -> how many calls and snapshots were begun, and have ended */
static int h_asked(lua_State *L)
{
    struct host *host = host_at(L);
    lua_pushinteger(L, atomic_load(&host->asked));
    lua_pushinteger(L, atomic_load(&host->answers));
    return 2;
}

static int h_notes(lua_State *L)
{
    struct host *host = host_at(L);
    pthread_mutex_lock(&host->lock);
    lua_pushstring(L, host->notes);
    *host->notes = '\0';
    pthread_mutex_unlock(&host->lock);
    return 1;
}

/* route(method, path) -> status, error */
static int h_route(lua_State *L)
{
    struct host *host = host_at(L);
    lua_pushinteger(L, tidegate_route(host->g, luaL_checkstring(L, 2), luaL_checkstring(L, 3),
                                      h_nothing, host));
    lua_pushstring(L, tidegate_error(host->g));
    return 2;
}

/* What is asked with nothing in it: a list of what it comes to. */
static int h_nulls(lua_State *L)
{
    struct tidegate *g = host_at(L)->g;
    struct tidegate_call_request bodiless = {.method = "GET", .target = "/", .body_len = 1};
    struct tidegate_options none;
    struct tidegate *made = NULL;
    tidegate_options_init(&none, sizeof none);
    const int statuses[] = {
        tidegate_call(g, NULL, on_noted_answer, NULL),
        tidegate_call(g, &bodiless, on_noted_answer, NULL),
        tidegate_publish(g, NULL, NULL, "", 0),
        tidegate_publish(g, "t", NULL, NULL, 1),
        tidegate_shared_set(g, NULL, "k", "", 0, 0),
        tidegate_shared_set(g, "s", NULL, "", 0, 0),
        tidegate_shared_set(g, "s", "k", NULL, 1, 0),
        tidegate_shared_set(g, "s", "k", "", 0, NAN),
        tidegate_shared_set(g, "s", "k", "", 0, -1),
        tidegate_route(g, NULL, "/", h_nothing, NULL),
        tidegate_route(g, "GET", NULL, h_nothing, NULL),
        tidegate_route(g, "GET", "/", NULL, NULL),
        tidegate_intercept(g, NULL),
        tidegate_new(&made, &none),
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        lua_pushinteger(L, statuses[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushstring(L, tidegate_error(made));
    lua_pushstring(L, tidegate_error(NULL));
    lua_pushinteger(L, tidegate_shared_increment(g, "s", "counted", 2, NULL));
    tidegate_free(made);
    return 4;
}

static int h_reload(lua_State *L)
{
    lua_pushinteger(L, tidegate_reload(host_at(L)->g));
    return 1;
}

static int h_generation(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tidegate_generation(host_at(L)->g));
    return 1;
}

/* shared(store, key, value) -> what is there; counts under "n" */
static int h_shared(lua_State *L)
{
    struct host *host = host_at(L);
    char buf[64];
    size_t len;
    int64_t sum = 0;
    const char *value = luaL_checklstring(L, 4, &len);
    const char *store = luaL_checkstring(L, 2);
    const char *key = luaL_checkstring(L, 3);
    lua_pushinteger(L, tidegate_shared_set(host->g, store, key, value, len, 0));
    lua_pushinteger(L, tidegate_shared_get(host->g, store, key, buf, sizeof buf));
    lua_pushstring(L, buf);
    lua_pushinteger(L, tidegate_shared_increment(host->g, store, "n", 3, &sum));
    lua_pushinteger(L, (lua_Integer)sum);
    return 5;
}

static int h_publish(lua_State *L)
{
    size_t len;
    const char *data = luaL_checklstring(L, 3, &len);
    lua_pushinteger(L, tidegate_publish(host_at(L)->g, luaL_checkstring(L, 2), NULL, data, len));
    return 1;
}

/* Frees the gateway; tickets stay, to be resumed after it. */
static int h_free(lua_State *L)
{
    struct host *host = host_at(L);
    if (host->running) {
        tidegate_stop(host->g);
        tidegate_stop(host->g);
        h_join(L);
    }
    tidegate_free(host->g);
    host->g = NULL;
    return 0;
}

static int h_close(lua_State *L)
{
    struct host *host = host_at(L);
    h_free(L);
    h_resume(L);
    if (host->base) {
        event_base_loop(host->base, EVLOOP_NONBLOCK); /* bufferevents are freed from the loop */
        event_base_free(host->base);
    }
    host->base = NULL;
    return 0;
}

static int p_blocks(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_mem_blocks());
    return 1;
}

static const luaL_Reg methods[] = {
    {"port", h_port},
    {"loop", h_loop},
    {"call", h_call},
    {"resume", h_resume},
    {"notes", h_notes},
    {"route", h_route},
    {"nulls", h_nulls},
    {"free", h_free},
    {"close", h_close},
    {"shared", h_shared},
    {"publish", h_publish},
    {"reload", h_reload},
    {"generation", h_generation},
    {"start", h_start},
    {"stop", h_stop},
    {"run", h_run},
    {"join", h_join},
    {"ask", h_ask},
    {"storm", h_storm},
    {"calm", h_calm},
    {"asked", h_asked},
    {"__close", h_close},
    {"__gc", h_close},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"new", p_new}, {"blocks", p_blocks}, {NULL, NULL}};

__attribute__((visibility("default"))) int luaopen_probe_host(lua_State *L);

int luaopen_probe_host(lua_State *L)
{
    luaL_newmetatable(L, HOST);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
