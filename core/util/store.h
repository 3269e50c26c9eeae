/* store.h - strings and numbers under keys, for all threads, with times to live and a cap in bytes.
 *
 * What was used least recently makes room for what is new.  Every call is atomic.
 */
#ifndef TG_UTIL_STORE_H
#define TG_UTIL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"
#include "util/status.h"

enum {
    TG_STORES_MAX = 1024,
    TG_STORE_NAME_MAX = 128,
    TG_STORE_KEY_MAX = 1024,
    TG_STORE_BYTES = 16 << 20, /* the cap unless another is set */
};

enum tg_value_kind { TG_VALUE_NONE, TG_VALUE_STRING, TG_VALUE_INTEGER, TG_VALUE_NUMBER };

struct tg_value {
    enum tg_value_kind kind;
    union {
        struct tg_slice string;
        int64_t integer;
        double number;
    } as;
};

struct tg_store;
struct tg_stores; /* by name */

struct tg_stores *tg_stores_new(void); /* NULL: out of memory, or of random bytes */
void tg_stores_free(struct tg_stores *stores);

/* Times to live go by now(arg), in milliseconds of tg_clock_ns(), from then on; NULL: by the clock.  For
 * stores that no other thread has. */
void tg_stores_set_clock(struct tg_stores *stores, uint64_t (*now)(void *arg), void *arg);

/* The store of that name, made at its first use; it lasts as long as stores.  bytes caps what its
 * keys, values and their keeping take (0: leave it as it is).  TG_ELIMIT: a name that is empty or too
 * long, or too many; TG_ENOMEM. */
enum tg_status tg_stores_open(struct tg_stores *stores, struct tg_slice name, size_t bytes,
                              struct tg_store **out);

/* --- One store.  A ttl is in milliseconds, 0 for none; a key's length is 1..TG_STORE_KEY_MAX. ----- */

/* Calls fn(arg, value) under the store's lock; value.kind is TG_VALUE_NONE where there is none, and a
 * string is good until fn returns.  fn must not call the store. */
void tg_store_get(struct tg_store *store, struct tg_slice key,
                  void (*fn)(void *arg, const struct tg_value *value), void *arg);

/* TG_OK; TG_ELIMIT: it is larger than the whole store; TG_ENOMEM.  The old value stays then. */
enum tg_status tg_store_set(struct tg_store *store, struct tg_slice key,
                            const struct tg_value *value, uint64_t ttl);

/* As set, where there is nothing under the key; else TG_AGAIN. */
enum tg_status tg_store_add(struct tg_store *store, struct tg_slice key,
                            const struct tg_value *value, uint64_t ttl);

/* As set, where what is there equals old (TG_VALUE_NONE: nothing is); else TG_AGAIN.  A value of kind
 * TG_VALUE_NONE takes it away. */
enum tg_status tg_store_swap(struct tg_store *store, struct tg_slice key,
                             const struct tg_value *old, const struct tg_value *value,
                             uint64_t ttl);

/* Adds by to the number there, or to 0; *out is the sum.  ttl is that of a key that is made; one that
 * is there keeps its own.  Integers stay such while both are and the sum fits.  TG_EINVAL: a string
 * is there. */
enum tg_status tg_store_increment(struct tg_store *store, struct tg_slice key,
                                  const struct tg_value *by, uint64_t ttl, struct tg_value *out);

bool tg_store_delete(struct tg_store *store, struct tg_slice key); /* whether there was something */
void tg_store_clear(struct tg_store *store);

/* Milliseconds until the key goes; 0: it has no such time; UINT64_MAX: it is not there. */
uint64_t tg_store_ttl(struct tg_store *store, struct tg_slice key);

/* Calls fn for the keys that begin with prefix, most recently used first, until it says false. As for
 * get. */
void tg_store_keys(struct tg_store *store, struct tg_slice prefix,
                   bool (*fn)(void *arg, struct tg_slice key), void *arg);

struct tg_store_stats {
    size_t count;
    size_t bytes;
    size_t bytes_max;
    uint64_t evicted; /* to make room, before their time */
};
void tg_store_stats(struct tg_store *store, struct tg_store_stats *stats);

#endif
