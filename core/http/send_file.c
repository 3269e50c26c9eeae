/* send_file.c - files to sockets by sendfile(2), a window at a time. */
#include "http/conn_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sendfile.h>

#include "io/sigpipe.h"
#include "util/clock.h"
#include "util/mem.h"

enum {
    WINDOW = 2 << 20, /* bytes of one chunk, and of one turn of the loop */
};

struct tg_file_send {
    struct tg_conn *conn;
    int fd; /* borrowed */
    off_t offset;
    uint64_t left;
    uint64_t window; /* left of the chunk that was begun */
    unsigned flags;
    bool started;  /* a chunk was begun */
    bool watching; /* writable is pending */
    struct event writable;
    void (*on_sent)(void *arg, enum tg_status status);
    void *arg;
    struct evbuffer *behind; /* NULL: nothing */
};

void tg_file_send_free(struct tg_conn *conn)
{
    if (!conn->file)
        return;
    if (conn->file->watching)
        event_del(&conn->file->writable);
    if (conn->file->behind)
        evbuffer_free(conn->file->behind);
    tg_free(conn->file);
    conn->file = NULL;
}

struct evbuffer *tg_file_send_behind(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    if (!file->behind)
        file->behind = evbuffer_new();
    return file->behind;
}

size_t tg_file_send_waiting(const struct tg_conn *conn)
{
    const struct tg_file_send *file = conn->file;
    return file && file->behind ? evbuffer_get_length(file->behind) : 0;
}

uint64_t tg_file_send_left(const struct tg_conn *conn)
{
    return conn->file ? conn->file->left : 0;
}

/* The whole file is sent: what stands behind it is next. */
static enum tg_status send_behind(struct tg_conn *conn)
{
    struct evbuffer *behind = conn->file->behind;
    if (!behind || !evbuffer_get_length(behind))
        return TG_OK;
    enum tg_status status = tg_rest_send(conn);
    if (status == TG_OK && evbuffer_add_buffer(tg_conn_output(conn), behind) != 0)
        status = TG_ENOMEM;
    return status;
}

void tg_conn_stop_file(void *sink)
{
    tg_file_send_free(sink);
}

/* Around its own bytes a file lets go of its place before them. */
static enum tg_status write_around(struct tg_conn *conn, const char *bytes, size_t len)
{
    struct tg_file_send *file = conn->file;
    struct iovec run = {(void *)(uintptr_t)bytes, len};
    conn->file = NULL;
    enum tg_status status = tg_conn_write(conn, &run, 1);
    conn->file = file;
    return status;
}

static enum tg_status begin_window(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    char line[32];
    file->window = file->left < WINDOW ? file->left : WINDOW;
    if (conn->reply.framing != TG_REPLY_CHUNKED)
        return TG_OK;
    int len = snprintf(line, sizeof line, "%s%llx\r\n", file->started ? "\r\n" : "",
                       (unsigned long long)file->window);
    file->started = true;
    return write_around(conn, line, (size_t)len);
}

static enum tg_status end_chunks(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    if (conn->reply.framing != TG_REPLY_CHUNKED)
        return TG_OK;
    if (file->flags & TG_SEND_LAST)
        return write_around(conn, "\r\n0\r\n\r\n", 7);
    return write_around(conn, "\r\n", 2);
}

/* sendfile(2) has no MSG_NOSIGNAL. */
static ssize_t send_pages(struct tg_conn *conn, int socket)
{
    struct tg_file_send *file = conn->file;
    struct tg_sigpipe hold;
    if (!tg_server_options(conn->server)->host_loop)
        return sendfile(socket, file->fd, &file->offset, file->window);
    tg_sigpipe_hold(&hold);
    ssize_t n = sendfile(socket, file->fd, &file->offset, file->window);
    tg_sigpipe_let_go(&hold, n < 0 && errno == EPIPE);
    return n;
}

/* Sends what the socket takes of the window: TG_OK it is sent, TG_AGAIN the socket is full, TG_EIO
 * the file is shorter than it was, or unreadable. */
