/* listen.c - the addresses that a server listens on: TCP, unix sockets, and sockets that were handed over. */
#include "http/server_impl.h"

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
#include <unistd.h>

#include "util/mem.h"

static struct tg_listener *add_listener(struct tg_server *server, struct evconnlistener *l,
                                        bool secure)
{
    struct tg_listener *added = &server->listeners[server->listener_count];
    struct evhttp *http = secure ? tg_server_https(server) : server->http;
    struct evhttp_bound_socket *bound = http ? evhttp_bind_listener(http, l) : NULL;
    if (!bound)
        return NULL;
    server->listener_count++;
    *added = (struct tg_listener){.listener = l, .bound = bound, .secure = secure};
    evconnlistener_set_error_cb(l, tg_server_on_accept_error);
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
                                bool secure, struct tg_listener **out)
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
    struct tg_listener *added = NULL;
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
    struct tg_listener *added = NULL;
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
static enum tg_status share(struct tg_server *server, int fd, bool secure, struct tg_listener **out,
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
    struct tg_listener *added;
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
    if (server->listener_count == TG_LISTENERS_MAX) {
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
        struct tg_listener *added;
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

void tg_server_close_listeners(struct tg_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        struct tg_listener *l = &server->listeners[i];
        if (!l->listener)
            continue;
        evhttp_del_accept_socket(l->secure ? server->https : server->http,
                                 l->bound); /* frees the listener, too */
        l->listener = NULL;
        if (l->path)
            unlink(l->path);
    }
}

void tg_server_forget_listeners(struct tg_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        tg_free(server->listeners[i].path);
        tg_free(server->listeners[i].url);
    }
    server->listener_count = 0;
}

void tg_server_unlisten(struct tg_server *server)
{
    tg_server_close_listeners(server);
    tg_server_forget_listeners(server);
}
