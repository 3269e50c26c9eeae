/* store.c - a hash table and a list in the order of use, under one lock. */
#include "util/store.h"

#include <pthread.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "util/clock.h"
#include "util/hash.h"
#include "util/mem.h"

enum { BUCKETS_FIRST = 64, SWEPT = 2 };

struct entry {
    struct entry *next; /* in its bucket */
    TAILQ_ENTRY(entry) use;
    uint64_t hash;
    uint64_t until; /* milliseconds of the clock; 0: for good */
    struct tg_value value;
    size_t size; /* of all of it */
    uint32_t key_len;
    char bytes[]; /* the key, then a string's */
};

TAILQ_HEAD(uses, entry);

struct tg_store {
    pthread_mutex_t lock;
    const struct tg_stores *all; /* that it is one of */
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    size_t bytes;
    size_t bytes_max;
    uint64_t evicted;
    struct uses uses; /* the most recent first */
    struct tg_store *next;
    char name[TG_STORE_NAME_MAX + 1];
    size_t name_len;
};

struct tg_stores {
    pthread_mutex_t lock;
    uint64_t seed[2]; /* keys come from clients: they must not choose their buckets */
    struct tg_store *first;
    size_t count;
    uint64_t (*now)(void *arg); /* milliseconds, where time is a test's; else NULL */
    void *now_arg;
};

/* --- Entries; with the lock held ---------------------------------------------------------------- */

static struct entry **bucket_of(const struct tg_store *store, uint64_t hash)
{
    return &store->buckets[hash & (store->bucket_count - 1)];
}

static void drop(struct tg_store *store, struct entry *entry)
{
    struct entry **link = bucket_of(store, entry->hash);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    TAILQ_REMOVE(&store->uses, entry, use);
    store->count--;
    store->bytes -= entry->size;
    tg_free(entry);
}

static uint64_t now_ms(const struct tg_store *store)
{
    const struct tg_stores *all = store->all;
    return all->now ? all->now(all->now_arg) : tg_clock_ns() / 1000000;
}

static bool is_over(const struct tg_store *store, const struct entry *entry)
{
    return entry->until && now_ms(store) >= entry->until;
}

static struct entry *find(struct tg_store *store, struct tg_slice key, uint64_t hash)
{
    struct entry *entry = store->bucket_count ? *bucket_of(store, hash) : NULL;
    while (entry && (entry->hash != hash || entry->key_len != key.len ||
                     memcmp(entry->bytes, key.p, key.len) != 0))
        entry = entry->next;
    if (entry && is_over(store, entry)) {
        drop(store, entry);
        entry = NULL;
    }
    return entry;
}

static void touch(struct tg_store *store, struct entry *entry)
{
    if (TAILQ_FIRST(&store->uses) == entry)
        return;
    TAILQ_REMOVE(&store->uses, entry, use);
    TAILQ_INSERT_HEAD(&store->uses, entry, use);
}

/* Without memory for more buckets the chains get longer, and that is all. */
static bool grow(struct tg_store *store)
{
    size_t count = store->bucket_count ? store->bucket_count * 2 : BUCKETS_FIRST;
    struct entry **buckets = tg_calloc(count, sizeof *buckets);
    struct entry *entry;
    if (!buckets)
        return store->bucket_count > 0;
    tg_free(store->buckets);
    store->buckets = buckets;
    store->bucket_count = count;
    TAILQ_FOREACH(entry, &store->uses, use)
    {
        struct entry **bucket = bucket_of(store, entry->hash);
        entry->next = *bucket;
        *bucket = entry;
    }
    return true;
}

static void make_room(struct tg_store *store, size_t size)
{
    struct entry *last;
    while (store->bytes + size > store->bytes_max &&
           (last = TAILQ_LAST(&store->uses, uses)) != NULL) {
        store->evicted += !is_over(store, last);
        drop(store, last);
    }
    for (int i = 0; i < SWEPT && (last = TAILQ_LAST(&store->uses, uses)) && is_over(store, last);
         i++)
        drop(store, last);
}

static struct entry *make(struct tg_slice key, uint64_t hash, const struct tg_value *value)
{
    size_t string = value->kind == TG_VALUE_STRING ? value->as.string.len : 0;
    size_t size = sizeof(struct entry) + key.len + string;
    struct entry *entry = tg_malloc(size);
    if (!entry)
        return NULL;
    *entry = (struct entry){.hash = hash, .value = *value, .size = size + sizeof(void *)};
    entry->key_len = (uint32_t)key.len;
    memcpy(entry->bytes, key.p, key.len);
    if (value->kind == TG_VALUE_STRING) {
        if (string)
            memcpy(entry->bytes + key.len, value->as.string.p, string);
        entry->value.as.string.p = entry->bytes + key.len;
    }
    return entry;
}

/* A number takes the place of another in place. */
static bool put_in_place(struct entry *old, const struct tg_value *value)
{
    if (!old || old->value.kind == TG_VALUE_STRING || value->kind == TG_VALUE_STRING)
        return false;
    old->value = *value;
    return true;
}

