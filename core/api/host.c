/* host.c - runs a host's stages and bodies as parts of an exchange. */
#include "api/host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/status.h"
#include "http/head.h"
#include "util/mem.h"
#include "util/percent.h"

struct tg_host_closer {
    struct tg_host_closer *next;
    void (*fn)(void *arg, const char *reason);
    void *arg;
};

struct shown {
    struct tg_host_body base;
    struct tidegate_exchange *host; /* NULL: it is over, or has another body */
};

static const struct tg_host_ops host_ops;

/* --- Stages ----------------------------------------------------------------------------------- */

static struct tidegate_exchange *host_of(struct tg_exchange *x)
{
    if (x->host)
        return x->host;
    struct tidegate_exchange *host = tg_calloc(1, sizeof *host);
    if (!host)
        return NULL;
    host->x = x;
    host->last_closer = &host->closers;
    tg_buf_init(&host->fields, TG_RESPONSE_FIELDS_MAX);
    x->host = host;
    x->host_ops = &host_ops;
    return host;
}

static enum tg_step run(struct tidegate_exchange *host, tidegate_handler fn, void *arg)
{
    size_t fields = host->fields.len;
    host->failed = false;
    host->running = true;
    fn(host, arg);
    host->running = false;
    if (host->failed) {
        if (host->fields.len > fields)
            host->fields.len = fields; /* they were for the response that there is not */
        if (host->ticket)
            tg_ticket_leave(host->ticket);
        host->ticket = NULL;
        return TG_STEP_FAILED;
    }
    return host->ticket ? TG_STEP_WAIT : TG_STEP_DONE;
}

/* Whether a parameter would be shorter for C than it is. */
static bool has_nul(const struct tg_exchange *x)
{
    for (size_t i = 0; i < x->param_count; i++)
        if (tg_percent_has_nul(x->params[i].value.p, x->params[i].value.len))
            return true;
    return false;
}

static enum tg_step run_stage(const struct tg_interceptor *self, struct tg_exchange *x,
                              enum tg_stage stage)
{
    const struct tg_host_interceptor *own = (const void *)self; /* its first member */
    if (own->is_handler && has_nul(x)) {
        tg_exchange_fail(x, 400, "a parameter holds a NUL", NULL);
        return TG_STEP_FAILED;
    }
    struct tidegate_exchange *host = host_of(x);
    if (host)
        return run(host, own->fn[stage], own->arg);
    tg_exchange_fail(x, 500, "not enough memory", NULL);
    return TG_STEP_FAILED;
}

static const struct tg_interceptor_ops stage_ops = {run_stage};

void tg_host_interceptor_init(struct tg_host_interceptor *interceptor)
{
    interceptor->base = (struct tg_interceptor){.ops = &stage_ops, .name = interceptor->name};
    for (unsigned i = 0; i <= TG_STAGE_ERROR; i++)
        if (interceptor->fn[i])
            interceptor->base.stages |= 1U << i;
}

static void on_stage_resumed(void *target)
{
    struct tidegate_exchange *host = target;
    struct tg_exchange *x = host->x;
    host->ticket = NULL;
    enum tg_step step = run(host, host->resumed, host->resumed_arg);
    if (step != TG_STEP_WAIT)
        tg_exchange_go_on(x, step); /* host may be gone after it */
}

struct tidegate_ticket *tidegate_suspend(struct tidegate_exchange *host, tidegate_handler resumed,
                                         void *arg)
{
    if (!host->running || host->ticket || host->failed)
        return NULL;
    host->ticket = tg_ticket_new(host->x->engine->port, on_stage_resumed, host);
    host->resumed = resumed;
    host->resumed_arg = arg;
    if (!host->ticket)
        tidegate_fail(host, 500, "not enough memory");
    return host->ticket;
}

void tidegate_resume(struct tidegate_ticket *ticket)
{
    tg_ticket_resume(ticket);
}

