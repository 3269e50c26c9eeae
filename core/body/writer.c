/* writer.c - gathers a body's bytes, commits its response, holds its producer back. */
#include "body/writer.h"

#include "util/clock.h"
#include "util/mem.h"

enum { WHOLE_FROM = 16384 }; /* bytes from which on a write that does not fit is not copied */

/* --- The gather ------------------------------------------------------------------------------- */

enum tg_status tg_gather_init(struct tg_gather *gather, size_t size)
{
    *gather = (struct tg_gather){0};
    gather->size = size < TG_WRITER_ROOM_MAX ? TG_WRITER_ROOM_MAX : size;
    gather->bytes = tg_malloc(gather->size);
    return gather->bytes ? TG_OK : TG_ENOMEM;
}

static void unlist(struct tg_gather *gather)
{
    struct tg_gather **link = gather->listed ? &gather->root->filters : NULL;
    while (link && *link != gather)
        link = &(*link)->below;
    if (link)
        *link = gather->below;
    gather->listed = false;
}

void tg_gather_fini(struct tg_gather *gather)
{
    unlist(gather);
    tg_free(gather->bytes);
    *gather = (struct tg_gather){0};
}

static void link_aside(struct tg_writer *w)
{
    struct tg_gather *gather = w->o.gather;
    w->next_aside = gather->asides;
    w->aside_link = &gather->asides;
    if (w->next_aside)
        w->next_aside->aside_link = &w->next_aside;
    gather->asides = w;
}

static void unlink_aside(struct tg_writer *w)
{
    if (!w->aside_link)
        return;
    *w->aside_link = w->next_aside;
    if (w->next_aside)
        w->next_aside->aside_link = w->aside_link;
    w->aside_link = NULL;
}

void tg_gather_flush(struct tg_gather *gather)
{
    struct tg_gather *filter;
    while ((filter = gather->filters) != NULL) {
        unlist(filter);
        if (filter->owner)
            (void)!tg_writer_flush(filter->owner);
    }
    if (gather->owner)
        (void)!tg_writer_flush(gather->owner);
    while (gather->asides) {
        struct tg_writer *w = gather->asides;
        unlink_aside(w);
        (void)!tg_writer_flush(w);
    }
}

/* Forgets the bytes of w, wherever they are. */
static void discard(struct tg_writer *w)
{
    struct tg_gather *gather = w->o.gather;
    unlink_aside(w);
    if (gather->owner == w) {
        gather->owner = NULL;
        gather->len = 0;
    }
    tg_free(w->aside);
    w->aside = NULL;
    w->aside_len = 0;
}

static enum tg_status fail(struct tg_writer *w, enum tg_status status)
{
    w->failed = status;
    discard(w);
    return status;
}

static enum tg_status outcome(const struct tg_writer *w)
{
    return w->must_wait ? TG_AGAIN : TG_OK;
}

static enum tg_status push_aside(struct tg_gather *gather)
{
    struct tg_writer *owner = gather->owner;
    if (gather->len) {
        owner->aside = tg_malloc(gather->len);
        if (!owner->aside)
            return TG_ENOMEM;
        memcpy(owner->aside, gather->bytes, gather->len);
        owner->aside_len = gather->len;
    }
    if (gather->len || owner->held)
        link_aside(owner);
    gather->owner = NULL;
    gather->len = 0;
    return TG_OK;
}

/* Makes the gather w's, with what w had gathered before in it. */
static enum tg_status claim(struct tg_writer *w)
{
    struct tg_gather *gather = w->o.gather;
    if (gather->owner == w)
        return TG_OK;
    if (gather->owner && push_aside(gather) != TG_OK)
        return fail(w, TG_ENOMEM); /* and not the owner: its bytes are safe */
    unlink_aside(w);
    if (gather->root && !gather->listed) {
        gather->below = gather->root->filters;
        gather->root->filters = gather;
        gather->listed = true;
    }
    gather->owner = w;
    gather->len = w->aside_len;
    if (w->aside)
        memcpy(gather->bytes, w->aside, w->aside_len);
    tg_free(w->aside);
    w->aside = NULL;
    w->aside_len = 0;
    return TG_OK;
}

