/* post.c - a worker's seats, and its turns of work. */
#include "topic/post.h"

#include <event2/event.h>

#include "io/loop.h"
#include "topic/topic_impl.h"
#include "util/mem.h"

enum {
    TURN_MAX = 256,   /* sends and calls in one turn: the worker has other things to do, too */
    SEATS_MAX = 1024, /* topics that are looked at in one turn */
};

static const struct timeval next_turn = {0, 0};

/* --- Signals ---------------------------------------------------------------------------------- */

void tg_post_later(struct tg_post *post)
{
    if (!event_pending(&post->turn, EV_TIMEOUT, NULL))
        event_add(&post->turn, &next_turn);
}

static void wake(struct tg_post *post, const struct tg_post *from)
{
    if (from == post)
        tg_post_later(post);
    else
        tg_wake(post->wake);
}

void tg_post_signal(struct tg_seat *seat, const struct tg_post *from)
{
    struct tg_post *post = seat->post;
    pthread_mutex_lock(&post->lock);
    bool first = TAILQ_EMPTY(&post->inbox);
    if (!seat->due)
        TAILQ_INSERT_TAIL(&post->inbox, seat, in_inbox);
    seat->due = true;
    pthread_mutex_unlock(&post->lock);
    if (first)
        wake(post, from);
}

void tg_post_give_room(struct tg_publish_wait *wait)
{
    struct tg_post *post = wait->post;
    pthread_mutex_lock(&post->lock);
    wait->next = post->room;
    wait->link = &post->room;
    if (wait->next)
        wait->next->link = &wait->next;
    post->room = wait;
    pthread_mutex_unlock(&post->lock);
    wake(post, NULL);
}

static struct tg_seat *next_signalled(struct tg_post *post)
{
    pthread_mutex_lock(&post->lock);
    struct tg_seat *seat = TAILQ_FIRST(&post->inbox);
    if (seat) {
        TAILQ_REMOVE(&post->inbox, seat, in_inbox);
        seat->due = false;
    }
    pthread_mutex_unlock(&post->lock);
    return seat;
}

static bool some_signalled(struct tg_post *post)
{
    pthread_mutex_lock(&post->lock);
    bool some = !TAILQ_EMPTY(&post->inbox);
    pthread_mutex_unlock(&post->lock);
    return some;
}

/* --- Seats ------------------------------------------------------------------------------------ */

void tg_seat_set_busy(struct tg_seat *seat)
{
    if (!seat->busy)
        TAILQ_INSERT_TAIL(&seat->post->busy, seat, in_busy);
    seat->busy = true;
    tg_post_later(seat->post);
}

static void set_idle(struct tg_seat *seat)
{
    if (seat->busy)
        TAILQ_REMOVE(&seat->post->busy, seat, in_busy);
    seat->busy = false;
}

static void tell_readers(struct tg_seat *seat)
{
    struct tg_reader *reader;
    TAILQ_FOREACH(reader, &seat->readers, of_seat)
    {
        if (!reader->waiting)
            continue;
        reader->waiting = false;
        reader->told = true;
        TAILQ_INSERT_TAIL(&seat->post->news, reader, in_news);
    }
}

/* Whoever was up to date is not any more. */
/* NOLINTNEXTLINE(readability-function-size): the nesting is TAILQ_CONCAT's */
static void leave_all_behind(struct tg_seat *seat)
{
    TAILQ_CONCAT(&seat->behind, &seat->current, link);
}

void tg_seat_learn(struct tg_seat *seat, struct tg_notice notice)
{
    bool ends = notice.closed && !seat->ending;
    seat->blocks = notice.blocks;
    seat->ending = seat->ending || notice.closed;
    if (!ends && notice.head == seat->head)
        return;
    if (notice.head != seat->head)
        leave_all_behind(seat);
    seat->head = notice.head;
    tell_readers(seat);
    tg_seat_set_busy(seat);
}

static void look(struct tg_seat *seat)
{
    pthread_mutex_lock(&seat->topic->lock);
    struct tg_notice notice = tg_topic_notice(seat->topic);
    pthread_mutex_unlock(&seat->topic->lock);
    tg_seat_learn(seat, notice);
}

