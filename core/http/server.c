/* server.c - listeners, evhttp, and the list of connections. */
#include "http/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <event2/listener.h>

#include "http/tls_impl.h"
#include "util/clock.h"
#include "util/mem.h"
#include "util/store.h"

enum { READ_SIZE = 65536, LISTENERS_MAX = 64, DATE_SIZE = sizeof "Date: \r\n" + TG_HTTP_DATE_SIZE };

static const struct timeval accept_pause = {0, 100000}; /* when descriptors have run out */
static const struct timeval next_turn = {0, 0};
static const struct timeval resume_rest = {3600, 0};

struct listener {
    struct evconnlistener *listener; /* NULL once it is closed */
    struct evhttp_bound_socket *bound;
    char *url;
    char *path; /* of a unix socket, to be removed; else NULL */
    uint16_t port;
    bool secure;    /* by TLS */
    bool one_queue; /* all workers accept from this very socket */
};

struct tg_server {
    struct tg_server_options o;
    struct evhttp *http;
    struct evhttp *https; /* for the listeners of TLS: its connections begin differently; or NULL */
    struct tg_tls_context *tls; /* of new connections; NULL: the script has none */
    struct tg_tls_space space;
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
    struct event resume; /* accepting, after descriptors had run out; always pending */
    bool accepting;
    bool stopping;
    void (*on_idle)(void *arg);
    void *on_idle_arg;
    struct event idle; /* calls on_idle from the loop */

    struct event wake; /* for the connections that have chores */
    TAILQ_HEAD(, tg_conn) wakes;
    size_t wake_count;

    struct tg_deadlines deadlines; /* of the connections */
    struct tg_hangups hangups;     /* of those that are not read */
    TAILQ_HEAD(, tg_conn) conns;
    size_t conn_count;
    struct tg_slots slots;

    struct ev_token_bucket_cfg *no_reading; /* for bufferevents: conn.c reads */
    char *read_space;                       /* READ_SIZE bytes */
    struct tg_field *fields;                /* space to parse into */
    size_t field_count;
    time_t date_at;
    char date[DATE_SIZE];
};

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
static void on_accept_error(struct evconnlistener *listener, void *arg)
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

static bool open_https(struct tg_server *server)
{
    if (tg_tls_space_init(&server->space) != TG_OK)
        return false;
    server->https = evhttp_new(server->o.base);
    if (server->https)
        set_up(server, server->https, make_secure_bev);
    return server->https != NULL;
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

/* --- Addresses -------------------------------------------------------------------------------- */

static struct listener *add_listener(struct tg_server *server, struct evconnlistener *l,
                                     bool secure)
{
    struct listener *added = &server->listeners[server->listener_count];
    if (secure && !server->https && !open_https(server))
        return NULL;
    struct evhttp_bound_socket *bound =
        evhttp_bind_listener(secure ? server->https : server->http, l);
    if (!bound)
        return NULL;
    server->listener_count++;
    *added = (struct listener){.listener = l, .bound = bound, .secure = secure};
    evconnlistener_set_error_cb(l, on_accept_error);
    return added;
}

static char *print_url(const struct sockaddr *address, bool secure, uint16_t *port)
{
    const char *scheme = secure ? "https" : "http";
    char host[INET6_ADDRSTRLEN];
    char url[INET6_ADDRSTRLEN + 24];
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        evutil_inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        *port = ntohs(v6->sin6_port);
        snprintf(url, sizeof url, "%s://[%s]:%u", scheme, host, (unsigned)*port);
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        evutil_inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        *port = ntohs(v4->sin_port);
        snprintf(url, sizeof url, "%s://%s:%u", scheme, host, (unsigned)*port);
    }
    return tg_strdup(url);
}

static enum tg_status listen_on(struct tg_server *server, const struct sockaddr *address, int len,
                                bool secure, struct listener **out)
{
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
    if (server->o.shared && address->sa_family != AF_UNIX)
        flags |= LEV_OPT_REUSEABLE_PORT;
    struct evconnlistener *l =
        evconnlistener_new_bind(server->o.base, NULL, NULL, flags, TG_READ_BACK_LOG, address, len);
    if (!l)
        return TG_EIO;
    *out = add_listener(server, l, secure);
    if (*out)
        return TG_OK;
    evconnlistener_free(l);
    return TG_ENOMEM;
}

