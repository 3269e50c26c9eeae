/* fetch.c - one request and its response: when which part has its turn, and how it ends. */
#include "upstream/fetch.h"

#include <stdio.h>

#include "http/head.h"
#include "upstream/fetch_impl.h"
#include "util/mem.h"

enum { HEAD_USUAL = 1000 }; /* bytes */

/* --- The end ---------------------------------------------------------------------------------- */

void tg_fetch_add_news(struct tg_fetch *fetch)
{
    if (fetch->has_news)
        return;
    fetch->has_news = true;
    TAILQ_INSERT_TAIL(&fetch->upstream->news, fetch, link_news);
}

static void leave_link(struct tg_fetch *fetch, bool keep)
{
    struct tg_link *link = fetch->link;
    fetch->link = NULL;
    if (keep)
        tg_link_keep(link);
    else
        tg_link_close(link);
}

static void stop_waiting_for_room(struct tg_fetch *fetch)
{
    if (fetch->waits_for_room)
        TAILQ_REMOVE(&fetch->upstream->waiting, fetch, link_waiting);
    fetch->waits_for_room = false;
}

static void end(struct tg_fetch *fetch, bool keep)
{
    fetch->phase = TG_FETCH_OVER;
    fetch->blocked = false;
    stop_waiting_for_room(fetch);
    leave_link(fetch, keep);
    tg_deadline_set(&fetch->deadline, 0);
    tg_fetch_add_news(fetch);
}

void tg_fetch_fail(struct tg_fetch *fetch, enum tg_fetch_failure failure, const char *message)
{
    if (fetch->failure)
        return;
    tg_upstream_count(&fetch->upstream->stats.failed[failure], 1);
    fetch->failure = failure;
    snprintf(fetch->message, sizeof fetch->message, "%s", message);
    end(fetch, false);
}

void tg_fetch_whole(struct tg_fetch *fetch, bool more)
{
    end(fetch, fetch->sent_all && !more && !fetch->head.close && !fetch->ended);
    tg_fetch_check_decoder(fetch);
}

/* --- Time ------------------------------------------------------------------------------------- */

static void on_late(void *arg)
{
    struct tg_fetch *fetch = arg;
    struct tg_upstream *upstream = fetch->upstream;
    static const char *const what[] = {
        [TG_FETCH_CONNECTING] = "no connection in time",
        [TG_FETCH_ASKING] = "no response in time",
        [TG_FETCH_ANSWERED] = "nothing more of the response came in time",
        [TG_FETCH_OVER] = "",
    };
    tg_fetch_fail(fetch, TG_FETCH_TIMEOUT, what[fetch->phase]);
    tg_upstream_settle_soon(upstream);
}

void tg_fetch_set_deadline(struct tg_fetch *fetch)
{
    switch (fetch->phase) {
    case TG_FETCH_CONNECTING: /* as it was set at the start */
    case TG_FETCH_OVER:
        return;
    case TG_FETCH_ASKING:
        tg_deadline_set(&fetch->deadline, fetch->source_waits ? 0 : fetch->head_timeout);
        return;
    case TG_FETCH_ANSWERED:
        tg_deadline_set(&fetch->deadline, tg_fetch_is_held_back(fetch) ? 0 : fetch->idle_timeout);
        return;
    }
}

/* --- The link --------------------------------------------------------------------------------- */

void tg_fetch_set_wants(struct tg_fetch *fetch)
{
    bool to_send = fetch->out_at < fetch->out.len || (!fetch->sent_all && !fetch->source_waits);
    if (fetch->link)
        tg_link_want(fetch->link, !tg_fetch_is_held_back(fetch), to_send && !fetch->send_failed);
}

static void ask(struct tg_fetch *fetch)
{
    fetch->phase = TG_FETCH_ASKING;
    tg_fetch_send(fetch);
}

static void on_opened(void *arg, enum tg_fetch_failure failure, const char *message)
{
    struct tg_fetch *fetch = arg;
    if (failure)
        tg_fetch_fail(fetch, failure, message);
    else
        ask(fetch);
}

static void on_ready(void *arg, bool readable, bool writable)
{
    struct tg_fetch *fetch = arg;
    if (writable)
        tg_fetch_send(fetch);
    if (readable && fetch->link)
        tg_fetch_receive(fetch);
}

static const struct tg_link_owner link_owner = {on_opened, on_ready};

static void wait_for_room(struct tg_fetch *fetch)
{
    if (fetch->waits_for_room)
        return;
    fetch->waits_for_room = true;
    TAILQ_INSERT_TAIL(&fetch->upstream->waiting, fetch, link_waiting);
}

