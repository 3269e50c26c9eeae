/* server.c - evhttp, accepting, and the list of connections. */
#include "http/server_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/mem.h"
#include "util/store.h"

enum { READ_SIZE = 65536 };

static const struct timeval accept_pause = {0, 100000}; /* when descriptors have run out */
static const struct timeval next_turn = {0, 0};
static const struct timeval resume_rest = {3600, 0};

const struct tg_server_options *tg_server_options(const struct tg_server *server)
{
    return &server->o;
}

struct tg_slots *tg_server_slots(struct tg_server *server)
{
    return &server->slots;
}

struct tg_deadlines *tg_server_deadlines(struct tg_server *server)
{
    return &server->deadlines;
}

struct tg_hangups *tg_server_hangups(struct tg_server *server)
{
    return &server->hangups;
}

static void on_hangup(void *arg, uint64_t id)
{
    const struct tg_server *server = arg;
    struct tg_handle handle = {(uint32_t)(id >> 32), (uint32_t)id};
    struct tg_conn *conn = tg_slots_find(&server->slots, handle);
    if (conn)
        tg_conn_hung_up(conn);
}

bool tg_server_stopping(const struct tg_server *server)
{
    return server->stopping;
}

size_t tg_server_connections(const struct tg_server *server)
{
    return server->conn_count;
}

void tg_server_each(const struct tg_server *server, bool (*fn)(void *arg, const void *owner),
                    void *arg)
{
    const struct tg_conn *conn;
    TAILQ_FOREACH(conn, &server->conns, link)
    if (conn->events && !fn(arg, conn->owner))
        return;
}

struct tg_field *tg_server_field_space(struct tg_server *server, size_t *count)
{
    const struct tg_limits *limits = server->o.limits;
    size_t want = limits->head_fields ? limits->head_fields : 1000;
    if (want != server->field_count) {
        tg_free(server->fields);
        server->fields = tg_calloc(want, sizeof *server->fields);
        server->field_count = server->fields ? want : 0;
    }
    *count = server->field_count;
    return server->fields;
}

char *tg_server_read_space(struct tg_server *server, size_t *size)
{
    *size = READ_SIZE;
    return server->read_space;
}

/* A rate limit whose bucket of reading is overdrawn beyond all time, and whose other is bottomless. */
int tg_server_suspend_reading(struct tg_server *server, struct bufferevent *bev)
{
    if (bufferevent_set_rate_limit(bev, server->no_reading) != 0)
        return -1;
    return bufferevent_decrement_read_limit(bev, EV_RATE_LIMIT_MAX);
}

static struct ev_token_bucket_cfg *make_no_reading(void)
{
    static const struct timeval forever = {4000000, 0}; /* its milliseconds fit 32 bits */
    return ev_token_bucket_cfg_new(1, 1, EV_RATE_LIMIT_MAX, EV_RATE_LIMIT_MAX, &forever);
}

struct tg_slice tg_server_date(struct tg_server *server)
{
    time_t now = time(NULL);
    if (now != server->date_at) {
        char date[TG_HTTP_DATE_SIZE];
        tg_http_date(date, now);
        snprintf(server->date, sizeof server->date, "Date: %s\r\n", date);
        server->date_at = now;
    }
    return (struct tg_slice){server->date, strlen(server->date)};
}

/* --- Accepting -------------------------------------------------------------------------------- */

static void set_accepting(struct tg_server *server, bool accepting)
{
    server->accepting = accepting;
    for (size_t i = 0; i < server->listener_count; i++) {
        if (!server->listeners[i].listener)
            continue;
        if (accepting)
            evconnlistener_enable(server->listeners[i].listener);
        else
            evconnlistener_disable(server->listeners[i].listener);
    }
}

static bool full(const struct tg_server *server)
{
    uint64_t most = server->o.limits->connections;
    return most && atomic_load_explicit(server->o.connections, memory_order_relaxed) >= most;
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_server *server = arg;
    bool waits = !server->accepting && !server->stopping;
    /* Another server's connection may be the one that ends. */
    event_add(&server->resume, waits && full(server) ? &accept_pause : &resume_rest);
    if (waits && !full(server))
        set_accepting(server, true);
}

static void stop_accepting(struct tg_server *server)
{
    set_accepting(server, false);
    event_add(&server->resume, &accept_pause);
}

struct search {
    const struct evhttp *http;
    struct tg_server *found;
};

static int is_our_resume(const struct event_base *base, const struct event *event, void *arg)
{
    (void)base;
    struct search *search = arg;
    if (event_get_callback(event) != on_resume)
        return 0;
    struct tg_server *server = event_get_callback_arg(event);
    if (server->http == search->http || server->https == search->http)
        search->found = server;
    return search->found != NULL;
}

/* Out of descriptors: to try again at once would only burn the processor.  evhttp has made itself
 * the argument of the listener's callbacks and knows nothing of us, but the loop does. */