/* A socket file that nobody listens on any more is in the way; one that is in use is not ours. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat info;
    if (stat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)(const void *)address, sizeof *address) != 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static enum tg_status listen_unix(struct tg_server *server, const char *path, const char **why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct listener *added = NULL;
    char url[sizeof address.sun_path + 8];
    if (!*path || strlen(path) >= sizeof address.sun_path) {
        *why = "the path of a unix socket has 1 to 107 bytes";
        return TG_EINVAL;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    remove_stale(&address);
    enum tg_status status =
        listen_on(server, (struct sockaddr *)(void *)&address, sizeof address, false, &added);
    if (status != TG_OK) {
        *why = strerrordesc_np(errno);
        return status;
    }
    snprintf(url, sizeof url, "unix:%s", path);
    added->one_queue = true;
    added->path = tg_strdup(path);
    added->url = tg_strdup(url);
    return added->url && added->path ? TG_OK : TG_ENOMEM;
}

/* Without Nagle's algorithm small chunks leave when they are written; sockets inherit it. */
static void no_delay(struct evconnlistener *l)
{
    int on = 1;
    setsockopt(evconnlistener_get_fd(l), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* With SO_REUSEPORT two gateways of one user would share a port without a word: one tries without. */
static bool in_use(const struct sockaddr *address, socklen_t len)
{
    int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false; /* whoever listens will see */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool used = bind(fd, address, len) != 0 && errno == EADDRINUSE;
    close(fd);
    return used;
}

static enum tg_status listen_inet(struct tg_server *server, const struct sockaddr *address,
                                  socklen_t len, bool secure, const char **why)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    struct listener *added = NULL;
    enum tg_status status = listen_on(server, address, (int)len, secure, &added);
    if (status != TG_OK) {
        *why = strerrordesc_np(errno);
        return status;
    }
    no_delay(added->listener);
    memset(&bound, 0, sizeof bound);
    getsockname(evconnlistener_get_fd(added->listener), (struct sockaddr *)&bound, &size);
    added->url = print_url((struct sockaddr *)&bound, secure, &added->port);
    return added->url ? TG_OK : TG_ENOMEM;
}

/* "host:port" and "[v6]:port", into what getaddrinfo() wants. */
static bool split(const char *address, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(address, ':');
    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 5 || strtoul(colon + 1, NULL, 10) > 65535)
        return false;
    const char *from = address;
    size_t len = (size_t)(colon - address);
    if (*from == '[') {
        if (len < 2 || colon[-1] != ']')
            return false;
        from++;
        len -= 2;
    } else if (memchr(from, ':', len)) {
        return false; /* an IPv6 address needs its brackets */
    }
    if (!len || len >= size)
        return false;
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return true;
}

/* A descriptor of our own for the same socket, and its queue. */
static enum tg_status share(struct tg_server *server, int fd, bool secure, struct listener **out,
                            const char **why)
{
    unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    struct evconnlistener *l =
        own < 0 ? NULL : evconnlistener_new(server->o.base, NULL, NULL, flags, 0, own);
    *out = l ? add_listener(server, l, secure) : NULL;
    if (*out)
        return TG_OK;
    *why = strerrordesc_np(errno);
    if (l)
        evconnlistener_free(l);
    else if (own >= 0)
        close(own);
    return TG_EIO;
}

static char *print_unix_url(const struct sockaddr_un *address, socklen_t len)
{
    char url[sizeof address->sun_path + 8];
    size_t room = len > offsetof(struct sockaddr_un, sun_path)
                      ? len - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    bool abstract = room && !address->sun_path[0];
    snprintf(url, sizeof url, "unix:%s%.*s", abstract ? "@" : "", (int)(abstract ? room - 1 : room),
             address->sun_path + abstract);
    return tg_strdup(url);
}

/* A socket that somebody else has made and listens on: it is his to remove. */
static enum tg_status listen_inherited(struct tg_server *server, const char *number, bool secure,
                                       const char **why)
{
    struct sockaddr_storage address;
    struct listener *added;
    socklen_t len = sizeof address;
    int listens = 0;
    socklen_t size = sizeof listens;
    char *end;
    long fd = strtol(number, &end, 10);
    memset(&address, 0, sizeof address);
    if (*number < '0' || *number > '9' || *end || fd > INT_MAX) {
        *why = "expected fd: and a number";
        return TG_EINVAL;
    }
    if (getsockname((int)fd, (struct sockaddr *)&address, &len) != 0 ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) {
        *why = strerrordesc_np(errno);
        return TG_EIO;
    }
    int family = address.ss_family;
    if (!listens || (family != AF_INET && family != AF_INET6 && family != AF_UNIX)) {
        *why = "not a socket that listens for TCP or unix connections";
        return TG_EINVAL;
    }
    evutil_make_socket_nonblocking((int)fd);
    secure = secure && family != AF_UNIX;
    enum tg_status status = share(server, (int)fd, secure, &added, why);
    if (status != TG_OK)
        return status;
    added->one_queue = true;
    if (family == AF_UNIX) {
        added->url = print_unix_url((const struct sockaddr_un *)(const void *)&address, len);
    } else {
        no_delay(added->listener);
        added->url = print_url((struct sockaddr *)&address, secure, &added->port);
    }
    return added->url ? TG_OK : TG_ENOMEM;
}

