/* encode_sink.c - codes what is sent, at the pace of the sink behind it. */
#include "body/encode_sink.h"

#include "body/chunks.h"
#include "io/soon.h"
#include "util/buf.h"
#include "util/mem.h"

enum {
    PIECE = 16384,       /* bytes that come out of the coding at a time */
    WHOLE_MAX = 1 << 20, /* what TG_ENCODE_TURN bytes cannot become */
};

struct tg_encode_sink {
    struct tg_encode_options o;
    struct tg_response_head head; /* while it is held back */
    struct tg_encoder *encoder;   /* made with the commit; NULL: the body goes out as it is */
    char *fields;
    size_t fields_len;
    bool held;               /* the head: the body may turn out to be whole */
    bool asked;              /* the other sink has a wish of ours */
    bool ended;              /* the last bytes were taken */
    bool finished;           /* and given to the other sink */
    enum tg_encode due;      /* after the bytes that wait */
    enum tg_status failed;   /* TG_OK, or why nothing more is taken */
    struct tg_buf whole;     /* coded, while the head is held */
    struct tg_chunks chunks; /* not coded yet */
    struct tg_soon soon;
    size_t low_water;
    void (*drain_fn)(void *arg);
    void *drain_arg;
    void (*end_fn)(void *arg, enum tg_status status);
    void *end_arg;
};

static size_t inner_pending(const struct tg_encode_sink *s)
{
    return s->o.ops->pending(s->o.sink);
}

static enum tg_status fail(struct tg_encode_sink *s, enum tg_status status)
{
    s->failed = status;
    tg_chunks_clear(&s->chunks);
    return status;
}

/* --- Out of the coding ------------------------------------------------------------------------ */

static enum tg_status emit(struct tg_encode_sink *s, char *data, size_t len, unsigned flags)
{
    struct iovec run = {data, len};
    if (s->held)
        return tg_buf_add(&s->whole, data, len);
    return s->o.ops->send(s->o.sink, &run, len ? 1 : 0, flags);
}

/* Codes all of in and what is due after it. */
static enum tg_status encode(struct tg_encode_sink *s, struct tg_slice in, enum tg_encode how)
{
    static const unsigned flags_of[] = {[TG_ENCODE_FLUSH] = 0, [TG_ENCODE_FINISH] = TG_SEND_LAST};
    char out[PIECE];
    struct tg_encode_step step = {.in = in};
    enum tg_status status = TG_OK;
    while (status == TG_OK && !step.done) {
        step.out = out;
        step.room = sizeof out;
        status = tg_encoder_run(s->encoder, how, &step);
        bool due =
            step.done && how != TG_ENCODE_GO_ON; /* with no bytes, too: the head may be due */
        size_t len = sizeof out - step.room;
        if (status == TG_OK && (len || due))
            status = emit(s, out, len, due ? flags_of[how] : TG_SEND_MORE);
    }
    return status;
}

/* The body is whole: the length of what it was coded to is known. */
static enum tg_status send_whole(struct tg_encode_sink *s)
{
    struct iovec run = {s->whole.p, s->whole.len};
    s->held = false;
    s->head.length = s->whole.len;
    enum tg_status status = s->o.ops->commit(s->o.sink, &s->head);
    if (status == TG_OK)
        status = s->o.ops->send(s->o.sink, &run, 1, TG_SEND_LAST);
    tg_buf_fini(&s->whole);
    return status;
}

static enum tg_status encode_due(struct tg_encode_sink *s)
{
    enum tg_encode how = s->due;
    s->due = TG_ENCODE_GO_ON;
    enum tg_status status =
        how == TG_ENCODE_GO_ON ? TG_OK : encode(s, (struct tg_slice){NULL, 0}, how);
    if (status != TG_OK || how != TG_ENCODE_FINISH)
        return status;
    s->finished = true;
    tg_encoder_free(s->encoder); /* it takes more than all else that this stream has */
    s->encoder = NULL;
    return s->held ? send_whole(s) : TG_OK;
}

/* --- Turns ------------------------------------------------------------------------------------ */

static void on_inner_drain(void *arg);

