/* broker.c - topics by name, and publishing. */
#include "topic/broker.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "topic/topic_impl.h"
#include "util/clock.h"
#include "util/mem.h"

/* --- The broker ------------------------------------------------------------------------------- */

struct tg_broker *tg_broker_new(void)
{
    struct tg_broker *broker = tg_calloc(1, sizeof *broker);
    uint32_t chance = 0;
    if (!broker)
        return NULL;
    if (pthread_mutex_init(&broker->lock, NULL) != 0) {
        tg_free(broker);
        return NULL;
    }
    tg_map_init(&broker->topics);
    broker->base = 1;
    if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) != (ssize_t)sizeof chance)
        chance = (uint32_t)tg_clock_ns();
    /* The second of the start and 20 bits by chance: ids of another start are other ids. */
    snprintf(broker->epoch, sizeof broker->epoch, "%08x%05x", (unsigned)time(NULL),
             (unsigned)chance & 0xfffff);
    return broker;
}

static struct tg_topic *topic_of(struct tg_map_node *node)
{
    return (struct tg_topic *)(void *)((char *)node - offsetof(struct tg_topic, by_name));
}

static void free_topic(struct tg_topic *topic)
{
    tg_history_fini(&topic->history);
    pthread_mutex_destroy(&topic->lock);
    tg_free(topic);
}

void tg_broker_free(struct tg_broker *broker)
{
    struct tg_map_node *node;
    if (!broker)
        return;
    while ((node = tg_map_next(&broker->topics, NULL)) != NULL) {
        tg_map_remove(&broker->topics, node);
        free_topic(topic_of(node));
    }
    tg_map_fini(&broker->topics);
    pthread_mutex_destroy(&broker->lock);
    tg_free(broker);
}

/* What the topic has counted is kept, though it goes.  Under the broker's lock, and alone with it. */
static void keep_counts(struct tg_topic *topic)
{
    struct tg_broker *broker = topic->broker;
    broker->published += topic->published;
    broker->delivered += topic->delivered;
    broker->dropped += topic->dropped;
    topic->published = 0;
    topic->delivered = 0;
    topic->dropped = 0;
}

/* The name may be had by another topic; its numbers may not.  As above. */
static void forget_name(struct tg_topic *topic)
{
    struct tg_broker *broker = topic->broker;
    keep_counts(topic);
    if (!topic->named)
        return;
    topic->named = false;
    tg_map_remove(&broker->topics, &topic->by_name);
    if (broker->base < topic->history.next)
        broker->base = topic->history.next;
}

/* --- Topics ----------------------------------------------------------------------------------- */

void tg_topic_options_init(struct tg_topic_options *options)
{
    *options = (struct tg_topic_options){
        .history = 100,
        .history_bytes = 1048576,
        .linger = 60000,
        .heartbeat = 15000,
        .overflow = TG_OVERFLOW_DROP_OLDEST,
    };
}

static struct tg_history_bounds bounds_of(const struct tg_topic_options *options)
{
    return (struct tg_history_bounds){
        .events = options->history > TG_BACKLOG_MIN ? options->history : TG_BACKLOG_MIN,
        .bytes = options->history_bytes,
        .max_age = options->max_age,
        .latest = options->overflow == TG_OVERFLOW_LATEST,
    };
}

static struct tg_topic *new_topic(struct tg_broker *broker, struct tg_slice name)
{
    struct tg_topic *topic = tg_calloc(1, sizeof *topic + name.len);
    if (!topic)
        return NULL;
    if (pthread_mutex_init(&topic->lock, NULL) != 0) {
        tg_free(topic);
        return NULL;
    }
    topic->broker = broker;
    memcpy(topic->name, name.p, name.len);
    tg_topic_options_init(&topic->o);
    struct tg_history_bounds bounds = bounds_of(&topic->o);
    tg_history_init(&topic->history, broker->base, &bounds);
    TAILQ_INIT(&topic->seats);
    LIST_INIT(&topic->slow);
    if (tg_map_add(&broker->topics, &topic->by_name, (struct tg_slice){topic->name, name.len}) ==
        TG_OK) {
        topic->named = true;
        return topic;
    }
    free_topic(topic);
    return NULL;
}

static bool has_control(struct tg_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return true;
    return false;
}

enum tg_status tg_topic_open(struct tg_topic **out, struct tg_broker *broker, struct tg_slice name)
{
    enum tg_status status = TG_OK;
    *out = NULL;
    if (!name.len || has_control(name))
        return TG_EINVAL;
    if (name.len > TG_TOPIC_NAME_MAX)
        return TG_ELIMIT;
    pthread_mutex_lock(&broker->lock);
    struct tg_map_node *node = tg_map_find(&broker->topics, name);
    if (node)
        *out = topic_of(node);
    else if (broker->topics.count < TG_TOPICS_MAX)
        *out = new_topic(broker, name);
    else
        status = TG_ELIMIT;
    if (*out)
        (*out)->holders++;
    else if (status == TG_OK)
        status = TG_ENOMEM;
    pthread_mutex_unlock(&broker->lock);
    return status;
}