/* TCP is for TLS where the script has certificates, unless the address says otherwise. */
static bool take_scheme(const struct tg_server *server, const char **address)
{
    bool plain = strncmp(*address, "http://", 7) == 0;
    bool secure = strncmp(*address, "https://", 8) == 0;
    *address += plain ? 7 : secure ? 8 : 0;
    return secure || (server->tls && !plain);
}

enum tg_status tg_server_listen(struct tg_server *server, const char *address, const char **why)
{
    char host[256];
    const char *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;

    *why = "";
    if (server->listener_count == LISTENERS_MAX) {
        *why = "too many listeners";
        return TG_ELIMIT;
    }
    const char *given = address;
    bool secure = take_scheme(server, &address);
    if (secure && !server->tls)
        *why = "the script has no tls";
    else if (given != address && secure && strncmp(address, "unix:", 5) == 0)
        *why = "TLS is for TCP";
    if (**why)
        return TG_EINVAL;
    if (strncmp(address, "unix:", 5) == 0)
        return listen_unix(server, address + 5, why);
    if (strncmp(address, "fd:", 3) == 0)
        return listen_inherited(server, address + 3, secure, why);
    if (!split(address, host, sizeof host, &port)) {
        *why = "expected host:port, [v6]:port, unix:/path or fd:number";
        return TG_EINVAL;
    }
    int error = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, &found);
    if (error) {
        *why = gai_strerror(error);
        return TG_EINVAL;
    }
    enum tg_status status = TG_EIO;
    if (server->o.shared && in_use(found->ai_addr, found->ai_addrlen))
        *why = strerrordesc_np(EADDRINUSE);
    else
        status = listen_inet(server, found->ai_addr, found->ai_addrlen, secure, why);
    freeaddrinfo(found);
    return status;
}

enum tg_status tg_server_join(struct tg_server *server, const struct tg_server *first,
                              const char **why)
{
    for (size_t i = 0; i < first->listener_count; i++) {
        struct sockaddr_storage address;
        struct listener *added;
        socklen_t len = sizeof address;
        memset(&address, 0, sizeof address);
        int fd = evconnlistener_get_fd(first->listeners[i].listener);
        enum tg_status status = TG_EIO;
        if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
            *why = strerrordesc_np(errno);
        else if (first->listeners[i].one_queue)
            status = share(server, fd, first->listeners[i].secure, &added, why);
        else
            status = listen_inet(server, (struct sockaddr *)&address, len,
                                 first->listeners[i].secure, why);
        if (status != TG_OK)
            return status;
    }
    return TG_OK;
}

const char *tg_server_url(const struct tg_server *server, size_t n)
{
    return n < server->listener_count ? server->listeners[n].url : NULL;
}

uint16_t tg_server_port(const struct tg_server *server, size_t n)
{
    return n < server->listener_count ? server->listeners[n].port : 0;
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

static void close_listeners(struct tg_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        struct listener *l = &server->listeners[i];
        if (!l->listener)
            continue;
        evhttp_del_accept_socket(l->secure ? server->https : server->http,
                                 l->bound); /* frees the listener, too */
        l->listener = NULL;
        if (l->path)
            unlink(l->path);
    }
}

static void forget_listeners(struct tg_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        tg_free(server->listeners[i].path);
        tg_free(server->listeners[i].url);
    }
    server->listener_count = 0;
}

void tg_server_unlisten(struct tg_server *server)
{
    close_listeners(server);
    forget_listeners(server);
}

void tg_server_stop(struct tg_server *server, void (*on_idle_fn)(void *arg), void *arg)
{
    struct tg_conn *conn = TAILQ_FIRST(&server->conns);
    server->stopping = true;
    server->on_idle = on_idle_fn;
    server->on_idle_arg = arg;
    close_listeners(server); /* whoever connects now is refused, and may try elsewhere */
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
    forget_listeners(server);
    if (server->no_reading)
        ev_token_bucket_cfg_free(server->no_reading);
    tg_deadlines_fini(&server->deadlines);
    tg_hangups_fini(&server->hangups);
    tg_slots_fini(&server->slots);
    tg_free(server->read_space);
    tg_free(server->fields);
    tg_free(server);
}