static enum tg_status put_new(struct tg_store *store, struct tg_slice key, uint64_t hash,
                              const struct tg_value *value, struct entry **out)
{
    struct entry *entry = make(key, hash, value);
    if (!entry)
        return TG_ENOMEM;
    if (entry->size > store->bytes_max) {
        tg_free(entry);
        return TG_ELIMIT;
    }
    if (store->count >= store->bucket_count && !grow(store)) {
        tg_free(entry);
        return TG_ENOMEM;
    }
    struct entry *old = find(store, key, hash);
    if (old)
        drop(store, old);
    make_room(store, entry->size);
    struct entry **bucket = bucket_of(store, hash);
    entry->next = *bucket;
    *bucket = entry;
    TAILQ_INSERT_HEAD(&store->uses, entry, use);
    store->count++;
    store->bytes += entry->size;
    *out = entry;
    return TG_OK;
}

static enum tg_status put(struct tg_store *store, struct tg_slice key, uint64_t hash,
                          struct entry *old, const struct tg_value *value, uint64_t ttl)
{
    if (value->kind == TG_VALUE_NONE) {
        if (old)
            drop(store, old);
        return TG_OK;
    }
    if (put_in_place(old, value)) {
        touch(store, old);
    } else {
        enum tg_status status = put_new(store, key, hash, value, &old);
        if (status != TG_OK)
            return status;
    }
    old->until = ttl ? now_ms(store) + ttl : 0;
    return TG_OK;
}

static bool equal(const struct tg_value *a, const struct tg_value *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case TG_VALUE_STRING:
        return tg_slice_equal(a->as.string, b->as.string);
    case TG_VALUE_INTEGER:
        return a->as.integer == b->as.integer;
    case TG_VALUE_NUMBER:
        return a->as.number == b->as.number;
    case TG_VALUE_NONE:
        break;
    }
    return true;
}

/* --- Calls -------------------------------------------------------------------------------------- */

static const struct tg_value nothing = {.kind = TG_VALUE_NONE};

static uint64_t enter(struct tg_store *store, struct tg_slice key)
{
    uint64_t hash = tg_hash(store->all->seed, key);
    pthread_mutex_lock(&store->lock);
    return hash;
}

static void leave(struct tg_store *store)
{
    pthread_mutex_unlock(&store->lock);
}

void tg_store_get(struct tg_store *store, struct tg_slice key,
                  void (*fn)(void *arg, const struct tg_value *value), void *arg)
{
    uint64_t hash = enter(store, key);
    struct entry *entry = find(store, key, hash);
    if (entry)
        touch(store, entry);
    fn(arg, entry ? &entry->value : &nothing);
    leave(store);
}

enum tg_status tg_store_set(struct tg_store *store, struct tg_slice key,
                            const struct tg_value *value, uint64_t ttl)
{
    uint64_t hash = enter(store, key);
    enum tg_status status = put(store, key, hash, find(store, key, hash), value, ttl);
    leave(store);
    return status;
}

enum tg_status tg_store_add(struct tg_store *store, struct tg_slice key,
                            const struct tg_value *value, uint64_t ttl)
{
    return tg_store_swap(store, key, &nothing, value, ttl);
}

enum tg_status tg_store_swap(struct tg_store *store, struct tg_slice key,
                             const struct tg_value *old, const struct tg_value *value, uint64_t ttl)
{
    enum tg_status status = TG_AGAIN;
    uint64_t hash = enter(store, key);
    struct entry *entry = find(store, key, hash);
    if (equal(entry ? &entry->value : &nothing, old))
        status = put(store, key, hash, entry, value, ttl);
    leave(store);
    return status;
}

static double as_number(const struct tg_value *value)
{
    return value->kind == TG_VALUE_INTEGER ? (double)value->as.integer : value->as.number;
}

static struct tg_value sum_of(const struct tg_value *a, const struct tg_value *b)
{
    struct tg_value sum = {.kind = TG_VALUE_INTEGER};
    if (a->kind == TG_VALUE_INTEGER && b->kind == TG_VALUE_INTEGER &&
        !__builtin_add_overflow(a->as.integer, b->as.integer, &sum.as.integer))
        return sum;
    sum.kind = TG_VALUE_NUMBER;
    sum.as.number = as_number(a) + as_number(b);
    return sum;
}

enum tg_status tg_store_increment(struct tg_store *store, struct tg_slice key,
                                  const struct tg_value *by, uint64_t ttl, struct tg_value *out)
{
    static const struct tg_value zero = {.kind = TG_VALUE_INTEGER};
    enum tg_status status = TG_OK;
    uint64_t hash = enter(store, key);
    struct entry *entry = find(store, key, hash);
    if (entry && entry->value.kind == TG_VALUE_STRING) {
        status = TG_EINVAL;
    } else {
        *out = sum_of(entry ? &entry->value : &zero, by);
        if (entry) {
            entry->value = *out;
            touch(store, entry);
        } else {
            status = put(store, key, hash, NULL, out, ttl);
        }
    }
    leave(store);
    return status;
}

