/* send_rest.c - what a socket has not taken at once: sent from the output when it has room.
 *
 * Not by the bufferevent: that writes by writev(2), which raises SIGPIPE when the client has left.
 */
#include "http/conn_impl.h"

#include <errno.h>
#include <sys/socket.h>

#include "util/mem.h"

enum { RUNS_MAX = 64 };

struct tg_rest {
    struct event writable;
};

void tg_rest_free(struct tg_conn *conn)
{
    if (!conn->rest)
        return;
    event_del(&conn->rest->writable);
    tg_free(conn->rest);
    conn->rest = NULL;
}

/* What the socket takes of out; below 0 with errno. */
static ssize_t send_some(const struct tg_conn *conn, struct evbuffer *out)
{
    struct evbuffer_iovec runs[RUNS_MAX];
    int count = evbuffer_peek(out, TG_WRITE_MAX, NULL, runs, RUNS_MAX);
    struct msghdr message = {.msg_iov = runs,
                             .msg_iovlen = (size_t)(count < RUNS_MAX ? count : RUNS_MAX)};
    return sendmsg(bufferevent_getfd(conn->bev), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct tg_conn *conn = arg;
    struct evbuffer *out = tg_conn_output(conn);
    if (what & EV_TIMEOUT) {
        tg_conn_destroy(conn, TG_GONE_TIMEOUT);
        return;
    }
    ssize_t n = evbuffer_get_length(out) ? send_some(conn, out) : 0;
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    if (n > 0) {
        evbuffer_unfreeze(out, 1);
        evbuffer_drain(out, (size_t)n); /* whoever waits for it is told from the loop */
        evbuffer_freeze(out, 1);
    }
    if (!evbuffer_get_length(out))
        tg_rest_free(conn);
}

enum tg_status tg_rest_send(struct tg_conn *conn)
{
    const struct tg_server_options *options = tg_server_options(conn->server);
    uint64_t ms = options->limits->write_timeout;
    struct timeval stall = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    if (conn->rest)
        return TG_OK;
    struct tg_rest *rest = tg_calloc(1, sizeof *rest);
    if (!rest)
        return TG_ENOMEM;
    event_assign(&rest->writable, options->base, bufferevent_getfd(conn->bev),
                 EV_WRITE | EV_PERSIST, on_writable, conn);
    if (event_add(&rest->writable, ms ? &stall : NULL) != 0) {
        tg_free(rest);
        return TG_ENOMEM;
    }
    conn->rest = rest;
    return TG_OK;
}