void tg_topic_hold(struct tg_topic *topic)
{
    pthread_mutex_lock(&topic->broker->lock);
    topic->holders++;
    pthread_mutex_unlock(&topic->broker->lock);
}

void tg_topic_release(struct tg_topic *topic)
{
    if (!topic)
        return;
    struct tg_broker *broker = topic->broker;
    bool over = false;
    pthread_mutex_lock(&broker->lock);
    if (--topic->holders == 0) { /* so nobody else is in it */
        topic->alone_since = tg_clock_coarse_ms();
        over = !topic->named || !topic->o.linger || tg_history_empty(&topic->history);
        if (over)
            forget_name(topic);
    }
    pthread_mutex_unlock(&broker->lock);
    if (over)
        free_topic(topic);
}

struct tg_slice tg_topic_name(const struct tg_topic *topic)
{
    return topic->by_name.key;
}

void tg_topic_get_options(struct tg_topic *topic, struct tg_topic_options *out)
{
    pthread_mutex_lock(&topic->lock);
    *out = topic->o;
    pthread_mutex_unlock(&topic->lock);
}

enum tg_status tg_topic_set_options(struct tg_topic *topic, const struct tg_topic_options *options)
{
    if (options->history > TG_HISTORY_MAX)
        return TG_ELIMIT;
    struct tg_history_bounds bounds = bounds_of(options);
    pthread_mutex_lock(&topic->lock);
    topic->o = *options;
    tg_history_bound(&topic->history, &bounds, tg_clock_coarse_ms());
    tg_topic_tell_waits(topic);
    pthread_mutex_unlock(&topic->lock);
    return TG_OK;
}

/* --- The sweep -------------------------------------------------------------------------------- */

/* Whether the topic is over: nobody holds it, and its time has come.  Under the broker's lock. */
static bool sweep_topic(struct tg_topic *topic, uint64_t now)
{
    if (topic->holders) {
        pthread_mutex_lock(&topic->lock);
        tg_history_trim(&topic->history, now);
        pthread_mutex_unlock(&topic->lock);
        return false;
    }
    tg_history_trim(&topic->history, now);
    return tg_history_empty(&topic->history) || now - topic->alone_since >= topic->o.linger;
}

void tg_broker_sweep(struct tg_broker *broker)
{
    struct tg_map_node *over = NULL;
    uint64_t now = tg_clock_coarse_ms();
    pthread_mutex_lock(&broker->lock);
    bool early = now - broker->swept < TG_SWEEP_MS / 2; /* another worker was here */
    struct tg_map_node *node = early ? NULL : tg_map_next(&broker->topics, NULL);
    if (!early)
        broker->swept = now;
    while (node) {
        struct tg_map_node *next = tg_map_next(&broker->topics, node);
        if (sweep_topic(topic_of(node), now)) {
            forget_name(topic_of(node));
            node->next = over;
            over = node;
        }
        node = next;
    }
    pthread_mutex_unlock(&broker->lock);
    while (over) {
        struct tg_topic *topic = topic_of(over);
        over = over->next;
        free_topic(topic);
    }
}

/* --- Publishing ------------------------------------------------------------------------------- */

static enum tg_status check(const struct tg_message *message)
{
    static const struct tg_slice ours = {"tidegate-", 9};
    if (message->event.len > TG_EVENT_NAME_MAX || message->key.len > TG_EVENT_NAME_MAX ||
        message->data.len > TG_EVENT_BYTES_MAX)
        return TG_ELIMIT;
    for (size_t i = 0; i < message->event.len; i++)
        if (message->event.p[i] == '\n' || message->event.p[i] == '\r' || !message->event.p[i])
            return TG_EINVAL;
    if (message->event.len >= ours.len && memcmp(message->event.p, ours.p, ours.len) == 0)
        return TG_EINVAL;
    return TG_OK;
}

/* Under the topic's lock. */
static enum tg_status publish(struct tg_topic *topic, const struct tg_post *from,
                              const struct tg_message *message, char id[TG_EVENT_ID_MAX])
{
    struct tg_seat *seat;
    if (topic->closed)
        return TG_ECLOSED;
    struct tg_record *record = tg_record_new(message, topic->broker->epoch, topic->history.next);
    if (!record)
        return TG_ENOMEM;
    memcpy(id, record->id, TG_EVENT_ID_MAX); /* the record may be gone again at once */
    enum tg_status status = tg_history_add(&topic->history, record);
    if (status != TG_OK) {
        tg_record_unref(record);
        return status;
    }
    topic->published++;
    TAILQ_FOREACH(seat, &topic->seats, of_topic)
    tg_post_signal(seat, from);
    return TG_OK;
}

enum tg_status tg_topic_publish(struct tg_topic *topic, struct tg_post *from,
                                const struct tg_message *message, char id[TG_EVENT_ID_MAX])
{
    enum tg_status status = check(message);
    if (status != TG_OK)
        return status;
    pthread_mutex_lock(&topic->lock);
    status = publish(topic, from, message, id);
    pthread_mutex_unlock(&topic->lock);
    return status;
}

/* --- Publishers that wait ----------------------------------------------------------------------- */

