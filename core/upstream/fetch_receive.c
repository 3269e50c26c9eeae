/* fetch_receive.c - a response's way in: from the link through its framing and coding to its reader.
 *
 * What the reader does not take stays in the middle: a decoded block in the decoder, bytes of the body
 * and what came behind them in `rest`.  While there is something no more is read from the link.
 */
#include "upstream/fetch_impl.h"

#include <errno.h>

enum {
    READS_MAX = 8, /* of one turn, where no event tells whether there is more */
};

/* --- To the reader ---------------------------------------------------------------------------- */

static bool hold(struct tg_fetch *fetch, const char *data, size_t len)
{
    struct tg_buf *held = &fetch->held;
    if (held->len && len > held->cap - held->len)
        return false;
    if (held->cap < len) /* one piece is taken, whatever the cap */
        held->cap = len;
    if (tg_buf_add(held, data, len) != TG_OK)
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    return true;
}

static bool give(struct tg_fetch *fetch, const char *data, size_t len)
{
    tg_fetch_add_news(fetch);
    if (fetch->pipe && !fetch->held.len)
        return fetch->pipe->take(fetch->pipe_arg, data, len);
    return hold(fetch, data, len);
}

static void decoder_failed(struct tg_fetch *fetch, enum tg_status status)
{
    if (status == TG_ELIMIT)
        tg_fetch_fail(fetch, TG_FETCH_LIMIT, "the decoded body is too large");
    else if (status == TG_ENOMEM)
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    else
        tg_fetch_fail(fetch, TG_FETCH_PROTOCOL, "the body is not of its Content-Encoding");
}

/* Passes on what the decoder makes.  False: not all of it was taken. */
static bool drain_decoder(struct tg_fetch *fetch)
{
    struct tg_slice block;
    enum tg_status status = tg_decode_next(fetch->decode, &block);
    while (status == TG_OK && block.len && give(fetch, block.p, block.len)) {
        tg_decode_taken(fetch->decode);
        status = tg_decode_next(fetch->decode, &block);
    }
    if (status != TG_OK)
        decoder_failed(fetch, status);
    return status != TG_OK || !block.len;
}

/* How much of data was taken: less than all when the reader is full. */
static size_t deliver(struct tg_fetch *fetch, const char *data, size_t len)
{
    size_t at = 0;
    if (!fetch->decode)
        return give(fetch, data, len) ? len : 0;
    while (at < len && fetch->phase != TG_FETCH_OVER) {
        size_t n = len - at < TG_DECODE_IN_MAX ? len - at : TG_DECODE_IN_MAX;
        if (!tg_decode_idle(fetch->decode))
            return at;
        tg_decode_feed(fetch->decode, data + at, n);
        at += n;
        if (!drain_decoder(fetch))
            return at;
    }
    return len;
}

bool tg_fetch_is_held_back(const struct tg_fetch *fetch)
{
    return fetch->blocked || (fetch->decode && !tg_decode_idle(fetch->decode));
}

void tg_fetch_check_decoder(struct tg_fetch *fetch)
{
    if (fetch->phase == TG_FETCH_OVER && fetch->decode && tg_decode_idle(fetch->decode) &&
        !tg_decode_complete(fetch->decode))
        tg_fetch_fail(fetch, TG_FETCH_CLOSED, "the end of the coded body is missing");
}

/* --- Heads ------------------------------------------------------------------------------------ */

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
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
}

/* RFC 9112, 6.3. */
static void choose_framing(struct tg_fetch *fetch)
{
    const struct tg_upstream_head *head = &fetch->head;
    enum tg_framing_kind kind = TG_FRAMING_LENGTH;
    uint64_t length = head->length;
    if (strcmp(fetch->method, "HEAD") == 0 || head->status == 204 || head->status == 304)
        kind = TG_FRAMING_NONE;
    else if (head->coded)
        kind = TG_FRAMING_CHUNKED;
    else if (length == TG_FETCH_LENGTH_UNKNOWN)
        fetch->until_close = true;
    tg_framing_init(&fetch->framing, kind, length);
}