static enum tg_status send_window(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    int socket = bufferevent_getfd(conn->bev);
    while (file->window) {
        ssize_t n = send_pages(conn, socket);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return TG_AGAIN;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return TG_ECLOSED;
        if (n <= 0)
            return TG_EIO;
        conn->moved_at = tg_clock_coarse_ms();
        file->window -= (uint64_t)n;
        file->left -= (uint64_t)n;
        if (file->window)
            return TG_AGAIN; /* it is full, or the file has ended: the next time tells */
    }
    return TG_OK;
}

static void on_writable(evutil_socket_t fd, short what, void *arg);

/* TG_ENOMEM: the system refuses. */
static enum tg_status wait_for_room(struct tg_conn *conn)
{
    const struct tg_server_options *options = tg_server_options(conn->server);
    uint64_t ms = options->limits->write_timeout;
    struct timeval stall = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    struct tg_file_send *file = conn->file;
    if (file->watching)
        return TG_AGAIN;
    event_assign(&file->writable, options->base, bufferevent_getfd(conn->bev),
                 EV_WRITE | EV_PERSIST, on_writable, conn);
    if (event_add(&file->writable, ms ? &stall : NULL) != 0)
        return TG_ENOMEM;
    file->watching = true;
    return TG_AGAIN;
}

/* As far as it goes: TG_AGAIN, it goes on by itself; else it is over. */
static enum tg_status go_on(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    enum tg_status status = TG_OK;

    if (!file->window && file->left)
        status = begin_window(conn);
    if (status == TG_OK && evbuffer_get_length(tg_conn_output(conn)))
        return TG_AGAIN; /* on_output wakes us */
    if (status == TG_OK)
        status = send_window(conn);
    if (status == TG_AGAIN)
        return wait_for_room(conn);
    if (status == TG_OK && file->left) { /* others have their turn between windows */
        if (!file->watching)
            tg_server_wake(conn->server, conn, false);
        return TG_AGAIN;
    }
    return status == TG_OK ? end_chunks(conn) : status;
}

void tg_file_send_go_on(struct tg_conn *conn)
{
    enum tg_status status = go_on(conn);
    if (status == TG_AGAIN)
        return;
    if (status == TG_ECLOSED) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    void (*on_sent)(void *arg, enum tg_status status) = conn->file->on_sent;
    void *arg = conn->file->arg;
    if (status == TG_OK)
        status = send_behind(conn);
    tg_file_send_free(conn);
    if (conn->finishing || conn->drain_fn) /* what others have waited for meanwhile */
        tg_server_wake(conn->server, conn, false);
    on_sent(arg, status);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct tg_conn *conn = arg;
    if (what & EV_TIMEOUT)
        tg_conn_destroy(conn, TG_GONE_TIMEOUT);
    else
        tg_file_send_go_on(conn);
}

static enum tg_status begin(struct tg_conn *conn)
{
    enum tg_status status = go_on(conn);
    if (status == TG_AGAIN)
        return status;
    tg_file_send_free(conn);
    if (status != TG_ECLOSED)
        return status;
    conn->broken = true;
    tg_server_wake(conn->server, conn, false); /* not here: the caller is still at work on conn */
    return status;
}

/* NOLINTNEXTLINE(readability-function-size): the sink's interface */
enum tg_status tg_conn_send_file(void *sink, int fd, off_t offset, uint64_t len, unsigned flags,
                                 void (*on_sent)(void *arg, enum tg_status status), void *arg)
{
    struct tg_conn *conn = sink;
    if (conn->file)
        return TG_EINVAL;
    bool some = len && conn->reply.framing != TG_REPLY_BODYLESS;
    /* The head first, and the end as well when there is nothing between them.  Not with MSG_MORE: to put
     * the file's pages behind it in one packet costs half as much again. */
    enum tg_status status =
        tg_conn_sink(conn)->send(conn, NULL, 0, some ? 0 : flags & TG_SEND_LAST);
    conn->reply.bytes += len;
    if (status < 0 || !some)
        return status;
    struct tg_file_send *file = tg_calloc(1, sizeof *file);
    if (!file)
        return TG_ENOMEM;
    *file = (struct tg_file_send){.conn = conn,
                                  .fd = fd,
                                  .offset = offset,
                                  .left = len,
                                  .flags = flags,
                                  .on_sent = on_sent,
                                  .arg = arg};
    conn->file = file;
    conn->moved_at = tg_clock_coarse_ms();
    if (flags & TG_SEND_LAST)
        conn->reply.last = true;
    return begin(conn);
}