void tidegate_fail(struct tidegate_exchange *host, int status, const char *message)
{
    if (!host->running)
        return;
    host->failed = true;
    if (!message && tg_exchange_stage(host->x) == TG_STAGE_ERROR && host->x->error.set)
        return; /* it is what it was */
    tg_exchange_fail(host->x, status >= 400 && status <= 599 ? status : 500,
                     message ? message : "(no message)", NULL);
}

const char *tidegate_failure(struct tidegate_exchange *host)
{
    const struct tg_error *error = &host->x->error;
    bool failing = error->set && tg_exchange_stage(host->x) == TG_STAGE_ERROR;
    return failing && error->message ? error->message : "";
}

/* --- Responses -------------------------------------------------------------------------------- */

static bool is_name(struct tg_slice name, const char *other)
{
    return tg_slice_equal_nocase(name, (struct tg_slice){other, strlen(other)});
}

/* Framing is the gateway's: TG_EINVAL for what would speak against it. */
static bool may_set(struct tg_slice name, struct tg_slice value)
{
    if (is_name(name, "Connection"))
        return is_name(value, "close");
    return !is_name(name, "Content-Length") && !is_name(name, "Transfer-Encoding");
}

enum tidegate_status tidegate_set_header(struct tidegate_exchange *host, const char *name,
                                         const char *value)
{
    if (!name || !value || !tg_is_token(name, strlen(name)) ||
        !tg_is_field_value(value, strlen(value)) ||
        !may_set((struct tg_slice){name, strlen(name)}, (struct tg_slice){value, strlen(value)}))
        return TIDEGATE_EINVAL;
    size_t before = host->fields.len;
    if (tg_buf_addf(&host->fields, "%s: %s\r\n", name, value) == TG_OK)
        return TIDEGATE_OK;
    host->fields.len = before;
    return TIDEGATE_ENOMEM;
}

static void drop_shown(struct tidegate_exchange *host)
{
    if (host->shown)
        ((struct shown *)(void *)host->shown)->host = NULL;
    tg_host_body_release(host->shown);
    host->shown = NULL;
}

static void close_body(struct tidegate_exchange *host)
{
    struct tidegate_body body = host->body;
    drop_shown(host);
    host->has_body = false;
    host->body = (struct tidegate_body){0};
    if (body.close)
        body.close(body.arg);
}

static enum tg_status add_field(struct tg_exchange *x, struct tg_slice name, struct tg_slice value)
{
    if (is_name(name, "Connection")) {
        x->head.close = true;
        return TG_OK;
    }
    if (is_name(name, "Date")) {
        if (x->head.has_date)
            return TG_OK;
        x->head.has_date = true;
    }
    return tg_exchange_add_field(x, name, value);
}

/* What was set; a type only where the response has none besides. */
static enum tg_status add_fields(struct tidegate_exchange *host, bool typed)
{
    const char *at = host->fields.p;
    const char *end = host->fields.p + host->fields.len;
    enum tg_status status = TG_OK;
    while (host->fields.len && at < end && status == TG_OK) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *line_end = memchr(at, '\r', (size_t)(end - at));
        struct tg_slice name = {at, (size_t)(colon - at)};
        struct tg_slice value = {colon + 2, (size_t)(line_end - colon - 2)};
        if (!typed || !is_name(name, "Content-Type"))
            status = add_field(host->x, name, value);
        at = line_end + 2;
    }
    return status;
}

static enum tg_status add_own_fields(struct tg_exchange *x)
{
    return add_fields(x->host, true);
}

/* The fields so far, and the type. */
static enum tg_status take_fields(struct tidegate_exchange *host, const char *content_type)
{
    struct tg_exchange *x = host->x;
    tg_buf_clear(&x->fields);
    tg_buf_clear(&x->plain);
    enum tg_status status = add_fields(host, content_type != NULL);
    tg_buf_clear(&host->fields);
    if (status == TG_OK && content_type)
        status = tg_exchange_add_field(x, TG_SLICE("Content-Type"),
                                       (struct tg_slice){content_type, strlen(content_type)});
    return status;
}