void tg_server_on_accept_error(struct evconnlistener *listener, void *arg)
{
    int error = errno;
    struct search search = {arg, NULL};
    if (error != EMFILE && error != ENFILE && error != ENOMEM && error != ENOBUFS)
        return;
    event_base_foreach_event(evconnlistener_get_base(listener), is_our_resume, &search);
    struct tg_server *server = search.found;
    if (!server)
        return;
    tg_log(server->o.log, TG_LOG_WARN, "accept: %s; trying again in 100 ms",
           strerrordesc_np(error));
    stop_accepting(server);
}

void tg_server_wake(struct tg_server *server, struct tg_conn *conn, bool at_once)
{
    if (!conn->wake_due) {
        conn->wake_due = true;
        server->wake_count++;
        TAILQ_INSERT_TAIL(&server->wakes, conn, wake_link);
    }
    /* event_active() from the event's own callback would never let the loop go on. */
    if (at_once)
        event_active(&server->wake, EV_TIMEOUT, 1);
    else if (!event_pending(&server->wake, EV_TIMEOUT, NULL))
        event_add(&server->wake, &next_turn);
}

static void take_off_wakes(struct tg_server *server, struct tg_conn *conn)
{
    if (!conn->wake_due)
        return;
    conn->wake_due = false;
    server->wake_count--;
    TAILQ_REMOVE(&server->wakes, conn, wake_link);
}

/* Those that are on the list now: what they wake in turn has the next turn. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_server *server = arg;
    struct tg_conn *conn;
    for (size_t n = server->wake_count; n && (conn = TAILQ_FIRST(&server->wakes)) != NULL; n--) {
        take_off_wakes(server, conn);
        tg_conn_chores(conn);
    }
}

void tg_server_adopt(struct tg_server *server, struct tg_conn *conn)
{
    TAILQ_INSERT_TAIL(&server->conns, conn, link);
    server->conn_count++;
    atomic_fetch_add_explicit(server->o.connections, 1, memory_order_relaxed);
    if (full(server) && server->accepting)
        stop_accepting(server);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_server *server = arg;
    if (server->on_idle)
        server->on_idle(server->on_idle_arg);
}

static void check_idle(struct tg_server *server)
{
    static const struct timeval at_once = {0, 0};
    if (server->stopping && !server->conn_count)
        event_add(&server->idle, &at_once);
}

static void count_address(struct tg_server *server, struct tg_conn *conn, int by,
                          struct tg_value *sum)
{
    struct tg_slice key = {conn->address, strlen(conn->address)};
    struct tg_value step = {.kind = TG_VALUE_INTEGER, .as.integer = by};
    if (tg_store_increment(server->o.addresses, key, &step, 0, sum) == TG_OK &&
        sum->as.integer <= 0)
        tg_store_delete(server->o.addresses, key);
}

bool tg_server_admit(struct tg_server *server, struct tg_conn *conn)
{
    uint16_t port;
    uint64_t most = server->o.limits->connections_per_address;
    struct tg_value sum = {.kind = TG_VALUE_INTEGER};
    const char *address = most && server->o.addresses ? tg_conn_peer(conn, &port) : "";
    if (!*address || strcmp(address, "unix:") == 0)
        return true;
    conn->address = tg_strdup(address);
    if (!conn->address)
        return true; /* it is not counted, but served */
    count_address(server, conn, 1, &sum);
    if ((uint64_t)sum.as.integer <= most)
        return true;
    tg_log(server->o.log, TG_LOG_DEBUG, "%s: more than limits.connections_per_address", address);
    return false;
}

void tg_server_forget(struct tg_server *server, struct tg_conn *conn)
{
    struct tg_value sum;
    if (conn->address)
        count_address(server, conn, -1, &sum);
    tg_free(conn->address);
    conn->address = NULL;
    take_off_wakes(server, conn);
    TAILQ_REMOVE(&server->conns, conn, link);
    tg_slots_remove(&server->slots, conn->handle);
    server->conn_count--;
    atomic_fetch_sub_explicit(server->o.connections, 1, memory_order_relaxed);
    if (!server->accepting && !server->stopping && !full(server))
        set_accepting(server, true); /* a descriptor is free, too */
    check_idle(server);
}

static struct bufferevent *make_bev(struct event_base *base, void *arg)
{
    (void)base;
    struct tg_conn *conn = tg_conn_new(arg, false);
    /* NULL makes evhttp use a bufferevent of its own; find_conn() then knows nothing of its
     * requests, and it is closed. */
    return conn ? conn->bev : NULL;
}

static struct bufferevent *make_secure_bev(struct event_base *base, void *arg)
{
    (void)base;
    struct tg_conn *conn = tg_conn_new(arg, true);
    return conn ? conn->bev : NULL;
}

