/* subscriber.c - streams of a topic: who gets what, and who is too slow for it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "body/event.h"
#include "topic/topic_impl.h"
#include "util/mem.h"

enum {
    BATCH_BYTES = 65536, /* sent to one subscriber at a time, unless one event is larger */
    BEATS_MAX = 256,     /* heartbeats in one turn */
    RETRY_MS = 1000,     /* said to subscribers that are sent away */
};

static const struct tg_slice gap_event = {"tidegate-gap", 12};

/* Coarse milliseconds on the clock of heartbeats. */
static uint64_t now_of(const struct tg_seat *seat)
{
    return tg_deadlines_now(seat->heartbeat.all) / 1000;
}

/* --- What there is to send -------------------------------------------------------------------- */

void tg_batch_clear(struct tg_batch *batch)
{
    tg_text_unref(batch->text);
    *batch = (struct tg_batch){.seat = NULL};
}

/* That events are missing, as an event of its own. */
static struct tg_text *gap_text(enum tg_form form, struct tg_slice id, uint64_t missed)
{
    char data[48] = "{\"missed\":null}";
    if (missed)
        snprintf(data, sizeof data, "{\"missed\":%" PRIu64 "}", missed);
    return tg_note_text(form, id, gap_event, (struct tg_slice){data, strlen(data)});
}

/* The same where a stream goes on: as a comment, where it has those. */
static struct tg_text *dropped_text(enum tg_form form, uint64_t dropped)
{
    char comment[64];
    if (form != TG_FORM_STREAM)
        return gap_text(form, (struct tg_slice){NULL, 0}, dropped);
    int len = snprintf(comment, sizeof comment, ": %" PRIu64 " events were dropped\n\n", dropped);
    struct tg_text *text = tg_text_new((size_t)len);
    if (text)
        memcpy(text->bytes, comment, text->len);
    return text;
}

static struct tg_text *join(struct tg_text *const *parts, size_t count)
{
    size_t len = 0;
    if (count == 1)
        return tg_text_ref(parts[0]);
    for (size_t i = 0; i < count; i++)
        len += parts[i]->len;
    struct tg_text *text = tg_text_new(len);
    if (!text)
        return NULL;
    char *at = text->bytes;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, parts[i]->bytes, parts[i]->len);
        at += parts[i]->len;
    }
    return text;
}

/* One text of the records that were taken, or of as many as fit and the seat has heard of; takes their
 * references. */
static enum tg_status fill(struct tg_batch *batch, struct tg_taken *taken)
{
    uint64_t head = batch->seat->head;
    struct tg_text *parts[TG_TAKE_MAX + 1];
    struct tg_text *lost = NULL;
    enum tg_status status = TG_OK;
    size_t count = 0;
    size_t bytes = 0;
    if (taken->lost) {
        lost = dropped_text(batch->form, taken->lost);
        status = lost ? TG_OK : TG_ENOMEM;
        parts[count++] = lost;
    }
    for (size_t i = 0; status == TG_OK && i < taken->count; i++) {
        struct tg_text *text = tg_record_text(taken->records[i], batch->form);
        if (taken->records[i]->number >= head ||
            (text && batch->events && bytes + text->len > BATCH_BYTES)) {
            taken->next = taken->records[i]->number;
            break;
        }
        status = text ? TG_OK : TG_ENOMEM;
        parts[count++] = text;
        bytes += text ? text->len : 0;
        batch->events++;
    }
    batch->to = taken->next < head ? taken->next : head;
    if (status == TG_OK && count) {
        batch->text = join(parts, count);
        status = batch->text ? TG_OK : TG_ENOMEM;
    }
    tg_text_unref(lost);
    for (size_t i = 0; i < taken->count; i++)
        tg_record_unref(taken->records[i]);
    return status;
}

