/* reader.c - where readers of a topic are in its history, and those that take events one by one. */
#include "topic/topic_impl.h"
#include "util/clock.h"
#include "util/mem.h"

/* --- Places ----------------------------------------------------------------------------------- */

/* The oldest event that whoever comes back may ask for. */
static uint64_t floor_of(const struct tg_topic *topic)
{
    const struct tg_history *h = &topic->history;
    if (h->bounds.latest)
        return h->whole;
    uint64_t least = h->next > topic->o.history ? h->next - topic->o.history : 0;
    return least > h->first ? least : h->first;
}

struct tg_place tg_topic_place(struct tg_topic *topic, struct tg_slice after)
{
    struct tg_history *h = &topic->history;
    uint64_t seen;
    tg_history_trim(h, tg_clock_coarse_ms());
    uint64_t floor = floor_of(topic);
    if (!after.p)
        return (struct tg_place){.next = h->next};
    if (!tg_event_id_parse(after, topic->broker->epoch, &seen) || seen >= h->next) {
        bool all = h->bounds.latest && h->oldest;
        return (struct tg_place){.next = all ? h->oldest->number : floor, .gap = true};
    }
    if (seen + 1 >= floor)
        return (struct tg_place){.next = seen + 1};
    if (h->bounds.latest)
        return (struct tg_place){.next = seen + 1, .gap = true};
    return (struct tg_place){.next = floor, .missed = floor - seen - 1, .gap = true};
}

void tg_topic_take(struct tg_topic *topic, uint64_t next, bool sparse, size_t max,
                   struct tg_taken *out)
{
    *out = (struct tg_taken){.next = next};
    pthread_mutex_lock(&topic->lock);
    const struct tg_history *h = &topic->history;
    bool short_of = next < h->first;
    out->overflow = short_of && topic->o.overflow == TG_OVERFLOW_CLOSE;
    out->sparse = h->bounds.latest && (sparse || short_of);
    if (!out->overflow)
        out->count = tg_history_take(h, &out->next, out->sparse, out->records, max);
    if (next < h->whole && !out->overflow)
        out->lost = out->next - next - out->count;
    pthread_mutex_unlock(&topic->lock);
}

/* --- Readers ---------------------------------------------------------------------------------- */

struct tg_reader *tg_reader_new(struct tg_post *post, struct tg_topic *topic, struct tg_slice after,
                                void (*on_news)(void *arg), void *arg)
{
    struct tg_reader *reader = tg_calloc(1, sizeof *reader);
    struct tg_seat *seat = reader ? tg_seat_take(post, topic) : NULL;
    if (!seat) {
        tg_free(reader);
        return NULL;
    }
    pthread_mutex_lock(&topic->lock);
    struct tg_place place = tg_topic_place(topic, after);
    struct tg_notice notice = tg_topic_notice(topic);
    if (seat->low > place.next)
        seat->low = place.next;
    topic->subscribers++;
    pthread_mutex_unlock(&topic->lock);
    tg_seat_learn(seat, notice);
    reader->seat = seat;
    reader->next = place.next;
    reader->missed = place.missed;
    reader->gap = place.gap;
    reader->on_news = on_news;
    reader->arg = arg;
    TAILQ_INSERT_TAIL(&seat->readers, reader, of_seat);
    return reader;
}

void tg_reader_free(struct tg_reader *reader)
{
    if (!reader)
        return;
    struct tg_seat *seat = reader->seat;
    struct tg_topic *topic = seat->topic;
    TAILQ_REMOVE(&seat->readers, reader, of_seat);
    if (reader->told)
        TAILQ_REMOVE(&seat->post->news, reader, in_news);
    pthread_mutex_lock(&topic->lock);
    topic->subscribers--;
    pthread_mutex_unlock(&topic->lock);
    if (seat->blocks)
        tg_seat_set_busy(seat);
    tg_free(reader);
    tg_seat_leave(seat);
}

static enum tg_status wait_for_news(struct tg_reader *reader)
{
    if (reader->seat->ending)
        return TG_ECLOSED;
    reader->waiting = true;
    return TG_AGAIN;
}

/* The next event, or the gap before it. */
static enum tg_status take_one(struct tg_reader *reader, struct tg_record **record)
{
    struct tg_taken taken;
    tg_topic_take(reader->seat->topic, reader->next, reader->sparse, 1, &taken);
    if (taken.overflow)
        return TG_ECLOSED;
    reader->sparse = taken.sparse;
    reader->next = taken.next;
    if (taken.lost) {
        reader->gap = true;
        reader->missed = taken.lost;
        reader->next -= taken.count; /* it comes again behind the gap */
        if (taken.count)
            tg_record_unref(taken.records[0]);
        return TG_OK;
    }
    if (!taken.count)
        return wait_for_news(reader);
    *record = taken.records[0];
    reader->seat->delivered++;
    return TG_OK;
}

enum tg_status tg_reader_next(struct tg_reader *reader, struct tg_news *out)
{
    *out = (struct tg_news){NULL, 0};
    enum tg_status status = reader->gap ? TG_OK : take_one(reader, &out->record);
    if (reader->seat->blocks)
        tg_seat_set_busy(reader->seat); /* its publishers may have waited for that */
    if (status != TG_OK || out->record)
        return status;
    out->missed = reader->missed;
    reader->gap = false;
    return TG_OK;
}

void tg_reader_position(const struct tg_reader *reader, char id[TG_EVENT_ID_MAX])
{
    tg_event_id_print(id, reader->seat->topic->broker->epoch, reader->next - 1);
}
