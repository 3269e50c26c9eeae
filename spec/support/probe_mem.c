/* probe_mem.c - opens the counting of allocations to specs. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "util/mem.h"
#include "util/pool.h"

enum { EACH = 500, THREADS_MAX = 200 };

/* Frees every other block; the rest is for whoever started the thread. */
static void *allocate(void *arg)
{
    void **blocks = arg;
    for (int i = 0; i < EACH; i++) {
        blocks[i] = tg_malloc(16);
        if (i % 2)
            tg_free(blocks[i]);
    }
    return NULL;
}

/* threads(n) -> how many blocks n threads, all at work at once, have left, and how many there are
 * when this one has freed them */
static int p_threads(lua_State *L)
{
    static void *blocks[THREADS_MAX][EACH];
    pthread_t threads[THREADS_MAX];
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n > 0 && n <= THREADS_MAX, 1, "too many");
    size_t before = tg_mem_blocks();
    for (lua_Integer t = 0; t < n; t++)
        if (pthread_create(&threads[t], NULL, allocate, blocks[t]))
            return luaL_error(L, "no thread");
    for (lua_Integer t = 0; t < n; t++)
        pthread_join(threads[t], NULL);
    lua_pushinteger(L, (lua_Integer)(tg_mem_blocks() - before));
    for (lua_Integer t = 0; t < n; t++)
        for (int i = 0; i < EACH; i += 2)
            tg_free(blocks[t][i]);
    lua_pushinteger(L, (lua_Integer)(tg_mem_blocks() - before));
    return 2;
}

/* one() -> how many blocks each step adds to those before: malloc, realloc, a failed realloc, calloc,
 * strdup, an uncounted one, free of all */
static int p_one(lua_State *L)
{
    size_t before = tg_mem_blocks();
    int steps = 0;
#define STEP(action)                                                                               \
    do {                                                                                           \
        action;                                                                                    \
        lua_pushinteger(L, (lua_Integer)(tg_mem_blocks() - before));                               \
        steps++;                                                                                   \
    } while (0)
    void *a = NULL;
    void *b = NULL;
    void *c = NULL;
    void *d = NULL;
    STEP(a = tg_malloc(8));
    STEP(a = tg_realloc(a, 4096));
    tg_mem_fail_at(1);
    STEP(b = tg_realloc(a, 8192));
    STEP(b = tg_realloc(b, 8));
    STEP(c = tg_calloc(2, 8));
    STEP(d = tg_strdup("text"));
    void *e = NULL;
    STEP(e = tg_realloc_uncounted(NULL, 8));
    STEP(tg_free_uncounted(e));
    STEP((tg_free(a), tg_free(b), tg_free(c), tg_free(d), tg_free(NULL)));
#undef STEP
    return steps;
}

enum { POOL_BLOCKS = 2000, POOL_STEPS = 200000, POOL_SIZE_MAX = 700 };

struct kept {
    unsigned char *p;
    size_t size;
};

static bool is_filled(const struct kept *kept, size_t n, unsigned char with)
{
    for (size_t i = 0; i < n; i++)
        if (kept->p[i] != with)
            return false;
    return true;
}

/* Makes, moves or frees a block, which is filled with its number; false when it lost what it held. */
static bool pool_step(struct tg_pool *pool, struct kept *kept, unsigned n, unsigned random)
{
    unsigned char with = (unsigned char)n;
    size_t size = random % POOL_SIZE_MAX;
    if (!size) {
        bool held = is_filled(kept, kept->size, with);
        tg_pool_free(pool, kept->p, kept->size);
        *kept = (struct kept){NULL, 0};
        return held;
    }
    unsigned char *moved = tg_pool_realloc(pool, kept->p, kept->size, size);
    if (!moved)
        return size >= kept->size;
    size_t both = size < kept->size ? size : kept->size;
    *kept = (struct kept){moved, size};
    bool held = is_filled(kept, both, with);
    memset(moved, with, size);
    return held;
}

/* pool(seed, fail) -> whether all blocks of a pool kept what was in them, through steps of any kind, of
 * which every failth allocation fails */
static int p_pool(lua_State *L)
{
    static struct kept blocks[POOL_BLOCKS];
    struct tg_pool pool;
    uint64_t seed = (uint64_t)luaL_checkinteger(L, 1);
    unsigned fail = (unsigned)luaL_checkinteger(L, 2);
    bool held = true;
    tg_pool_init(&pool);
    for (unsigned i = 0; i < POOL_STEPS && held; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        unsigned n = (unsigned)(seed >> 33) % POOL_BLOCKS;
        if (fail && i % fail == 0)
            tg_mem_fail_at(1);
        held = pool_step(&pool, &blocks[n], n, (unsigned)(seed >> 48));
        tg_mem_fail_at(0);
    }
    for (unsigned n = 0; n < POOL_BLOCKS; n++) {
        held = held && is_filled(&blocks[n], blocks[n].size, (unsigned char)n);
        tg_pool_free(&pool, blocks[n].p, blocks[n].size);
        blocks[n] = (struct kept){NULL, 0};
    }
    tg_pool_fini(&pool);
    lua_pushboolean(L, held);
    return 1;
}

static const luaL_Reg functions[] = {
    {"threads", p_threads}, {"one", p_one}, {"pool", p_pool}, {NULL, NULL}};

__attribute__((visibility("default"))) int luaopen_probe_mem(lua_State *L);

int luaopen_probe_mem(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