/* What the subscriber is to get next: mostly the same as the one before it. */
static enum tg_status prepare(struct tg_batch *batch, const struct tg_subscriber *sub)
{
    struct tg_taken taken;
    if (batch->seat == sub->seat && batch->from == sub->next && batch->form == sub->form &&
        batch->sparse == sub->sparse && !batch->overflow)
        return TG_OK;
    tg_batch_clear(batch);
    tg_topic_take(sub->seat->topic, sub->next, sub->sparse, TG_TAKE_MAX, &taken);
    *batch = (struct tg_batch){
        .seat = sub->seat,
        .from = sub->next,
        .form = sub->form,
        .sparse = sub->sparse,
        .still_sparse = taken.sparse,
        .overflow = taken.overflow,
    };
    enum tg_status status = fill(batch, &taken);
    if (status != TG_OK)
        tg_batch_clear(batch);
    return status;
}

/* --- Where a subscriber is -------------------------------------------------------------------- */

static struct tg_subscribers *list_of(struct tg_subscriber *sub)
{
    struct tg_seat *seat = sub->seat;
    if (sub->waits)
        return &seat->waiting;
    return sub->next < seat->head ? &seat->behind : &seat->current;
}

static void take_out(struct tg_subscriber *sub)
{
    TAILQ_REMOVE(list_of(sub), sub, link);
}

static void put_in(struct tg_subscriber *sub)
{
    TAILQ_INSERT_TAIL(list_of(sub), sub, link);
}

/* --- The slow ones, for people who look for them ------------------------------------------------ */

static void show_slow(struct tg_subscriber *sub)
{
    struct tg_topic *topic = sub->seat->topic;
    struct tg_slow *slow = tg_calloc(1, sizeof *slow);
    if (!slow)
        return; /* it is not shown then */
    if (sub->describe)
        sub->describe(sub->arg, slow->who, sizeof slow->who);
    slow->next = sub->next;
    slow->dropped = sub->dropped;
    sub->slow = slow;
    pthread_mutex_lock(&topic->lock);
    LIST_INSERT_HEAD(&topic->slow, slow, link);
    pthread_mutex_unlock(&topic->lock);
}

static void hide_slow(struct tg_subscriber *sub)
{
    struct tg_topic *topic = sub->seat->topic;
    if (!sub->slow)
        return;
    pthread_mutex_lock(&topic->lock);
    LIST_REMOVE(sub->slow, link);
    pthread_mutex_unlock(&topic->lock);
    tg_free(sub->slow);
    sub->slow = NULL;
}

/* --- Endings ---------------------------------------------------------------------------------- */

/* sub is in no list. */
static void forget(struct tg_subscriber *sub)
{
    struct tg_seat *seat = sub->seat;
    struct tg_topic *topic = seat->topic;
    if (sub->waits)
        tg_writer_on_empty(sub->writer, NULL, NULL);
    hide_slow(sub);
    pthread_mutex_lock(&topic->lock);
    topic->subscribers--;
    pthread_mutex_unlock(&topic->lock);
    if (seat->blocks)
        tg_seat_set_busy(seat); /* somebody may have waited for it */
    tg_free(sub);
    tg_seat_leave(seat);
}

static void stop(struct tg_source *source)
{
    struct tg_subscriber *sub = (struct tg_subscriber *)(void *)source;
    take_out(sub);
    forget(sub);
}

/* sub is in no list. */
static void end(struct tg_subscriber *sub, enum tg_status status)
{
    struct tg_source source = sub->source;
    forget(sub);
    source.done(source.arg, status);
}

static void end_first(struct tg_subscribers *list, enum tg_status status)
{
    struct tg_subscriber *sub = TAILQ_FIRST(list);
    take_out(sub);
    end(sub, status);
}

/* With the id to come back with. */
static void send_away(struct tg_subscriber *sub)
{
    char id[TG_EVENT_ID_MAX];
    struct tg_event_pen pen = tg_event_pen_to_writer(sub->writer);
    struct tg_event event = {.id.p = id, .retry = RETRY_MS};
    event.id.len = tg_event_id_print(id, sub->seat->topic->broker->epoch, sub->next - 1);
    enum tg_status status = TG_OK;
    if (sub->form == TG_FORM_STREAM)
        status = tg_event_print(&pen, &event);
    end(sub, status < 0 ? status : TG_OK);
}

