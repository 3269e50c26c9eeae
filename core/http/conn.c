/* conn.c - the intake: a connection's life, and what evhttp gets to see of it.
 *
 * We read the socket ourselves, into the bufferevent's input.  When the first bytes hold a whole head
 * that is beyond doubt, evhttp is given a canonical one instead, whose target is a handle on the
 * connection; it then calls back at once and waits for an answer, and leaves the input alone while it
 * waits: for as long as the connection lasts.  The requests that follow begin and end without it.
 *
 * It rests on one undocumented fact, which a spec asserts: the argument of the callbacks that evhttp
 * puts on a bufferevent is the evhttp_connection.
 */
#include "http/tls_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "util/clock.h"
#include "util/mem.h"

static void watch(struct tg_conn *conn, short what);

/* --- The end ---------------------------------------------------------------------------------- */

static void free_conn(struct tg_conn *conn)
{
    const struct tg_conn_events *events = conn->events;
    struct evbuffer *out = tg_conn_output(conn);

    tg_server_forget(conn->server, conn);
    conn->drain_fn = NULL;
    conn->finishing = false;
    tg_file_send_free(conn);
    tg_rest_free(conn);
    tg_tls_close(conn);
    /* What was lent to the output is given back now: the buffer itself dies some turns later. */
    evbuffer_unfreeze(out, 1);
    evbuffer_drain(out, evbuffer_get_length(out));
    if (events)
        events->gone(conn->owner, conn->why); /* it may still look at the request */

    /* A request that evhttp has let go of after an error is ours to free. */
    if (conn->req && !evhttp_request_get_connection(conn->req))
        evhttp_request_free(conn->req);
    watch(conn, 0);
    tg_deadline_fini(&conn->deadline);
    if (conn->raw)
        evbuffer_free(conn->raw);
    tg_free(conn->reply.head);
    tg_free(conn->block);
    tg_free(conn);
}

static void on_evhttp_close(struct evhttp_connection *evcon, void *arg)
{
    (void)evcon;
    free_conn(arg);
}

/* We hold the bufferevent until its evhttp_connection is known: that may be gone before, unheard, and
 * leaves the callbacks' argument NULL. */
static bool learn_evcon(struct tg_conn *conn)
{
    void *arg;
    if (conn->evcon)
        return true;
    bufferevent_getcb(conn->bev, NULL, NULL, NULL, &arg);
    conn->evcon = arg;
    conn->fd = bufferevent_getfd(conn->bev);
    if (arg)
        evhttp_connection_set_closecb(conn->evcon, on_evhttp_close, conn);
    bufferevent_decref(conn->bev);
    return arg != NULL;
}

void tg_conn_destroy(struct tg_conn *conn, enum tg_gone why)
{
    conn->why = why;
    if (learn_evcon(conn))
        evhttp_connection_free(conn->evcon);
    else
        free_conn(conn);
}

/* Nothing is lost by it. */
static void close_politely(struct tg_conn *conn, enum tg_gone why)
{
    tg_tls_say_goodbye(conn);
    tg_conn_destroy(conn, why);
}

void tg_conn_abort(struct tg_conn *conn)
{
    if (conn->ops) {
        conn->ops->abort(conn);
        return;
    }
    conn->events = NULL;
    bool shows = conn->reply.committed && conn->reply.framing != TG_REPLY_CLOSE;
    if (!shows) {
        /* evhttp shuts the socket down before it closes it, which would send a FIN. */
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        int refused = connect(bufferevent_getfd(conn->bev), &none, sizeof none);
        (void)refused; /* the FIN is all that is left then */
    }
    tg_conn_destroy(conn, TG_GONE_ABORTED);
}

void tg_conn_linger(struct tg_conn *conn)
{
    struct evbuffer *in = tg_conn_input(conn);
    conn->state = TG_CONN_LINGER;
    evbuffer_drain(in, evbuffer_get_length(in));
    tg_tls_say_goodbye(conn);
    if (!evbuffer_get_length(tg_conn_output(conn)))
        shutdown(bufferevent_getfd(conn->bev), SHUT_WR);
    tg_deadline_set(&conn->deadline, TG_LINGER_MS);
    tg_conn_update_reading(conn);
}

