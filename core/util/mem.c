/* mem.c - malloc with a fault to inject, and a count of what is allocated. */
#include "util/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One slot for each thread, which alone writes it, so that counting takes no locked instruction; the
 * last is for all that come later.  Any thread may free what another has allocated: a slot may be
 * below zero, and only their sum means something.  A thread that ends leaves its count behind. */
enum { SLOTS = 64, SHARED = SLOTS - 1 };

enum { SMALL = 1024 }; /* bytes */

static struct slot {
    _Alignas(64) atomic_ptrdiff_t blocks;
} slots[SLOTS];
static atomic_uint claimed;

static _Thread_local struct {
    unsigned fail_at;
    struct slot *slot; /* NULL: none yet */
} mine;

static struct slot *claim(void)
{
    unsigned n = atomic_load_explicit(&claimed, memory_order_relaxed);
    while (n < SHARED && !atomic_compare_exchange_weak(&claimed, &n, n + 1))
        continue;
    mine.slot = &slots[n];
    return mine.slot;
}

static void count(ptrdiff_t by)
{
    struct slot *slot = mine.slot ? mine.slot : claim();
    if (slot == &slots[SHARED])
        atomic_fetch_add_explicit(&slot->blocks, by, memory_order_relaxed);
    else
        atomic_store_explicit(&slot->blocks,
                              atomic_load_explicit(&slot->blocks, memory_order_relaxed) + by,
                              memory_order_relaxed);
}

static void *counted(void *p)
{
    if (p)
        count(1);
    return p;
}

bool tg_mem_fails(void)
{
    return mine.fail_at && --mine.fail_at == 0;
}

void *tg_malloc(size_t size)
{
    return tg_mem_fails() ? NULL : counted(malloc(size));
}

/* glibc's calloc passes its cache of small blocks by; and compilers make a calloc of malloc and memset,
 * unless something may happen in between. */
static void *zeroed(size_t n, size_t size)
{
    if (!n || !size)
        return calloc(1, 1);
    if (size > SMALL / n)
        return calloc(n, size);
    void *p = malloc(n * size);
    __asm__("" : "+r"(p));
    return p ? memset(p, 0, n * size) : NULL; /* NOLINT(clang-analyzer-unix.Malloc): it is p */
}

void *tg_calloc(size_t n, size_t size)
{
    return tg_mem_fails() ? NULL : counted(zeroed(n, size));
}

void *tg_realloc(void *p, size_t size)
{
    void *moved = tg_mem_fails() ? NULL : realloc(p, size);
    return p ? moved : counted(moved);
}

void tg_free(void *p)
{
    if (p)
        count(-1);
    free(p);
}

void *tg_realloc_uncounted(void *p, size_t size)
{
    return tg_mem_fails() ? NULL : realloc(p, size);
}

void tg_free_uncounted(void *p)
{
    free(p);
}

char *tg_strndup(const char *s, size_t len)
{
    char *copy = tg_malloc(len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *tg_strdup(const char *s)
{
    return tg_strndup(s, strlen(s));
}

void tg_mem_fail_at(unsigned n)
{
    mine.fail_at = n;
}

size_t tg_mem_blocks(void)
{
    ptrdiff_t sum = 0;
    for (size_t i = 0; i < SLOTS; i++)
        sum += atomic_load_explicit(&slots[i].blocks, memory_order_relaxed);
    return sum > 0 ? (size_t)sum : 0;
}
