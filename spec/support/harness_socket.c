/* harness_socket.c - client and listening sockets for specs, every call with a deadline. */
#include "harness.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <lauxlib.h>

#define SOCKET "harness.Socket"

enum { PATIENCE = 5, READ_MAX = 65536 };

struct sock {
    int fd; /* -1: closed */
};

static struct sock *push_socket(lua_State *L, int fd)
{
    struct sock *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->fd = fd;
    luaL_setmetatable(L, SOCKET);
    return s;
}

int harness_socket_fd(lua_State *L, int index)
{
    return ((const struct sock *)luaL_checkudata(L, index, SOCKET))->fd;
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
    int fd = fd_at(L, 1);
    const char *data = luaL_checklstring(L, 2, &len);
    double deadline = harness_deadline(L, 3);
    int error = 0;
    while (sent < len && !error) {
        ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            error = harness_wait(fd, POLLOUT, deadline) == 1 ? 0 : ETIMEDOUT;
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
    int fd = fd_at(L, 1);
    const char *data = luaL_checklstring(L, 2, &len);
    lua_Integer from = luaL_optinteger(L, 3, 1) - 1;
    luaL_argcheck(L, from >= 0 && (size_t)from <= len, 3, "out of range");
    ssize_t n = send(fd, data + from, len - (size_t)from, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return harness_fail(L, errno);
    lua_pushinteger(L, n);
    return 1;
}

/* recv(at most, timeout) -> what has come, as soon as something has, or nil, "closed", "reset",
 * "timeout" or why */
static int s_recv(lua_State *L)
{
    int fd = fd_at(L, 1);
    lua_Integer most = luaL_optinteger(L, 2, READ_MAX);
    double deadline = harness_deadline(L, 3);
    luaL_Buffer buffer;
    luaL_argcheck(L, most > 0 && most <= 1 << 30, 2, "out of range");
    char *room = luaL_buffinitsize(L, &buffer, (size_t)most);
    for (;;) {
        ssize_t n = recv(fd, room, (size_t)most, MSG_DONTWAIT);
        if (n > 0) {
            luaL_pushresultsize(&buffer, (size_t)n);
            return 1;
        }
        if (n == 0)
            return harness_fail(L, EPIPE);
        if (errno != EAGAIN && errno != EINTR)
            return harness_fail(L, errno);
        if (harness_wait(fd, POLLIN, deadline) != 1)
            return harness_fail(L, ETIMEDOUT);
    }
}

static int s_shutdown_write(lua_State *L)
{
    if (shutdown(fd_at(L, 1), SHUT_WR) != 0)
        return harness_fail(L, errno);
    lua_pushboolean(L, true);
    return 1;
}

static int s_close(lua_State *L)
{
    struct sock *s = luaL_checkudata(L, 1, SOCKET);
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
        fds[i] = (struct pollfd){fd_at(L, -1), POLLIN, 0};
        lua_pop(L, 1);
    }
    int n;
    do {
        n = poll(fds, (nfds_t)count, harness_ms_until(deadline));
    } while (n < 0 && errno == EINTR);
    lua_newtable(L);
    for (lua_Integer i = 0, found = 0; n > 0 && i < count; i++) {
        if (!fds[i].revents)
            continue;
        lua_geti(L, 1, i + 1);
        lua_seti(L, -2, ++found);
    }
    return 1;
}

void harness_add_sockets(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"accept", s_accept}, {"port", s_port},
        {"send", s_send},     {"send_some", s_send_some},
        {"recv", s_recv},     {"shutdown_write", s_shutdown_write},
        {"close", s_close},   {"reset", s_reset},
        {"fd", s_fd},         {NULL, NULL},
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
