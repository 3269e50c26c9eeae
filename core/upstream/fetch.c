/* fetch.c - one transfer of libcurl's: from its request to the last byte that its reader takes. */
#include "upstream/fetch.h"

#include <stdio.h>

#include <event2/event.h>

#include "http/head.h"
#include "upstream/client_impl.h"
#include "util/mem.h"

enum { METHOD_MAX = 32 };

_Static_assert(TG_DECODE_IN_MAX >= CURL_MAX_WRITE_SIZE, "a piece of libcurl's fits the decoder");

/* --- Failures --------------------------------------------------------------------------------- */

const char *tg_fetch_failure_name(enum tg_fetch_failure failure)
{
    static const char *const names[] = {
        [TG_FETCH_FINE] = "none",         [TG_FETCH_URL] = "url",
        [TG_FETCH_RESOLVE] = "resolve",   [TG_FETCH_CONNECT] = "connect",
        [TG_FETCH_TLS] = "tls",           [TG_FETCH_TIMEOUT] = "timeout",
        [TG_FETCH_CLOSED] = "closed",     [TG_FETCH_PROTOCOL] = "protocol",
        [TG_FETCH_LIMIT] = "limit",       [TG_FETCH_REDIRECTS] = "redirects",
        [TG_FETCH_BODY] = "request_body", [TG_FETCH_MEMORY] = "memory",
    };
    return names[failure];
}

int tg_fetch_failure_status(enum tg_fetch_failure failure)
{
    switch (failure) {
    case TG_FETCH_TIMEOUT:
        return 504;
    case TG_FETCH_MEMORY:
    case TG_FETCH_URL:
        return 500;
    case TG_FETCH_BODY:
        return 400;
    default:
        return 502;
    }
}

static enum tg_fetch_failure failure_of(const struct tg_fetch *fetch, CURLcode result)
{
    switch (result) {
    case CURLE_URL_MALFORMAT:
        return TG_FETCH_URL;
    case CURLE_COULDNT_RESOLVE_HOST:
        return TG_FETCH_RESOLVE;
    case CURLE_COULDNT_CONNECT:
        return TG_FETCH_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return TG_FETCH_TIMEOUT;
    case CURLE_OUT_OF_MEMORY: /* the code of a line that it does not want to hold, too */
        return fetch->phase == TG_FETCH_ASKING ? TG_FETCH_LIMIT : TG_FETCH_MEMORY;
    case CURLE_TOO_MANY_REDIRECTS:
        return TG_FETCH_REDIRECTS;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
        return TG_FETCH_TLS;
    case CURLE_RECV_ERROR: /* the code of bad chunks, too */
        return strstr(fetch->message, "chunked") ? TG_FETCH_PROTOCOL : TG_FETCH_CLOSED;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_SEND_FAIL_REWIND:
        return TG_FETCH_CLOSED;
    default:
        return TG_FETCH_PROTOCOL;
    }
}

/* Takes the handle out of libcurl: the connection is kept when the transfer was whole. */
static void detach(struct tg_fetch *fetch)
{
    struct tg_upstream *upstream = fetch->upstream;
    CURL *easy = fetch->easy;
    if (!easy)
        return;
    fetch->easy = NULL;
    curl_multi_remove_handle(upstream->multi, easy);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    tg_upstream_give_easy(upstream, easy, fetch->plain);
    tg_deadline_set(&fetch->deadline, 0);
}

/* For libcurl's callbacks, which then say that they have failed.  The first failure counts. */
static void will_fail(struct tg_fetch *fetch, enum tg_fetch_failure failure, const char *message)
{
    if (fetch->failure)
        return;
    fetch->failure = failure;
    if (fetch->easy)
        curl_easy_setopt(fetch->easy, CURLOPT_ERRORBUFFER, NULL);
    snprintf(fetch->message, sizeof fetch->message, "%s", message);
}

static void end(struct tg_fetch *fetch)
{
    detach(fetch);
    fetch->phase = TG_FETCH_OVER;
    tg_upstream_add_news(fetch);
}

