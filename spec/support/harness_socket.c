/* harness_socket.c - client and listening sockets for specs, every call with a deadline. */
#include "harness.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define SOCKET "harness.Socket"

enum { PATIENCE = 5, READ_MAX = 65536 };

struct sock {
    int fd;          /* -1: closed */
    SSL *ssl;        /* NULL: none */
    bool truncated;  /* it ended without a close_notify */
    int key_updates; /* that came */
};

static struct sock *push_socket(lua_State *L, int fd)
{
    struct sock *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct sock){.fd = fd};
    luaL_setmetatable(L, SOCKET);
    return s;
}

int harness_socket_fd(lua_State *L, int index)
{
    return ((const struct sock *)luaL_checkudata(L, index, SOCKET))->fd;
}

static struct sock *sock_at(lua_State *L, int index)
{
    struct sock *s = luaL_checkudata(L, index, SOCKET);
    luaL_argcheck(L, s->fd >= 0, index, "closed");
    return s;
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* OpenSSL writes without MSG_NOSIGNAL; ignored, the signal would stay so in what specs start. */
static void hold_sigpipe(sigset_t *before)
{
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, before);
}

static void let_sigpipe_go(const sigset_t *before)
{
    static const struct timespec at_once;
    int error = errno;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    while (sigtimedwait(&pipe, NULL, &at_once) > 0)
        continue;
    pthread_sigmask(SIG_SETMASK, before, NULL);
    errno = error;
}

/* As of a call on the socket itself: what it did, or -1 and errno.  An end is 0, with or without a
 * close_notify. */
static ssize_t tls_result(struct sock *s, int n)
{
    if (n > 0)
        return n;
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_SYSCALL:
        return -1;
    default:
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            s->truncated = true;
            return 0;
        }
        errno = EPROTO;
        return -1;
    }
}

static ssize_t sock_send(struct sock *s, const char *data, size_t len)
{
    if (!s->ssl)
        return send(s->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    sigset_t before;
    hold_sigpipe(&before);
    ERR_clear_error();
    ssize_t n = len ? tls_result(s, SSL_write(s->ssl, data, (int)len)) : 0;
    let_sigpipe_go(&before);
    return n;
}

static ssize_t sock_recv(struct sock *s, char *room, size_t len)
{
    if (!s->ssl)
        return recv(s->fd, room, len, MSG_DONTWAIT);
    sigset_t before;
    hold_sigpipe(&before);
    ERR_clear_error();
    ssize_t n = tls_result(s, SSL_read(s->ssl, room, (int)len));
    let_sigpipe_go(&before);
    return n;
}

/* NOLINTNEXTLINE(readability-function-size): its type is that of the callback */
static void on_message(int sent, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *arg)
{
    struct sock *s = arg;
    (void)version;
    (void)ssl;
    if (!sent && type == SSL3_RT_HANDSHAKE && len && *(const char *)bytes == SSL3_MT_KEY_UPDATE)
        s->key_updates++;
}

static int tls_error(struct sock *s, const char *name, bool newest, double deadline)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    s->ssl = ctx ? SSL_new(ctx) : NULL;
    SSL_CTX_free(ctx);
    if (s->ssl && !newest)
        SSL_set_max_proto_version(s->ssl, TLS1_2_VERSION);
    if (!s->ssl || SSL_set_fd(s->ssl, s->fd) != 1)
        return ENOMEM;
    SSL_set_mode(s->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (name)
        SSL_set_tlsext_host_name(s->ssl, name);
    SSL_set_msg_callback(s->ssl, on_message);
    SSL_set_msg_callback_arg(s->ssl, s);
    for (;;) {
        ERR_clear_error();
        int n = SSL_connect(s->ssl);
        if (n == 1)
            return 0;
        int wants = SSL_get_error(s->ssl, n);
        if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE)
            return EPROTO;
        if (harness_wait(s->fd, wants == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline) != 1)
            return ETIMEDOUT;
    }
}

/* tls(server name, timeout, newest) -> true, or nil and why: the handshake of a client that trusts anybody.
 * TLS 1.2 unless it is to be the newest: with 1.3 a server sends tickets after it, and who closes without
 * having read them resets the connection, and his request with it. */