/* --- Heads ------------------------------------------------------------------------------------ */

/* evhttp must not see what is no canonical head; once it waits for us it does not look. */
static void withhold(struct tg_conn *conn)
{
    struct evbuffer *in = tg_conn_input(conn);
    if (conn->req)
        return;
    if (!conn->raw)
        conn->raw = evbuffer_new();
    if (!conn->raw || evbuffer_remove_buffer(in, conn->raw, evbuffer_get_length(in)) < 0) {
        evbuffer_drain(
            in, evbuffer_get_length(in)); /* no memory; evhttp must not see it all the same */
        conn->broken = true;
        tg_server_wake(conn->server, conn, false);
    }
}

/* Gives back to the input what is behind the first head, and evhttp a head of its own. */
static void inject(struct tg_conn *conn)
{
    char head[] = "GET /00000000.00000000 HTTP/1.1\r\n\r\n";
    struct evbuffer *in = tg_conn_input(conn);
    tg_handle_print(conn->handle, head + 4);
    if (conn->raw) {
        evbuffer_prepend_buffer(in, conn->raw);
        evbuffer_free(conn->raw); /* an idle or waiting connection has no use for it */
        conn->raw = NULL;
    }
    evbuffer_prepend(in, head, sizeof head - 1);
}

/* Keeps the head's bytes and fields in one block, reused from request to request. */
bool tg_conn_keep_head(struct tg_conn *conn, const char *bytes, size_t len,
                       const struct tg_field *fields)
{
    size_t at = (len + sizeof(struct tg_field) - 1) & ~(sizeof(struct tg_field) - 1);
    size_t fields_size = conn->head.field_count * sizeof *fields;
    if (at + fields_size > conn->block_size) {
        tg_free(conn->block);
        conn->block = tg_malloc(at + fields_size);
        conn->block_size = conn->block ? at + fields_size : 0;
    }
    if (!conn->block)
        return false;
    memcpy(conn->block, bytes, len);
    if (fields_size)
        memcpy(conn->block + at, fields, fields_size);
    conn->fields = (struct tg_field *)(void *)(conn->block + at);
    return true;
}

/* Returns 0, or the status to refuse the head with. */
static int parse(struct tg_conn *conn, const char *bytes, size_t len)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    size_t count;
    struct tg_field *space = tg_server_field_space(conn->server, &count);
    struct tg_head_limits head_limits = {limits->head_fields, limits->target_bytes};

    if (!space)
        return 503;
    int status = tg_head_parse(bytes, len, &head_limits, &conn->head, space, count);
    if (status)
        return status;
    if (limits->body_bytes && conn->head.framing == TG_FRAMING_LENGTH &&
        conn->head.length > limits->body_bytes)
        return 413;
    return tg_conn_keep_head(conn, bytes, len, space) ? 0 : 503;
}

/* A head that grows past its limit: of the target, or of the fields? */
static int too_large(const char *bytes, size_t len)
{
    return memchr(bytes, '\n', len) ? 431 : 414;
}

/* Looks for a head among the bytes that have come: 1 when one was taken, 0 when more are needed, -1
 * when it was refused. */
static int take_head(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    size_t max = limits->head_bytes ? limits->head_bytes : UINT32_MAX / 2;
    struct evbuffer *from =
        conn->raw && evbuffer_get_length(conn->raw) ? conn->raw : tg_conn_input(conn);
    size_t len = evbuffer_get_length(from);
    if (len > max + 4)
        len = max + 4; /* and the blank lines before it */
    const char *bytes = (const char *)evbuffer_pullup(from, (ev_ssize_t)len);
    if (!bytes)
        return 0;
    size_t blank = tg_head_blank(bytes, len);
    long end = tg_head_find_end(bytes + blank, len - blank, &conn->scanned);
    int status = 0;
    conn->partial = end == 0 && len - blank < max;

    if (end < 0)
        status = 400;
    else if (conn->partial)
        return 0;
    else if (end == 0 || (size_t)end > max)
        status = too_large(bytes + blank, len - blank);
    else
        status = parse(conn, bytes + blank, (size_t)end);

    if (status) {
        tg_conn_refuse(conn, status);
        return -1;
    }
    evbuffer_drain(from, blank + (size_t)end);
    tg_deadline_set(&conn->deadline, 0);
    conn->scanned = 0;
    conn->state = TG_CONN_READY;
    if (!conn->req)
        inject(conn);
    return 1;
}

