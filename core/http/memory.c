/* memory.c - both sides of a connection without a socket. */
#include "http/memory.h"

#include <string.h>
#include <sys/queue.h>

#include "http/conn_impl.h"
#include "io/deadline.h"
#include "io/soon.h"
#include "util/clock.h"
#include "util/mem.h"

/* One send of a body: a copy, or what was lent. */
struct chunk {
    STAILQ_ENTRY(chunk) link;
    struct tg_slice rest; /* what was not taken of it */
    uint64_t at;
    const char *lent;
    size_t lent_len;
    tg_release_fn release; /* NULL: the bytes are behind it */
    void *arg;
    char bytes[];
};

struct queue {
    STAILQ_HEAD(, chunk) chunks;
    size_t bytes;
};

struct tg_memory {
    struct tg_conn conn; /* first: what the engine has of it; what concerns sockets is unused */
    struct tg_memory_options o;
    LIST_ENTRY(tg_memory) link; /* in all->open, unless it is served */
    bool released;              /* the client has no use for it any more */
    bool leaving;               /* the exchange is to hear that its client has gone */
    bool served;                /* the exchange has no use for it any more, or has not begun */
    int running;                /* of our calls, above which it must not be freed */
    enum tg_memory_state state;

    struct queue in; /* of the request's body */
    uint64_t fed;
    uint64_t read;
    bool in_ended;

    struct queue out; /* of the response's */
    struct tg_response_head head;
    bool head_sent;

    struct tg_soon serve; /* what the exchange is to hear */
    struct tg_soon tell;  /* and what the client is */
};

static struct tg_memory *memory_of(struct tg_conn *conn)
{
    return (struct tg_memory *)(void *)conn;
}

/* --- Queues of bytes -------------------------------------------------------------------------- */

static void queue_init(struct queue *queue)
{
    STAILQ_INIT(&queue->chunks);
    queue->bytes = 0;
}

static struct chunk *queue_add(struct queue *queue, size_t room)
{
    struct chunk *chunk = tg_calloc(1, sizeof *chunk + room);
    if (!chunk)
        return NULL;
    chunk->rest = (struct tg_slice){chunk->bytes, room};
    queue->bytes += room;
    STAILQ_INSERT_TAIL(&queue->chunks, chunk, link);
    return chunk;
}

static void queue_take(struct queue *queue, size_t n)
{
    struct chunk *chunk = STAILQ_FIRST(&queue->chunks);
    if (!n)
        return;
    chunk->rest.p += n;
    chunk->rest.len -= n;
    queue->bytes -= n;
    if (chunk->rest.len)
        return;
    STAILQ_REMOVE_HEAD(&queue->chunks, link);
    if (chunk->release)
        chunk->release(chunk->lent, chunk->lent_len, chunk->arg);
    tg_free(chunk);
}

static void queue_clear(struct queue *queue)
{
    while (!STAILQ_EMPTY(&queue->chunks))
        queue_take(queue, STAILQ_FIRST(&queue->chunks)->rest.len);
}

static void free_copy(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    tg_free(arg);
}

/* What was lent becomes a copy; what was copied is ours. */
static bool keep(struct chunk *chunk)
{
    if (!chunk->release || chunk->release == free_copy)
        return true;
    char *copy = tg_malloc(chunk->rest.len ? chunk->rest.len : 1);
    if (!copy)
        return false;
    memcpy(copy, chunk->rest.p, chunk->rest.len);
    chunk->release(chunk->lent, chunk->lent_len, chunk->arg);
    chunk->rest.p = copy;
    chunk->release = free_copy;
    chunk->arg = copy;
    return true;
}

/* Whoever has lent bytes is about to go.  Without memory for copies the response, which is broken, is
 * broken off here. */
