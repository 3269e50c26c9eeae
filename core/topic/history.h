/* history.h - the events of a topic that can still be had, oldest first, within its bounds.
 *
 * They lie in a ring by their numbers.  Where the latest of each key matters, those that leave the
 * ring and have no newer one of their key are kept beside it.  The caller locks.
 */
#ifndef TG_TOPIC_HISTORY_H
#define TG_TOPIC_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topic/record.h"
#include "util/map.h"
#include "util/status.h"

struct tg_history_bounds {
    size_t events;    /* in the ring; 1 or more */
    size_t bytes;     /* of memory, about; the newest event stays whatever its size */
    uint64_t max_age; /* milliseconds; 0: none */
    bool latest;
};

struct tg_history {
    struct tg_history_bounds bounds;
    struct tg_record **ring;
    size_t size; /* a power of two, or 0 */
    size_t bytes;
    uint64_t first;           /* number of the oldest in the ring */
    uint64_t next;            /* number that the next event gets */
    uint64_t whole;           /* nobody who has all below this number has missed anything */
    struct tg_map keys;       /* the latest of each key, in the ring or kept */
    struct tg_record *oldest; /* kept beside the ring */
    struct tg_record *newest;
    size_t kept;
};

void tg_history_init(struct tg_history *h, uint64_t number, const struct tg_history_bounds *bounds);
void tg_history_fini(struct tg_history *h);

/* New bounds hold at once. */
void tg_history_bound(struct tg_history *h, const struct tg_history_bounds *bounds, uint64_t now);

/* record has the number h->next; it is taken on success.  TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_history_add(struct tg_history *h, struct tg_record *record);
void tg_history_trim(struct tg_history *h, uint64_t now); /* now: coarse milliseconds */

/* Whether an event of so many bytes would push out the oldest one. */
bool tg_history_full(const struct tg_history *h, size_t bytes);

static inline bool tg_history_empty(const struct tg_history *h)
{
    return h->first == h->next && !h->kept;
}

/* At most max records from *number on, with a reference each for the caller; moves *number behind the
 * last of them.  sparse leaves out those that have a newer one of their key. */
size_t tg_history_take(const struct tg_history *h, uint64_t *number, bool sparse,
                       struct tg_record **out, size_t max);

#endif