static struct iovec gathered(const struct tg_writer *w)
{
    const struct tg_gather *gather = w->o.gather;
    if (gather->owner == w)
        return (struct iovec){gather->bytes, gather->len};
    return (struct iovec){w->aside, w->aside_len};
}

/* --- Sending ---------------------------------------------------------------------------------- */

/* One thread writes it. */
static void count_open(const struct tg_writer *w, int by)
{
    atomic_uint_fast64_t *open = &w->o.gather->open;
    uint64_t before = atomic_load_explicit(open, memory_order_relaxed);
    atomic_store_explicit(open, before + (uint64_t)by, memory_order_relaxed);
}

static enum tg_status commit(struct tg_writer *w)
{
    if (w->committed)
        return TG_OK;
    if (!w->head)
        return fail(w, TG_EINVAL);
    enum tg_status status = w->o.ops->commit(w->o.sink, w->head);
    if (status < 0)
        return fail(w, status);
    count_open(w, 1);
    w->committed = true;
    if (w->o.gather->timed)
        w->committed_at = tg_clock_ns();
    w->length = w->head->length;
    w->head = NULL;
    return TG_OK;
}

static void count_turn(struct tg_writer *w, uint64_t len)
{
    w->turn += len;
    if (w->turn > w->o.high_water || w->o.ops->pending(w->o.sink) >= w->o.high_water)
        w->must_wait = true;
}

/* What a send of len bytes has come to. */
static enum tg_status sent(struct tg_writer *w, enum tg_status status, uint64_t len)
{
    if (status < 0)
        return fail(w, status);
    count_turn(w, len);
    return outcome(w);
}

/* What was held back goes out when whoever suspends w flushes it: it stays the gather's owner. */
static void hold(struct tg_writer *w, unsigned flags)
{
    w->held = flags & TG_SEND_MORE;
    if (w->held && !w->o.gather->owner)
        w->o.gather->owner = w;
}

static bool exceeds(const struct tg_writer *w)
{
    return w->bytes > (w->head ? w->head->length : w->length);
}

/* Sends what is gathered and then data, of which w->bytes does not know yet. */
static enum tg_status send_out(struct tg_writer *w, const void *data, size_t len, unsigned flags)
{
    struct iovec before = gathered(w);
    struct iovec runs[2];
    int n = 0;
    if (exceeds(w))
        return fail(w, TG_ELIMIT);
    enum tg_status status = commit(w);
    if (status < 0)
        return status;
    if (before.iov_len)
        runs[n++] = before;
    if (len) {
        memcpy(&runs[n].iov_base, &data, sizeof data); /* an iovec knows no const */
        runs[n++].iov_len = len;
    }
    status = w->o.ops->send(w->o.sink, runs, n, flags);
    discard(w);
    hold(w, flags);
    return sent(w, status, before.iov_len + len);
}

/* Whether len more bytes may be taken. */
static enum tg_status check(struct tg_writer *w, uint64_t len)
{
    if (w->failed)
        return w->failed;
    if (w->ended)
        return TG_EINVAL;
    return len > tg_writer_left(w) ? fail(w, TG_ELIMIT) : TG_OK;
}

enum tg_status tg_writer_write_out(struct tg_writer *w, const void *data, size_t len)
{
    const struct tg_gather *gather = w->o.gather;
    enum tg_status status = check(w, len);
    if (status < 0 || !len)
        return status < 0 ? status : outcome(w);
    status = claim(w);
    if (status < 0)
        return status;
    if (len > gather->size - gather->len) {
        bool whole = len >= WHOLE_FROM || len > gather->size;
        status = whole ? send_out(w, data, len, TG_SEND_MORE) : send_out(w, NULL, 0, TG_SEND_MORE);
        if (status >= 0 && whole)
            w->bytes += len;
        if (status < 0 || whole)
            return status;
        status = claim(w);
    }
    return status < 0 ? status : tg_writer_write(w, data, len);
}

char *tg_writer_make_room(struct tg_writer *w, size_t n)
{
    struct tg_gather *gather = w->o.gather;
    if (w->ended && !w->failed)
        w->failed = TG_EINVAL;
    if (w->failed || claim(w) < 0)
        return NULL;
    if (n > gather->size - gather->len && (send_out(w, NULL, 0, TG_SEND_MORE) < 0 || claim(w) < 0))
        return NULL;
    return gather->bytes + gather->len;
}

