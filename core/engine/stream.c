/* stream.c - heartbeats, and the end of them. */
#include "engine/stream.h"

#include "body/event.h"
#include "engine/exchange.h"

enum {
    BEATS_MAX = 256, /* at a time: others have things to send, too */
    STEPS = 16,      /* of an interval: heartbeats are due at one of them */
    STEP_MAX = 1000, /* milliseconds */
    RETRY_MS = 3000, /* what clients do that were told nothing, about */
};

/* --- Heartbeats ------------------------------------------------------------------------------- */

void tg_stream_spoke(struct tg_stream *stream)
{
    if (!stream->interval || !stream->watch.w)
        return;
    uint64_t step = stream->interval / STEPS;
    if (step > STEP_MAX)
        step = STEP_MAX;
    if (!step)
        step = 1;
    uint64_t now = tg_deadlines_now(stream->heartbeat.all) / 1000;
    uint64_t at = (now + stream->interval + step - 1) / step * step;
    stream->heard = stream->watch.w->bytes;
    tg_deadline_set(&stream->heartbeat, at - now);
}

static bool has_turn(struct tg_streams *all)
{
    uint64_t now = tg_deadlines_now(&all->deadlines) / 1000;
    if (now != all->beat_at)
        all->beats = 0;
    all->beat_at = now;
    return all->beats++ < BEATS_MAX;
}

static void release_nothing(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    (void)arg;
}

/* A comment in which nothing is said, as a chunk. */
static void beat(struct tg_writer *w)
{
    static const char comment[] = "3\r\n:\n\n\r\n";
    static const struct tg_parcel parcel = {comment + 3, 3, 3, 2};
    (void)!tg_writer_pass(w, &parcel, release_nothing,
                          NULL); /* the connection tells of a failure */
}

static void on_heartbeat(void *arg)
{
    struct tg_stream *stream = arg;
    struct tg_writer *w = stream->watch.w;
    if (!w || w->ended || w->failed)
        return;
    bool silent = w->bytes == stream->heard && !w->o.ops->pending(w->o.sink);
    if (silent && !has_turn(stream->all)) {
        tg_deadline_set(&stream->heartbeat, 1);
        return;
    }
    if (silent)
        beat(w);
    tg_stream_spoke(stream);
}

/* --- Streams ---------------------------------------------------------------------------------- */

enum tg_status tg_stream_open(struct tg_stream *stream, struct tg_streams *all,
                              struct tg_exchange *x, uint32_t interval)
{
    *stream = (struct tg_stream){.x = x, .interval = interval};
    if (interval && tg_deadline_init(&stream->heartbeat, &all->deadlines, on_heartbeat, stream) < 0)
        return TG_ENOMEM;
    stream->all = all;
    tg_writer_watch(&x->writer, &stream->watch);
    TAILQ_INSERT_TAIL(&all->open, stream, link);
    tg_stream_spoke(stream);
    return TG_OK;
}

void tg_stream_close(struct tg_stream *stream)
{
    if (!stream->all)
        return;
    TAILQ_REMOVE(&stream->all->open, stream, link);
    tg_writer_unwatch(&stream->watch);
    tg_deadline_fini(&stream->heartbeat);
    stream->all = NULL;
}

/* Between half of the usual time and one and a half: clients that come back all together would only be
 * sent away again. */
void tg_stream_say_goodbye(const struct tg_stream *stream)
{
    uint64_t usual = stream->retry ? stream->retry : RETRY_MS;
    uint64_t spread = (stream->x->number * 2654435761U) % (usual + 1);
    struct tg_event event = {.retry = usual / 2 + spread};
    struct tg_event_pen pen = tg_event_pen_to_writer(stream->watch.w);
    (void)!tg_event_print(&pen, &event);
}

/* --- All of them ------------------------------------------------------------------------------ */

void tg_streams_init(struct tg_streams *all, struct event_base *base)
{
    *all = (struct tg_streams){.stopping = false};
    TAILQ_INIT(&all->open);
    tg_deadlines_init(&all->deadlines, base);
}

void tg_streams_fini(struct tg_streams *all)
{
    tg_deadlines_fini(&all->deadlines);
}

void tg_streams_start(struct tg_streams *all)
{
    all->stopping = false;
}

void tg_streams_stop(struct tg_streams *all)
{
    struct tg_stream *stream;
    all->stopping = true;
    while ((stream = TAILQ_FIRST(&all->open)) != NULL) {
        struct tg_exchange *x = stream->watch.w ? stream->x : NULL;
        if (x && !x->writer.ended)
            tg_stream_say_goodbye(stream);
        tg_stream_close(stream);
        if (x)
            tg_exchange_stop(x); /* stream may be gone after it */
    }
}