static struct tg_seat *find_seat(const struct tg_topic *topic, const struct tg_post *post)
{
    struct tg_seat *seat;
    TAILQ_FOREACH(seat, &topic->seats, of_topic)
    if (seat->post == post)
        return seat;
    return NULL;
}

static struct tg_seat *new_seat(struct tg_post *post, struct tg_topic *topic)
{
    struct tg_seat *seat = tg_calloc(1, sizeof *seat);
    if (!seat)
        return NULL;
    if (tg_deadline_init(&seat->heartbeat, &post->deadlines, tg_seat_beat, seat) != TG_OK) {
        tg_free(seat);
        return NULL;
    }
    seat->topic = topic;
    seat->post = post;
    TAILQ_INIT(&seat->current);
    TAILQ_INIT(&seat->behind);
    TAILQ_INIT(&seat->waiting);
    TAILQ_INIT(&seat->readers);
    tg_topic_hold(topic);
    TAILQ_INSERT_TAIL(&post->seats, seat, of_post);
    pthread_mutex_lock(&topic->lock);
    struct tg_notice notice = tg_topic_notice(topic);
    seat->head = notice.head;
    seat->low = notice.head;
    seat->blocks = notice.blocks;
    seat->ending = notice.closed || post->stopping;
    TAILQ_INSERT_TAIL(&topic->seats, seat, of_topic);
    pthread_mutex_unlock(&topic->lock);
    return seat;
}

struct tg_seat *tg_seat_take(struct tg_post *post, struct tg_topic *topic)
{
    pthread_mutex_lock(&topic->lock);
    struct tg_seat *seat = find_seat(topic, post);
    pthread_mutex_unlock(&topic->lock);
    if (!seat)
        seat = new_seat(post, topic);
    if (seat)
        seat->count++;
    return seat;
}

static void free_seat(struct tg_seat *seat)
{
    struct tg_topic *topic = seat->topic;
    struct tg_post *post = seat->post;
    set_idle(seat);
    TAILQ_REMOVE(&post->seats, seat, of_post);
    pthread_mutex_lock(&topic->lock);
    TAILQ_REMOVE(&topic->seats, seat, of_topic);
    topic->delivered += seat->delivered;
    topic->dropped += seat->dropped;
    tg_topic_tell_waits(topic);
    pthread_mutex_unlock(&topic->lock);
    pthread_mutex_lock(&post->lock); /* nobody finds it any more to put it there */
    if (seat->due)
        TAILQ_REMOVE(&post->inbox, seat, in_inbox);
    pthread_mutex_unlock(&post->lock);
    if (post->batch.seat == seat)
        tg_batch_clear(&post->batch);
    tg_deadline_fini(&seat->heartbeat);
    tg_free(seat);
    tg_topic_release(topic);
}

static void free_if_empty(struct tg_seat *seat)
{
    if (!seat->count && !seat->pins)
        free_seat(seat);
}

void tg_seat_leave(struct tg_seat *seat)
{
    seat->count--;
    free_if_empty(seat);
}

void tg_seat_unpin(struct tg_seat *seat)
{
    seat->pins--;
    free_if_empty(seat);
}

/* The oldest event that one of its listeners still needs. */
static uint64_t lowest(const struct tg_seat *seat)
{
    const struct tg_subscriber *sub;
    const struct tg_reader *reader;
    uint64_t low = seat->head;
    TAILQ_FOREACH(sub, &seat->behind, link)
    low = sub->next < low ? sub->next : low;
    TAILQ_FOREACH(sub, &seat->waiting, link)
    low = sub->next < low ? sub->next : low;
    TAILQ_FOREACH(reader, &seat->readers, of_seat)
    low = reader->next < low ? reader->next : low;
    return low;
}

void tg_seat_report(struct tg_seat *seat)
{
    struct tg_topic *topic = seat->topic;
    uint64_t low = seat->blocks ? lowest(seat) : seat->head;
    pthread_mutex_lock(&topic->lock);
    topic->delivered += seat->delivered;
    topic->dropped += seat->dropped;
    seat->low = low;
    if (topic->waits)
        tg_topic_tell_waits(topic);
    pthread_mutex_unlock(&topic->lock);
    seat->delivered = 0;
    seat->dropped = 0;
}

struct tg_notice tg_topic_notice(const struct tg_topic *topic)
{
    return (struct tg_notice){
        .head = topic->history.next,
        .closed = topic->closed,
        .blocks = topic->o.overflow == TG_OVERFLOW_BLOCK,
    };
}