/* --- Serving ---------------------------------------------------------------------------------- */

/* Its client has taken all that it was sent. */
static void on_room(void *arg)
{
    struct tg_subscriber *sub = arg;
    take_out(sub);
    hide_slow(sub);
    sub->waits = false;
    sub->sent_at = now_of(sub->seat);
    put_in(sub);
    tg_seat_set_busy(sub->seat);
}

/* What a send to sub, which is in no list, has come to. */
static void settle(struct tg_subscriber *sub, enum tg_status status)
{
    if (status < 0) {
        end(sub, status);
        return;
    }
    sub->waits = status == TG_AGAIN;
    put_in(sub);
    if (!sub->waits)
        return;
    tg_writer_on_empty(sub->writer, on_room, sub);
    show_slow(sub);
}

static enum tg_status send_text(struct tg_subscriber *sub, struct tg_text *text)
{
    struct tg_parcel parcel = tg_text_parcel(text);
    return tg_writer_pass(sub->writer, &parcel, tg_text_release, tg_text_ref(text));
}

static void serve(struct tg_subscriber *sub, uint64_t now)
{
    struct tg_seat *seat = sub->seat;
    struct tg_batch *batch = &seat->post->batch;
    enum tg_status status = prepare(batch, sub);
    take_out(sub);
    if (status != TG_OK) {
        end(sub, status);
        return;
    }
    if (batch->overflow) {
        send_away(sub);
        return;
    }
    uint64_t dropped = batch->to - batch->from - batch->events;
    seat->delivered += batch->events;
    seat->dropped += dropped;
    sub->dropped += dropped;
    sub->next = batch->to;
    sub->sparse = batch->still_sparse && sub->next < seat->head;
    sub->sent_at = now;
    if (batch->text)
        status = send_text(sub, batch->text);
    settle(sub, status);
}

/* The first that has overflowed while it waits. */
static struct tg_subscriber *find_late(const struct tg_seat *seat, uint64_t first)
{
    struct tg_subscriber *sub;
    TAILQ_FOREACH(sub, &seat->waiting, link)
    if (sub->next < first)
        return sub;
    return NULL;
}

/* Where that is the policy: they need not wait for it. */
static void send_late_ones_away(struct tg_seat *seat)
{
    struct tg_subscriber *sub;
    struct tg_topic *topic = seat->topic;
    pthread_mutex_lock(&topic->lock);
    bool closes = topic->o.overflow == TG_OVERFLOW_CLOSE;
    uint64_t first = topic->history.first;
    pthread_mutex_unlock(&topic->lock);
    while (closes && (sub = find_late(seat, first)) != NULL) {
        take_out(sub);
        send_away(sub);
    }
}

void tg_seat_serve(struct tg_seat *seat, unsigned *budget)
{
    uint64_t now = now_of(seat);
    if (!TAILQ_EMPTY(&seat->waiting))
        send_late_ones_away(seat);
    for (; *budget && !TAILQ_EMPTY(&seat->behind); --*budget)
        serve(TAILQ_FIRST(&seat->behind), now);
    for (; seat->ending && *budget && !TAILQ_EMPTY(&seat->current); --*budget)
        end_first(&seat->current, TG_OK);
    while (seat->post->stopping && !TAILQ_EMPTY(&seat->waiting))
        end_first(&seat->waiting, TG_OK);
    tg_seat_report(seat);
}

/* --- Heartbeats ------------------------------------------------------------------------------- */

static void release_nothing(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    (void)arg;
}