static void ask(struct tg_encode_sink *s, size_t low_water)
{
    s->asked = true;
    s->o.ops->on_drain(s->o.sink, low_water, on_inner_drain, s);
}

/* Asks for another turn where there is something to do in it. */
static void want_turn(struct tg_encode_sink *s)
{
    bool waits = s->chunks.len || s->due != TG_ENCODE_GO_ON;
    if (waits && inner_pending(s) < s->o.high_water)
        tg_soon_call(&s->soon);
    else if (waits)
        ask(s, s->o.low_water);
    else if (s->drain_fn)
        ask(s, s->low_water);
}

static enum tg_status encode_some(struct tg_encode_sink *s)
{
    size_t budget = TG_ENCODE_TURN;
    enum tg_status status = s->failed;
    while (status == TG_OK && s->chunks.len && budget && inner_pending(s) < s->o.high_water) {
        struct tg_slice in = tg_chunks_front(&s->chunks);
        if (in.len > budget)
            in.len = budget;
        budget -= in.len;
        status = encode(s, in, TG_ENCODE_GO_ON);
        if (status == TG_OK)
            tg_chunks_drop(&s->chunks, in.len);
    }
    if (status == TG_OK && !s->chunks.len)
        status = encode_due(s);
    return status < 0 ? fail(s, status) : TG_OK;
}

static size_t pending(void *sink)
{
    const struct tg_encode_sink *s = sink;
    return s->chunks.len + inner_pending(s);
}

/* Each of those who wait may end the sink: only one is told, and last. */
static void tell(struct tg_encode_sink *s)
{
    void (*end_fn)(void *, enum tg_status) = s->end_fn;
    void (*drain_fn)(void *) = s->drain_fn;
    if (end_fn && (s->finished || s->failed)) {
        s->end_fn = NULL;
        end_fn(s->end_arg, s->failed);
        return;
    }
    if (!drain_fn || (!s->failed && pending(s) > s->low_water))
        return;
    s->drain_fn = NULL;
    drain_fn(s->drain_arg);
}

static void turn(void *arg)
{
    struct tg_encode_sink *s = arg;
    encode_some(s); /* a failure is kept, and told */
    if (!s->failed)
        want_turn(s);
    tell(s);
}

static void on_inner_drain(void *arg)
{
    struct tg_encode_sink *s = arg;
    s->asked = false;
    turn(s);
}

/* --- The sink --------------------------------------------------------------------------------- */

static bool goes_as_it_is(const struct tg_encode_sink *s, const struct tg_response_head *head)
{
    return head->length != TG_LENGTH_UNKNOWN && head->length < s->o.min_length;
}

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    struct tg_encode_sink *s = sink;
    if (goes_as_it_is(s, head))
        return s->o.ops->commit(s->o.sink, head);
    s->head = *head;
    s->head.fields = (struct tg_slice){s->fields, s->fields_len};
    s->head.length = TG_LENGTH_UNKNOWN;
    if (s->o.bodyless)
        return s->o.ops->commit(s->o.sink, &s->head);
    s->encoder = tg_encoder_new(s->o.coding, s->o.level);
    if (!s->encoder)
        return fail(s, TG_ENOMEM);
    s->held = head->length <= TG_ENCODE_TURN;
    return s->held ? TG_OK : s->o.ops->commit(s->o.sink, &s->head);
}

/* The head may be held no longer, unless these are all of the body's bytes. */
static enum tg_status release_head(struct tg_encode_sink *s, unsigned flags)
{
    if (!s->held || flags & TG_SEND_LAST)
        return TG_OK;
    s->held = false;
    return s->o.ops->commit(s->o.sink, &s->head);
}

static enum tg_encode way(unsigned flags)
{
    if (flags & TG_SEND_LAST)
        return TG_ENCODE_FINISH;
    return flags & TG_SEND_MORE ? TG_ENCODE_GO_ON : TG_ENCODE_FLUSH;
}