static void head_bytes_came(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    bool first = !conn->partial;
    if (!first)
        withhold(conn);
    if (take_head(conn) == 0 && first) {
        withhold(conn);
        tg_deadline_set(&conn->deadline, limits->head_timeout);
    }
}

static void drain_body(struct tg_conn *conn);

/* Bytes have come into the input buffer. */
static void on_input(struct tg_conn *conn)
{
    struct evbuffer *in = tg_conn_input(conn);
    switch (conn->state) {
    case TG_CONN_HEAD:
        head_bytes_came(conn);
        break;
    case TG_CONN_READY:
        break;
    case TG_CONN_EXCHANGE:
        tg_conn_update_reading(conn);
        tg_conn_body_arrived(conn);
        break;
    case TG_CONN_DRAIN:
        drain_body(conn);
        break;
    case TG_CONN_LINGER:
        evbuffer_drain(in, evbuffer_get_length(in));
        break;
    }
}

void tg_conn_update_reading(struct tg_conn *conn)
{
    bool room =
        conn->state != TG_CONN_EXCHANGE || evbuffer_get_length(tg_conn_input(conn)) < TG_INPUT_MAX;
    if (conn->watching)
        watch(conn, room ? EV_READ | EV_CLOSED : EV_CLOSED);
}

/* --- From request to request ------------------------------------------------------------------ */

/* The next head may be here already; its exchange then begins in the loop's next turn. */
static void next_head(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    bool some = evbuffer_get_length(tg_conn_input(conn)) > 0;
    conn->state = TG_CONN_HEAD;
    int taken = some ? take_head(conn) : 0;
    if (taken == 0 && conn->peer_closed) {
        close_politely(conn, TG_GONE_CLIENT); /* what it has begun it does not end */
        return;
    }
    if (taken > 0)
        tg_server_wake(conn->server, conn, false);
    else if (taken == 0)
        tg_deadline_set(&conn->deadline, some ? limits->head_timeout : limits->idle_timeout);
    if (taken >= 0)
        tg_conn_update_reading(conn);
}

static void drain_body(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    enum tg_body_state state = tg_conn_body_discard(conn, tg_conn_input(conn));
    if (state == TG_BODY_END)
        next_head(conn);
    else if (state != TG_BODY_WAIT || conn->body_bytes > limits->body_drain)
        tg_conn_linger(conn);
}

static void next_request(struct tg_conn *conn)
{
    const struct tg_limits *limits = tg_server_options(conn->server)->limits;
    bool unread = tg_framing_state(&conn->framing) != TG_FRAMING_DONE || conn->run.len;
    bool more = evbuffer_get_length(tg_conn_input(conn)) > 0;

    if (conn->close || tg_server_stopping(conn->server) || (unread && conn->expect) ||
        (conn->peer_closed && (unread || !more))) {
        if (unread || more)
            tg_conn_linger(conn);
        else
            close_politely(conn, TG_GONE_CLIENT);
        return;
    }
    if (!unread) {
        next_head(conn);
        return;
    }
    conn->state = TG_CONN_DRAIN;
    conn->body_bytes = 0; /* from here on it counts what is thrown away */
    tg_deadline_set(&conn->deadline, limits->head_timeout);
    tg_conn_update_reading(conn);
    drain_body(conn);
}

static void finish_when_sent(struct tg_conn *conn)
{
    if (evbuffer_get_length(tg_conn_output(conn)) || conn->file || tg_tls_waiting(conn))
        return; /* on_output wakes us */
    const struct tg_conn_events *events = conn->events;
    void *owner = conn->owner;
    conn->events = NULL;
    conn->finishing = false;
    conn->drain_fn = NULL;
    conn->body_fn = NULL;
    if (events)
        events->finished(owner);
    tg_reply_reset(conn);
    next_request(conn);
}

