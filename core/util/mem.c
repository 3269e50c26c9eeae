/* mem.c - malloc with a fault to inject. */
#include "util/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local unsigned fail_at;

static bool fails(void)
{
    return fail_at && --fail_at == 0;
}

void *tg_malloc(size_t size)
{
    return fails() ? NULL : malloc(size);
}

void *tg_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

void *tg_realloc(void *p, size_t size)
{
    return fails() ? NULL : realloc(p, size);
}

void tg_free(void *p)
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
    fail_at = n;
}
