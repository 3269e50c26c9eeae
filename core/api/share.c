/* share.c - topics, shared stores and waits of the host's. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/gateway.h"
#include "io/port.h"
#include "lua/host_wait.h"
#include "topic/broker.h"
#include "util/store.h"

enum tidegate_status tidegate_publish(struct tidegate *g, const char *topic, const char *event,
                                      const void *data, size_t len)
{
    char id[TG_EVENT_ID_MAX];
    struct tg_topic *held;
    if (!topic || (len && !data))
        return TIDEGATE_EINVAL;
    enum tg_status status =
        tg_topic_open(&held, g->common.broker, (struct tg_slice){topic, strlen(topic)});
    if (status != TG_OK)
        return tg_public_status(status);
    struct tg_message message = {.data = {data, len}};
    if (event)
        message.event = (struct tg_slice){event, strlen(event)};
    status = tg_topic_publish(held, NULL, &message, id);
    tg_topic_release(held);
    return tg_public_status(status);
}

static enum tg_status open_store(struct tidegate *g, const char *name, const char *key,
                                 struct tg_store **store)
{
    size_t len = key ? strlen(key) : 0;
    if (!name || !len || len > TG_STORE_KEY_MAX)
        return TG_EINVAL;
    return tg_stores_open(g->common.stores, (struct tg_slice){name, strlen(name)}, 0, store);
}

enum tidegate_status tidegate_shared_set(struct tidegate *g, const char *store, const char *key,
                                         const void *value, size_t len, double ttl)
{
    struct tg_store *opened;
    struct tg_value held = {.kind = TG_VALUE_STRING, .as.string = {value, len}};
    if (!(ttl >= 0 && ttl <= 1e9) || (len && !value)) /* a NaN, too */
        return TIDEGATE_EINVAL;
    enum tg_status status = open_store(g, store, key, &opened);
    if (status == TG_OK)
        status = tg_store_set(opened, (struct tg_slice){key, strlen(key)}, &held,
                              ttl > 0 && ttl < 0.001 ? 1 : (uint64_t)(ttl * 1000));
    return tg_public_status(status);
}

struct reading {
    char *buf;
    size_t size;
    int64_t len;
};

static void read_value(void *arg, const struct tg_value *value)
{
    struct reading *reading = arg;
    char number[32];
    struct tg_slice text = {number, 0};
    switch (value->kind) {
    case TG_VALUE_STRING:
        text = value->as.string;
        break;
    case TG_VALUE_INTEGER:
        text.len = (size_t)snprintf(number, sizeof number, "%" PRId64, value->as.integer);
        break;
    case TG_VALUE_NUMBER:
        text.len = (size_t)snprintf(number, sizeof number, "%.17g", value->as.number);
        break;
    default:
        return;
    }
    reading->len = (int64_t)text.len;
    if (!reading->size)
        return;
    size_t len = text.len < reading->size ? text.len : reading->size - 1;
    memcpy(reading->buf, text.p, len);
    reading->buf[len] = '\0';
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written to, by read_value() */
int64_t tidegate_shared_get(struct tidegate *g, const char *store, const char *key, char *buf,
                            size_t size)
{
    struct tg_store *opened;
    struct reading reading = {buf, size, -1};
    if (open_store(g, store, key, &opened) == TG_OK)
        tg_store_get(opened, (struct tg_slice){key, strlen(key)}, read_value, &reading);
    return reading.len;
}

enum tidegate_status tidegate_shared_increment(struct tidegate *g, const char *store,
                                               const char *key, int64_t by, int64_t *sum)
{
    struct tg_store *opened;
    struct tg_value step = {.kind = TG_VALUE_INTEGER, .as.integer = by};
    struct tg_value after = {.kind = TG_VALUE_INTEGER};
    enum tg_status status = open_store(g, store, key, &opened);
    if (status == TG_OK)
        status = tg_store_increment(opened, (struct tg_slice){key, strlen(key)}, &step, 0, &after);
    if (status != TG_OK)
        return tg_public_status(status);
    if (sum)
        *sum = after.kind == TG_VALUE_INTEGER ? after.as.integer : (int64_t)after.as.number;
    return TIDEGATE_OK;
}

/* --- Waits in Lua ------------------------------------------------------------------------------- */

int tidegate_lua_wait(struct lua_State *L, void (*begin)(struct tidegate_ticket *ticket, void *arg),
                      int (*finish)(struct lua_State *L, void *arg), void (*cancelled)(void *arg),
                      void *arg)
{
    struct tg_host_wait wait = {
        .begin = begin,
        .finish = finish,
        .cancelled = cancelled,
        .arg = arg,
    };
    return tg_host_wait(L, &wait);
}