void tg_conn_finish(struct tg_conn *conn)
{
    if (conn->ops) {
        conn->ops->finish(conn);
        return;
    }
    conn->finishing = true;
    tg_deadline_set(&conn->deadline, 0);
    if (!conn->broken)
        finish_when_sent(conn);
}

/* --- What happens while a request is in hand -------------------------------------------------- */

/* The client has sent its last byte, or is gone altogether. */
static void input_ended(struct tg_conn *conn)
{
    watch(conn, 0); /* it would go on firing */
    if (conn->state == TG_CONN_READY || (conn->state == TG_CONN_EXCHANGE && conn->finishing))
        conn->peer_closed = true; /* it may still read the rest of a whole response */
    else
        tg_conn_destroy(conn, TG_GONE_CLIENT);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    tg_conn_destroy(arg, what & BEV_EVENT_TIMEOUT ? TG_GONE_TIMEOUT : TG_GONE_CLIENT);
}

/* The head of a request is here. */
static void begin(struct tg_conn *conn)
{
    const struct tg_server_options *options = tg_server_options(conn->server);
    struct tg_slots *slots = tg_server_slots(conn->server);
    struct tg_handle handle = conn->handle;

    conn->state = TG_CONN_EXCHANGE;
    conn->why = TG_GONE_CLIENT;
    conn->close = conn->head.close;
    tg_conn_body_begin(conn);
    tg_deadline_set(&conn->deadline, options->limits->response_timeout);
    options->on_request(options->arg, conn);
    if (tg_slots_find(slots, handle) != conn || conn->state != TG_CONN_EXCHANGE)
        return; /* it was answered at once */
    tg_conn_update_reading(conn);
    if (conn->peer_closed)
        tg_server_wake(conn->server, conn, false);
}

static void plain_bytes_came(struct tg_conn *conn)
{
    bool head = conn->state == TG_CONN_HEAD;
    on_input(conn);
    if (!head || conn->state != TG_CONN_READY)
        return;
    if (conn->req)
        begin(conn);
    else
        bufferevent_trigger(conn->bev, EV_READ, 0); /* evhttp calls tg_conn_request() */
}

static void secure_bytes_came(struct tg_conn *conn, const void *bytes, size_t len, bool in_place)
{
    struct tg_slots *slots = tg_server_slots(conn->server);
    struct tg_handle handle = conn->handle;
    size_t before = evbuffer_get_length(tg_conn_input(conn));
    enum tg_tls_outcome outcome = tg_tls_receive(conn, bytes, len, in_place);
    if (outcome == TG_TLS_BROKEN) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    if (outcome == TG_TLS_NO_TLS) {
        tg_tls_close(conn); /* so that it can be told */
        tg_conn_refuse(conn, 400);
        return;
    }
    if (evbuffer_get_length(tg_conn_input(conn)) > before)
        plain_bytes_came(conn);
    if (outcome != TG_TLS_ENDED || tg_slots_find(slots, handle) != conn)
        return;
    if (conn->state == TG_CONN_HEAD)
        close_politely(conn, TG_GONE_CLIENT); /* each side says it (RFC 8446, 6.1) */
    else
        input_ended(conn);
}

/* Straight into the input, which is empty: a body that comes fast is not copied.  What comes slowly is, for
 * it may wait there, and would hold all of the room. */
static ssize_t read_in_place(struct tg_conn *conn, size_t size)
{
    struct evbuffer *in = tg_conn_input(conn);
    struct evbuffer_iovec room;
    ssize_t n = -1;
    errno = ENOMEM;
    evbuffer_unfreeze(in, 0);
    if (evbuffer_reserve_space(in, (ev_ssize_t)size, &room, 1) == 1) {
        n = recv(bufferevent_getfd(conn->bev), room.iov_base, size, MSG_DONTWAIT);
        room.iov_len = n > 0 ? (size_t)n : 0;
        if (n > 0 && evbuffer_commit_space(in, &room, 1) != 0) {
            errno = ENOMEM;
            n = -1;
        }
    }
    evbuffer_freeze(in, 0);
    return n;
}