static void get_link(struct tg_fetch *fetch, bool fresh)
{
    struct tg_url url;
    tg_url_split(fetch->url, &url); /* it was tried before */
    char *origin = tg_strndup(url.origin.p, url.origin.len);
    struct tg_link_to to = {
        .origin = origin,
        .unix_path = fetch->unix_path,
        .ca_file = fetch->ca_file,
        .insecure = fetch->insecure,
        .timeout = fetch->connect_timeout,
    };
    enum tg_status status = TG_ENOMEM;
    if (origin)
        status = tg_link_get(&fetch->link, fetch->upstream, &to, fresh, &link_owner, fetch);
    tg_free(origin);
    if (status == TG_ELIMIT) {
        wait_for_room(fetch);
        return;
    }
    stop_waiting_for_room(fetch);
    if (status == TG_OK)
        ask(fetch);
    else if (status != TG_AGAIN)
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
}

static enum tg_status write_head(struct tg_fetch *fetch)
{
    struct tg_url url;
    tg_buf_clear(&fetch->out);
    tg_buf_reserve(&fetch->out, HEAD_USUAL);
    if (!tg_url_split(fetch->url, &url))
        return TG_EINVAL;
    enum tg_status status = tg_request_head_write(&fetch->request, &url, &fetch->out);
    fetch->head_len = fetch->out.len;
    return status;
}

/* Everything that an attempt leaves behind is as it was before it. */
static void begin(struct tg_fetch *fetch, bool fresh)
{
    fetch->phase = TG_FETCH_CONNECTING;
    fetch->round++;
    fetch->out_at = 0;
    fetch->pulled = 0;
    fetch->source_ended = false;
    fetch->source_waits = false;
    fetch->send_failed = false;
    fetch->sent_all = false;
    fetch->ended = false;
    fetch->rest.len = 0;
    fetch->rest_at = 0;
    fetch->out.len = fetch->head_len;
    tg_deadline_set(&fetch->deadline, fetch->connect_timeout);
    get_link(fetch, fresh);
}

/* --- Again, and elsewhere --------------------------------------------------------------------- */

static bool is_idempotent(const char *method)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof idempotent / sizeof *idempotent; i++)
        if (strcmp(method, idempotent[i]) == 0)
            return true;
    return false;
}

/* Whether the body can be said once more; makes it begin anew. */
static bool rewind_source(struct tg_fetch *fetch)
{
    if (!fetch->source || !fetch->pulled)
        return true;
    if (!fetch->source->rewind)
        return false;
    fetch->source->rewind(fetch->source_arg);
    return true;
}

/* A kept connection may have been closed by its server just when we used it.  What may be asked twice
 * is (RFC 9110, 9.2.2), once, on a new one. */
void tg_fetch_unanswered(struct tg_fetch *fetch)
{
    bool nothing = !fetch->head.bytes && !fetch->rest.len;
    if (nothing && tg_link_was_kept(fetch->link) &&
        (is_idempotent(fetch->method) || !fetch->sent) && rewind_source(fetch)) {
        leave_link(fetch, false);
        begin(fetch, true);
        return;
    }
    tg_fetch_fail(fetch, TG_FETCH_CLOSED,
                  nothing ? "the connection ended without a response"
                          : "the connection ended before the response's head did");
}

/* RFC 9110, 15.4: what is asked for afterwards. */
static void change_method(struct tg_fetch *fetch, int status)
{
    bool post = strcmp(fetch->method, "POST") == 0;
    bool head = strcmp(fetch->method, "HEAD") == 0;
    if ((status == 303 && !head) || ((status == 301 || status == 302) && post)) {
        snprintf(fetch->method, sizeof fetch->method, "GET");
        fetch->source = NULL;
        fetch->request.has_body = false;
    }
}

static const char *location_of(const struct tg_fetch *fetch)
{
    struct tg_fetch_field field;
    for (size_t i = 0; tg_upstream_head_field(&fetch->head, i, &field); i++)
        if (tg_slice_equal_nocase(field.name, TG_SLICE("location")) && field.value.len)
            return field.value.p;
    return NULL;
}

/* Takes up the new URL, if it is one. */
static bool go_to(struct tg_fetch *fetch, const char *location)
{
    struct tg_url from;
    struct tg_url to;
    char *url = tg_url_resolve(fetch->url, location);
    if (!url || !tg_url_split(url, &to)) {
        tg_free(url);
        return false;
    }
    if (!tg_url_split(fetch->url, &from) || !tg_slice_equal_nocase(from.origin, to.origin))
        fetch->request.elsewhere = true;
    tg_free(fetch->url);
    fetch->url = url;
    return true;
}