static void beat(struct tg_subscriber *sub, uint64_t now)
{
    static const char comment[] = "3\r\n:\n\n\r\n";
    static const char empty_line[] = "1\r\n\n\r\n";
    struct tg_parcel parcel = {comment + 3, 3, 3, 2};
    if (sub->form == TG_FORM_LINES)
        parcel = (struct tg_parcel){empty_line + 3, 1, 3, 2};
    take_out(sub);
    sub->sent_at = now;
    settle(sub, tg_writer_pass(sub->writer, &parcel, release_nothing, NULL));
}

void tg_seat_beat(void *arg)
{
    struct tg_seat *seat = arg;
    uint64_t now = now_of(seat);
    struct tg_subscriber *sub;
    seat->pins++;
    unsigned n = 0;
    while ((sub = TAILQ_FIRST(&seat->current)) != NULL &&
           sub->sent_at + seat->heartbeat_ms <= now && n++ < BEATS_MAX)
        beat(sub, now);
    sub = TAILQ_FIRST(&seat->current);
    uint64_t at = sub ? sub->sent_at + seat->heartbeat_ms : now + seat->heartbeat_ms;
    tg_deadline_set(&seat->heartbeat, at > now ? at - now : 1);
    tg_seat_unpin(seat);
}

/* --- Beginning -------------------------------------------------------------------------------- */

/* What a subscriber is to know first: what it has missed, or the id to come back with if it leaves
 * before the first event. */
static enum tg_status greet(const struct tg_subscriber *sub, struct tg_place place, bool is_new)
{
    char id[TG_EVENT_ID_MAX];
    enum tg_status status = TG_OK;
    struct tg_event_pen pen = tg_event_pen_to_writer(sub->writer);
    struct tg_event event = {.id.p = id, .retry = TG_EVENT_NO_RETRY};
    event.id.len = tg_event_id_print(id, sub->seat->topic->broker->epoch, place.next - 1);
    if (place.gap) {
        struct tg_text *gap = gap_text(sub->form, event.id, place.missed);
        status = gap ? tg_writer_write(sub->writer, gap->bytes, gap->len) : TG_ENOMEM;
        tg_text_unref(gap);
    } else if (is_new && sub->form == TG_FORM_STREAM) {
        status = tg_event_print(&pen, &event);
    }
    return status < 0 ? status : TG_OK;
}

static void add(struct tg_subscriber *sub, uint64_t heartbeat)
{
    struct tg_seat *seat = sub->seat;
    put_in(sub);
    if (sub->next < seat->head || seat->ending)
        tg_seat_set_busy(seat);
    if (heartbeat == seat->heartbeat_ms)
        return;
    seat->heartbeat_ms = heartbeat;
    tg_deadline_set(&seat->heartbeat, heartbeat);
}

enum tg_status tg_subscribe(struct tg_source **out, struct tg_post *post,
                            const struct tg_subscribe *subscribe)
{
    struct tg_topic *topic = subscribe->topic;
    *out = NULL;
    struct tg_subscriber *sub = tg_calloc(1, sizeof *sub);
    struct tg_seat *seat = sub ? tg_seat_take(post, topic) : NULL;
    if (!seat) {
        tg_free(sub);
        return TG_ENOMEM;
    }
    pthread_mutex_lock(&topic->lock);
    struct tg_place place = tg_topic_place(topic, subscribe->after);
    struct tg_notice notice = tg_topic_notice(topic);
    uint64_t heartbeat = topic->o.heartbeat;
    if (seat->low > place.next)
        seat->low = place.next;
    topic->subscribers++;
    pthread_mutex_unlock(&topic->lock);
    tg_seat_learn(seat, notice);
    *sub = (struct tg_subscriber){
        .source = {.stop = stop},
        .seat = seat,
        .writer = subscribe->writer,
        .next = place.next,
        .sent_at = now_of(seat),
        .form = subscribe->form,
        .describe = subscribe->describe,
        .arg = subscribe->arg,
    };
    enum tg_status status = greet(sub, place, !subscribe->after.p);
    if (status != TG_OK) {
        forget(sub);
        return status;
    }
    add(sub, heartbeat);
    *out = &sub->source;
    return TG_OK;
}