static bool add_input(struct tg_conn *conn, const char *bytes, size_t len)
{
    struct evbuffer *in = tg_conn_input(conn);
    evbuffer_unfreeze(in, 0);
    bool added = evbuffer_add(in, bytes, len) == 0;
    evbuffer_freeze(in, 0);
    return added;
}

/* bufferevents read by an ioctl, a buffer of 4 KiB and a readv, and evhttp switches their reading off
 * and on with every request: so theirs is suspended for good (see server.c), and we read. */
static void read_some(struct tg_conn *conn)
{
    size_t size;
    char *space = tg_server_read_space(conn->server, &size);
    bool in_place =
        conn->flows && conn->state == TG_CONN_EXCHANGE && !evbuffer_get_length(tg_conn_input(conn));
    ssize_t n = in_place && !conn->tls
                    ? read_in_place(conn, size)
                    : recv(bufferevent_getfd(conn->bev), space, size, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n < 0 && errno == ENOMEM) {
        tg_conn_destroy(conn, TG_GONE_ABORTED);
        return;
    }
    if (n <= 0) {
        input_ended(conn);
        return;
    }
    conn->flows = (size_t)n >= size / 2;
    if (conn->tls)
        secure_bytes_came(conn, space, (size_t)n, in_place);
    else if (in_place || add_input(conn, space, (size_t)n))
        plain_bytes_came(conn);
    else
        tg_conn_destroy(conn, TG_GONE_ABORTED);
}

/* EV_CLOSED is EPOLLRDHUP: seen while nothing is read, too. */
static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct tg_conn *conn = arg;
    struct tg_slots *slots = tg_server_slots(conn->server);
    struct tg_handle handle = conn->handle;

    if (what & EV_READ)
        read_some(conn);
    if (!(what & EV_CLOSED) || tg_slots_find(slots, handle) != conn)
        return;
    if (conn->state == TG_CONN_EXCHANGE || conn->state == TG_CONN_READY) {
        watch(conn, 0);
        if (conn->state == TG_CONN_EXCHANGE && !conn->finishing)
            tg_conn_destroy(conn, TG_GONE_CLIENT);
        else
            conn->peer_closed = true;
    } else if (conn->watching) {
        watch(conn, EV_READ); /* what it sent before is read first, and then the end of it */
    }
}

void tg_conn_hung_up(struct tg_conn *conn)
{
    on_socket(conn->fd, EV_CLOSED, conn);
}

static void watch(struct tg_conn *conn, short what)
{
    struct event_base *base = tg_server_options(conn->server)->base;
    if (conn->watching == what)
        return;
    if (conn->watching == EV_CLOSED)
        tg_hangups_remove(tg_server_hangups(conn->server), conn->fd);
    else if (conn->watching)
        event_del(&conn->socket);
    conn->watching = what;
    if (what == EV_CLOSED)
        tg_hangups_add(tg_server_hangups(conn->server), conn->fd,
                       (uint64_t)conn->handle.index << 32 | conn->handle.generation);
    if (!what || what == EV_CLOSED)
        return;
    event_assign(&conn->socket, base, bufferevent_getfd(conn->bev), (short)(what | EV_PERSIST),
                 on_socket, conn);
    event_add(&conn->socket, NULL);
}

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg)
{
    struct tg_conn *conn = arg;
    size_t len = evbuffer_get_length(out);
    if (info->n_deleted || !conn->unsent)
        conn->moved_at = tg_clock_coarse_ms();
    conn->unsent = len;
    if (!info->n_deleted)
        return;
    if ((conn->drain_fn && len <= conn->drain_mark) ||
        (len == 0 && (conn->finishing || conn->file || tg_tls_waiting(conn))))
        tg_server_wake(conn->server, conn, false);
}

static void call_drained(struct tg_conn *conn)
{
    void (*fn)(void *) = conn->drain_fn;
    conn->drain_fn = NULL;
    fn(conn->drain_arg);
}

/* The chores of one turn.  Each may end the connection, so only one is done; what else there is
 * shows again in the next turn. */