static void link_wait(struct tg_publish_wait **list, struct tg_publish_wait *wait)
{
    wait->next = *list;
    wait->link = list;
    if (wait->next)
        wait->next->link = &wait->next;
    *list = wait;
}

static void unlink_wait(struct tg_publish_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next)
        wait->next->link = wait->link;
    wait->link = NULL;
}

/* Whether somebody needs the event that would have to go. */
static bool holds_up(const struct tg_topic *topic, const struct tg_message *message)
{
    const struct tg_seat *seat;
    if (topic->o.overflow != TG_OVERFLOW_BLOCK ||
        !tg_history_full(&topic->history, sizeof(struct tg_record) + 2 * message->data.len))
        return false;
    TAILQ_FOREACH(seat, &topic->seats, of_topic)
    if (seat->low <= topic->history.first)
        return true;
    return false;
}

enum tg_status tg_topic_publish_wait(struct tg_topic *topic, const struct tg_message *message,
                                     char id[TG_EVENT_ID_MAX], struct tg_publish_wait *wait)
{
    enum tg_status status = check(message);
    if (status != TG_OK)
        return status;
    pthread_mutex_lock(&topic->lock);
    if (!topic->closed && holds_up(topic, message)) {
        wait->topic = topic;
        wait->due = false;
        link_wait(&topic->waits, wait);
        status = TG_AGAIN;
    } else {
        status = publish(topic, wait->post, message, id);
    }
    pthread_mutex_unlock(&topic->lock);
    return status;
}

void tg_topic_unwait(struct tg_publish_wait *wait)
{
    if (!wait->topic)
        return;
    pthread_mutex_lock(&wait->topic->lock);
    pthread_mutex_lock(&wait->post->lock);
    if (wait->link)
        unlink_wait(wait);
    pthread_mutex_unlock(&wait->post->lock);
    pthread_mutex_unlock(&wait->topic->lock);
    wait->topic = NULL;
}

void tg_topic_tell_waits(struct tg_topic *topic)
{
    struct tg_publish_wait *wait;
    while ((wait = topic->waits) != NULL) {
        unlink_wait(wait);
        tg_post_give_room(wait);
    }
}

/* --- Closing ---------------------------------------------------------------------------------- */

void tg_topic_close(struct tg_topic *topic, struct tg_post *from)
{
    struct tg_seat *seat;
    pthread_mutex_lock(&topic->broker->lock);
    pthread_mutex_lock(&topic->lock);
    forget_name(topic);
    topic->closed = true;
    TAILQ_FOREACH(seat, &topic->seats, of_topic)
    tg_post_signal(seat, from);
    tg_topic_tell_waits(topic);
    pthread_mutex_unlock(&topic->lock);
    pthread_mutex_unlock(&topic->broker->lock);
}

/* --- Figures ---------------------------------------------------------------------------------- */

void tg_topic_get_stats(struct tg_topic *topic, struct tg_topic_stats *out)
{
    const struct tg_slow *slow;
    pthread_mutex_lock(&topic->lock);
    *out = (struct tg_topic_stats){
        .name = topic->by_name.key,
        .subscribers = topic->subscribers,
        .published = topic->published,
        .delivered = topic->delivered,
        .dropped = topic->dropped,
        .history = topic->history.next - topic->history.first + topic->history.kept,
        .history_bytes = topic->history.bytes,
    };
    LIST_FOREACH(slow, &topic->slow, link)
    out->slow++;
    pthread_mutex_unlock(&topic->lock);
}

void tg_topic_each_slow(struct tg_topic *topic,
                        void (*fn)(void *arg, const struct tg_slow_stats *slow), void *arg)
{
    const struct tg_slow *slow;
    pthread_mutex_lock(&topic->lock);
    LIST_FOREACH(slow, &topic->slow, link)
    {
        uint64_t first = topic->history.first;
        uint64_t lost = slow->next < first ? first - slow->next : 0;
        struct tg_slow_stats stats = {slow->who, topic->history.next - slow->next,
                                      slow->dropped + lost};
        fn(arg, &stats);
    }
    pthread_mutex_unlock(&topic->lock);
}

void tg_broker_get_gone(struct tg_broker *broker, struct tg_topic_stats *out)
{
    *out = (struct tg_topic_stats){.subscribers = 0};
    pthread_mutex_lock(&broker->lock);
    out->published = broker->published;
    out->delivered = broker->delivered;
    out->dropped = broker->dropped;
    pthread_mutex_unlock(&broker->lock);
}

size_t tg_broker_topics(struct tg_broker *broker, struct tg_topic **out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&broker->lock);
    struct tg_map_node *node = tg_map_next(&broker->topics, NULL);
    for (; node && n < max; node = tg_map_next(&broker->topics, node)) {
        out[n] = topic_of(node);
        out[n++]->holders++;
    }
    pthread_mutex_unlock(&broker->lock);
    return n;
}

size_t tg_broker_topic_count(struct tg_broker *broker)
{
    pthread_mutex_lock(&broker->lock);
    size_t count = broker->topics.count;
    pthread_mutex_unlock(&broker->lock);
    return count;
}
