/* map.h - finds things by a string of bytes, also when a stranger has chosen the strings. */
#ifndef TG_UTIL_MAP_H
#define TG_UTIL_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"
#include "util/status.h"

/* Part of what is to be found: it allocates nothing for itself. */
struct tg_map_node {
    struct tg_map_node *next;
    uint64_t hash;
    struct tg_slice key; /* borrowed while the node is in a map */
};

struct tg_map {
    struct tg_map_node **buckets;
    size_t size; /* a power of two, or 0 */
    size_t count;
    uint64_t seed[2];
};

void tg_map_init(struct tg_map *map); /* allocates nothing */
void tg_map_fini(struct tg_map *map); /* forgets its nodes */

struct tg_map_node *tg_map_find(const struct tg_map *map, struct tg_slice key); /* or NULL */

/* The key is in no node of the map.  TG_ENOMEM: nothing was added. */
TG_MUST_CHECK enum tg_status tg_map_add(struct tg_map *map, struct tg_map_node *node,
                                        struct tg_slice key);
void tg_map_remove(struct tg_map *map, struct tg_map_node *node);

/* The first node for NULL, then the one behind node; NULL past the last.  In no order. */
struct tg_map_node *tg_map_next(const struct tg_map *map, const struct tg_map_node *node);

#endif
