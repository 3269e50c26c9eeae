/* probe_mem.c - opens the counting of allocations to specs. */
#include <pthread.h>

#include <lauxlib.h>
#include <lua.h>

#include "util/mem.h"

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

static const luaL_Reg functions[] = {{"threads", p_threads}, {"one", p_one}, {NULL, NULL}};

__attribute__((visibility("default"))) int luaopen_probe_mem(lua_State *L);

int luaopen_probe_mem(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