static void queue_keep(struct queue *queue)
{
    struct chunk *chunk;
    bool kept = true;
    STAILQ_FOREACH(chunk, &queue->chunks, link)
    kept = kept && keep(chunk);
    if (!kept)
        queue_clear(queue);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void free_if_over(struct tg_memory *m)
{
    if (!m->released || !m->served || m->running)
        return;
    queue_clear(&m->in);
    queue_clear(&m->out);
    tg_soon_fini(&m->serve);
    tg_soon_fini(&m->tell);
    tg_deadline_fini(&m->conn.deadline);
    tg_free((void *)(uintptr_t)m->head.fields.p);
    tg_free(m->conn.block);
    tg_free(m);
}

static uint64_t now_of(const struct tg_memory *m)
{
    const struct tg_deadlines *deadlines = m->o.all->deadlines;
    return deadlines->held ? tg_deadlines_now(deadlines) : tg_clock_ns() / 1000;
}

static void tell_client(struct tg_memory *m)
{
    if (!m->released)
        tg_soon_call(&m->tell);
}

/* The exchange is done with it. */
static void close_server_side(struct tg_memory *m, enum tg_memory_state state)
{
    LIST_REMOVE(m, link);
    m->served = true;
    m->state = state;
    m->conn.events = NULL;
    m->conn.drain_fn = NULL;
    m->conn.body_fn = NULL;
    m->conn.finishing = false;
    queue_keep(&m->out);
    queue_clear(&m->in);
    tg_deadline_set(&m->conn.deadline, 0);
    tell_client(m);
}

static void end_gone(struct tg_memory *m, enum tg_gone why)
{
    const struct tg_conn_events *events = m->conn.events;
    if (events)
        events->gone(m->conn.owner, why);
    close_server_side(m, TG_MEMORY_BROKEN);
}

static void end_finished(struct tg_memory *m)
{
    const struct tg_conn_events *events = m->conn.events;
    if (events)
        events->finished(m->conn.owner);
    close_server_side(m, TG_MEMORY_WHOLE);
}

/* --- What the exchange hears ------------------------------------------------------------------ */

static bool may_drain(const struct tg_memory *m)
{
    return m->conn.drain_fn && m->out.bytes <= m->conn.drain_mark;
}

static bool something_to_hear(const struct tg_memory *m)
{
    return !m->served && (m->leaving || (m->conn.finishing && !m->out.bytes) || may_drain(m) ||
                          (m->conn.body_fn && m->conn.body_ready));
}

static void hear(struct tg_memory *m)
{
    void (*fn)(void *arg) = NULL;
    void *arg = NULL;
    if (m->leaving) {
        end_gone(m, TG_GONE_CLIENT);
        return;
    }
    if (m->conn.finishing && !m->out.bytes) {
        end_finished(m);
        return;
    }
    if (may_drain(m)) {
        fn = m->conn.drain_fn;
        arg = m->conn.drain_arg;
        m->conn.drain_fn = NULL;
    } else if (m->conn.body_fn && m->conn.body_ready) {
        fn = m->conn.body_fn;
        arg = m->conn.body_arg;
        m->conn.body_fn = NULL;
        m->conn.body_ready = false;
    }
    if (fn)
        fn(arg);
}

static void on_serve(void *arg)
{
    struct tg_memory *m = arg;
    m->running++;
    if (!m->served)
        hear(m);
    if (something_to_hear(m))
        tg_soon_call(&m->serve);
    m->running--;
    free_if_over(m);
}

static void on_deadline(void *arg)
{
    struct tg_memory *m = arg;
    m->running++;
    if (m->conn.events && !m->conn.reply.committed) {
        tg_deadline_set(&m->conn.deadline, m->o.limits->response_timeout);
        m->conn.events->late(m->conn.owner);
    } else if (m->conn.events && m->out.bytes)
        end_gone(m, TG_GONE_TIMEOUT);
    m->running--;
    free_if_over(m);
}

static void on_tell(void *arg)
{
    struct tg_memory *m = arg;
    m->running++;
    if (!m->released)
        m->o.on_change(m->o.arg);
    m->running--;
    free_if_over(m);
}

/* A client that takes nothing of what waits for it does not stay for ever. */
static void watch_client(struct tg_memory *m)
{
    if (!m->served)
        tg_deadline_set(&m->conn.deadline, m->out.bytes ? m->o.limits->write_timeout : 0);
}

/* --- The sink --------------------------------------------------------------------------------- */

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    struct tg_memory *m = memory_of(sink);
    char *fields = tg_strndup(head->fields.p ? head->fields.p : "", head->fields.len);
    if (!fields)
        return TG_ENOMEM;
    tg_free((void *)(uintptr_t)m->head.fields.p);
    m->head = *head;
    m->head.fields.p = fields;
    m->conn.reply.committed = true;
    m->conn.reply.framing =
        tg_reply_bodyless(&m->conn, head->status) ? TG_REPLY_BODYLESS : TG_REPLY_LENGTH;
    tg_deadline_set(&m->conn.deadline, 0);
    return TG_OK;
}