/* Before anything of the response that was set is let go of. */
static bool may_respond(const struct tidegate_exchange *host, int status, const char *content_type)
{
    return status >= 200 && status <= 999 && !host->x->writer.committed && !host->driven &&
           (!content_type || tg_is_field_value(content_type, strlen(content_type)));
}

static enum tg_status set_response(struct tidegate_exchange *host, int status,
                                   const char *content_type, const struct tidegate_body *body)
{
    struct tg_exchange *x = host->x;
    if (!may_respond(host, status, content_type))
        return TG_EINVAL;
    close_body(host);
    x->responded = TG_RESPONDED_NOT; /* that one is gone, whatever comes of this */
    x->head = (struct tg_response_head){.status = status, .length = TG_LENGTH_UNKNOWN};
    enum tg_status set = take_fields(host, content_type);
    if (set != TG_OK)
        return set;
    x->response_status = status;
    x->responded = body ? TG_RESPONDED_HOST : TG_RESPONDED_PLAIN;
    if (!body)
        return TG_OK;
    host->body = *body;
    host->has_body = true;
    return TG_OK;
}

enum tidegate_status tidegate_respond(struct tidegate_exchange *host, int status,
                                      const struct tidegate_body *body)
{
    enum tg_status set = TG_EINVAL;
    if (!body || body->produce)
        set = set_response(host, status, body ? body->content_type : NULL, body);
    if (set != TG_OK && body && body->close)
        body->close(body->arg);
    return tg_public_status(set);
}

enum tidegate_status tidegate_respond_bytes(struct tidegate_exchange *host, int status,
                                            const char *content_type, const void *data, size_t len)
{
    if (len > host->x->plain.cap || (len && !data))
        return TIDEGATE_EINVAL;
    enum tg_status set = set_response(host, status, content_type, NULL);
    if (set != TG_OK)
        return tg_public_status(set);
    set = tg_buf_add(&host->x->plain, data, len);
    if (set != TG_OK)
        host->x->responded = TG_RESPONDED_NOT;
    return tg_public_status(set);
}

/* --- Bodies ----------------------------------------------------------------------------------- */

static void on_body_drained(void *arg);

static enum tg_status of_host(enum tidegate_status status)
{
    switch (status) {
    case TIDEGATE_ENOMEM:
        return TG_ENOMEM;
    case TIDEGATE_ECLOSED:
        return TG_ECLOSED;
    case TIDEGATE_EINVAL:
        return TG_EINVAL;
    default:
        return TG_EIO;
    }
}

/* TG_AGAIN: it goes on when the client has taken enough, or the host resumes it. */
static enum tg_status pump(struct tidegate_exchange *host)
{
    struct tg_writer *w = host->writer.w;
    for (;;) {
        uint64_t before = w->bytes;
        enum tidegate_status status = host->body.produce(host->body.arg, &host->writer);
        if (w->failed)
            return w->failed;
        if (status < 0)
            return of_host(status);
        if (status == TIDEGATE_OK)
            return TG_OK;
        if (host->writer.ticket || w->must_wait)
            break;
        if (w->bytes == before)
            return TG_EINVAL; /* nothing would ever call it again */
    }
    enum tg_status flushed = tg_writer_flush(w);
    if (flushed < 0)
        return flushed;
    if (!host->writer.ticket)
        tg_writer_on_drain(w, on_body_drained, host);
    return TG_AGAIN;
}

static void let_writer_go(struct tidegate_exchange *host)
{
    struct tidegate_writer *writer = &host->writer;
    if (writer->w)
        tg_writer_on_drain(writer->w, NULL, NULL);
    if (writer->ticket)
        tg_ticket_leave(writer->ticket);
    *writer = (struct tidegate_writer){0};
    host->driven = false;
}

