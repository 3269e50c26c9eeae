/* send_file.c - files to sockets by sendfile(2), a window at a time. */
#include "http/conn_impl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sendfile.h>

#include "util/mem.h"

enum {
    WINDOW = 1 << 20, /* bytes of one chunk, and of one turn of the loop */
};

struct tg_file_send {
    struct tg_conn *conn;
    int fd; /* borrowed */
    off_t offset;
    uint64_t left;
    uint64_t window; /* left of the chunk that was begun */
    unsigned flags;
    bool started;
    enum tg_status status; /* once it is over */
    struct event writable;
    void (*on_sent)(void *arg, enum tg_status status);
    void *arg;
};

void tg_file_send_free(struct tg_conn *conn)
{
    if (!conn->file)
        return;
    event_del(&conn->file->writable);
    tg_free(conn->file);
    conn->file = NULL;
}

static void end(struct tg_conn *conn, enum tg_status status)
{
    void (*on_sent)(void *arg, enum tg_status status) = conn->file->on_sent;
    void *arg = conn->file->arg;
    tg_file_send_free(conn);
    on_sent(arg, status);
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

/* Sends what the socket takes of the window: TG_OK it is sent, TG_AGAIN the socket is full, TG_EIO
 * the file is shorter than it was, or unreadable. */
static enum tg_status send_window(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    int socket = bufferevent_getfd(conn->bev);
    while (file->window) {
        ssize_t n = sendfile(socket, file->fd, &file->offset, file->window);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return TG_AGAIN;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return TG_ECLOSED;
        if (n <= 0)
            return TG_EIO;
        file->window -= (uint64_t)n;
        file->left -= (uint64_t)n;
    }
    return TG_OK;
}

static void wait_for_room(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    struct timeval stall = {(time_t)(limits->write_timeout / 1000),
                            (suseconds_t)(limits->write_timeout % 1000) * 1000};
    event_add(&conn->file->writable, limits->write_timeout ? &stall : NULL);
}

void tg_file_send_go_on(struct tg_conn *conn)
{
    struct tg_file_send *file = conn->file;
    enum tg_status status = TG_OK;

    if (!file->window && file->left)
        status = begin_window(conn);
    if (status == TG_OK && evbuffer_get_length(tg_conn_output(conn)))
        return; /* on_output wakes us */
    if (status == TG_OK)
        status = send_window(conn);
    if (status == TG_AGAIN) {
        wait_for_room(conn);
        return;
    }
    if (status == TG_OK && file->left) {
        tg_server_wake(conn->server, conn, false); /* others have their turn between windows */
        return;
    }
    if (status == TG_OK)
        status = end_chunks(conn);
    if (status == TG_ECLOSED) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    end(conn, status);
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

/* NOLINTNEXTLINE(readability-function-size): the sink's interface */
enum tg_status tg_conn_send_file(void *sink, int fd, off_t offset, uint64_t len, unsigned flags,
                                 void (*on_sent)(void *arg, enum tg_status status), void *arg)
{
    struct tg_conn *conn = sink;
    if (conn->file)
        return TG_EINVAL;
    bool bodyless = conn->reply.framing == TG_REPLY_BODYLESS;
    /* The head first, and the end as well when there is nothing between them. */
    enum tg_status status =
        tg_conn_sink.send(conn, NULL, 0, len && !bodyless ? 0 : flags & TG_SEND_LAST);
    if (status < 0)
        return status;
    conn->reply.bytes += len;
    struct tg_file_send *file = tg_calloc(1, sizeof *file);
    if (!file)
        return TG_ENOMEM;
    file->conn = conn;
    file->fd = fd;
    file->offset = offset;
    file->left = bodyless ? 0 : len;
    file->flags = len ? flags : 0;
    file->on_sent = on_sent;
    file->arg = arg;
    event_assign(&file->writable, tg_server_options(conn->server)->base,
                 bufferevent_getfd(conn->bev), EV_WRITE, on_writable, conn);
    conn->file = file;
    if (flags & TG_SEND_LAST)
        conn->reply.last = true;
    tg_server_wake(conn->server, conn, false);
    return TG_AGAIN;
}
