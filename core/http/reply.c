/* reply.c - writes responses: the head, the framing of the body, and bytes to the socket.
 *
 * Bytes go to the socket at once when nothing waits before them, without a turn of the loop and
 * without a copy; what the socket does not take waits in the bufferevent's output.
 */
#include "http/tls_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http/reason.h"
#include "util/clock.h"
#include "util/mem.h"

enum {
    RUNS_MAX = 6,
    HEAD_EXTRA = 160,  /* status line, Date, framing fields */
    LEND_FROM = 1024,  /* bytes */
    JOINED_MAX = 1024, /* bytes that are copied to be one run */
    LINE_MAX_LEN = 2 * sizeof(size_t) + 2,
};

/* --- Bytes ------------------------------------------------------------------------------------ */

enum tg_status tg_conn_broken(struct tg_conn *conn)
{
    conn->broken = true;
    tg_server_wake(conn->server, conn, false); /* not here: the caller is still at work on conn */
    return TG_ECLOSED;
}

/* A few short runs are cheaper to copy than for the kernel to take one by one. */
static ssize_t send_joined(int fd, const struct iovec *runs, int n, int flags)
{
    char bytes[JOINED_MAX];
    size_t len = 0;
    for (int i = 0; i < n; i++) {
        if (runs[i].iov_len)
            memcpy(bytes + len, runs[i].iov_base, runs[i].iov_len);
        len += runs[i].iov_len;
    }
    return send(fd, bytes, len, flags);
}

static size_t total(const struct iovec *runs, int n)
{
    size_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += runs[i].iov_len;
    return sum;
}

/* What the socket takes of runs at once; -1 when it is broken. */
static ssize_t write_now(struct tg_conn *conn, const struct iovec *runs, int n)
{
    ssize_t sent;
    if (conn->unsent || conn->file)
        return 0;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)runs, .msg_iovlen = (size_t)n};
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    if (n == 1)
        sent = send(conn->fd, runs->iov_base, runs->iov_len, flags);
    else if (total(runs, n) <= JOINED_MAX)
        sent = send_joined(conn->fd, runs, n, flags);
    else
        sent = sendmsg(conn->fd, &message, flags);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    return sent;
}

/* Where bytes wait that the socket does not take now; NULL when out of memory. */
static struct evbuffer *waiting_of(struct tg_conn *conn)
{
    return conn->file ? tg_file_send_behind(conn) : tg_conn_output(conn);
}

static bool write_later(struct tg_conn *conn)
{
    return conn->file || tg_rest_send(conn) == TG_OK;
}

/* Takes n bytes off the front of runs. */
static void skip(struct iovec *runs, int count, size_t n)
{
    for (int i = 0; i < count && n; i++) {
        size_t k = n < runs[i].iov_len ? n : runs[i].iov_len;
        runs[i].iov_base = (char *)runs[i].iov_base + k;
        runs[i].iov_len -= k;
        n -= k;
    }
}

static enum tg_status put_aside(struct tg_conn *conn, const struct iovec *runs, int n)
{
    struct evbuffer *out = waiting_of(conn);
    if (!write_later(conn))
        return tg_conn_broken(conn);
    for (int i = 0; i < n; i++)
        if (runs[i].iov_len && (!out || evbuffer_add(out, runs[i].iov_base, runs[i].iov_len) != 0))
            return tg_conn_broken(conn);
    return TG_OK;
}

enum tg_status tg_conn_write(struct tg_conn *conn, const struct iovec *runs, int n)
{
    return conn->tls ? tg_tls_write(conn, runs, n) : tg_conn_write_raw(conn, runs, n);
}

enum tg_status tg_conn_write_raw(struct tg_conn *conn, const struct iovec *runs, int n)
{
    struct iovec rest[RUNS_MAX];
    if (conn->broken)
        return TG_ECLOSED;
    ssize_t sent = write_now(conn, runs, n);
    if (sent < 0)
        return tg_conn_broken(conn);
    if ((size_t)sent == total(runs, n))
        return TG_OK;
    memcpy(rest, runs, (size_t)n * sizeof *rest);
    skip(rest, n, (size_t)sent);
    return put_aside(conn, rest, n);
}

/* What is left of a lent run: a reference costs more than the copy of a short one. */
static enum tg_status put_lent_aside(struct tg_conn *conn, struct iovec rest, struct tg_lent *lent)
{
    if (rest.iov_len < LEND_FROM)
        return put_aside(conn, &rest, 1);
    struct evbuffer *out = waiting_of(conn);
    if (!out || !write_later(conn) ||
        evbuffer_add_reference(out, rest.iov_base, rest.iov_len, lent->release, lent->arg) != 0)
        return tg_conn_broken(conn);
    lent->release = NULL;
    return TG_OK;
}