void tg_conn_chores(struct tg_conn *conn)
{
    size_t waiting = evbuffer_get_length(tg_conn_output(conn));

    if (!conn->evcon) { /* the first turn of its life */
        if (!learn_evcon(conn)) {
            free_conn(conn);
            return;
        }
        if (!tg_server_admit(conn->server, conn)) {
            tg_conn_destroy(conn, TG_GONE_ABORTED);
            return;
        }
        watch(conn, EV_READ | EV_CLOSED);
    }
    if (conn->broken) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    if (conn->state == TG_CONN_EXCHANGE && conn->peer_closed && !conn->finishing) {
        tg_conn_destroy(conn, TG_GONE_CLIENT);
        return;
    }
    if (conn->state == TG_CONN_READY && conn->req) {
        begin(conn);
        return;
    }
    if (waiting == 0 && tg_tls_waiting(conn)) {
        tg_tls_go_on(conn);
        waiting = evbuffer_get_length(tg_conn_output(conn));
    }
    if (conn->body_fn && conn->body_ready && (waiting == 0 || conn->drain_fn))
        tg_server_wake(conn->server, conn, false); /* for later: see the order below */
    if (conn->file && waiting == 0)
        tg_file_send_go_on(conn);
    else if (conn->finishing)
        finish_when_sent(conn);
    else if (conn->drain_fn &&
             waiting + tg_file_send_waiting(conn) + tg_tls_waiting(conn) <= conn->drain_mark)
        call_drained(conn);
    else if (conn->body_fn && conn->body_ready)
        tg_conn_body_tell(conn);
}

static void on_deadline(void *arg)
{
    struct tg_conn *conn = arg;
    if (conn->state == TG_CONN_HEAD && conn->partial)
        tg_conn_refuse(conn, 408);
    else if (conn->state == TG_CONN_EXCHANGE && conn->events && !conn->reply.committed) {
        tg_deadline_set(&conn->deadline, tg_server_options(conn->server)->limits->response_timeout);
        conn->events->late(conn->owner);
    } else if (conn->state != TG_CONN_EXCHANGE)
        close_politely(conn, TG_GONE_TIMEOUT);
}

void tg_conn_request(struct tg_conn *conn, struct evhttp_request *req)
{
    if (!conn->evcon && learn_evcon(conn))
        watch(conn, EV_READ | EV_CLOSED);
    conn->req = req;
    bufferevent_setcb(conn->bev, NULL, NULL, on_event, conn); /* in evhttp's place */
    begin(conn);
}

void tg_conn_take(struct tg_conn *conn, const struct tg_conn_events *events, void *arg)
{
    conn->events = events;
    conn->owner = arg;
}

