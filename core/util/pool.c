/* pool.c - lists of free blocks, and the pieces that blocks are cut from. */
#include "util/pool.h"

#include <stdbool.h>
#include <string.h>

#include "util/mem.h"

enum { PIECE_MIN = 4096, PIECE_MAX = 65536 }; /* bytes */

#if defined(__SANITIZE_ADDRESS__)
static const bool pooling = false;
#else
static const bool pooling = true;
#endif

struct tg_pool_free {
    struct tg_pool_free *next;
};

struct tg_pool_piece {
    _Alignas(TG_POOL_STEP) struct tg_pool_piece *next;
};

void tg_pool_init(struct tg_pool *pool)
{
    *pool = (struct tg_pool){.next_size = PIECE_MIN};
}

void tg_pool_fini(struct tg_pool *pool)
{
    while (pool->pieces) {
        struct tg_pool_piece *next = pool->pieces->next;
        tg_free_uncounted(pool->pieces);
        pool->pieces = next;
    }
    tg_pool_init(pool);
}

static bool is_small(size_t size)
{
    return pooling && size <= TG_POOL_BLOCK_MAX;
}

static size_t list_of(size_t size)
{
    return (size - 1) / TG_POOL_STEP;
}

static void put_back(struct tg_pool *pool, void *p, size_t list)
{
    struct tg_pool_free *block = p;
    block->next = pool->free[list];
    pool->free[list] = block;
}

/* What the newest piece has left makes free blocks, so that nothing is lost. */
static bool add_piece(struct tg_pool *pool)
{
    struct tg_pool_piece *piece = tg_realloc_uncounted(NULL, pool->next_size);
    if (!piece)
        return false;
    if (pool->left)
        put_back(pool, pool->at, list_of(pool->left));
    piece->next = pool->pieces;
    pool->pieces = piece;
    pool->at = (char *)(piece + 1);
    pool->left = pool->next_size - sizeof *piece;
    if (pool->next_size < PIECE_MAX)
        pool->next_size *= 2;
    return true;
}

static void *cut(struct tg_pool *pool, size_t size)
{
    if (pool->left < size && !add_piece(pool))
        return NULL;
    void *block = pool->at;
    pool->at += size;
    pool->left -= size;
    return block;
}

static void *take(struct tg_pool *pool, size_t size)
{
    size_t list = list_of(size);
    struct tg_pool_free *block = pool->free[list];
    if (tg_mem_fails())
        return NULL;
    if (!block)
        return cut(pool, (list + 1) * TG_POOL_STEP);
    pool->free[list] = block->next;
    return block;
}

void tg_pool_free(struct tg_pool *pool, void *p, size_t size)
{
    if (p && is_small(size))
        put_back(pool, p, list_of(size));
    else
        tg_free_uncounted(p);
}

void *tg_pool_realloc(struct tg_pool *pool, void *p, size_t old_size, size_t new_size)
{
    bool from = p && is_small(old_size);
    bool to = is_small(new_size);
    if (from && to && list_of(old_size) == list_of(new_size))
        return p;
    void *moved = to ? take(pool, new_size) : tg_realloc_uncounted(from ? NULL : p, new_size);
    if (!moved && p && new_size < old_size)
        return p;
    if (!moved || !p || (!from && !to))
        return moved;
    memcpy(moved, p, old_size < new_size ? old_size : new_size);
    tg_pool_free(pool, p, old_size);
    return moved;
}
