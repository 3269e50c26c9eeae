/* pool.c - lists of free blocks, and the pieces that blocks are cut from. */
#include "util/pool.h"

#include <stdbool.h>
#include <string.h>

#include "util/mem.h"

enum { PIECE_MIN = 4096, PIECE_MAX = 65536 }; /* bytes */

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

/* What the newest piece has left makes free blocks, so that nothing is lost. */
static bool add_piece(struct tg_pool *pool)
{
    struct tg_pool_piece *piece = tg_realloc_uncounted(NULL, pool->next_size);
    if (!piece)
        return false;
    if (pool->left)
        tg_pool_free(pool, pool->at, pool->left);
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
    if (pool->free[tg_pool_list(size)])
        return tg_pool_alloc(pool, size);
    return tg_mem_fails() ? NULL : cut(pool, (tg_pool_list(size) + 1) * TG_POOL_STEP);
}

void *tg_pool_realloc(struct tg_pool *pool, void *p, size_t old_size, size_t new_size)
{
    bool from = p && tg_pool_holds(old_size);
    bool to = tg_pool_holds(new_size);
    if (from && to && tg_pool_list(old_size) == tg_pool_list(new_size))
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