static bool has_unread(const struct tg_conn *conn)
{
    char byte;
    return recv(bufferevent_getfd(conn->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Whoever has sent a request, or has connected just now to send one, gets his answer. */
void tg_conn_close_idle(struct tg_conn *conn)
{
    if (conn->state != TG_CONN_HEAD || conn->partial || has_unread(conn))
        return;
    if (conn->req)
        close_politely(conn, TG_GONE_SHUTDOWN);
    else
        tg_deadline_set(&conn->deadline, TG_LINGER_MS);
}

/* --- The beginning ---------------------------------------------------------------------------- */

static enum tg_status secure(struct tg_conn *conn)
{
    struct tg_tls_context *context = tg_server_tls(conn->server);
    return context ? tg_tls_open(conn, context, tg_server_tls_space(conn->server)) : TG_EINVAL;
}

struct tg_conn *tg_conn_new(struct tg_server *server, bool is_secure)
{
    const struct tg_server_options *options = tg_server_options(server);
    struct tg_conn *conn = tg_calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->server = server;
    conn->fd = -1;
    conn->handle = tg_slots_add(tg_server_slots(server), conn);
    conn->bev = bufferevent_socket_new(options->base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!conn->handle.generation || !conn->bev || (is_secure && secure(conn) != TG_OK))
        goto fail;

    event_assign(&conn->socket, options->base, -1, 0, on_socket, conn);
    if (tg_deadline_init(&conn->deadline, tg_server_deadlines(server), on_deadline, conn) !=
            TG_OK ||
        tg_server_suspend_reading(server, conn->bev) != 0 ||
        !evbuffer_add_cb(tg_conn_output(conn), on_output, conn))
        goto fail;
    bufferevent_disable(conn->bev, EV_WRITE); /* evhttp leaves it so: send_rest.c writes */
    tg_deadline_set(&conn->deadline, options->limits->head_timeout);
    tg_server_adopt(server, conn);
    bufferevent_incref(conn->bev);
    /* Its evhttp_connection is to be learned, even of a silent client.  In this turn, so before it
     * can send or close. */
    tg_server_wake(server, conn, true);
    return conn;

fail:
    tg_tls_close(conn);
    if (conn->handle.generation)
        tg_slots_remove(tg_server_slots(server), conn->handle);
    tg_deadline_fini(&conn->deadline);
    if (conn->bev)
        bufferevent_free(conn->bev);
    tg_free(conn);
    return NULL;
}

/* --- The request ------------------------------------------------------------------------------ */

const struct tg_head *tg_conn_head(const struct tg_conn *conn)
{
    return &conn->head;
}

const struct tg_field *tg_conn_fields(const struct tg_conn *conn)
{
    return conn->fields;
}

const char *tg_conn_bytes(const struct tg_conn *conn)
{
    return conn->block;
}

struct tg_slice tg_conn_span(const struct tg_conn *conn, struct tg_span span)
{
    return (struct tg_slice){conn->block + span.at, span.len};
}

struct tg_slice tg_conn_field_name(const struct tg_conn *conn, const struct tg_field *field)
{
    return (struct tg_slice){conn->block + field->name, field->name_len};
}

struct tg_slice tg_conn_field_value(const struct tg_conn *conn, const struct tg_field *field)
{
    return (struct tg_slice){conn->block + field->value, field->value_len};
}

void tg_conn_forget_fields(struct tg_conn *conn)
{
    size_t len = conn->head.target.at + conn->head.target.len; /* the method is before it */
    char *less = len && len < conn->block_size ? tg_realloc(conn->block, len) : NULL;
    conn->head.field_count = 0;
    conn->head.authority.len = 0;
    conn->fields = NULL;
    if (!less)
        return;
    conn->block = less;
    conn->block_size = len;
}

struct event_base *tg_conn_base(const struct tg_conn *conn)
{
    return conn->ops ? conn->ops->base(conn) : tg_server_options(conn->server)->base;
}

bool tg_conn_secure(const struct tg_conn *conn)
{
    return conn->ops ? conn->ops->secure(conn) : conn->secure;
}

static int family_and_port(const struct tg_conn *conn, uint16_t *port)
{
    struct sockaddr_storage local = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof local;
    *port = 0;
    if (getsockname(bufferevent_getfd(conn->bev), (struct sockaddr *)&local, &size) != 0)
        return AF_UNSPEC;
    if (local.ss_family == AF_INET)
        *port = ntohs(((struct sockaddr_in *)&local)->sin_port);
    else if (local.ss_family == AF_INET6)
        *port = ntohs(((struct sockaddr_in6 *)&local)->sin6_port);
    return local.ss_family;
}

uint16_t tg_conn_local_port(const struct tg_conn *conn)
{
    uint16_t port;
    if (conn->ops)
        return conn->ops->local_port(conn);
    family_and_port(conn, &port);
    return port;
}

static const char mapped_prefix[] = "::ffff:";

const char *tg_conn_peer(const struct tg_conn *conn, uint16_t *port)
{
    uint16_t local;
    char *address = NULL;
    if (conn->ops)
        return conn->ops->peer(conn, port);
    *port = 0;
    if (!conn->evcon || family_and_port(conn, &local) == AF_UNIX)
        return "unix:";
    evhttp_connection_get_peer(conn->evcon, &address, port);
    if (!address)
        return "";
    /* A socket for both families has IPv4 in IPv6: one client is to have one address. */
    bool mapped = strncmp(address, mapped_prefix, strlen(mapped_prefix)) == 0;
    return mapped && strchr(address, '.') ? address + strlen(mapped_prefix) : address;
}