char *tg_writer_space(struct tg_writer *w, size_t *size)
{
    const struct tg_gather *gather = w->o.gather;
    if (!tg_writer_make_room(w, gather->size / 2))
        return NULL;
    *size = gather->size - gather->len;
    return gather->bytes + gather->len;
}

enum tg_status tg_writer_flush(struct tg_writer *w)
{
    if (w->failed || w->ended)
        return w->failed;
    if (w->committed && !gathered(w).iov_len && !w->held)
        return outcome(w);
    return send_out(w, NULL, 0, 0);
}

/* Readies the sink for bytes that do not pass through the gather. */
static enum tg_status make_way(struct tg_writer *w, uint64_t len)
{
    enum tg_status status = check(w, len);
    if (status < 0)
        return status;
    return gathered(w).iov_len ? send_out(w, NULL, 0, TG_SEND_MORE) : commit(w);
}

enum tg_status tg_writer_write_lent(struct tg_writer *w, const void *data, size_t len,
                                    tg_release_fn release, void *arg)
{
    enum tg_status status;
    if (len < WHOLE_FROM) {
        status = tg_writer_write(w, data, len);
        release(data, len, arg);
        return status;
    }
    status = make_way(w, len);
    if (status >= 0)
        status = claim(w);
    if (status < 0) {
        release(data, len, arg);
        return status;
    }
    w->bytes += len;
    status = w->o.ops->send_lent(w->o.sink, data, len, TG_SEND_MORE, release, arg);
    hold(w, TG_SEND_MORE);
    return sent(w, status, len);
}

enum tg_status tg_writer_pass(struct tg_writer *w, const struct tg_parcel *parcel,
                              tg_release_fn release, void *arg)
{
    const struct tg_sink_ops *ops = w->o.ops;
    enum tg_status status = make_way(w, parcel->len);
    if (status < 0) {
        release(parcel->bytes, parcel->len, arg);
        return status;
    }
    w->bytes += parcel->len;
    if (ops->send_parcel)
        status = ops->send_parcel(w->o.sink, parcel, release, arg);
    else
        status = ops->send_lent(w->o.sink, parcel->bytes, parcel->len, 0, release, arg);
    hold(w, 0);
    if (status < 0)
        return fail(w, status);
    return ops->pending(w->o.sink) ? TG_AGAIN : TG_OK;
}

enum tg_status tg_writer_send_file(struct tg_writer *w, int fd, off_t offset, uint64_t len,
                                   void (*on_sent)(void *arg, enum tg_status status), void *arg)
{
    enum tg_status status = make_way(w, len);
    if (status < 0)
        return status;
    w->bytes += len;
    status = w->o.ops->send_file(w->o.sink, fd, offset, len, 0, on_sent, arg);
    if (status == TG_OK)
        count_turn(w, len);
    return status < 0 ? fail(w, status) : status;
}

void tg_writer_stop_file(struct tg_writer *w)
{
    w->o.ops->stop_file(w->o.sink);
    if (!w->failed)
        fail(w, TG_EIO);
}

/* --- The end ---------------------------------------------------------------------------------- */

enum tg_status tg_writer_end(struct tg_writer *w)
{
    if (w->ended)
        return TG_OK;
    if (w->failed)
        return w->failed;
    if (w->head && w->head->length == TG_LENGTH_UNKNOWN)
        w->head->length = w->bytes;
    uint64_t length = w->head ? w->head->length : w->length;
    if (length != TG_LENGTH_UNKNOWN && length != w->bytes)
        return fail(w, TG_ELIMIT);
    enum tg_status status = send_out(w, NULL, 0, TG_SEND_LAST);
    w->ended = status >= 0;
    return status < 0 ? status : TG_OK;
}