/* --- Work ------------------------------------------------------------------------------------- */

static void serve_seats(struct tg_post *post, unsigned *budget)
{
    struct tg_seat *seat;
    while (*budget && (seat = TAILQ_FIRST(&post->busy)) != NULL) {
        set_idle(seat);
        seat->pins++;
        tg_seat_serve(seat, budget);
        if (!TAILQ_EMPTY(&seat->behind) || (seat->ending && !TAILQ_EMPTY(&seat->current)))
            tg_seat_set_busy(seat);
        tg_seat_unpin(seat);
    }
    tg_batch_clear(&post->batch);
}

static void call_readers(struct tg_post *post, unsigned *budget)
{
    struct tg_reader *reader;
    while (*budget && (reader = TAILQ_FIRST(&post->news)) != NULL) {
        TAILQ_REMOVE(&post->news, reader, in_news);
        reader->told = false;
        --*budget;
        reader->on_news(reader->arg); /* reader may be gone after it */
    }
}

static void call_waits(struct tg_post *post, unsigned *budget)
{
    struct tg_publish_wait *wait;
    for (; *budget; --*budget) {
        pthread_mutex_lock(&post->lock);
        wait = post->room;
        if (wait) {
            post->room = wait->next;
            if (wait->next)
                wait->next->link = &post->room;
            wait->link = NULL;
        }
        pthread_mutex_unlock(&post->lock);
        if (!wait)
            return;
        wait->fn(wait->arg);
    }
}

static void work(struct tg_post *post)
{
    struct tg_seat *seat;
    unsigned budget = TURN_MAX;
    for (unsigned n = 0; n < SEATS_MAX && (seat = next_signalled(post)) != NULL; n++)
        look(seat);
    call_waits(post, &budget);
    call_readers(post, &budget);
    serve_seats(post, &budget);
    if (!budget || !TAILQ_EMPTY(&post->busy) || some_signalled(post))
        tg_post_later(post);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    work(arg);
}

static void on_wake(void *arg)
{
    work(arg);
}

static void on_sweep(void *arg)
{
    struct tg_post *post = arg;
    tg_broker_sweep(post->broker);
    tg_deadline_set(&post->sweep, TG_SWEEP_MS);
}

/* --- Life ------------------------------------------------------------------------------------- */

struct tg_post *tg_post_new(struct tg_broker *broker, struct event_base *base)
{
    struct tg_post *post = tg_calloc(1, sizeof *post);
    if (!post)
        return NULL;
    if (pthread_mutex_init(&post->lock, NULL) != 0) {
        tg_free(post);
        return NULL;
    }
    post->broker = broker;
    post->base = base;
    TAILQ_INIT(&post->seats);
    TAILQ_INIT(&post->busy);
    TAILQ_INIT(&post->news);
    TAILQ_INIT(&post->inbox);
    event_assign(&post->turn, base, -1, 0, on_turn, post);
    tg_deadlines_init(&post->deadlines, base);
    post->wake = tg_wake_new(base, on_wake, post);
    if (post->wake && tg_deadline_init(&post->sweep, &post->deadlines, on_sweep, post) == TG_OK) {
        tg_deadline_set(&post->sweep, TG_SWEEP_MS);
        return post;
    }
    tg_post_free(post);
    return NULL;
}

struct tg_deadlines *tg_post_deadlines(struct tg_post *post)
{
    return &post->deadlines;
}

void tg_post_free(struct tg_post *post)
{
    if (!post)
        return;
    event_del(&post->turn);
    tg_wake_free(post->wake);
    tg_batch_clear(&post->batch);
    tg_deadline_fini(&post->sweep);
    tg_deadlines_fini(&post->deadlines);
    pthread_mutex_destroy(&post->lock);
    tg_free(post);
}

struct tg_broker *tg_post_broker(const struct tg_post *post)
{
    return post->broker;
}

void tg_post_start(struct tg_post *post)
{
    post->stopping = false;
}

void tg_post_stop(struct tg_post *post)
{
    struct tg_seat *seat;
    post->stopping = true;
    TAILQ_FOREACH(seat, &post->seats, of_post)
    {
        seat->ending = true;
        tell_readers(seat);
        tg_seat_set_busy(seat);
    }
}