static int s_tls(lua_State *L)
{
    struct sock *s = sock_at(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    double deadline = harness_deadline(L, 3);
    sigset_t before;
    hold_sigpipe(&before);
    int error = tls_error(s, name, lua_toboolean(L, 4), deadline);
    let_sigpipe_go(&before);
    if (error)
        return harness_fail(L, error);
    lua_pushboolean(L, true);
    return 1;
}

static int s_truncated(lua_State *L)
{
    lua_pushboolean(L, ((const struct sock *)luaL_checkudata(L, 1, SOCKET))->truncated);
    return 1;
}

/* peer() -> the subject of the server's certificate, the protocol's version, whether a session was
 * resumed */
static int s_peer(lua_State *L)
{
    char name[256];
    const struct sock *s = sock_at(L, 1);
    luaL_argcheck(L, s->ssl, 1, "no TLS");
    X509 *cert = SSL_get1_peer_certificate(s->ssl);
    lua_pushstring(L, X509_NAME_oneline(X509_get_subject_name(cert), name, sizeof name));
    X509_free(cert);
    lua_pushstring(L, SSL_get_version(s->ssl));
    lua_pushboolean(L, SSL_session_reused(s->ssl));
    return 3;
}

/* update_keys() -> true, or nil and why: TLS 1.3's new keys for what is sent from here on, and a demand
 * that the peer does the same (RFC 8446, 4.6.3). */
static int s_update_keys(lua_State *L)
{
    const struct sock *s = sock_at(L, 1);
    luaL_argcheck(L, s->ssl, 1, "no TLS");
    sigset_t before;
    hold_sigpipe(&before);
    ERR_clear_error();
    int n = SSL_key_update(s->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 ? SSL_do_handshake(s->ssl) : 0;
    int wants = n == 1 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, n);
    let_sigpipe_go(&before);
    if (n != 1)
        return harness_fail(L, wants == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO);
    lua_pushboolean(L, true);
    return 1;
}

/* renegotiate() -> true, or nil and why: asks for another handshake, of TLS 1.2.  What is received
 * after it is cipher text. */
static int s_renegotiate(lua_State *L)
{
    struct sock *s = sock_at(L, 1);
    luaL_argcheck(L, s->ssl, 1, "no TLS");
    sigset_t before;
    hold_sigpipe(&before);
    ERR_clear_error();
    bool begun = SSL_renegotiate(s->ssl) == 1;
    if (begun)
        (void)SSL_do_handshake(s->ssl); /* it waits for an answer */
    let_sigpipe_go(&before);
    SSL_free(s->ssl);
    s->ssl = NULL;
    if (!begun)
        return harness_fail(L, EPROTO);
    lua_pushboolean(L, true);
    return 1;
}

/* Says that nothing more is sent, and leaves the socket as it is. */
static int s_say_goodbye(lua_State *L)
{
    const struct sock *s = sock_at(L, 1);
    luaL_argcheck(L, s->ssl, 1, "no TLS");
    sigset_t before;
    hold_sigpipe(&before);
    lua_pushboolean(L, SSL_shutdown(s->ssl) >= 0);
    let_sigpipe_go(&before);
    return 1;
}

/* How often the peer has changed its keys. */
static int s_key_updates(lua_State *L)
{
    lua_pushinteger(L, ((const struct sock *)luaL_checkudata(L, 1, SOCKET))->key_updates);
    return 1;
}

static int fd_at(lua_State *L, int index)
{
    const struct sock *s = luaL_checkudata(L, index, SOCKET);
    luaL_argcheck(L, s->fd >= 0, index, "closed");
    return s->fd;
}

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

/* A port number of 127.0.0.1 (of ::1 with v6), or the path of a unix socket, or @ and a name. */
static socklen_t address_at(lua_State *L, int index, bool v6, union address *a)
{
    memset(a, 0, sizeof *a);
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t len;
        const char *path = lua_tolstring(L, index, &len);
        luaL_argcheck(L, len < sizeof a->un.sun_path, index, "too long");
        a->un.sun_family = AF_UNIX;
        memcpy(a->un.sun_path, path, len);
        if (*path != '@')
            return sizeof a->un;
        a->un.sun_path[0] = '\0'; /* the abstract namespace: there the length counts */
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    }
    in_port_t port = htons((in_port_t)luaL_checkinteger(L, index));
    if (v6) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = port;
        a->in6.sin6_addr = in6addr_loopback;
        return sizeof a->in6;
    }
    a->in.sin_family = AF_INET;
    a->in.sin_port = port;
    a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof a->in;
}