static void head_ended(struct tg_fetch *fetch)
{
    if (tg_fetch_redirected(fetch))
        return;
    choose_framing(fetch);
    choose_decoder(fetch);
    if (fetch->phase == TG_FETCH_OVER)
        return;
    fetch->phase = TG_FETCH_ANSWERED;
    tg_fetch_add_news(fetch);
}

/* How many bytes of the head's next line; 0: it is not whole. */
static size_t take_line(struct tg_fetch *fetch, const char *bytes, size_t len)
{
    const char *why = NULL;
    const char *end = memchr(bytes, '\n', len);
    if (!end) {
        if (len > fetch->head.max - fetch->head.bytes)
            tg_fetch_fail(fetch, TG_FETCH_LIMIT, "the response's head is too large");
        return 0;
    }
    struct tg_slice line = {bytes, (size_t)(end - bytes) + 1};
    switch (tg_upstream_head_line(&fetch->head, line, &why)) {
    case TG_LINE_TAKEN:
        break;
    case TG_LINE_ENDS:
        head_ended(fetch);
        break;
    case TG_LINE_PROTOCOL:
        tg_fetch_fail(fetch, TG_FETCH_PROTOCOL, why);
        break;
    case TG_LINE_LIMIT:
        tg_fetch_fail(fetch, TG_FETCH_LIMIT, "the response's head is too large");
        break;
    case TG_LINE_MEMORY:
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
        break;
    }
    return line.len;
}

/* --- Bodies ----------------------------------------------------------------------------------- */

/* How many bytes were used; what the reader does not take of a run is left at the front. */
static size_t take_body(struct tg_fetch *fetch, const char *bytes, size_t len)
{
    struct tg_slice run = {bytes, fetch->unframed};
    size_t used = fetch->unframed;
    if (!fetch->unframed)
        used = tg_framing_next(&fetch->framing, bytes, len, &run);
    size_t taken = run.len ? deliver(fetch, run.p, run.len) : 0;
    fetch->unframed = run.len - taken;
    fetch->blocked = fetch->unframed > 0;
    return fetch->blocked ? (size_t)(run.p - bytes) + taken : used;
}

static void check_body(struct tg_fetch *fetch, bool more)
{
    if (fetch->phase != TG_FETCH_ANSWERED || fetch->blocked)
        return;
    if (tg_framing_state(&fetch->framing) == TG_FRAMING_BROKEN)
        tg_fetch_fail(fetch, TG_FETCH_PROTOCOL, "the response's chunks are badly framed");
    else if (tg_framing_state(&fetch->framing) == TG_FRAMING_DONE)
        tg_fetch_whole(fetch, more);
}

/* As far as it goes: how many bytes are not needed any more. */
static size_t process(struct tg_fetch *fetch, const char *bytes, size_t len)
{
    unsigned round = fetch->round;
    size_t used = 0;
    while (used < len && !fetch->blocked && fetch->phase != TG_FETCH_OVER) {
        bool head = fetch->phase != TG_FETCH_ANSWERED;
        size_t n = head ? take_line(fetch, bytes + used, len - used)
                        : take_body(fetch, bytes + used, len - used);
        if (fetch->round != round)
            return len; /* what follows a redirect is of no interest */
        used += n;
        check_body(fetch, used < len);
        if (!n)
            break;
    }
    return used;
}

/* --- From the link ---------------------------------------------------------------------------- */

static void keep_rest(struct tg_fetch *fetch, const char *bytes, size_t len)
{
    if (len && fetch->phase != TG_FETCH_OVER && tg_buf_add(&fetch->rest, bytes, len) != TG_OK)
        tg_fetch_fail(fetch, TG_FETCH_LIMIT, "the response's head is too large");
}