bool tg_store_delete(struct tg_store *store, struct tg_slice key)
{
    uint64_t hash = enter(store, key);
    struct entry *entry = find(store, key, hash);
    if (entry)
        drop(store, entry);
    leave(store);
    return entry != NULL;
}

static void drop_all(struct tg_store *store)
{
    struct entry *entry;
    while ((entry = TAILQ_FIRST(&store->uses)) != NULL) {
        TAILQ_REMOVE(&store->uses, entry, use);
        tg_free(entry);
    }
    tg_free(store->buckets);
    store->buckets = NULL;
    store->bucket_count = store->count = store->bytes = 0;
}

void tg_store_clear(struct tg_store *store)
{
    pthread_mutex_lock(&store->lock);
    drop_all(store);
    leave(store);
}

uint64_t tg_store_ttl(struct tg_store *store, struct tg_slice key)
{
    uint64_t hash = enter(store, key);
    const struct entry *entry = find(store, key, hash);
    uint64_t ttl = UINT64_MAX;
    if (entry) {
        uint64_t now = now_ms(store);
        ttl = !entry->until ? 0 : entry->until > now ? entry->until - now : 1;
    }
    leave(store);
    return ttl;
}

void tg_store_keys(struct tg_store *store, struct tg_slice prefix,
                   bool (*fn)(void *arg, struct tg_slice key), void *arg)
{
    const struct entry *entry;
    pthread_mutex_lock(&store->lock);
    TAILQ_FOREACH(entry, &store->uses, use)
    {
        struct tg_slice key = {entry->bytes, entry->key_len};
        bool ours = key.len >= prefix.len && memcmp(key.p, prefix.p, prefix.len) == 0;
        if (ours && !is_over(store, entry) && !fn(arg, key))
            break;
    }
    leave(store);
}

void tg_store_stats(struct tg_store *store, struct tg_store_stats *stats)
{
    pthread_mutex_lock(&store->lock);
    *stats = (struct tg_store_stats){store->count, store->bytes, store->bytes_max, store->evicted};
    leave(store);
}

/* --- By name ------------------------------------------------------------------------------------ */

struct tg_stores *tg_stores_new(void)
{
    struct tg_stores *stores = tg_calloc(1, sizeof *stores);
    if (!stores)
        return NULL;
    if (getrandom(stores->seed, sizeof stores->seed, 0) != (ssize_t)sizeof stores->seed ||
        pthread_mutex_init(&stores->lock, NULL) != 0) {
        tg_free(stores);
        return NULL;
    }
    return stores;
}

void tg_stores_free(struct tg_stores *stores)
{
    if (!stores)
        return;
    while (stores->first) {
        struct tg_store *next = stores->first->next;
        drop_all(stores->first);
        pthread_mutex_destroy(&stores->first->lock);
        tg_free(stores->first);
        stores->first = next;
    }
    pthread_mutex_destroy(&stores->lock);
    tg_free(stores);
}

void tg_stores_set_clock(struct tg_stores *stores, uint64_t (*now)(void *arg), void *arg)
{
    stores->now = now;
    stores->now_arg = arg;
}

static struct tg_store *find_store(const struct tg_stores *stores, struct tg_slice name)
{
    struct tg_store *store = stores->first;
    while (store && !tg_slice_equal((struct tg_slice){store->name, store->name_len}, name))
        store = store->next;
    return store;
}

static struct tg_store *make_store(struct tg_stores *stores, struct tg_slice name)
{
    struct tg_store *store = tg_calloc(1, sizeof *store);
    if (!store)
        return NULL;
    if (pthread_mutex_init(&store->lock, NULL) != 0) {
        tg_free(store);
        return NULL;
    }
    store->all = stores;
    store->bytes_max = TG_STORE_BYTES;
    TAILQ_INIT(&store->uses);
    memcpy(store->name, name.p, name.len);
    store->name_len = name.len;
    store->next = stores->first;
    stores->first = store;
    stores->count++;
    return store;
}

enum tg_status tg_stores_open(struct tg_stores *stores, struct tg_slice name, size_t bytes,
                              struct tg_store **out)
{
    if (!name.len || name.len > TG_STORE_NAME_MAX)
        return TG_ELIMIT;
    pthread_mutex_lock(&stores->lock);
    struct tg_store *store = find_store(stores, name);
    bool full = stores->count == TG_STORES_MAX;
    if (!store && !full)
        store = make_store(stores, name);
    pthread_mutex_unlock(&stores->lock);
    *out = store;
    if (!store)
        return full ? TG_ELIMIT : TG_ENOMEM;
    if (!bytes)
        return TG_OK;
    pthread_mutex_lock(&store->lock);
    store->bytes_max = bytes;
    make_room(store, 0);
    pthread_mutex_unlock(&store->lock);
    return TG_OK;
}
