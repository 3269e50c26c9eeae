/* pool.h - small blocks of one owner, by sizes: freed ones are kept for the next of their size.
 *
 * Whoever frees a block says its size, as Lua does.  Blocks of up to TG_POOL_BLOCK_MAX bytes are cut
 * from pieces that are given back all at once, in the end; larger ones come from the heap.  Of one
 * thread at a time.  In a build with AddressSanitizer each block comes from the heap. */
#ifndef TG_UTIL_POOL_H
#define TG_UTIL_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "util/mem.h"

enum {
    TG_POOL_STEP = 16,
    TG_POOL_BLOCK_MAX = 512,
    TG_POOL_SIZES = TG_POOL_BLOCK_MAX / TG_POOL_STEP
};

struct tg_pool_free {
    struct tg_pool_free *next;
};

struct tg_pool_piece;

struct tg_pool {
    struct tg_pool_free *free[TG_POOL_SIZES];
    char *at; /* what is not cut up yet of the newest piece */
    size_t left;
    struct tg_pool_piece *pieces;
    size_t next_size; /* of the next piece: they grow */
};

void tg_pool_init(struct tg_pool *pool);
void tg_pool_fini(struct tg_pool *pool); /* all of its small blocks go, free or not */

/* A block of new_size bytes that begins with what p, of old_size, did; NULL when out of memory, and p
 * is as it was then.  To shrink never fails, as Lua wants it: p may then be kept, and is of new_size all
 * the same.  p may be NULL, of size 0; new_size is not 0.  Uncounted: see util/mem.h. */
void *tg_pool_realloc(struct tg_pool *pool, void *p, size_t old_size, size_t new_size);

/* Whether blocks of that size are the pool's. */
static inline bool tg_pool_holds(size_t size)
{
#if defined(__SANITIZE_ADDRESS__)
    (void)size;
    return false;
#else
    return size - 1 < TG_POOL_BLOCK_MAX;
#endif
}

static inline size_t tg_pool_list(size_t size)
{
    return (size - 1) / TG_POOL_STEP;
}

/* A block of size bytes, not 0, as from tg_pool_realloc(). */
static inline void *tg_pool_alloc(struct tg_pool *pool, size_t size)
{
    struct tg_pool_free *block = tg_pool_holds(size) ? pool->free[tg_pool_list(size)] : NULL;
    if (!block)
        return tg_pool_realloc(pool, NULL, 0, size);
    if (tg_mem_fails())
        return NULL;
    pool->free[tg_pool_list(size)] = block->next;
    return block;
}

/* p may be NULL, of size 0. */
static inline void tg_pool_free(struct tg_pool *pool, void *p, size_t size)
{
    struct tg_pool_free *block = p;
    if (!block || !tg_pool_holds(size)) {
        tg_free_uncounted(p);
        return;
    }
    block->next = pool->free[tg_pool_list(size)];
    pool->free[tg_pool_list(size)] = block;
}

#endif
