/* conn_body.c - request bodies: framing taken off where they lie, in the input buffer. */
#include "http/conn_impl.h"

static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";

void tg_conn_body_begin(struct tg_conn *conn)
{
    tg_framing_init(&conn->framing, conn->head.framing, conn->head.length);
    conn->run = (struct tg_slice){NULL, 0};
    conn->run_behind = 0;
    conn->body_bytes = 0;
    conn->body_ready = false;
    conn->body_fn = NULL;
    conn->expect =
        conn->head.expect_continue && tg_framing_state(&conn->framing) == TG_FRAMING_MORE;
}

static void say_continue(struct tg_conn *conn)
{
    struct iovec line = {(void *)(uintptr_t)continue_line, sizeof continue_line - 1};
    conn->expect = false;
    /* A failure shows as a connection that ends. */
    if (!conn->reply.committed && tg_conn_write(conn, &line, 1) < 0)
        conn->expect = false;
}

/* Finds the next run of payload in the bytes at buf's front; false when there is none yet. */
static bool find_run(struct tg_conn *conn, struct evbuffer *buf)
{
    struct evbuffer_iovec front;
    while (tg_framing_state(&conn->framing) == TG_FRAMING_MORE &&
           evbuffer_peek(buf, -1, NULL, &front, 1) > 0 && front.iov_len > 0) {
        struct tg_slice data = {NULL, 0};
        const char *bytes = front.iov_base;
        size_t used = tg_framing_next(&conn->framing, bytes, front.iov_len, &data);
        if (data.len) {
            size_t before = (size_t)(data.p - bytes);
            conn->run = data;
            conn->run_behind = used - before - data.len;
            evbuffer_drain(buf, before);
            conn->body_bytes += data.len;
            return true;
        }
        evbuffer_drain(buf, used);
        if (!used)
            break;
    }
    return false;
}

static enum tg_body_state state_without_run(const struct tg_conn *conn)
{
    switch (tg_framing_state(&conn->framing)) {
    case TG_FRAMING_DONE:
        return TG_BODY_END;
    case TG_FRAMING_BROKEN:
        return TG_BODY_BROKEN;
    case TG_FRAMING_MORE:
        break;
    }
    return TG_BODY_WAIT;
}

/* Bytes that came later may have moved what was there. */
static void find_run_again(struct tg_conn *conn)
{
    struct evbuffer_iovec front;
    if (evbuffer_peek(tg_conn_input(conn), -1, NULL, &front, 1) > 0)
        conn->run.p = front.iov_base;
}

enum tg_body_state tg_conn_body_peek(struct tg_conn *conn, struct tg_slice *data)
{
    if (conn->ops)
        return conn->ops->body_peek(conn, data);
    uint64_t most = tg_server_options(conn->server)->limits->body_bytes;
    *data = (struct tg_slice){NULL, 0};
    if (!conn->run.len && !find_run(conn, tg_conn_input(conn))) {
        enum tg_body_state state = state_without_run(conn);
        if (state == TG_BODY_BROKEN)
            conn->close = true;
        if (state == TG_BODY_WAIT && conn->expect)
            say_continue(conn);
        tg_conn_update_reading(conn);
        return state;
    }
    conn->expect = false; /* a client that sends does not wait to be asked */
    find_run_again(conn);
    if (most && conn->body_bytes > most) {
        conn->close = true;
        return TG_BODY_TOO_LARGE;
    }
    *data = conn->run;
    if (data->len > TG_BODY_PIECE_MAX) /* two reads may lie behind each other */
        data->len = TG_BODY_PIECE_MAX;
    return TG_BODY_DATA;
}

void tg_conn_body_consume(struct tg_conn *conn, size_t n)
{
    if (conn->ops) {
        conn->ops->body_consume(conn, n);
        return;
    }
    struct evbuffer *in = tg_conn_input(conn);
    conn->run.p += n;
    conn->run.len -= n;
    if (!conn->run.len) {
        n += conn->run_behind;
        conn->run_behind = 0;
    }
    evbuffer_drain(in, n);
    tg_conn_update_reading(conn);
}

uint64_t tg_conn_body_left(const struct tg_conn *conn)
{
    if (conn->ops)
        return conn->ops->body_left(conn);
    if (conn->head.framing == TG_FRAMING_CHUNKED)
        return UINT64_MAX;
    if (conn->head.framing == TG_FRAMING_NONE)
        return 0;
    return conn->head.length - (conn->body_bytes - conn->run.len);
}

enum tg_body_state tg_conn_body_discard(struct tg_conn *conn, struct evbuffer *buf)
{
    if (conn->run.len) {
        evbuffer_drain(buf, conn->run.len + conn->run_behind);
        conn->body_bytes += conn->run.len;
        conn->run.len = 0;
    }
    while (find_run(conn, buf)) {
        evbuffer_drain(buf, conn->run.len + conn->run_behind);
        conn->run.len = 0;
    }
    return state_without_run(conn);
}

void tg_conn_body_arrived(struct tg_conn *conn)
{
    if (!conn->body_fn || conn->body_ready)
        return;
    conn->body_ready = true;
    tg_server_wake(conn->server, conn, false);
}

void tg_conn_body_tell(struct tg_conn *conn)
{
    void (*fn)(void *) = conn->body_fn;
    conn->body_fn = NULL;
    conn->body_ready = false;
    fn(conn->body_arg);
}

void tg_conn_body_wait(struct tg_conn *conn, void (*fn)(void *arg), void *arg)
{
    conn->body_fn = fn;
    conn->body_arg = arg;
    conn->body_ready = false;
}