/* Only we write heads for evhttp; what is not in the form that we write is not ours. */
static struct tg_conn *find_conn(struct tg_server *server, struct evhttp_request *req)
{
    struct tg_handle handle;
    const char *target = evhttp_request_get_uri(req);
    if (!target || !tg_handle_parse(target, &handle))
        return NULL;
    struct tg_conn *conn = tg_slots_find(&server->slots, handle);
    if (!conn || conn->state != TG_CONN_READY)
        return NULL;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    return evcon && evhttp_connection_get_bufferevent(evcon) == conn->bev ? conn : NULL;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct tg_conn *conn = find_conn(arg, req);
    if (conn)
        tg_conn_request(conn, req);
    else
        evhttp_connection_free(evhttp_request_get_connection(req));
}

static void set_up(struct tg_server *server, struct evhttp *http,
                   struct bufferevent *(*make)(struct event_base *, void *))
{
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_max_headers_size(http, 1024);
    evhttp_set_max_body_size(http, 0);
    evhttp_set_bevcb(http, make, server);
    evhttp_set_gencb(http, on_request, server);
}

/* --- TLS -------------------------------------------------------------------------------------- */

struct evhttp *tg_server_https(struct tg_server *server)
{
    if (server->https)
        return server->https;
    if (tg_tls_space_init(&server->space) != TG_OK)
        return NULL;
    server->https = evhttp_new(server->o.base);
    if (server->https)
        set_up(server, server->https, make_secure_bev);
    return server->https;
}

void tg_server_set_tls(struct tg_server *server, struct tg_tls_context *context)
{
    struct tg_tls_context *before = server->tls;
    if (!context && server->https)
        return; /* who listens with TLS goes on with what there was */
    server->tls = context ? tg_tls_context_hold(context) : NULL;
    tg_tls_context_release(before);
}

bool tg_server_is_secure(const struct tg_server *server)
{
    return server->https != NULL;
}

struct tg_tls_context *tg_server_tls(const struct tg_server *server)
{
    return server->tls;
}

struct tg_tls_space *tg_server_tls_space(struct tg_server *server)
{
    return &server->space;
}

/* --- Life ------------------------------------------------------------------------------------- */

struct tg_server *tg_server_new(const struct tg_server_options *options)
{
    struct tg_server *server = tg_calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->o = *options;
    server->accepting = true;
    TAILQ_INIT(&server->conns);
    TAILQ_INIT(&server->wakes);
    tg_deadlines_init(&server->deadlines, options->base);
    enum tg_status hangups = tg_hangups_init(&server->hangups, options->base, on_hangup, server);
    event_assign(&server->wake, options->base, -1, 0, on_wake, server);
    tg_slots_init(&server->slots);
    event_assign(&server->idle, options->base, -1, 0, on_idle, server);
    server->http = evhttp_new(options->base);
    event_assign(&server->resume, options->base, -1, 0, on_resume, server);
    server->no_reading = make_no_reading();
    server->read_space = tg_malloc(READ_SIZE);
    if (!server->http || !server->no_reading || !server->read_space || hangups != TG_OK ||
        event_add(&server->resume, &resume_rest) != 0) {
        tg_server_free(server);
        return NULL;
    }
    set_up(server, server->http, make_bev);
    return server;
}

void tg_server_stop(struct tg_server *server, void (*on_idle_fn)(void *arg), void *arg)
{
    struct tg_conn *conn = TAILQ_FIRST(&server->conns);
    server->stopping = true;
    server->on_idle = on_idle_fn;
    server->on_idle_arg = arg;
    tg_server_close_listeners(server); /* whoever connects now is refused, and may try elsewhere */
    while (conn) {
        struct tg_conn *next = TAILQ_NEXT(conn, link);
        tg_conn_close_idle(conn);
        conn = next;
    }
    check_idle(server);
}

void tg_server_free(struct tg_server *server)
{
    if (!server)
        return;
    server->stopping = true;
    while (!TAILQ_EMPTY(&server->conns))
        tg_conn_destroy(TAILQ_FIRST(&server->conns), TG_GONE_SHUTDOWN);
    event_del(&server->idle);
    event_del(&server->wake);
    event_del(&server->resume);
    if (server->http)
        evhttp_free(server->http); /* frees the listeners that are bound to it */
    if (server->https)
        evhttp_free(server->https);
    tg_tls_space_fini(&server->space);
    tg_tls_context_release(server->tls);
    for (size_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i].path && server->listeners[i].listener)
            unlink(server->listeners[i].path);
    tg_server_forget_listeners(server);
    if (server->no_reading)
        ev_token_bucket_cfg_free(server->no_reading);
    tg_deadlines_fini(&server->deadlines);
    tg_hangups_fini(&server->hangups);
    tg_slots_fini(&server->slots);
    tg_free(server->read_space);
    tg_free(server->fields);
    tg_free(server);
}
