/* history.c - a ring of records, and the latest of each key. */
#include "topic/history.h"

#include "util/mem.h"

enum { SIZE_MIN = 8 };

static struct tg_record **place(const struct tg_history *h, uint64_t number)
{
    return &h->ring[number & (h->size - 1)];
}

/* --- Keys ------------------------------------------------------------------------------------- */

static struct tg_record *record_of(struct tg_map_node *node)
{
    return (struct tg_record *)(void *)((char *)node - offsetof(struct tg_record, by_key));
}

static void unkey(struct tg_history *h, struct tg_record *record)
{
    if (record->keyed)
        tg_map_remove(&h->keys, &record->by_key);
    record->keyed = false;
}

static void keep(struct tg_history *h, struct tg_record *record)
{
    record->older = h->newest;
    record->newer = NULL;
    if (h->newest)
        h->newest->newer = record;
    else
        h->oldest = record;
    h->newest = record;
    h->kept++;
}

static void unkeep(struct tg_history *h, struct tg_record *record)
{
    if (record->older)
        record->older->newer = record->newer;
    else
        h->oldest = record->newer;
    if (record->newer)
        record->newer->older = record->older;
    else
        h->newest = record->older;
    h->kept--;
}

/* --- Out -------------------------------------------------------------------------------------- */

static void lose(struct tg_history *h, struct tg_record *record)
{
    unkey(h, record);
    h->bytes -= tg_record_size(record);
    if (!record->superseded && h->whole <= record->number)
        h->whole = record->number + 1;
    tg_record_unref(record);
}

static void lose_kept(struct tg_history *h)
{
    struct tg_record *record = h->oldest;
    if (!record)
        return;
    unkeep(h, record);
    lose(h, record);
}

static struct tg_record *leave_ring(struct tg_history *h)
{
    return *place(h, h->first++);
}

/* The oldest of the ring has to go. */
static void push_out(struct tg_history *h)
{
    struct tg_record *record = leave_ring(h);
    if (record->keyed)
        keep(h, record);
    else
        lose(h, record);
    if (h->kept > h->bounds.events)
        lose_kept(h);
}

static bool too_old(const struct tg_history *h, const struct tg_record *record, uint64_t now)
{
    return h->bounds.max_age && now - record->at > h->bounds.max_age;
}

void tg_history_trim(struct tg_history *h, uint64_t now)
{
    while (h->next - h->first > h->bounds.events)
        push_out(h);
    while (h->oldest && too_old(h, h->oldest, now))
        lose_kept(h);
    while (h->first < h->next && too_old(h, *place(h, h->first), now))
        lose(h, leave_ring(h));
    /* What is the latest of its key goes last, but for the newest of all. */
    while (h->bytes > h->bounds.bytes && h->next - h->first + h->kept > 1) {
        if (h->next - h->first > 1)
            push_out(h);
        else
            lose_kept(h);
    }
}

/* --- In --------------------------------------------------------------------------------------- */

static enum tg_status reserve(struct tg_history *h)
{
    if (h->next - h->first < h->size)
        return TG_OK;
    size_t size = h->size ? h->size * 2 : SIZE_MIN;
    struct tg_record **ring = tg_malloc(size * sizeof *ring);
    if (!ring)
        return TG_ENOMEM;
    for (uint64_t n = h->first; n < h->next; n++)
        ring[n & (size - 1)] = *place(h, n);
    tg_free(h->ring);
    h->ring = ring;
    h->size = size;
    return TG_OK;
}

/* The record is the latest of its key from now on. */
static enum tg_status supersede(struct tg_history *h, struct tg_record *record)
{
    struct tg_map_node *node = tg_map_find(&h->keys, record->key);
    struct tg_record *before = node ? record_of(node) : NULL;
    if (before)
        unkey(h, before);
    enum tg_status status = tg_map_add(&h->keys, &record->by_key, record->key);
    if (status != TG_OK)
        return status;
    record->keyed = true;
    if (!before)
        return TG_OK;
    before->superseded = true;
    if (before->number < h->first) {
        unkeep(h, before);
        lose(h, before);
    }
    return TG_OK;
}

enum tg_status tg_history_add(struct tg_history *h, struct tg_record *record)
{
    enum tg_status status = reserve(h);
    if (status == TG_OK && h->bounds.latest)
        status = supersede(h, record);
    if (status != TG_OK)
        return status;
    *place(h, h->next++) = record;
    h->bytes += tg_record_size(record);
    tg_history_trim(h, record->at);
    return TG_OK;
}

bool tg_history_full(const struct tg_history *h, size_t bytes)
{
    size_t count = h->next - h->first;
    return count >= h->bounds.events || (count && h->bytes + bytes > h->bounds.bytes);
}

/* --- Life ------------------------------------------------------------------------------------- */

void tg_history_init(struct tg_history *h, uint64_t number, const struct tg_history_bounds *bounds)
{
    *h = (struct tg_history){.bounds = *bounds, .first = number, .next = number, .whole = number};
    tg_map_init(&h->keys);
}

void tg_history_fini(struct tg_history *h)
{
    while (h->oldest)
        lose_kept(h);
    while (h->first < h->next)
        lose(h, leave_ring(h));
    tg_map_fini(&h->keys);
    tg_free(h->ring);
    h->ring = NULL;
    h->size = 0;
}

void tg_history_bound(struct tg_history *h, const struct tg_history_bounds *bounds, uint64_t now)
{
    bool latest = h->bounds.latest;
    h->bounds = *bounds;
    if (latest && !bounds->latest) {
        while (h->oldest)
            lose_kept(h);
        for (uint64_t n = h->first; n < h->next; n++)
            unkey(h, *place(h, n));
    }
    tg_history_trim(h, now);
}

/* --- Reading ---------------------------------------------------------------------------------- */

size_t tg_history_take(const struct tg_history *h, uint64_t *number, bool sparse,
                       struct tg_record **out, size_t max)
{
    size_t n = 0;
    for (struct tg_record *record = h->oldest; record && n < max && *number < h->first;
         record = record->newer) {
        if (record->number < *number)
            continue;
        out[n++] = tg_record_ref(record);
        *number = record->number + 1;
    }
    if (n == max)
        return n;
    if (*number < h->first)
        *number = h->first;
    for (; *number < h->next && n < max; ++*number) {
        struct tg_record *record = *place(h, *number);
        if (!sparse || !record->superseded)
            out[n++] = tg_record_ref(record);
    }
    return n;
}