static lua_Number option(lua_State *L, int index, const char *name, lua_Number otherwise)
{
    if (!lua_istable(L, index))
        return otherwise;
    lua_getfield(L, index, name);
    lua_Number value =
        lua_isboolean(L, -1) ? lua_toboolean(L, -1) : luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

static void set(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof value);
}

static int connect_error(int fd, const union address *a, socklen_t len, double deadline)
{
    int error;
    socklen_t size = sizeof error;
    if (connect(fd, &a->any, len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (harness_wait(fd, POLLOUT, deadline) != 1)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

/* connect(port or path, { timeout =, rcvbuf =, sndbuf =, v6 = }): a small rcvbuf makes a client that
 * the sender soon has to wait for. */
static int l_connect(lua_State *L)
{
    union address a;
    socklen_t len = address_at(L, 1, option(L, 2, "v6", 0) != 0, &a);
    double deadline = harness_now() + option(L, 2, "timeout", PATIENCE) * 1e3;
    int rcvbuf = (int)option(L, 2, "rcvbuf", 0);
    int sndbuf = (int)option(L, 2, "sndbuf", 0);
    struct sock *s = push_socket(L, -1);
    s->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return harness_fail(L, errno);
    if (rcvbuf > 0)
        set(s->fd, SOL_SOCKET, SO_RCVBUF, rcvbuf);
    if (sndbuf > 0)
        set(s->fd, SOL_SOCKET, SO_SNDBUF, sndbuf);
    if (a.any.sa_family != AF_UNIX)
        set(s->fd, IPPROTO_TCP, TCP_NODELAY, 1); /* a send is a packet */
    int error = connect_error(s->fd, &a, len, deadline);
    return error ? harness_fail(L, error) : 1;
}

/* listen(port or path, { backlog =, v6 =, datagram = }) */
static int l_listen(lua_State *L)
{
    union address a;
    bool datagram = option(L, 2, "datagram", 0) != 0;
    int type = datagram ? SOCK_DGRAM : SOCK_STREAM;
    socklen_t len = address_at(L, 1, option(L, 2, "v6", 0) != 0, &a);
    int backlog = (int)option(L, 2, "backlog", 128);
    struct sock *s = push_socket(L, -1);
    s->fd = socket(a.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return harness_fail(L, errno);
    set(s->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(s->fd, &a.any, len) != 0 || (!datagram && listen(s->fd, backlog) != 0))
        return harness_fail(L, errno);
    return 1;
}

static int s_accept(lua_State *L)
{
    int fd = fd_at(L, 1);
    double deadline = harness_deadline(L, 2);
    struct sock *s = push_socket(L, -1);
    for (;;) {
        s->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s->fd >= 0)
            break;
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            return harness_fail(L, errno);
        if (harness_wait(fd, POLLIN, deadline) != 1)
            return harness_fail(L, ETIMEDOUT);
    }
    set(s->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return 1;
}

static int s_port(lua_State *L)
{
    union address a = {0};
    socklen_t len = sizeof a;
    if (getsockname(fd_at(L, 1), &a.any, &len) != 0)
        return harness_fail(L, errno);
    lua_pushinteger(L, ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port));
    return 1;
}

/* send(data, timeout) -> true, or nil, why, bytes sent */
static int s_send(lua_State *L)
{
    size_t len;
    size_t sent = 0;
    struct sock *s = sock_at(L, 1);
    const char *data = luaL_checklstring(L, 2, &len);
    double deadline = harness_deadline(L, 3);
    int error = 0;
    while (sent < len && !error) {
        ssize_t n = sock_send(s, data + sent, len - sent);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            error = harness_wait(s->fd, POLLOUT, deadline) == 1 ? 0 : ETIMEDOUT;
        else if (errno != EINTR)
            error = errno;
    }
    if (error) {
        harness_fail(L, error);
        lua_pushinteger(L, (lua_Integer)sent);
        return 3;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* send_some(data, first byte) -> how many bytes the kernel took at once, or nil, "again" or why */
static int s_send_some(lua_State *L)
{
    size_t len;
    struct sock *s = sock_at(L, 1);
    const char *data = luaL_checklstring(L, 2, &len);
    lua_Integer from = luaL_optinteger(L, 3, 1) - 1;
    luaL_argcheck(L, from >= 0 && (size_t)from <= len, 3, "out of range");
    ssize_t n = sock_send(s, data + from, len - (size_t)from);
    if (n < 0)
        return harness_fail(L, errno);
    lua_pushinteger(L, n);
    return 1;
}

/* recv(at most, timeout) -> what has come, as soon as something has, or nil, "closed", "reset",
 * "timeout" or why */
static int s_recv(lua_State *L)
{
    struct sock *s = sock_at(L, 1);
    lua_Integer most = luaL_optinteger(L, 2, READ_MAX);
    double deadline = harness_deadline(L, 3);
    luaL_Buffer buffer;
    luaL_argcheck(L, most > 0 && most <= 1 << 30, 2, "out of range");
    char *room = luaL_buffinitsize(L, &buffer, (size_t)most);
    for (;;) {
        ssize_t n = sock_recv(s, room, (size_t)most);
        if (n > 0) {
            luaL_pushresultsize(&buffer, (size_t)n);
            return 1;
        }
        if (n == 0)
            return harness_fail(L, EPIPE);
        if (errno != EAGAIN && errno != EINTR)
            return harness_fail(L, errno);
        if (harness_wait(s->fd, POLLIN, deadline) != 1)
            return harness_fail(L, ETIMEDOUT);
    }
}

static int s_shutdown_write(lua_State *L)
{
    struct sock *s = sock_at(L, 1);
    sigset_t before;
    hold_sigpipe(&before);
    if (s->ssl)
        SSL_shutdown(s->ssl);
    let_sigpipe_go(&before);
    if (shutdown(fd_at(L, 1), SHUT_WR) != 0)
        return harness_fail(L, errno);
    lua_pushboolean(L, true);
    return 1;
}

static int s_close(lua_State *L)
{
    struct sock *s = luaL_checkudata(L, 1, SOCKET);
    SSL_free(s->ssl);
    s->ssl = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    return 0;
}

/* Closes with an RST: what the peer sees of a client that crashed. */
static int s_reset(lua_State *L)
{
    struct linger at_once = {1, 0};
    setsockopt(fd_at(L, 1), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return s_close(L);
}

static int s_fd(lua_State *L)
{
    lua_pushinteger(L, fd_at(L, 1));
    return 1;
}

/* poll({ socket, ... }, timeout) -> a list of those that can be read (data, a close, a connection) */
static int l_poll(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    double deadline = harness_deadline(L, 2);
    lua_Integer count = luaL_len(L, 1);
    struct pollfd *fds = lua_newuserdatauv(L, sizeof *fds * (size_t)(count + 1), 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, 1, i + 1);
        struct sock *s = sock_at(L, -1);
        fds[i] = (struct pollfd){s->fd, POLLIN, 0};
        if (s->ssl && SSL_pending(s->ssl))
            deadline = 0; /* and it is among those */
        lua_pop(L, 1);
    }
    int n;
    do {
        n = poll(fds, (nfds_t)count, harness_ms_until(deadline));
    } while (n < 0 && errno == EINTR);
    lua_newtable(L);
    for (lua_Integer i = 0, found = 0; n >= 0 && i < count; i++) {
        lua_geti(L, 1, i + 1);
        struct sock *s = sock_at(L, -1);
        if (fds[i].revents || (s->ssl && SSL_pending(s->ssl)))
            lua_seti(L, -2, ++found);
        else
            lua_pop(L, 1);
    }
    return 1;
}

void harness_add_sockets(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"accept", s_accept},
        {"port", s_port},
        {"send", s_send},
        {"send_some", s_send_some},
        {"recv", s_recv},
        {"shutdown_write", s_shutdown_write},
        {"close", s_close},
        {"reset", s_reset},
        {"fd", s_fd},
        {"tls", s_tls},
        {"peer", s_peer},
        {"truncated", s_truncated},
        {"renegotiate", s_renegotiate},
        {"say_goodbye", s_say_goodbye},
        {"update_keys", s_update_keys},
        {"key_updates", s_key_updates},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"connect", l_connect},
        {"listen", l_listen},
        {"poll", l_poll},
        {NULL, NULL},
    };
    harness_class(L, SOCKET, s_close);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
