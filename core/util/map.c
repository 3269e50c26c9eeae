/* map.c - a chained hash table. */
#include "util/map.h"

#include <sys/random.h>

#include "util/clock.h"
#include "util/hash.h"
#include "util/mem.h"

enum { SIZE_MIN = 16 };

void tg_map_init(struct tg_map *map)
{
    *map = (struct tg_map){.buckets = NULL};
    if (getrandom(map->seed, sizeof map->seed, GRND_NONBLOCK) == (ssize_t)sizeof map->seed)
        return;
    map->seed[0] = tg_clock_ns(); /* early in the life of a machine: better than a known one */
    map->seed[1] = (uint64_t)(uintptr_t)map;
}

void tg_map_fini(struct tg_map *map)
{
    tg_free(map->buckets);
    map->buckets = NULL;
    map->size = 0;
    map->count = 0;
}

static struct tg_map_node **bucket_of(const struct tg_map *map, uint64_t hash)
{
    return &map->buckets[hash & (map->size - 1)];
}

/* Without memory for more buckets the chains grow longer. */
static enum tg_status grow(struct tg_map *map)
{
    struct tg_map before = *map;
    size_t size = before.size ? before.size * 2 : SIZE_MIN;
    struct tg_map_node **buckets = tg_calloc(size, sizeof *buckets);
    if (!buckets)
        return before.size ? TG_OK : TG_ENOMEM;
    map->buckets = buckets;
    map->size = size;
    for (size_t i = 0; i < before.size; i++) {
        struct tg_map_node *node = before.buckets[i];
        while (node) {
            struct tg_map_node *next = node->next;
            struct tg_map_node **to = bucket_of(map, node->hash);
            node->next = *to;
            *to = node;
            node = next;
        }
    }
    tg_free(before.buckets);
    return TG_OK;
}

struct tg_map_node *tg_map_find(const struct tg_map *map, struct tg_slice key)
{
    if (!map->size)
        return NULL;
    uint64_t hash = tg_hash(map->seed, key);
    struct tg_map_node *node = *bucket_of(map, hash);
    while (node && (node->hash != hash || !tg_slice_equal(node->key, key)))
        node = node->next;
    return node;
}

enum tg_status tg_map_add(struct tg_map *map, struct tg_map_node *node, struct tg_slice key)
{
    if (map->count >= map->size && grow(map) != TG_OK)
        return TG_ENOMEM;
    node->key = key;
    node->hash = tg_hash(map->seed, key);
    struct tg_map_node **bucket = bucket_of(map, node->hash);
    node->next = *bucket;
    *bucket = node;
    map->count++;
    return TG_OK;
}

void tg_map_remove(struct tg_map *map, struct tg_map_node *node)
{
    struct tg_map_node **at = bucket_of(map, node->hash);
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    map->count--;
}

struct tg_map_node *tg_map_next(const struct tg_map *map, const struct tg_map_node *node)
{
    if (node && node->next)
        return node->next;
    size_t i = node ? (node->hash & (map->size - 1)) + 1 : 0;
    for (; i < map->size; i++)
        if (map->buckets[i])
            return map->buckets[i];
    return NULL;
}