enum tg_status tg_writer_end_bodyless(struct tg_writer *w)
{
    if (w->ended)
        return TG_OK;
    if (w->failed)
        return w->failed;
    discard(w);
    enum tg_status status = commit(w);
    if (status < 0)
        return status;
    status = w->o.ops->send(w->o.sink, NULL, 0, TG_SEND_LAST);
    if (status < 0)
        return fail(w, status);
    w->ended = true;
    return TG_OK;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

static void drained(void *arg);

/* Asks the sink for whatever comes first. */
static void ask_sink(struct tg_writer *w)
{
    size_t mark = w->wishes ? w->o.low_water : 0;
    if (w->drain_fn && w->drain_mark > mark)
        mark = w->drain_mark;
    w->o.ops->on_drain(w->o.sink, mark, w->drain_fn || w->wishes ? drained : NULL, w);
}

static void unlink_wish(struct tg_writer_wish *wish)
{
    *wish->link = wish->next;
    if (wish->next)
        wish->next->link = wish->link;
    wish->link = NULL;
}

/* Takes the wishes of w into *list: each that is granted may end the exchange, w, and other wishes. */
static void take_wishes(struct tg_writer *w, struct tg_writer_wish **list)
{
    *list = w->wishes;
    w->wishes = NULL;
    if (*list)
        (*list)->link = list;
    for (struct tg_writer_wish *wish = *list; wish; wish = wish->next)
        wish->w = NULL;
}

static void grant(struct tg_writer_wish **list, bool gone)
{
    while (*list) {
        struct tg_writer_wish *wish = *list;
        *list = wish->next;
        if (*list)
            (*list)->link = list;
        wish->link = NULL;
        wish->fn(wish->arg, gone);
    }
}

static void drained(void *arg)
{
    struct tg_writer *w = arg;
    struct tg_writer_wish *wishes;
    void (*fn)(void *) = NULL;
    void *fn_arg = w->drain_arg;
    if (!w->wishes || w->drain_mark >= w->o.low_water ||
        w->o.ops->pending(w->o.sink) <= w->drain_mark) {
        fn = w->drain_fn;
        w->drain_fn = NULL;
    }
    w->must_wait = false;
    w->turn = 0;
    take_wishes(w, &wishes);
    if (w->drain_fn)
        ask_sink(w);
    if (fn)
        fn(fn_arg); /* from here on w may be gone: this may end the exchange */
    grant(&wishes, false);
}

static void on_drain(struct tg_writer *w, size_t mark, void (*fn)(void *arg), void *arg)
{
    w->drain_fn = fn;
    w->drain_arg = arg;
    w->drain_mark = mark;
    ask_sink(w);
}

void tg_writer_on_drain(struct tg_writer *w, void (*fn)(void *arg), void *arg)
{
    on_drain(w, w->o.low_water, fn, arg);
}

void tg_writer_on_empty(struct tg_writer *w, void (*fn)(void *arg), void *arg)
{
    on_drain(w, 0, fn, arg);
}

void tg_writer_wish(struct tg_writer *w, struct tg_writer_wish *wish,
                    void (*fn)(void *arg, bool gone), void *arg)
{
    struct tg_writer_wish **end = &w->wishes;
    while (*end)
        end = &(*end)->next;
    *wish = (struct tg_writer_wish){w, NULL, end, fn, arg};
    *end = wish;
    ask_sink(w);
}

void tg_writer_unwish(struct tg_writer_wish *wish)
{
    if (!wish->link)
        return;
    unlink_wish(wish);
    if (wish->w && !wish->w->wishes)
        ask_sink(wish->w);
}

/* --- Its life --------------------------------------------------------------------------------- */

void tg_writer_init(struct tg_writer *w, const struct tg_writer_options *options)
{
    *w = (struct tg_writer){.o = *options, .length = TG_LENGTH_UNKNOWN};
}

void tg_writer_begin(struct tg_writer *w, struct tg_response_head *head)
{
    w->head = head;
}

void tg_writer_watch(struct tg_writer *w, struct tg_writer_watch *watch)
{
    *watch = (struct tg_writer_watch){w, w->watches, &w->watches};
    if (watch->next)
        watch->next->link = &watch->next;
    w->watches = watch;
}

void tg_writer_unwatch(struct tg_writer_watch *watch)
{
    if (!watch->w)
        return;
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    watch->w = NULL;
}

void tg_writer_fini(struct tg_writer *w)
{
    discard(w);
    if (w->committed)
        count_open(w, -1);
    w->committed = false;
    while (w->watches)
        tg_writer_unwatch(w->watches);
    struct tg_writer_wish *wishes;
    bool asked = w->drain_fn || w->wishes;
    w->drain_fn = NULL;
    take_wishes(w, &wishes);
    if (asked)
        ask_sink(w);
    grant(&wishes, true);
}
