/* filter.c - the sink of such a writer. */
#include "body/filter.h"

#include "body/csv.h"
#include "body/json.h"

/* --- Bytes ------------------------------------------------------------------------------------ */

static void put_one_line(struct tg_writer *target, const char *bytes, size_t len)
{
    const char *end = bytes + len;
    while (bytes < end) {
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        tg_writer_write(target, bytes, (size_t)(stop - bytes));
        if (stop < end)
            tg_writer_write(target, " ", 1);
        bytes = stop + 1;
    }
}

/* How many bytes at the end are the beginning of a character. */
static size_t unfinished(const char *bytes, size_t len)
{
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        unsigned char c = (unsigned char)bytes[len - back];
        if (c < 0x80)
            return 0;
        if (c >= 0xc0)
            return back < (c >= 0xf0 ? 4U : c >= 0xe0 ? 3U : 2U) ? back : 0;
    }
    return 0;
}

enum { ROOM = 1024 };

static void escape(struct tg_writer *target, const char *bytes, size_t len,
                   size_t (*print)(char *out, size_t size, const char **s, size_t *len))
{
    while (len) {
        char *room = tg_writer_room(target, ROOM);
        if (!room)
            return; /* target->failed says why */
        tg_writer_advance(target, print(room, ROOM, &bytes, &len));
    }
}

/* What is held and its rest make a character of at most four bytes. */
static void finish_held(struct tg_filter *filter, const char **bytes, size_t *len)
{
    while (filter->held_len && *len && filter->held_len < sizeof filter->held &&
           ((unsigned char)**bytes & 0xc0) == 0x80) {
        filter->held[filter->held_len++] = *(*bytes)++;
        --*len;
        if (!unfinished(filter->held, filter->held_len))
            break;
    }
    if (!filter->held_len || (!*len && unfinished(filter->held, filter->held_len)))
        return;
    escape(filter->target.w, filter->held, filter->held_len, tg_json_escape);
    filter->held_len = 0;
}

static void put_escaped(struct tg_filter *filter, const char *bytes, size_t len)
{
    finish_held(filter, &bytes, &len);
    size_t rest = filter->held_len ? 0 : unfinished(bytes, len);
    escape(filter->target.w, bytes, len - rest, tg_json_escape);
    if (rest)
        memcpy(filter->held, bytes + len - rest, rest);
    if (rest)
        filter->held_len = (unsigned)rest;
}

static enum tg_status put(struct tg_filter *filter, const char *bytes, size_t len)
{
    struct tg_writer *target = filter->target.w;
    if (!target)
        return TG_ECLOSED;
    switch (filter->mode) {
    case TG_FILTER_AS_IS:
        tg_writer_write(target, bytes, len);
        break;
    case TG_FILTER_ONE_LINE:
        put_one_line(target, bytes, len);
        break;
    case TG_FILTER_JSON:
        put_escaped(filter, bytes, len);
        break;
    case TG_FILTER_CSV:
        escape(target, bytes, len, tg_csv_escape);
        break;
    case TG_FILTER_EVENT:
        tg_event_add_data(&filter->pen, (struct tg_slice){bytes, len});
        break;
    }
    return target->failed;
}

/* --- The sink --------------------------------------------------------------------------------- */

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    (void)sink;
    (void)head;
    return TG_OK;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    enum tg_status status = TG_OK;
    (void)flags;
    for (int i = 0; i < n && status == TG_OK; i++)
        status = put(sink, runs[i].iov_base, runs[i].iov_len);
    return status;
}

static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    (void)flags;
    enum tg_status status = put(sink, data, len);
    release(data, len, arg);
    return status;
}

/* As much as the target has, so that both wait at the same time. */
static size_t pending(void *sink)
{
    const struct tg_filter *filter = sink;
    const struct tg_writer *target = filter->target.w;
    if (!target)
        return 0;
    return target->must_wait ? SIZE_MAX : target->o.ops->pending(target->o.sink);
}

static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    const struct tg_filter *filter = sink;
    (void)low_water;
    if (filter->target.w)
        tg_writer_on_drain(filter->target.w, fn, arg);
}

static const struct tg_sink_ops filter_ops = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

/* --- Life ------------------------------------------------------------------------------------- */

enum tg_status tg_filter_init(struct tg_filter *filter, struct tg_writer *target,
                              enum tg_filter_mode mode)
{
    *filter = (struct tg_filter){.mode = mode, .pen = tg_event_pen_to_writer(target)};
    filter->pen.begun = true;
    enum tg_status status = tg_gather_init(&filter->gather, TG_WRITER_ROOM_MAX);
    if (status != TG_OK)
        return status;
    struct tg_gather *over = target->o.gather;
    filter->gather.root = over->root ? over->root : over;
    struct tg_writer_options options = {
        .ops = &filter_ops,
        .sink = filter,
        .gather = &filter->gather,
        .high_water = target->o.high_water,
        .low_water = target->o.low_water,
    };
    tg_writer_init(&filter->writer, &options);
    filter->head = (struct tg_response_head){.length = TG_LENGTH_UNKNOWN};
    tg_writer_begin(&filter->writer, &filter->head);
    tg_writer_watch(target, &filter->target);
    return TG_OK;
}

void tg_filter_fini(struct tg_filter *filter)
{
    tg_writer_fini(&filter->writer); /* which may take back a wish that the target has */
    tg_writer_unwatch(&filter->target);
    tg_gather_fini(&filter->gather);
}

enum tg_status tg_filter_end(struct tg_filter *filter)
{
    enum tg_status status = tg_writer_end(&filter->writer);
    if (status >= 0 && filter->held_len && filter->target.w)
        escape(filter->target.w, filter->held, filter->held_len, tg_json_escape);
    filter->held_len = 0;
    return status;
}