enum tg_status tg_conn_write_lent(struct tg_conn *conn, const struct iovec *runs, int n,
                                  struct tg_lent *lent)
{
    if (conn->tls)
        return tg_tls_write_lent(conn, runs, n, lent);
    struct iovec rest[RUNS_MAX];
    const struct iovec whole = runs[lent->run];
    ssize_t sent = conn->broken ? -1 : write_now(conn, runs, n);
    enum tg_status status = sent < 0 ? tg_conn_broken(conn) : TG_OK;
    if (status == TG_OK && (size_t)sent < total(runs, n)) {
        memcpy(rest, runs, (size_t)n * sizeof *rest);
        skip(rest, n, (size_t)sent);
        status = put_aside(conn, rest, lent->run);
        if (status == TG_OK && rest[lent->run].iov_len)
            status = put_lent_aside(conn, rest[lent->run], lent);
        if (status == TG_OK)
            status = put_aside(conn, rest + lent->run + 1, n - lent->run - 1);
    }
    if (lent->release)
        lent->release(whole.iov_base, whole.iov_len, lent->arg);
    return status;
}

/* --- Heads ------------------------------------------------------------------------------------ */

bool tg_reply_bodyless(const struct tg_conn *conn, int status)
{
    return status == 204 || status == 304 ||
           tg_slice_equal(tg_conn_span(conn, conn->head.method), TG_SLICE("HEAD"));
}

static enum tg_reply_framing choose_framing(const struct tg_conn *conn,
                                            const struct tg_response_head *head)
{
    if (tg_reply_bodyless(conn, head->status))
        return TG_REPLY_BODYLESS;
    if (head->length != TG_LENGTH_UNKNOWN)
        return TG_REPLY_LENGTH;
    return conn->head.minor ? TG_REPLY_CHUNKED : TG_REPLY_CLOSE;
}

static char *append(char *at, const char *bytes, size_t len)
{
    if (len)
        memcpy(at, bytes, len);
    return at + len;
}

#define APPEND(at, literal) append((at), (literal), sizeof(literal) - 1)

static char *append_number(char *at, uint64_t n)
{
    char digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    return append(at, digits + i, sizeof digits - i);
}

static char *append_framing(char *at, const struct tg_conn *conn,
                            const struct tg_response_head *head)
{
    bool silent = head->status == 204 || head->status == 304; /* RFC 9110, 8.6 */
    if (head->length != TG_LENGTH_UNKNOWN && !silent) {
        at = APPEND(at, "Content-Length: ");
        at = append_number(at, head->length);
        at = APPEND(at, "\r\n");
    } else if (!silent && conn->head.minor) {
        at = APPEND(at, "Transfer-Encoding: chunked\r\n");
    }
    if (conn->close)
        at = APPEND(at, "Connection: close\r\n");
    return APPEND(at, "\r\n");
}

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    struct tg_conn *conn = sink;
    struct tg_reply *reply = &conn->reply;
    const char *reason = tg_reason(head->status);
    char *at = tg_malloc(head->fields.len + strlen(reason) + HEAD_EXTRA);
    if (!at)
        return TG_ENOMEM;

    tg_free(reply->head);
    reply->head = at;
    reply->framing = choose_framing(conn, head);
    reply->committed = true;
    if (head->close || reply->framing == TG_REPLY_CLOSE || tg_server_stopping(conn->server) ||
        conn->expect)
        conn->close = true;
    at = APPEND(at, "HTTP/1.1 ");
    at = append_number(at, (uint64_t)head->status);
    at = APPEND(at, " ");
    at = append(at, reason, strlen(reason));
    at = APPEND(at, "\r\n");
    struct tg_slice date = tg_server_date(conn->server);
    if (!head->has_date)
        at = append(at, date.p, date.len);
    at = append(at, head->fields.p, head->fields.len);
    at = append_framing(at, conn, head);
    reply->head_len = (size_t)(at - reply->head);
    return TG_OK;
}

void tg_reply_reset(struct tg_conn *conn)
{
    tg_free(conn->reply.head);
    conn->reply = (struct tg_reply){0};
}

/* --- The sink --------------------------------------------------------------------------------- */

/* The line that begins a chunk (RFC 9112, 7.1), at the end of the room for it. */
static struct iovec chunk_line(char line[LINE_MAX_LEN], size_t len)
{
    char *at = line + LINE_MAX_LEN;
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = "0123456789abcdef"[len % 16];
        len /= 16;
    } while (len);
    return (struct iovec){at, (size_t)(line + LINE_MAX_LEN - at)};
}

/* The head, if it is still to go, and what a chunk of len bytes begins with. */
static int runs_before(struct tg_conn *conn, size_t len, char line[LINE_MAX_LEN],
                       struct iovec *runs)
{
    struct tg_reply *reply = &conn->reply;
    int n = 0;
    if (reply->head)
        runs[n++] = (struct iovec){reply->head, reply->head_len};
    if (len && reply->framing == TG_REPLY_CHUNKED)
        runs[n++] = chunk_line(line, len);
    return n;
}

static struct iovec run_after(const struct tg_conn *conn, size_t len, unsigned flags)
{
    static const char ends[] = "\r\n0\r\n\r\n";
    struct iovec run = {NULL, 0};
    if (conn->reply.framing != TG_REPLY_CHUNKED)
        return run;
    size_t from = len ? 0 : 2;
    size_t to = flags & TG_SEND_LAST ? sizeof ends - 1 : 2;
    if (to > from)
        run = (struct iovec){(char *)(uintptr_t)ends + from, to - from};
    return run;
}