static void go_on(struct tidegate_exchange *host)
{
    enum tg_status status = pump(host);
    if (status == TG_AGAIN)
        return;
    void (*done)(void *, enum tg_status) = host->source.done;
    void *arg = host->source.arg;
    let_writer_go(host);
    close_body(host);
    done(arg, status); /* host may be gone after it */
}

static void on_body_drained(void *arg)
{
    struct tidegate_exchange *host = arg;
    void (*fn)(void *) = host->writer.on_drain;
    host->writer.on_drain = NULL;
    if (fn)
        fn(host->writer.on_drain_arg);
    go_on(host);
}

static void on_body_resumed(void *target)
{
    struct tidegate_exchange *host = target;
    host->writer.ticket = NULL;
    if (host->writer.w->must_wait) /* the client is slower than the host */
        tg_writer_on_drain(host->writer.w, on_body_drained, host);
    else
        go_on(host);
}

static void stop_source(struct tg_source *source)
{
    struct tidegate_exchange *host =
        (void *)((char *)source - offsetof(struct tidegate_exchange, source));
    let_writer_go(host);
    close_body(host);
}

static struct tg_source *drive(struct tidegate_exchange *host)
{
    host->source = (struct tg_source){.stop = stop_source};
    host->driven = true;
    return &host->source;
}

static enum tg_step failed(struct tg_exchange *x, enum tg_status status)
{
    tg_exchange_fail(x, 500, tg_status_text(status), NULL);
    return TG_STEP_FAILED;
}

static enum tg_step produce(struct tg_exchange *x)
{
    struct tidegate_exchange *host = x->host;
    x->head.length = host->body.length < 0 ? TG_LENGTH_UNKNOWN : (uint64_t)host->body.length;
    enum tg_status status = tg_exchange_begin_body(x);
    if (status != TG_OK)
        return failed(x, status);
    if (tg_exchange_is_head(x) || x->head.status == 204 || x->head.status == 304) {
        close_body(host);
        status = tg_writer_end_bodyless(&x->writer);
    } else {
        host->writer = (struct tidegate_writer){.w = &x->writer, .exchange = host};
        status = pump(host);
        if (status == TG_AGAIN) {
            tg_exchange_drive(x, drive(host));
            return TG_STEP_WAIT;
        }
        let_writer_go(host);
        close_body(host);
        if (status == TG_OK)
            status = tg_writer_end(&x->writer);
    }
    return status >= 0 || status == TG_ECLOSED ? TG_STEP_DONE : failed(x, status);
}

enum tidegate_status tidegate_write(struct tidegate_writer *writer, const void *data, size_t len)
{
    return writer->w ? tg_public_status(tg_writer_write(writer->w, data, len)) : TIDEGATE_EINVAL;
}

enum tidegate_status tidegate_flush(struct tidegate_writer *writer)
{
    return writer->w ? tg_public_status(tg_writer_flush(writer->w)) : TIDEGATE_EINVAL;
}

void tidegate_on_drain(struct tidegate_writer *writer, void (*fn)(void *arg), void *arg)
{
    writer->on_drain = fn;
    writer->on_drain_arg = arg;
}

struct tidegate_ticket *tidegate_body_suspend(struct tidegate_writer *writer)
{
    if (!writer->w || writer->ticket)
        return NULL;
    writer->ticket =
        tg_ticket_new(writer->exchange->x->engine->port, on_body_resumed, writer->exchange);
    return writer->ticket;
}

/* --- Bodies that scripts have ------------------------------------------------------------------- */

static struct tidegate_exchange *host_of_shown(struct tg_host_body *body)
{
    struct tidegate_exchange *host = ((struct shown *)(void *)body)->host;
    return host && host->has_body && !host->driven ? host : NULL;
}

static struct tg_source *start_shown(struct tg_host_body *body, struct tg_writer *w)
{
    struct tidegate_exchange *host = host_of_shown(body);
    if (!host)
        return NULL;
    host->writer = (struct tidegate_writer){.w = w, .exchange = host};
    tg_writer_on_drain(w, on_body_drained, host); /* it begins in the loop's next turn */
    return drive(host);
}