/* All of it has come and was decoded: was it all of what was coded? */
static void check_decoder(struct tg_fetch *fetch)
{
    if (fetch->phase == TG_FETCH_OVER && fetch->decode && tg_decode_idle(fetch->decode) &&
        !tg_decode_complete(fetch->decode))
        will_fail(fetch, TG_FETCH_CLOSED, "the end of the coded body is missing");
}

static void take_result(struct tg_fetch *fetch, CURLcode result)
{
    fetch->failure = failure_of(fetch, result);
    if (!*fetch->message)
        snprintf(fetch->message, sizeof fetch->message, "%s", curl_easy_strerror(result));
}

void tg_fetch_ended(struct tg_fetch *fetch, CURLcode result)
{
    if (!fetch->failure && result != CURLE_OK)
        take_result(fetch, result);
    else if (fetch->phase != TG_FETCH_ANSWERED)
        will_fail(fetch, TG_FETCH_CLOSED, "the connection ended before the response's head did");
    end(fetch);
    check_decoder(fetch);
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
    will_fail(fetch, TG_FETCH_TIMEOUT, what[fetch->phase]);
    end(fetch);
    tg_upstream_settle_soon(upstream);
}

/* The reader has not taken what there is. */
static bool is_held_back(const struct tg_fetch *fetch)
{
    return fetch->recv_paused || (fetch->decode && !tg_decode_idle(fetch->decode));
}

/* Something has moved, or whose turn it is has changed. */
static void set_deadline(struct tg_fetch *fetch)
{
    switch (fetch->phase) {
    case TG_FETCH_CONNECTING: /* as it was set at the start */
    case TG_FETCH_OVER:
        return;
    case TG_FETCH_ASKING:
        tg_deadline_set(&fetch->deadline, fetch->send_paused ? 0 : fetch->head_timeout);
        return;
    case TG_FETCH_ANSWERED:
        tg_deadline_set(&fetch->deadline, is_held_back(fetch) ? 0 : fetch->idle_timeout);
        return;
    }
}

/* --- What libcurl calls ----------------------------------------------------------------------- */

/* A connection is there and the request is about to be sent: by libcurl's rule perhaps again, on
 * another connection, when a kept one turns out to be closed.  That is for methods that may be
 * repeated (RFC 9110, 9.2.2). */
static int on_connected(void *arg, char *remote, char *local, int remote_port, int local_port)
{
    struct tg_fetch *fetch = arg;
    void *unused[] = {remote, local};
    (void)unused;
    (void)remote_port;
    (void)local_port;
    if (fetch->sent && !fetch->is_safe && !fetch->redirects) {
        will_fail(fetch, TG_FETCH_CLOSED, "the kept connection was closed");
        return CURL_PREREQFUNC_ABORT;
    }
    fetch->sent = true;
    fetch->phase = TG_FETCH_ASKING;
    set_deadline(fetch);
    return CURL_PREREQFUNC_OK;
}

static size_t on_source(char *buffer, size_t one, size_t size, void *arg)
{
    struct tg_fetch *fetch = arg;
    if (!fetch->source)
        return 0;
    long n = fetch->source->pull(fetch->source_arg, buffer, one * size);
    if (n == TG_FETCH_BROKEN) {
        will_fail(fetch, TG_FETCH_BODY, "the request's body broke off");
        return CURL_READFUNC_ABORT;
    }
    fetch->send_paused = n == TG_FETCH_LATER;
    set_deadline(fetch);
    return fetch->send_paused ? CURL_READFUNC_PAUSE : (size_t)n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    const struct tg_fetch *fetch = arg;
    if (offset != 0 || origin != SEEK_SET || !fetch->source || !fetch->source->rewind)
        return CURL_SEEKFUNC_FAIL;
    fetch->source->rewind(fetch->source_arg);
    return CURL_SEEKFUNC_OK;
}