static void head_is_sent(struct tg_conn *conn)
{
    tg_free(conn->reply.head);
    conn->reply.head = NULL;
}

static enum tg_status send_runs(void *sink, const struct iovec *data, int n, unsigned flags)
{
    struct tg_conn *conn = sink;
    struct tg_reply *reply = &conn->reply;
    struct iovec runs[RUNS_MAX];
    char line[LINE_MAX_LEN];
    size_t len = total(data, n);
    size_t framed = reply->framing == TG_REPLY_BODYLESS ? 0 : len;

    int count = runs_before(conn, framed, line, runs);
    for (int i = 0; framed && i < n; i++)
        runs[count++] = data[i];
    struct iovec after = run_after(conn, framed, flags);
    if (after.iov_len)
        runs[count++] = after;
    reply->bytes += len;
    if (flags & TG_SEND_LAST)
        reply->last = true;
    enum tg_status status = count ? tg_conn_write(conn, runs, count) : TG_OK;
    head_is_sent(conn);
    return status;
}

static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    struct tg_conn *conn = sink;
    struct tg_reply *reply = &conn->reply;
    struct iovec runs[RUNS_MAX];
    char line[LINE_MAX_LEN];

    if (!len || reply->framing == TG_REPLY_BODYLESS) {
        enum tg_status status = send_runs(sink, NULL, 0, flags);
        release(data, len, arg);
        return status;
    }
    struct tg_lent lent = {.run = runs_before(conn, len, line, runs), release, arg};
    int count = lent.run;
    runs[count++] = (struct iovec){(void *)(uintptr_t)data, len};
    struct iovec after = run_after(conn, len, flags);
    if (after.iov_len)
        runs[count++] = after;
    reply->bytes += len;
    if (flags & TG_SEND_LAST)
        reply->last = true;
    enum tg_status status = tg_conn_write_lent(conn, runs, count, &lent);
    head_is_sent(conn);
    return status;
}

static enum tg_status send_parcel(void *sink, const struct tg_parcel *parcel, tg_release_fn release,
                                  void *arg)
{
    struct tg_conn *conn = sink;
    struct tg_reply *reply = &conn->reply;
    if (reply->head || reply->framing == TG_REPLY_BODYLESS)
        return send_lent(sink, parcel->bytes, parcel->len, 0, release, arg);
    struct iovec run = {(void *)(uintptr_t)parcel->bytes, parcel->len};
    if (reply->framing == TG_REPLY_CHUNKED) {
        run.iov_base = (char *)run.iov_base - parcel->before;
        run.iov_len += parcel->before + parcel->after;
    }
    struct tg_lent lent = {0, release, arg};
    reply->bytes += parcel->len;
    return tg_conn_write_lent(conn, &run, 1, &lent);
}

static size_t pending(void *sink)
{
    const struct tg_conn *conn = sink;
    return conn->unsent + tg_file_send_waiting(conn) + tg_tls_waiting(conn);
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct tg_conn *conn = sink;
    conn->drain_fn = fn;
    conn->drain_arg = arg;
    conn->drain_mark = low_water;
    if (fn && pending(sink) <= low_water)
        tg_server_wake(conn->server, conn, false);
}

static const struct tg_sink_ops socket_sink = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .send_parcel = send_parcel,
    .send_file = tg_conn_send_file,
    .stop_file = tg_conn_stop_file,
    .pending = pending,
    .on_drain = on_drain,
};

/* Files are read and encrypted. */
static const struct tg_sink_ops secure_sink = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

const struct tg_sink_ops *tg_conn_sink(const struct tg_conn *conn)
{
    if (conn->ops)
        return conn->ops->sink;
    return conn->secure ? &secure_sink : &socket_sink;
}

uint64_t tg_conn_unsent(const struct tg_conn *conn, uint64_t *stalled)
{
    uint64_t waiting =
        conn->unsent + tg_file_send_waiting(conn) + tg_file_send_left(conn) + tg_tls_waiting(conn);
    *stalled = waiting ? tg_clock_coarse_ms() - conn->moved_at : 0;
    return waiting;
}

bool tg_conn_committed(const struct tg_conn *conn)
{
    return conn->reply.committed;
}

uint64_t tg_conn_sent(const struct tg_conn *conn)
{
    return conn->reply.bytes;
}

/* --- Refusals --------------------------------------------------------------------------------- */

void tg_conn_refuse(struct tg_conn *conn, int status)
{
    const struct tg_server_options *options = tg_server_options(conn->server);
    const char *reason = tg_reason(status);
    char text[256];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %d %s\r\n%.*sContent-Type: text/plain; charset=utf-8\r\n"
                       "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                       status, reason, (int)tg_server_date(conn->server).len,
                       tg_server_date(conn->server).p, strlen(reason) + 1, reason);
    struct iovec run = {text, (size_t)len};
    enum tg_status written = tg_conn_write(conn, &run, 1);
    if (options->on_refused)
        options->on_refused(options->arg, conn, status);
    if (written == TG_OK)
        tg_conn_linger(conn);
}