static void process_rest(struct tg_fetch *fetch)
{
    struct tg_buf *rest = &fetch->rest;
    unsigned round = fetch->round;
    if (!rest->len)
        return;
    fetch->rest_at += process(fetch, rest->p + fetch->rest_at, rest->len - fetch->rest_at);
    if (fetch->round != round || fetch->phase == TG_FETCH_OVER)
        return;
    if (fetch->rest_at == rest->len) {
        tg_buf_fini(rest);
        fetch->rest_at = 0;
    }
}

/* What came, behind what came before and could not be used. */
static void take_in(struct tg_fetch *fetch, const char *bytes, size_t len)
{
    unsigned round = fetch->round;
    if (fetch->rest.len) {
        memmove(fetch->rest.p, fetch->rest.p + fetch->rest_at, fetch->rest.len - fetch->rest_at);
        fetch->rest.len -= fetch->rest_at;
        fetch->rest_at = 0;
        keep_rest(fetch, bytes, len);
        process_rest(fetch);
        return;
    }
    size_t used = process(fetch, bytes, len);
    if (fetch->round == round)
        keep_rest(fetch, bytes + used, len - used);
}

/* The connection has ended, and all that came by it is with the reader. */
static void connection_ended(struct tg_fetch *fetch)
{
    if (fetch->phase != TG_FETCH_ANSWERED)
        tg_fetch_unanswered(fetch);
    else if (fetch->until_close && !fetch->reset)
        tg_fetch_whole(fetch, true);
    else
        tg_fetch_fail(fetch, TG_FETCH_CLOSED, "the connection ended before the response did");
}

/* One read: whether there may be another at once. */
static bool receive_once(struct tg_fetch *fetch)
{
    char *buffer = fetch->upstream->buffer;
    ssize_t n = tg_link_recv(fetch->link, buffer, TG_UPSTREAM_READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n > 0) {
        take_in(fetch, buffer, (size_t)n);
        return true;
    }
    fetch->ended = true;
    fetch->reset = n < 0;
    connection_ended(fetch);
    return false;
}

void tg_fetch_receive(struct tg_fetch *fetch)
{
    unsigned round = fetch->round;
    bool again = true;
    for (int i = 0; again && i < READS_MAX; i++) {
        again = receive_once(fetch);
        if (fetch->round != round || !fetch->link || fetch->blocked)
            break;
        again = again && tg_link_may_have_more(fetch->link);
    }
    if (fetch->round != round || !fetch->link)
        return;
    if (fetch->phase == TG_FETCH_ANSWERED) /* until then it is the whole head that is waited for */
        tg_fetch_set_deadline(fetch);
    tg_fetch_set_wants(fetch);
}

/* --- The reader's side ------------------------------------------------------------------------ */

/* The reader has room: what is in the middle comes first. */
static void go_on(struct tg_fetch *fetch)
{
    unsigned round = fetch->round;
    if (fetch->decode && !tg_decode_idle(fetch->decode) && !drain_decoder(fetch))
        return;
    tg_fetch_check_decoder(fetch);
    if (fetch->phase == TG_FETCH_OVER)
        return;
    fetch->blocked = false;
    process_rest(fetch);
    if (fetch->round == round && fetch->link && !fetch->blocked) {
        tg_fetch_set_deadline(fetch);
        tg_fetch_set_wants(fetch);
    }
    tg_upstream_settle_soon(fetch->upstream);
}

enum tg_fetch_state tg_fetch_peek(const struct tg_fetch *fetch, struct tg_slice *data)
{
    *data = (struct tg_slice){fetch->held.p + fetch->held_at, fetch->held.len - fetch->held_at};
    if (fetch->held.len)
        return TG_FETCH_DATA;
    if (fetch->failure)
        return TG_FETCH_FAILED;
    if (fetch->phase != TG_FETCH_OVER || tg_fetch_is_held_back(fetch))
        return TG_FETCH_WAIT;
    return TG_FETCH_END;
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
    if (tg_fetch_is_held_back(fetch))
        go_on(fetch);
}

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
    if (tg_fetch_is_held_back(fetch))
        go_on(fetch);
}