static void sent(struct tg_memory *m, size_t len)
{
    m->head_sent = true;
    m->conn.reply.bytes += len;
    watch_client(m);
    tell_client(m);
}

static bool takes_bytes(const struct tg_memory *m, size_t len)
{
    return len && m->conn.reply.framing != TG_REPLY_BODYLESS;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct tg_memory *m = memory_of(sink);
    size_t len = 0;
    (void)flags; /* the exchange's end says whether it is whole */
    if (m->leaving || m->served)
        return TG_ECLOSED;
    for (int i = 0; i < n; i++)
        len += runs[i].iov_len;
    if (takes_bytes(m, len)) {
        struct chunk *chunk = queue_add(&m->out, len);
        if (!chunk)
            return TG_ENOMEM;
        chunk->at = now_of(m);
        char *at = chunk->bytes;
        for (int i = 0; i < n; i++) {
            if (runs[i].iov_len)
                memcpy(at, runs[i].iov_base, runs[i].iov_len);
            at += runs[i].iov_len;
        }
    }
    sent(m, len);
    return TG_OK;
}

/* NOLINTNEXTLINE(readability-function-size): the shape is the sink's */
static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    struct tg_memory *m = memory_of(sink);
    struct chunk *chunk = NULL;
    (void)flags;
    enum tg_status status = m->leaving || m->served ? TG_ECLOSED : TG_OK;
    if (status == TG_OK && takes_bytes(m, len)) {
        chunk = queue_add(&m->out, 0);
        status = chunk ? TG_OK : TG_ENOMEM;
    }
    if (!chunk) {
        release(data, len, arg);
    } else {
        *chunk = (struct chunk){.link = chunk->link,
                                .rest = {data, len},
                                .at = now_of(m),
                                .lent = data,
                                .lent_len = len,
                                .release = release,
                                .arg = arg};
        m->out.bytes += len;
    }
    if (status == TG_OK)
        sent(m, len);
    return status;
}

static size_t pending(void *sink)
{
    return memory_of(sink)->out.bytes;
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct tg_memory *m = memory_of(sink);
    m->conn.drain_fn = fn;
    m->conn.drain_arg = arg;
    m->conn.drain_mark = low_water;
    if (something_to_hear(m))
        tg_soon_call(&m->serve);
}

static const struct tg_sink_ops memory_sink = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

/* --- What else a connection does -------------------------------------------------------------- */

static struct event_base *get_base(const struct tg_conn *conn)
{
    return ((const struct tg_memory *)(const void *)conn)->o.all->base;
}

static bool is_secure(const struct tg_conn *conn)
{
    return ((const struct tg_memory *)(const void *)conn)->o.secure;
}

static const char *get_peer(const struct tg_conn *conn, uint16_t *port)
{
    const struct tg_memory *m = (const struct tg_memory *)(const void *)conn;
    *port = m->o.peer_port;
    return m->o.peer;
}