/* A decoder, where the body has one coding, that can be undone, and that is asked for. */
static void choose_decoder(struct tg_fetch *fetch)
{
    struct tg_fetch_field field;
    unsigned codings = 0;
    bool known = false;
    if (!fetch->decode_max || !fetch->head.encoded)
        return;
    for (size_t i = 0; tg_upstream_head_field(&fetch->head, i, &field); i++) {
        if (!tg_slice_equal_nocase(field.name, TG_SLICE("content-encoding")))
            continue;
        codings++;
        known = tg_decode_knows(field.value);
    }
    if (codings != 1 || !known)
        return;
    fetch->decode = tg_decode_new(fetch->decode_max);
    if (!fetch->decode)
        will_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
}

static void head_ended(struct tg_fetch *fetch)
{
    choose_decoder(fetch);
    fetch->phase = TG_FETCH_ANSWERED;
    set_deadline(fetch);
    tg_upstream_add_news(fetch);
}

static size_t on_head_line(const char *data, size_t one, size_t len, void *arg)
{
    struct tg_fetch *fetch = arg;
    struct tg_slice line = {data, one * len};
    const char *why;
    if (fetch->head.whole)
        return line.len; /* a trailer: nobody asks for those */
    switch (tg_upstream_head_line(&fetch->head, line, fetch->redirects > 0, &why)) {
    case TG_LINE_TAKEN:
        return line.len;
    case TG_LINE_ENDS:
        head_ended(fetch);
        return line.len;
    case TG_LINE_PROTOCOL:
        will_fail(fetch, TG_FETCH_PROTOCOL, why);
        return 0;
    case TG_LINE_LIMIT:
        will_fail(fetch, TG_FETCH_LIMIT, "the response's head is too large");
        return 0;
    case TG_LINE_MEMORY:
        break;
    }
    will_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    return 0;
}

static bool hold(struct tg_fetch *fetch, const char *data, size_t len)
{
    struct tg_buf *held = &fetch->held;
    if (held->len && len > held->cap - held->len)
        return false;
    if (held->cap < len) /* a single piece of libcurl's is taken, whatever the cap */
        held->cap = len;
    if (tg_buf_add(held, data, len) != TG_OK)
        will_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    return true;
}

static bool take(struct tg_fetch *fetch, const char *data, size_t len)
{
    if (fetch->pipe && !fetch->held.len)
        return fetch->pipe->take(fetch->pipe_arg, data, len);
    return hold(fetch, data, len);
}

static void decoder_failed(struct tg_fetch *fetch, enum tg_status status)
{
    if (status == TG_ELIMIT)
        will_fail(fetch, TG_FETCH_LIMIT, "the decoded body is too large");
    else if (status == TG_ENOMEM)
        will_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    else
        will_fail(fetch, TG_FETCH_PROTOCOL, "the body is not of its Content-Encoding");
}

/* Passes on what the decoder makes, for as long as it is taken. */
static void drain_decoder(struct tg_fetch *fetch)
{
    struct tg_slice block;
    enum tg_status status = tg_decode_next(fetch->decode, &block);
    while (status == TG_OK && block.len && take(fetch, block.p, block.len)) {
        tg_decode_taken(fetch->decode);
        status = tg_decode_next(fetch->decode, &block);
    }
    if (status != TG_OK)
        decoder_failed(fetch, status);
}

/* What was not passed on stays in the decoder: the bytes are taken all the same, and the next are not. */
static bool take_coded(struct tg_fetch *fetch, const char *data, size_t len)
{
    if (!tg_decode_idle(fetch->decode))
        return false;
    tg_decode_feed(fetch->decode, data, len);
    drain_decoder(fetch);
    return true;
}

static size_t on_data(char *data, size_t one, size_t len, void *arg)
{
    struct tg_fetch *fetch = arg;
    len *= one;
    if (fetch->failure)
        return 0;
    bool taken = fetch->decode ? take_coded(fetch, data, len) : take(fetch, data, len);
    fetch->recv_paused = !taken;
    set_deadline(fetch);
    if (!taken)
        return CURL_WRITEFUNC_PAUSE;
    tg_upstream_add_news(fetch);
    return fetch->failure ? 0 : len;
}