bool tg_fetch_redirected(struct tg_fetch *fetch)
{
    int status = fetch->head.status;
    const char *location = status >= 300 && status < 400 ? location_of(fetch) : NULL;
    if (!fetch->fields || !location)
        return false;
    bool known = fetch->redirects && go_to(fetch, location);
    tg_upstream_head_again(&fetch->head); /* this one is nobody's answer */
    if (!known) {
        tg_fetch_fail(fetch, TG_FETCH_REDIRECTS,
                      fetch->redirects ? "a redirect to what is no http or https URL"
                                       : "more redirects than are to be followed");
        return true;
    }
    fetch->redirects--;
    change_method(fetch, status);
    leave_link(fetch, false);
    if (!rewind_source(fetch))
        tg_fetch_fail(fetch, TG_FETCH_CLOSED, "the request's body cannot be sent to another place");
    else if (write_head(fetch) != TG_OK)
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    else
        begin(fetch, false);
    return true;
}

/* --- Beginning -------------------------------------------------------------------------------- */

static size_t fields_size(const struct tg_fetch_request *request)
{
    size_t size = 0;
    for (size_t i = 0; i < request->field_count; i++)
        size += request->fields[i].name.len + request->fields[i].value.len;
    return size;
}

static char *keep_slice(char *at, struct tg_slice *slice)
{
    if (slice->len)
        memcpy(at, slice->p, slice->len);
    slice->p = at;
    return at + slice->len;
}

/* One block, for the requests to come. */
static bool keep_fields(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    size_t count = request->field_count;
    fetch->fields = tg_malloc((count + 1) * sizeof *fetch->fields + fields_size(request));
    if (!fetch->fields)
        return false;
    char *at = (char *)(fetch->fields + count + 1);
    for (size_t i = 0; i < count; i++) {
        fetch->fields[i] = request->fields[i];
        at = keep_slice(at, &fetch->fields[i].name);
        at = keep_slice(at, &fetch->fields[i].value);
    }
    return true;
}

static bool keep_string(char **out, const char *s)
{
    *out = s ? tg_strdup(s) : NULL;
    return !s || *out;
}

static void take_request(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    snprintf(fetch->method, sizeof fetch->method, "%s", request->method);
    fetch->request = (struct tg_request_head){
        .method = fetch->method,
        .fields = request->fields,
        .field_count = request->field_count,
        .old = request->old,
        .has_body = request->source != NULL,
        .length = request->length,
        .decodes = request->decode_max > 0,
    };
    fetch->insecure = request->insecure;
    fetch->source = request->source;
    fetch->source_arg = request->source_arg;
    fetch->redirects = request->redirects;
    fetch->connect_timeout = request->connect_timeout;
    fetch->head_timeout = request->head_timeout;
    fetch->idle_timeout = request->idle_timeout;
    fetch->decode_max = request->decode_max;
}

static enum tg_status prepare(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    struct tg_upstream *upstream = fetch->upstream;
    const struct tg_limits *limits = upstream->o.limits;
    size_t head_max = limits->upstream_head_bytes ? limits->upstream_head_bytes : UINT32_MAX / 2;
    tg_upstream_head_init(&fetch->head, head_max);
    tg_buf_init(&fetch->held, limits->upstream_buffer ? limits->upstream_buffer : SIZE_MAX / 4);
    tg_buf_init(&fetch->rest, head_max + TG_UPSTREAM_READ_SIZE);
    tg_buf_init(&fetch->out, (size_t)TG_FETCH_REQUEST_BYTES_MAX * 2);
    take_request(fetch, request);
    enum tg_status status =
        tg_deadline_init(&fetch->deadline, &upstream->deadlines, on_late, fetch);
    if (status == TG_OK)
        status = tg_upstream_ready(upstream);
    if (status != TG_OK || !keep_string(&fetch->url, request->url) ||
        !keep_string(&fetch->unix_path, request->unix_path) ||
        !keep_string(&fetch->ca_file, request->ca_file))
        return TG_ENOMEM;
    if (!request->redirects)
        return TG_OK;
    if (!keep_fields(fetch, request))
        return TG_ENOMEM;
    fetch->request.fields = fetch->fields;
    return TG_OK;
}

static bool is_valid(const struct tg_fetch_request *request)
{
    struct tg_url url;
    size_t len = strlen(request->method);
    return tg_url_split(request->url, &url) && tg_is_token(request->method, len) &&
           len <= TG_FETCH_METHOD_MAX && strcmp(request->method, "CONNECT") != 0 &&
           !(request->old && request->source && request->length == TG_FETCH_LENGTH_UNKNOWN);
}