/* Codes the front of run at once, where nothing waits before it; *run is what is left. */
static enum tg_status encode_at_once(struct tg_encode_sink *s, struct iovec *run, size_t *budget)
{
    size_t len = run->iov_len < *budget ? run->iov_len : *budget;
    if (s->chunks.len || !len || (!s->held && inner_pending(s) >= s->o.high_water))
        return TG_OK;
    struct tg_slice in = {run->iov_base, len};
    *budget -= len;
    run->iov_base = (char *)run->iov_base + len;
    run->iov_len -= len;
    return encode(s, in, TG_ENCODE_GO_ON);
}

/* Between taking bytes and the end of a send. */
static enum tg_status go_on(struct tg_encode_sink *s, enum tg_status status, unsigned flags)
{
    if (status == TG_OK)
        s->ended = s->ended || flags & TG_SEND_LAST;
    if (status == TG_OK && way(flags) > s->due)
        s->due = way(flags);
    if (status == TG_OK && !s->chunks.len)
        status = encode_due(s);
    if (status < 0)
        return fail(s, status);
    want_turn(s);
    return TG_OK;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct tg_encode_sink *s = sink;
    size_t budget = TG_ENCODE_TURN;
    if (s->failed)
        return s->failed;
    if (!s->encoder)
        return s->o.ops->send(s->o.sink, runs, n, flags);
    enum tg_status status = release_head(s, flags);
    for (int i = 0; i < n && status == TG_OK; i++) {
        struct iovec run = runs[i];
        status = encode_at_once(s, &run, &budget);
        if (status == TG_OK && run.iov_len)
            status = tg_chunks_add(&s->chunks, &run, 1);
    }
    return go_on(s, status, flags);
}

static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    struct tg_encode_sink *s = sink;
    if (!s->failed && !s->encoder)
        return s->o.ops->send_lent(s->o.sink, data, len, flags, release, arg);
    struct iovec run = {(void *)(uintptr_t)data, len};
    size_t budget = TG_ENCODE_TURN;
    enum tg_status status = s->failed ? s->failed : release_head(s, flags);
    if (status == TG_OK)
        status = encode_at_once(s, &run, &budget);
    if (status < 0 || !run.iov_len) {
        release(data, len, arg);
        return go_on(s, status, flags);
    }
    status = tg_chunks_lend(&s->chunks, data, len, release, arg);
    if (status == TG_OK)
        tg_chunks_drop(&s->chunks,
                       len - run.iov_len); /* a front is coded only where nothing waits */
    return go_on(s, status, flags);
}

static void take_back(struct tg_encode_sink *s)
{
    if (s->asked)
        s->o.ops->on_drain(s->o.sink, 0, NULL, NULL);
    s->asked = false;
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct tg_encode_sink *s = sink;
    s->low_water = low_water;
    s->drain_fn = fn;
    s->drain_arg = arg;
    if (s->failed)
        tg_soon_call(&s->soon);
    else if (fn || s->chunks.len)
        want_turn(s);
    else
        take_back(s);
}

const struct tg_sink_ops tg_encode_sink_ops = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

bool tg_encode_sink_busy(const struct tg_encode_sink *s)
{
    return s->ended && !s->finished;
}

void tg_encode_sink_on_end(struct tg_encode_sink *s, void (*fn)(void *arg, enum tg_status status),
                           void *arg)
{
    s->end_fn = fn;
    s->end_arg = arg;
    if (s->failed || s->finished)
        tg_soon_call(&s->soon);
}

/* --- Its life --------------------------------------------------------------------------------- */

struct tg_encode_sink *tg_encode_sink_new(const struct tg_encode_options *options,
                                          struct tg_slice fields)
{
    struct tg_encode_sink *s = tg_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->o = *options;
    s->fields = tg_strndup(fields.p, fields.len);
    s->fields_len = fields.len;
    tg_buf_init(&s->whole, WHOLE_MAX);
    tg_soon_init(&s->soon, options->base, turn, s);
    if (s->fields)
        return s;
    tg_encode_sink_free(s);
    return NULL;
}

void tg_encode_sink_free(struct tg_encode_sink *s)
{
    if (!s)
        return;
    take_back(s);
    tg_soon_fini(&s->soon);
    tg_encoder_free(s->encoder);
    tg_chunks_clear(&s->chunks);
    tg_buf_fini(&s->whole);
    tg_free(s->fields);
    tg_free(s);
}
