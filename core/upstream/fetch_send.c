/* fetch_send.c - a request's way out: its head, then its body as its source has it. */
#include "upstream/fetch_impl.h"

#include <errno.h>
#include <stdio.h>

enum {
    PULL_SIZE = 16384, /* bytes that a source is asked for at once */
    TURN_MAX = 262144, /* bytes, before others have a turn */
    CHUNK_EXTRA = 16,  /* a chunk's size and its line ends */
};

/* Appends what came into the upstream's buffer, as a chunk where the body has no length. */
static enum tg_status add_piece(struct tg_fetch *fetch, size_t len)
{
    struct tg_buf *out = &fetch->out;
    bool chunked = fetch->request.length == TG_FETCH_LENGTH_UNKNOWN;
    char line[CHUNK_EXTRA];
    enum tg_status status = TG_OK;
    if (chunked) {
        int n = snprintf(line, sizeof line, "%zx\r\n", len);
        status = tg_buf_add(out, line, (size_t)n);
    }
    if (status == TG_OK)
        status = tg_buf_add(out, fetch->upstream->buffer, len);
    if (status == TG_OK && chunked)
        status = tg_buf_add(out, "\r\n", 2);
    return status;
}

static void source_ended(struct tg_fetch *fetch)
{
    fetch->source_ended = true;
    if (fetch->request.length == TG_FETCH_LENGTH_UNKNOWN) {
        if (add_piece(fetch, 0) != TG_OK) /* the last chunk, and no trailers */
            tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    } else if (fetch->pulled < fetch->request.length) {
        tg_fetch_fail(fetch, TG_FETCH_BODY, "the request's body is shorter than its length");
    }
}

/* Asks the source for more.  False: it has none just now, or no more, or it has failed. */
static bool pull(struct tg_fetch *fetch)
{
    uint64_t length = fetch->request.length;
    uint64_t left = length == TG_FETCH_LENGTH_UNKNOWN ? PULL_SIZE : length - fetch->pulled;
    size_t size = left < PULL_SIZE ? (size_t)left : PULL_SIZE;
    if (fetch->source_ended)
        return false;
    long n = size ? fetch->source->pull(fetch->source_arg, fetch->upstream->buffer, size) : 0;
    if (n == TG_FETCH_BROKEN) {
        tg_fetch_fail(fetch, TG_FETCH_BODY, "the request's body broke off");
        return false;
    }
    fetch->source_waits = n == TG_FETCH_LATER;
    if (fetch->source_waits)
        return false;
    if (!n) {
        source_ended(fetch);
        return fetch->phase != TG_FETCH_OVER && fetch->out_at < fetch->out.len;
    }
    fetch->pulled += (uint64_t)n;
    if (add_piece(fetch, (size_t)n) != TG_OK)
        tg_fetch_fail(fetch, TG_FETCH_MEMORY, "not enough memory");
    return fetch->phase != TG_FETCH_OVER;
}

/* Makes sure that there is something to send; false when there is not. */
static bool fill(struct tg_fetch *fetch)
{
    bool first = fetch->out_at == 0;
    if (fetch->out_at == fetch->out.len) { /* the head stays: it may be needed again */
        fetch->out.len = fetch->head_len;
        fetch->out_at = fetch->head_len;
    }
    bool more = fetch->out_at < fetch->out.len;
    if (fetch->source && (!more || (first && fetch->out.len == fetch->head_len)))
        more = pull(fetch) || (fetch->phase != TG_FETCH_OVER && fetch->out_at < fetch->out.len);
    return more;
}

static bool is_done(const struct tg_fetch *fetch)
{
    return fetch->out_at == fetch->out.len && (!fetch->source || fetch->source_ended);
}

/* Sends once: how many bytes, or -1 when that is all for now. */
static ssize_t send_once(struct tg_fetch *fetch)
{
    ssize_t n =
        tg_link_send(fetch->link, fetch->out.p + fetch->out_at, fetch->out.len - fetch->out_at);
    if (n < 0) {
        fetch->send_failed = errno != EAGAIN && errno != EINTR;
        return -1;
    }
    fetch->out_at += (size_t)n;
    fetch->sent = true;
    return n;
}

void tg_fetch_send(struct tg_fetch *fetch)
{
    size_t turn = 0;
    while (!fetch->sent_all && !fetch->send_failed && turn < TURN_MAX) {
        if (!fill(fetch)) {
            fetch->sent_all = fetch->phase != TG_FETCH_OVER && is_done(fetch);
            break;
        }
        ssize_t n = send_once(fetch);
        if (n < 0)
            break;
        turn += (size_t)n;
    }
    if (fetch->phase == TG_FETCH_OVER)
        return;
    tg_fetch_set_deadline(fetch);
    tg_fetch_set_wants(fetch);
}

void tg_fetch_source_ready(struct tg_fetch *fetch)
{
    if (!fetch->link || !fetch->source_waits)
        return;
    fetch->source_waits = false;
    tg_fetch_send(fetch);
    tg_upstream_settle_soon(fetch->upstream);
}
