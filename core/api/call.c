/* call.c - requests of the host's that come from no socket. */
#include <stdio.h>
#include <string.h>

#include "api/gateway.h"
#include "http/memory.h"
#include "io/port.h"
#include "util/mem.h"

enum { BODY_MAX = 16 << 20, HEAD_MAX = 1 << 20 };

struct tg_call_of_host {
    struct tg_job job;
    struct tg_worker *worker;
    LIST_ENTRY(tg_call_of_host) link; /* in worker->calls, while begun */
    bool begun;
    struct tg_memory *memory;
    struct tg_buf head; /* of the request */
    char *request_body;
    size_t request_len;
    size_t fed;
    struct tg_buf body; /* of the response */
    bool over;          /* it is longer than BODY_MAX */
    void (*done)(void *arg, const struct tidegate_call_response *response);
    void *arg;
};

static void free_call(struct tg_call_of_host *call)
{
    tg_memory_release(call->memory);
    tg_buf_fini(&call->head);
    tg_buf_fini(&call->body);
    tg_free(call->request_body);
    tg_free(call);
}

static void finish(struct tg_call_of_host *call, bool whole)
{
    const struct tg_response_head *head = call->memory ? tg_memory_head(call->memory) : NULL;
    struct tg_buf fields;
    tg_buf_init(&fields, TG_RESPONSE_FIELDS_MAX);
    struct tidegate_call_response response = {
        .headers = "",
        .body = call->body.len ? call->body.p : "",
        .body_len = call->body.len,
    };
    if (head &&
        (!head->fields.len || tg_buf_add(&fields, head->fields.p, head->fields.len) == TG_OK)) {
        response.status = head->status;
        response.whole = whole;
        response.headers = fields.len ? fields.p : "";
    }
    struct tg_worker *w = call->worker;
    bool begun = call->begun;
    if (begun)
        LIST_REMOVE(call, link);
    call->done(call->arg, &response);
    tg_buf_fini(&fields);
    free_call(call);
    if (begun && LIST_EMPTY(&w->calls))
        tg_worker_calls_over(w);
}

void tg_calls_end(struct tg_worker *w)
{
    struct tg_call_of_host *call;
    while ((call = LIST_FIRST(&w->calls)) != NULL)
        finish(call, false);
}

static void feed(struct tg_call_of_host *call)
{
    enum { PIECE = 16384 };
    enum tg_status status = TG_OK;
    while (call->fed < call->request_len && status == TG_OK) {
        size_t n = call->request_len - call->fed;
        if (n > PIECE)
            n = PIECE;
        status = tg_memory_feed(call->memory, call->request_body + call->fed, n);
        if (status >= 0)
            call->fed += n;
    }
}

static void on_change(void *arg)
{
    struct tg_call_of_host *call = arg;
    struct tg_memory_chunk chunk;
    feed(call);
    while (!call->over && tg_memory_peek(call->memory, &chunk)) {
        size_t len = chunk.data.len;
        call->over = tg_buf_add(&call->body, chunk.data.p, len) != TG_OK;
        tg_memory_consume(call->memory, len);
    }
    enum tg_memory_state state = tg_memory_state(call->memory);
    if (state != TG_MEMORY_OPEN || call->over)
        finish(call, state == TG_MEMORY_WHOLE && !call->over);
}

/* A head that the intake refuses has no exchange. */
static void refuse(struct tg_call_of_host *call, int status)
{
    struct tidegate_call_response response = {
        .status = status, .whole = 1, .headers = "", .body = ""};
    call->done(call->arg, &response);
    free_call(call);
}

static void begin(struct tg_job *job, bool closed)
{
    struct tg_call_of_host *call = (struct tg_call_of_host *)(void *)job; /* its first member */
    struct tg_worker *w = call->worker;
    if (closed || !w->current || !w->server || w->stops_seen) {
        finish(call, false);
        return;
    }
    struct tg_memory_options options = {.all = &w->memories,
                                        .limits = &w->limits,
                                        .peer = "127.0.0.1",
                                        .on_change = on_change,
                                        .arg = call};
    int status = tg_memory_new(&call->memory, &options, tg_buf_slice(&call->head));
    if (status) {
        refuse(call, status);
        return;
    }
    call->begun = true;
    LIST_INSERT_HEAD(&w->calls, call, link);
    tg_worker_begin(w, tg_memory_conn(call->memory));
    feed(call);
}

static enum tg_status print_head(struct tg_buf *head, const struct tidegate_call_request *request)
{
    const char *fields = request->headers ? request->headers : "";
    bool has_host = strncasecmp(fields, "host:", 5) == 0 || strcasestr(fields, "\nhost:");
    bool has_length =
        strncasecmp(fields, "content-length:", 15) == 0 || strcasestr(fields, "\ncontent-length:");
    enum tg_status status =
        tg_buf_addf(head, "%s %s HTTP/1.1\r\n%s%s", request->method, request->target,
                    has_host ? "" : "Host: localhost\r\n", fields);
    if (status == TG_OK && request->body_len && !has_length)
        status = tg_buf_addf(head, "Content-Length: %zu\r\n", request->body_len);
    return status == TG_OK ? tg_buf_add(head, "\r\n", 2) : status;
}

/* False: its worker has ended, and nobody would begin it. */
static bool post(struct tg_call_of_host *call)
{
    struct tg_worker *w = call->worker;
    pthread_mutex_lock(&w->lock);
    bool posted = !w->over && tg_port_post(w->port, &call->job);
    pthread_mutex_unlock(&w->lock);
    return posted;
}

enum tidegate_status tidegate_call(struct tidegate *g, const struct tidegate_call_request *request,
                                   void (*done)(void *arg,
                                                const struct tidegate_call_response *response),
                                   void *arg)
{
    if (!request || !request->method || !request->target || !done || !g->worker_count ||
        (request->body_len && !request->body))
        return TIDEGATE_EINVAL;
    struct tg_call_of_host *call = tg_calloc(1, sizeof *call);
    if (!call)
        return TIDEGATE_ENOMEM;
    call->job.fn = begin;
    call->worker = &g->workers[0];
    call->done = done;
    call->arg = arg;
    tg_buf_init(&call->head, HEAD_MAX);
    tg_buf_init(&call->body, BODY_MAX);
    enum tg_status status = print_head(&call->head, request);
    if (status == TG_OK && request->body_len) {
        call->request_body = tg_malloc(request->body_len);
        status = call->request_body ? TG_OK : TG_ENOMEM;
    }
    if (status != TG_OK) {
        free_call(call);
        return tg_public_status(status);
    }
    if (request->body_len)
        memcpy(call->request_body, request->body, request->body_len);
    call->request_len = request->body_len;
    if (post(call))
        return TIDEGATE_OK;
    free_call(call);
    return TIDEGATE_ECLOSED;
}