/* --- Setting up ------------------------------------------------------------------------------- */

#define SET(easy, option, value) (curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

bool tg_fetch_set_up(CURL *easy)
{
    return SET(easy, CURLOPT_NOSIGNAL, 1L) && SET(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
           SET(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") && SET(easy, CURLOPT_PROXY, "") &&
           SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           SET(easy, CURLOPT_PATH_AS_IS, 1L) && SET(easy, CURLOPT_QUICK_EXIT, 1L) &&
           SET(easy, CURLOPT_NOPROGRESS, 1L) && SET(easy, CURLOPT_HTTP09_ALLOWED, 0L) &&
           SET(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           SET(easy, CURLOPT_BUFFERSIZE, (long)TG_UPSTREAM_READ_SIZE) &&
           SET(easy, CURLOPT_WRITEFUNCTION, on_data) &&
           SET(easy, CURLOPT_HEADERFUNCTION, on_head_line) &&
           SET(easy, CURLOPT_READFUNCTION, on_source) && SET(easy, CURLOPT_SEEKFUNCTION, on_seek) &&
           SET(easy, CURLOPT_PREREQFUNCTION, on_connected);
}

static bool set_method(CURL *easy, const struct tg_fetch_request *request)
{
    curl_off_t length =
        request->length == TG_FETCH_LENGTH_UNKNOWN ? -1 : (curl_off_t)request->length;
    if (request->source)
        return SET(easy, CURLOPT_UPLOAD, 1L) && SET(easy, CURLOPT_INFILESIZE_LARGE, length) &&
               SET(easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (strcmp(request->method, "HEAD") == 0)
        return SET(easy, CURLOPT_NOBODY, 1L) && SET(easy, CURLOPT_CUSTOMREQUEST, NULL);
    const char *custom = strcmp(request->method, "GET") == 0 ? NULL : request->method;
    return SET(easy, CURLOPT_HTTPGET, 1L) && SET(easy, CURLOPT_CUSTOMREQUEST, custom);
}

static bool is_plain(const struct tg_fetch_request *request)
{
    return request->version == 11 && !request->unix_path && !request->ca_file &&
           !request->insecure && !request->redirects;
}

static bool set_special(CURL *easy, const struct tg_fetch_request *request)
{
    long verify = request->insecure ? 0L : 1L;
    long version = request->version == 10   ? (long)CURL_HTTP_VERSION_1_0
                   : request->version == 20 ? (long)CURL_HTTP_VERSION_2TLS
                                            : (long)CURL_HTTP_VERSION_1_1;
    if (request->unix_path && !SET(easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_path))
        return false;
    if (request->ca_file && !SET(easy, CURLOPT_CAINFO, request->ca_file))
        return false;
    return SET(easy, CURLOPT_SSL_VERIFYPEER, verify) &&
           SET(easy, CURLOPT_SSL_VERIFYHOST, verify * 2) &&
           SET(easy, CURLOPT_HTTP_VERSION, version) &&
           SET(easy, CURLOPT_FOLLOWLOCATION, request->redirects ? 1L : 0L) &&
           SET(easy, CURLOPT_MAXREDIRS, (long)request->redirects);
}

static bool set_options(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    CURL *easy = fetch->easy;
    return SET(easy, CURLOPT_URL, request->url) && set_method(easy, request) &&
           SET(easy, CURLOPT_HTTPHEADER, fetch->fields) &&
           SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout) &&
           SET(easy, CURLOPT_ERRORBUFFER, fetch->message) && SET(easy, CURLOPT_PRIVATE, fetch) &&
           SET(easy, CURLOPT_WRITEDATA, fetch) && SET(easy, CURLOPT_HEADERDATA, fetch) &&
           SET(easy, CURLOPT_READDATA, fetch) && SET(easy, CURLOPT_SEEKDATA, fetch) &&
           SET(easy, CURLOPT_PREREQDATA, fetch) && (fetch->plain || set_special(easy, request));
}

/* --- The request's fields --------------------------------------------------------------------- */

/* Fields that libcurl would add by itself; and that a body has no length when there is none. */
static const char *const no_accept = "Accept:";
static const char *const no_expect = "Expect:";
static const char *const no_body = "Content-Length: 0";
static const char *const codings = "Accept-Encoding: gzip, deflate";

enum { OURS_MAX = 4 };

/* Methods whose meaning has to do with a body say that there is none (RFC 9110, 8.6). */
static bool says_no_body(const struct tg_fetch_request *request)
{
    return !request->source &&
           (strcmp(request->method, "POST") == 0 || strcmp(request->method, "PUT") == 0 ||
            strcmp(request->method, "PATCH") == 0);
}

static size_t fields_size(const struct tg_fetch_request *request)
{
    size_t size = 0;
    for (size_t i = 0; i < request->field_count; i++)
        size += request->fields[i].name.len + request->fields[i].value.len + sizeof ": \r\n";
    return size;
}

/* "name: value", or "name;" for an empty one, which is libcurl's way; then the end. */
static char *write_field(char *at, const struct tg_fetch_field *field, const char *end)
{
    memcpy(at, field->name.p, field->name.len);
    at += field->name.len;
    if (!field->value.len && !*end) {
        *at++ = ';';
    } else {
        *at++ = ':';
        *at++ = ' ';
        if (field->value.len)
            memcpy(at, field->value.p, field->value.len);
        at += field->value.len;
    }
    memcpy(at, end, strlen(end) + 1);
    return at + strlen(end);
}

static bool is_field(const struct tg_fetch_field *field, struct tg_slice name)
{
    return tg_slice_equal_nocase(field->name, name);
}

static struct curl_slist *add_node(struct curl_slist *node, char *data)
{
    node->data = data;
    node->next = node + 1;
    return node + 1;
}

static bool are_apart(const struct tg_fetch_request *request)
{
    return request->redirects || strchr(request->url, '@');
}

/* libcurl looks through the list some ten times, and all that it wants to see in it is Host; so the
 * others, which are checked, are lines of one text.  Not so where it has to leave some out: with
 * redirects to other hosts, or a name and password in the URL. */
static struct curl_slist *write_fields(struct curl_slist *node, char *at,
                                       const struct tg_fetch_request *request)
{
    bool apart = are_apart(request);
    char *lines = NULL;
    for (size_t i = 0; i < request->field_count; i++) {
        const struct tg_fetch_field *field = &request->fields[i];
        if (!apart && !is_field(field, TG_SLICE("host")))
            continue;
        node = add_node(node, at);
        at = write_field(at, field, "") + 1;
    }
    for (size_t i = 0; !apart && i < request->field_count; i++) {
        if (is_field(&request->fields[i], TG_SLICE("host")))
            continue;
        lines = lines ? lines : at;
        at = write_field(at, &request->fields[i], "\r\n");
    }
    if (!lines)
        return node;
    at[-2] = '\0'; /* libcurl ends the last line */
    return add_node(node, lines);
}

static bool has_field(const struct tg_fetch_request *request, struct tg_slice name)
{
    for (size_t i = 0; i < request->field_count; i++)
        if (is_field(&request->fields[i], name))
            return true;
    return false;
}

/* All of the list in one block of memory. */
static enum tg_status take_fields(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    size_t text = fields_size(request);
    size_t count = request->field_count + OURS_MAX;
    if (request->field_count > TG_FETCH_REQUEST_FIELDS_MAX || text > TG_FETCH_REQUEST_BYTES_MAX)
        return TG_ELIMIT;
    fetch->fields = tg_malloc(count * sizeof *fetch->fields + text);
    if (!fetch->fields)
        return TG_ENOMEM;
    bool codes = request->decode_max && !has_field(request, TG_SLICE("accept-encoding"));
    bool accepts = are_apart(request) && has_field(request, TG_SLICE("accept"));
    const char *ours[OURS_MAX] = {request->source ? no_expect : NULL, accepts ? NULL : no_accept,
                                  codes ? codings : NULL, says_no_body(request) ? no_body : NULL};
    struct curl_slist *node = write_fields(fetch->fields, (char *)(fetch->fields + count), request);
    for (size_t i = 0; i < OURS_MAX; i++)
        if (ours[i])
            node = add_node(node, (char *)(uintptr_t)ours[i]); /* a curl_slist knows no const */
    node[-1].next = NULL; /* there is one: Accept is there, or kept from being */
    return TG_OK;
}

/* --- Life ------------------------------------------------------------------------------------- */

static bool is_url(const char *url)
{
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
        return false;
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return true;
}

static bool is_safe(const char *method)
{
    static const char *const idempotent[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    for (size_t i = 0; i < sizeof idempotent / sizeof *idempotent; i++)
        if (strcmp(method, idempotent[i]) == 0)
            return true;
    return false;
}

static enum tg_status prepare(struct tg_fetch *fetch, const struct tg_fetch_request *request)
{
    struct tg_upstream *upstream = fetch->upstream;
    const struct tg_limits *limits = upstream->o.limits;
    tg_upstream_head_init(&fetch->head, limits->upstream_head_bytes ? limits->upstream_head_bytes
                                                                    : UINT32_MAX / 2);
    tg_buf_init(&fetch->held, limits->upstream_buffer ? limits->upstream_buffer : SIZE_MAX / 4);
    fetch->source = request->source;
    fetch->source_arg = request->source_arg;
    fetch->redirects = request->redirects;
    fetch->head_timeout = request->head_timeout;
    fetch->idle_timeout = request->idle_timeout;
    fetch->decode_max = request->decode_max;
    fetch->is_safe = is_safe(request->method);
    fetch->plain = is_plain(request);
    enum tg_status status =
        tg_deadline_init(&fetch->deadline, &upstream->deadlines, on_late, fetch);
    if (status == TG_OK)
        status = tg_upstream_ready(upstream);
    if (status == TG_OK)
        status = take_fields(fetch, request);
    if (status != TG_OK)
        return status;
    fetch->easy = tg_upstream_take_easy(upstream);
    return fetch->easy && set_options(fetch, request) ? TG_OK : TG_ENOMEM;
}

enum tg_status tg_fetch_start(struct tg_fetch **out, struct tg_upstream *upstream,
                              const struct tg_fetch_request *request)
{
    *out = NULL;
    size_t method_len = strlen(request->method);
    if (!is_url(request->url) || !tg_is_token(request->method, method_len) ||
        method_len > METHOD_MAX || strcmp(request->method, "CONNECT") == 0)
        return TG_EINVAL;
    struct tg_fetch *fetch = tg_calloc(1, sizeof *fetch);
    if (!fetch)
        return TG_ENOMEM;
    fetch->upstream = upstream;
    enum tg_status status = prepare(fetch, request);
    if (status == TG_OK && curl_multi_add_handle(upstream->multi, fetch->easy) != CURLM_OK)
        status = TG_ENOMEM;
    if (status != TG_OK) {
        tg_fetch_free(fetch);
        return status;
    }
    tg_deadline_set(&fetch->deadline, request->connect_timeout);
    tg_upstream_run(upstream); /* where a connection is kept the request goes out here */
    tg_upstream_settle_soon(upstream);
    *out = fetch;
    return TG_OK;
}

void tg_fetch_free(struct tg_fetch *fetch)
{
    if (!fetch)
        return;
    detach(fetch);
    if (fetch->has_news)
        TAILQ_REMOVE(&fetch->upstream->news, fetch, link);
    tg_deadline_fini(&fetch->deadline);
    tg_upstream_head_fini(&fetch->head);
    tg_buf_fini(&fetch->held);
    tg_decode_free(fetch->decode);
    tg_free(fetch->fields);
    tg_free(fetch);
}

/* --- Pausing ---------------------------------------------------------------------------------- */

/* Tells libcurl which directions are paused.  It may come with data before it returns. */
static void go_on(struct tg_fetch *fetch)
{
    int paused =
        (fetch->recv_paused ? CURLPAUSE_RECV : 0) | (fetch->send_paused ? CURLPAUSE_SEND : 0);
    set_deadline(fetch);
    CURLcode result = curl_easy_pause(fetch->easy, paused);
    if (result != CURLE_OK) {
        if (!fetch->failure)
            take_result(fetch, result);
        end(fetch);
    }
    tg_upstream_settle_soon(fetch->upstream);
}

void tg_fetch_source_ready(struct tg_fetch *fetch)
{
    if (!fetch->easy || !fetch->send_paused)
        return;
    fetch->send_paused = false;
    go_on(fetch);
}

static void go_on_receiving(struct tg_fetch *fetch)
{
    if (fetch->decode && !tg_decode_idle(fetch->decode)) {
        drain_decoder(fetch);
        if (fetch->failure)
            end(fetch);
        check_decoder(fetch);
        if (fetch->failure || !tg_decode_idle(fetch->decode))
            return;
    }
    if (!fetch->easy || !fetch->recv_paused)
        return;
    fetch->recv_paused = false;
    go_on(fetch);
}

/* --- The response ----------------------------------------------------------------------------- */

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
    return fetch->phase == TG_FETCH_OVER ? fetch->failure : TG_FETCH_FINE;
}

const char *tg_fetch_message(const struct tg_fetch *fetch)
{
    return fetch->message;
}

bool tg_fetch_sent(const struct tg_fetch *fetch)
{
    return fetch->sent;
}

enum tg_fetch_state tg_fetch_peek(const struct tg_fetch *fetch, struct tg_slice *data)
{
    *data = (struct tg_slice){fetch->held.p + fetch->held_at, fetch->held.len - fetch->held_at};
    if (fetch->held.len)
        return TG_FETCH_DATA;
    if (fetch->phase != TG_FETCH_OVER || (is_held_back(fetch) && !fetch->failure))
        return TG_FETCH_WAIT;
    return fetch->failure ? TG_FETCH_FAILED : TG_FETCH_END;
}

static void drop_held(struct tg_fetch *fetch)
{
    tg_buf_fini(&fetch->held); /* a stream that waits holds nothing */
    fetch->held_at = 0;
}

void tg_fetch_consume(struct tg_fetch *fetch, size_t n)
{
    fetch->held_at += n;
    if (fetch->held_at < fetch->held.len)
        return;
    drop_held(fetch);
    go_on_receiving(fetch);
}

void tg_fetch_wait(struct tg_fetch *fetch, void (*fn)(void *arg), void *arg)
{
    fetch->wait_fn = fn;
    fetch->wait_arg = arg;
}

void tg_fetch_tell(struct tg_fetch *fetch)
{
    void (*fn)(void *) = fetch->wait_fn;
    void *arg = fetch->wait_arg;
    fetch->wait_fn = NULL;
    if (fetch->pipe)
        fetch->pipe->turn(fetch->pipe_arg);
    else if (fn)
        fn(arg);
}

/* --- Pushed ----------------------------------------------------------------------------------- */

void tg_fetch_pipe(struct tg_fetch *fetch, const struct tg_fetch_pipe *pipe, void *arg)
{
    fetch->pipe = pipe;
    fetch->pipe_arg = arg;
}

void tg_fetch_resume(struct tg_fetch *fetch)
{
    struct tg_slice data;
    if (tg_fetch_peek(fetch, &data) == TG_FETCH_DATA) {
        if (!fetch->pipe->take(fetch->pipe_arg, data.p, data.len))
            return;
        drop_held(fetch);
    }
    go_on_receiving(fetch);
}