enum tg_status tg_fetch_start(struct tg_fetch **out, struct tg_upstream *upstream,
                              const struct tg_fetch_request *request)
{
    *out = NULL;
    if (!is_valid(request))
        return TG_EINVAL;
    if (request->field_count > TG_FETCH_REQUEST_FIELDS_MAX ||
        fields_size(request) > TG_FETCH_REQUEST_BYTES_MAX)
        return TG_ELIMIT;
    struct tg_fetch *fetch = tg_calloc(1, sizeof *fetch);
    if (!fetch)
        return TG_ENOMEM;
    fetch->upstream = upstream;
    enum tg_status status = prepare(fetch, request);
    if (status == TG_OK)
        status = write_head(fetch);
    if (status != TG_OK) {
        tg_fetch_free(fetch);
        return status;
    }
    fetch->counted = true;
    tg_upstream_count(&upstream->stats.begun, 1);
    begin(fetch, false);
    fetch->request.fields = fetch->fields; /* the caller's go */
    fetch->request.field_count = fetch->fields ? fetch->request.field_count : 0;
    tg_upstream_settle_soon(upstream);
    *out = fetch;
    return TG_OK;
}

void tg_fetch_free(struct tg_fetch *fetch)
{
    if (!fetch)
        return;
    if (fetch->counted)
        tg_upstream_count(&fetch->upstream->stats.ended, 1);
    stop_waiting_for_room(fetch);
    leave_link(fetch, false);
    if (fetch->has_news)
        TAILQ_REMOVE(&fetch->upstream->news, fetch, link_news);
    tg_deadline_fini(&fetch->deadline);
    tg_upstream_head_fini(&fetch->head);
    tg_buf_fini(&fetch->held);
    tg_buf_fini(&fetch->rest);
    tg_buf_fini(&fetch->out);
    tg_decode_free(fetch->decode);
    tg_free(fetch->fields);
    tg_free(fetch->url);
    tg_free(fetch->unix_path);
    tg_free(fetch->ca_file);
    tg_free(fetch);
}

/* --- What is known of it ---------------------------------------------------------------------- */

int tg_fetch_status(const struct tg_fetch *fetch)
{
    return fetch->head.whole ? fetch->head.status : 0;
}

bool tg_fetch_decoded(const struct tg_fetch *fetch)
{
    return fetch->decode != NULL;
}

void tg_fetch_take_head(struct tg_fetch *fetch, struct tg_upstream_head *to)
{
    *to = fetch->head;
    tg_buf_init(&fetch->head.text, 0);
    fetch->head.fields = NULL;
    fetch->head.field_count = 0;
}

enum tg_fetch_failure tg_fetch_failure(const struct tg_fetch *fetch)
{
    return fetch->failure;
}

const char *tg_fetch_message(const struct tg_fetch *fetch)
{
    return fetch->message;
}

bool tg_fetch_sent(const struct tg_fetch *fetch)
{
    return fetch->sent;
}

/* --- Telling ---------------------------------------------------------------------------------- */

void tg_fetch_wait(struct tg_fetch *fetch, void (*fn)(void *arg), void *arg)
{
    fetch->wait_fn = fn;
    fetch->wait_arg = arg;
}

static void tell(struct tg_fetch *fetch)
{
    void (*fn)(void *) = fetch->wait_fn;
    void *arg = fetch->wait_arg;
    fetch->wait_fn = NULL;
    if (fetch->pipe)
        fetch->pipe->turn(fetch->pipe_arg);
    else if (fn)
        fn(arg);
}

/* Whoever is told may free any fetch, and make more news. */
void tg_fetch_tell_news(struct tg_upstream *upstream)
{
    struct tg_fetch *fetch;
    while ((fetch = TAILQ_FIRST(&upstream->news)) != NULL) {
        TAILQ_REMOVE(&upstream->news, fetch, link_news);
        fetch->has_news = false;
        tell(fetch);
    }
}

/* The longest first; one that still finds none, of a host that is full, lets others pass. */
void tg_fetch_use_room(struct tg_upstream *upstream)
{
    struct tg_fetch *fetch = upstream->has_room ? TAILQ_FIRST(&upstream->waiting) : NULL;
    upstream->has_room = false;
    while (fetch) {
        struct tg_fetch *next = TAILQ_NEXT(fetch, link_waiting);
        get_link(fetch, false);
        fetch = next;
    }
}