static void drop_body(struct tg_host_body *body)
{
    struct tidegate_exchange *host = host_of_shown(body);
    if (host)
        close_body(host);
}

static void free_shown(struct tg_host_body *body)
{
    tg_free(body);
}

static struct tg_host_body *show(struct tg_exchange *x)
{
    struct tidegate_exchange *host = x->host;
    if (!host->has_body)
        return NULL;
    if (!host->shown) {
        struct shown *shown = tg_calloc(1, sizeof *shown);
        if (!shown)
            return NULL;
        shown->base = (struct tg_host_body){
            .references = 1,
            .length = host->body.length < 0 ? TG_LENGTH_UNKNOWN : (uint64_t)host->body.length,
            .start = start_shown,
            .drop = drop_body,
            .free = free_shown};
        shown->host = host;
        host->shown = &shown->base;
    }
    host->shown->references++;
    return host->shown;
}

/* --- The end ---------------------------------------------------------------------------------- */

enum tidegate_status tidegate_on_close(struct tidegate_exchange *host,
                                       void (*fn)(void *arg, const char *reason), void *arg)
{
    struct tg_host_closer *closer = tg_malloc(sizeof *closer);
    if (!closer)
        return TIDEGATE_ENOMEM;
    *closer = (struct tg_host_closer){.fn = fn, .arg = arg};
    *host->last_closer = closer;
    host->last_closer = &closer->next;
    return TIDEGATE_OK;
}

static void cancel(struct tg_exchange *x)
{
    struct tidegate_exchange *host = x->host;
    if (host->ticket)
        tg_ticket_leave(host->ticket);
    host->ticket = NULL;
    host->readable = NULL;
}

struct tg_host_text {
    struct tg_host_text *next;
    char bytes[];
};

static void end(struct tg_exchange *x, const char *reason)
{
    struct tidegate_exchange *host = x->host;
    cancel(x);
    let_writer_go(host);
    close_body(host);
    while (host->closers) {
        struct tg_host_closer *closer = host->closers;
        host->closers = closer->next;
        closer->fn(closer->arg, reason);
        tg_free(closer);
    }
    x->host = NULL;
    while (host->texts) {
        struct tg_host_text *next = host->texts->next;
        tg_free(host->texts);
        host->texts = next;
    }
    tg_buf_fini(&host->fields);
    tg_free(host);
}

static const struct tg_host_ops host_ops = {
    .produce = produce, .cancel = cancel, .close = end, .body = show, .fields = add_own_fields};

/* --- The request ------------------------------------------------------------------------------ */

/* Room for a string of len bytes, kept until the exchange ends. */
static char *keep(struct tidegate_exchange *host, size_t len)
{
    struct tg_host_text *text = tg_malloc(sizeof *text + len + 1);
    if (!text)
        return NULL;
    text->next = host->texts;
    host->texts = text;
    text->bytes[len] = '\0';
    return text->bytes;
}

static const char *copy(struct tidegate_exchange *host, struct tg_slice s)
{
    char *text = keep(host, s.len);
    if (text && s.len)
        memcpy(text, s.p, s.len);
    return text;
}

const char *tidegate_method(struct tidegate_exchange *host)
{
    struct tg_conn *conn = host->x->conn;
    return copy(host, tg_conn_span(conn, tg_conn_head(conn)->method));
}

const char *tidegate_target(struct tidegate_exchange *host)
{
    struct tg_conn *conn = host->x->conn;
    return copy(host, tg_conn_span(conn, tg_conn_head(conn)->target));
}

const char *tidegate_path(struct tidegate_exchange *host)
{
    struct tg_conn *conn = host->x->conn;
    return copy(host, tg_conn_span(conn, tg_conn_head(conn)->path));
}