static uint16_t get_local_port(const struct tg_conn *conn)
{
    return ((const struct tg_memory *)(const void *)conn)->o.local_port;
}

static enum tg_body_state body_peek(struct tg_conn *conn, struct tg_slice *data)
{
    struct tg_memory *m = memory_of(conn);
    uint64_t most = m->o.limits->body_bytes;
    *data = (struct tg_slice){NULL, 0};
    if (most && m->fed > most)
        return TG_BODY_TOO_LARGE;
    if (m->in.bytes) {
        *data = STAILQ_FIRST(&m->in.chunks)->rest;
        return TG_BODY_DATA;
    }
    return m->in_ended ? TG_BODY_END : TG_BODY_WAIT;
}

static void body_consume(struct tg_conn *conn, size_t n)
{
    struct tg_memory *m = memory_of(conn);
    bool waits = m->in.bytes >= TG_MEMORY_FEED_MAX;
    m->read += n;
    queue_take(&m->in, n);
    if (waits && m->in.bytes < TG_MEMORY_FEED_MAX)
        tell_client(m);
}

static uint64_t body_left(const struct tg_conn *conn)
{
    const struct tg_memory *m = (const struct tg_memory *)(const void *)conn;
    if (conn->head.framing == TG_FRAMING_CHUNKED)
        return UINT64_MAX;
    return conn->head.framing == TG_FRAMING_NONE ? 0 : conn->head.length - m->read;
}

static void finish(struct tg_conn *conn)
{
    struct tg_memory *m = memory_of(conn);
    conn->finishing = true;
    m->running++;
    if (!m->out.bytes && !m->leaving)
        end_finished(m);
    m->running--;
    free_if_over(m);
}

static void abort_response(struct tg_conn *conn)
{
    struct tg_memory *m = memory_of(conn);
    close_server_side(m, TG_MEMORY_BROKEN);
    free_if_over(m);
}

static const struct tg_conn_ops memory_ops = {
    .sink = &memory_sink,
    .base = get_base,
    .secure = is_secure,
    .peer = get_peer,
    .local_port = get_local_port,
    .body_peek = body_peek,
    .body_consume = body_consume,
    .body_left = body_left,
    .finish = finish,
    .abort = abort_response,
};

/* --- The beginning ---------------------------------------------------------------------------- */

static int take_head(struct tg_memory *m, struct tg_slice head)
{
    const struct tg_limits *limits = m->o.limits;
    struct tg_head_limits head_limits = {limits->head_fields, limits->target_bytes};
    size_t count = limits->head_fields ? limits->head_fields : head.len / 4;
    if ((limits->head_bytes && head.len > limits->head_bytes) || head.len > UINT32_MAX / 2)
        return 431;
    struct tg_field *fields = tg_calloc(count ? count : 1, sizeof *fields);
    int status =
        fields ? tg_head_parse(head.p, head.len, &head_limits, &m->conn.head, fields, count) : 503;
    if (!status && limits->body_bytes && m->conn.head.framing == TG_FRAMING_LENGTH &&
        m->conn.head.length > limits->body_bytes)
        status = 413;
    if (!status && !tg_conn_keep_head(&m->conn, head.p, head.len, fields))
        status = 503;
    tg_free(fields);
    return status;
}

int tg_memory_new(struct tg_memory **out, const struct tg_memory_options *options,
                  struct tg_slice head)
{
    *out = NULL;
    struct tg_memory *m = tg_calloc(1, sizeof *m);
    if (!m)
        return 503;
    m->o = *options;
    m->conn.ops = &memory_ops;
    m->served = true; /* until its exchange begins */
    queue_init(&m->in);
    queue_init(&m->out);
    tg_soon_init(&m->serve, options->all->base, on_serve, m);
    tg_soon_init(&m->tell, options->all->base, on_tell, m);
    int status =
        tg_deadline_init(&m->conn.deadline, options->all->deadlines, on_deadline, m) == TG_OK ? 0
                                                                                              : 503;
    if (!status)
        status = take_head(m, head);
    if (status) {
        tg_memory_release(m);
        return status;
    }
    m->in_ended = m->conn.head.framing == TG_FRAMING_NONE ||
                  (m->conn.head.framing == TG_FRAMING_LENGTH && !m->conn.head.length);
    *out = m;
    return 0;
}

