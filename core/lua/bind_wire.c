/* bind_wire.c - sockets for servers that misbehave: accept, read, write, close, reset. */
#include "lua/bind_wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <lauxlib.h>

#include "lua/task.h"

#define WIRE_TYPE "tidegate.test.Wire"

enum { READ_MAX = 16384, BACKLOG = 128 };

/* A listener, or a connection: a userdata, which is on the stack of whoever waits for it. */
struct wire {
    int fd; /* -1: closed */
    struct event event;
    struct tg_task *waiter;
    size_t written; /* of what is being written */
};

static struct wire *wire_at(lua_State *L)
{
    struct wire *w = luaL_checkudata(L, 1, WIRE_TYPE);
    if (w->fd < 0)
        luaL_error(L, "the connection is closed");
    return w;
}

static struct wire *push_wire(lua_State *L)
{
    struct wire *w = lua_newuserdatauv(L, sizeof *w, 0);
    memset(w, 0, sizeof *w);
    w->fd = -1;
    luaL_setmetatable(L, WIRE_TYPE);
    return w;
}

static void shut(struct wire *w)
{
    if (w->fd < 0)
        return;
    close(w->fd);
    w->fd = -1;
}

/* --- Waiting -------------------------------------------------------------------------------------- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct wire *w = arg;
    struct tg_task *task = w->waiter;
    w->waiter = NULL;
    tg_task_wake(task);
}

static void cancel(void *arg)
{
    struct wire *w = arg;
    w->waiter = NULL;
    event_del(&w->event);
}

static int wait_until_ready(lua_State *L, struct wire *w, short what, lua_KFunction k)
{
    struct tg_task_wait wait = {cancel, w};
    if (w->waiter)
        return luaL_error(L, "another task waits for this connection already");
    struct tg_task *task = tg_task_check(L);
    event_assign(&w->event, tg_lua_base(tg_lua_of(L)), w->fd, what, on_ready, w);
    if (event_add(&w->event, NULL) != 0)
        return luaL_error(L, "not enough memory");
    w->waiter = task;
    return tg_task_wait(L, &wait, k);
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int push_error(lua_State *L)
{
    lua_pushnil(L);
    lua_pushstring(L, errno == ECONNRESET || errno == EPIPE ? "reset" : strerrordesc_np(errno));
    return 2;
}

/* --- Accepting, reading, writing -------------------------------------------------------------------- */

static int accept_on(lua_State *L, int status, lua_KContext context)
{
    if (status == LUA_YIELD)
        tg_task_resumed(L, context);
    struct wire *listener = wire_at(L);
    struct wire *w = push_wire(L);
    w->fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (w->fd >= 0)
        return 1;
    lua_settop(L, 1);
    return would_block() || errno == ECONNABORTED
               ? wait_until_ready(L, listener, EV_READ, accept_on)
               : push_error(L);
}

static int l_accept(lua_State *L)
{
    lua_settop(L, 1);
    return accept_on(L, LUA_OK, 0);
}

static int read_on(lua_State *L, int status, lua_KContext context)
{
    char bytes[READ_MAX];
    if (status == LUA_YIELD)
        tg_task_resumed(L, context);
    struct wire *w = wire_at(L);
    ssize_t n = recv(w->fd, bytes, sizeof bytes, 0);
    if (n < 0)
        return would_block() ? wait_until_ready(L, w, EV_READ, read_on) : push_error(L);
    if (n == 0) {
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        return 2;
    }
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

static int l_read(lua_State *L)
{
    lua_settop(L, 1);
    return read_on(L, LUA_OK, 0);
}

static int write_on(lua_State *L, int status, lua_KContext context)
{
    size_t len;
    if (status == LUA_YIELD)
        tg_task_resumed(L, context);
    struct wire *w = wire_at(L);
    const char *bytes = luaL_checklstring(L, 2, &len);
    while (w->written < len) {
        ssize_t n = send(w->fd, bytes + w->written, len - w->written, MSG_NOSIGNAL);
        if (n < 0)
            return would_block() ? wait_until_ready(L, w, EV_WRITE, write_on) : push_error(L);
        w->written += (size_t)n;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int l_write(lua_State *L)
{
    lua_settop(L, 2);
    wire_at(L)->written = 0;
    return write_on(L, LUA_OK, 0);
}

/* --- Ends ------------------------------------------------------------------------------------------- */

static int l_close(lua_State *L)
{
    struct wire *w = luaL_checkudata(L, 1, WIRE_TYPE);
    if (w->waiter)
        return luaL_error(L, "a task waits for this connection");
    shut(w);
    return 0;
}

/* So that the other side sees an error, not an end. */
static int l_reset(lua_State *L)
{
    static const struct linger at_once = {1, 0};
    struct wire *w = wire_at(L);
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return l_close(L);
}

static int wire_gc(lua_State *L)
{
    shut(lua_touserdata(L, 1));
    return 0;
}

/* --- Listening -------------------------------------------------------------------------------------- */

static int l_port(lua_State *L)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    if (getsockname(wire_at(L)->fd, (struct sockaddr *)&address, &size) != 0)
        return push_error(L);
    lua_pushinteger(L, ntohs(address.sin_port));
    return 1;
}

static int l_listen(lua_State *L)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct wire *w = push_wire(L);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || bind(w->fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(w->fd, BACKLOG) != 0)
        return luaL_error(L, "tg.test.upstream: %s", strerrordesc_np(errno));
    return 1;
}

void tg_wires_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"accept", l_accept}, {"read", l_read},   {"write", l_write},
                                       {"close", l_close},   {"reset", l_reset}, {"port", l_port},
                                       {NULL, NULL}};
    luaL_newmetatable(L, WIRE_TYPE);
    lua_pushcfunction(L, wire_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_listen);
    lua_setfield(L, -2, "_test_listen");
}