const char *tidegate_query(struct tidegate_exchange *host)
{
    struct tg_conn *conn = host->x->conn;
    return copy(host, tg_conn_span(conn, tg_conn_head(conn)->query));
}

const char *tidegate_scheme(struct tidegate_exchange *host)
{
    return tg_conn_secure(host->x->conn) ? "https" : "http";
}

const char *tidegate_peer(struct tidegate_exchange *host, uint16_t *port)
{
    uint16_t number;
    const char *peer = tg_conn_peer(host->x->conn, &number);
    if (port)
        *port = number;
    return copy(host, (struct tg_slice){peer, strlen(peer)});
}

const char *tidegate_param(struct tidegate_exchange *host, const char *name)
{
    const struct tg_exchange *x = host->x;
    struct tg_slice wanted = {name, name ? strlen(name) : 0};
    for (size_t i = 0; i < x->param_count; i++) {
        if (!tg_slice_equal(x->params[i].name, wanted))
            continue;
        struct tg_slice value = x->params[i].value;
        if (tg_percent_has_nul(value.p, value.len))
            return NULL;
        char *text = keep(host, value.len);
        if (text)
            text[tg_percent_decode(value.p, value.len, false, text)] = '\0';
        return text;
    }
    return NULL;
}

int tidegate_header_at(struct tidegate_exchange *host, size_t n, const char **name,
                       const char **value)
{
    struct tg_conn *conn = host->x->conn;
    if (n >= tg_conn_head(conn)->field_count)
        return 0;
    const struct tg_field *field = &tg_conn_fields(conn)[n];
    *name = copy(host, tg_conn_field_name(conn, field));
    *value = copy(host, tg_conn_field_value(conn, field));
    return *name && *value;
}

const char *tidegate_header(struct tidegate_exchange *host, const char *name)
{
    struct tg_conn *conn = host->x->conn;
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t count = tg_conn_head(conn)->field_count;
    struct tg_slice wanted = {name, name ? strlen(name) : 0};
    struct tg_buf joined;
    bool found = false;
    tg_buf_init(&joined, SIZE_MAX / 2);
    for (size_t i = 0; i < count; i++) {
        struct tg_slice value = tg_conn_field_value(conn, &fields[i]);
        if (!tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), wanted))
            continue;
        if ((found && tg_buf_add(&joined, ", ", 2) != TG_OK) ||
            tg_buf_add(&joined, value.p, value.len) != TG_OK) {
            tg_buf_fini(&joined);
            return NULL;
        }
        found = true;
    }
    const char *text = found ? copy(host, tg_buf_slice(&joined)) : NULL;
    tg_buf_fini(&joined);
    return text;
}

enum tidegate_status tidegate_read(struct tidegate_exchange *host, void *buf, size_t size,
                                   size_t *len)
{
    struct tg_conn *conn = host->x->conn;
    struct tg_slice data;
    *len = 0;
    switch (tg_conn_body_peek(conn, &data)) {
    case TG_BODY_DATA:
        *len = data.len < size ? data.len : size;
        memcpy(buf, data.p, *len);
        tg_conn_body_consume(conn, *len);
        return TIDEGATE_OK;
    case TG_BODY_END:
        return TIDEGATE_OK;
    case TG_BODY_WAIT:
        return TIDEGATE_AGAIN;
    case TG_BODY_BROKEN:
    case TG_BODY_TOO_LARGE:
        break;
    }
    return TIDEGATE_EINVAL;
}

static void on_body(void *arg)
{
    struct tidegate_exchange *host = arg;
    tidegate_handler fn = host->readable;
    host->readable = NULL;
    if (fn)
        fn(host, host->readable_arg);
}

void tidegate_on_readable(struct tidegate_exchange *host, tidegate_handler fn, void *arg)
{
    host->readable = fn;
    host->readable_arg = arg;
    tg_conn_body_wait(host->x->conn, fn ? on_body : NULL, host);
}