struct tg_conn *tg_memory_conn(struct tg_memory *m)
{
    m->served = false;
    LIST_INSERT_HEAD(&m->o.all->open, m, link);
    tg_deadline_set(&m->conn.deadline, m->o.limits->response_timeout);
    return &m->conn;
}

void *tg_memory_owner(struct tg_conn *conn)
{
    const struct tg_memory *m = memory_of(conn);
    return m->released ? NULL : m->o.arg;
}

void tg_memories_init(struct tg_memories *all, struct event_base *base,
                      struct tg_deadlines *deadlines)
{
    *all = (struct tg_memories){.base = base, .deadlines = deadlines};
}

void tg_memories_close(struct tg_memories *all)
{
    struct tg_memory *m;
    while ((m = LIST_FIRST(&all->open)) != NULL) {
        m->running++;
        end_gone(m, TG_GONE_SHUTDOWN);
        m->running--;
        free_if_over(m);
    }
}

/* --- The client's side ------------------------------------------------------------------------ */

void tg_memory_leave(struct tg_memory *m)
{
    if (m->served || m->leaving)
        return;
    m->leaving = true;
    tg_soon_call(&m->serve);
}

void tg_memory_release(struct tg_memory *m)
{
    if (!m)
        return;
    m->released = true;
    tg_memory_leave(m);
    free_if_over(m);
}

enum tg_status tg_memory_feed(struct tg_memory *m, const char *data, size_t len)
{
    bool bounded = m->conn.head.framing == TG_FRAMING_LENGTH;
    if (m->in_ended || (bounded && len > m->conn.head.length - m->fed))
        return TG_ELIMIT;
    if (m->state != TG_MEMORY_OPEN || m->leaving)
        return TG_ECLOSED;
    if (!len)
        return TG_OK;
    struct chunk *chunk = queue_add(&m->in, len);
    if (!chunk)
        return TG_ENOMEM;
    memcpy(chunk->bytes, data, len);
    m->fed += len;
    m->in_ended = bounded && m->fed == m->conn.head.length;
    m->conn.body_ready = true;
    if (something_to_hear(m))
        tg_soon_call(&m->serve);
    return m->in.bytes >= TG_MEMORY_FEED_MAX ? TG_AGAIN : TG_OK;
}

void tg_memory_feed_end(struct tg_memory *m)
{
    if (m->in_ended)
        return;
    if (m->conn.head.framing == TG_FRAMING_LENGTH) {
        tg_memory_leave(m);
        return;
    }
    m->in_ended = true;
    m->conn.body_ready = true;
    if (something_to_hear(m))
        tg_soon_call(&m->serve);
}

size_t tg_memory_unread(const struct tg_memory *m)
{
    return m->in.bytes;
}

const struct tg_response_head *tg_memory_head(const struct tg_memory *m)
{
    return m->head_sent ? &m->head : NULL;
}

bool tg_memory_peek(const struct tg_memory *m, struct tg_memory_chunk *chunk)
{
    const struct chunk *first = STAILQ_FIRST(&m->out.chunks);
    if (!first)
        return false;
    *chunk = (struct tg_memory_chunk){first->rest, first->at};
    return true;
}

void tg_memory_consume(struct tg_memory *m, size_t n)
{
    queue_take(&m->out, n);
    watch_client(m);
    if (something_to_hear(m))
        tg_soon_call(&m->serve);
}

size_t tg_memory_waiting(const struct tg_memory *m)
{
    return m->out.bytes;
}

enum tg_memory_state tg_memory_state(const struct tg_memory *m)
{
    return m->state;
}
