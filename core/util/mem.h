/* mem.h - every allocation of the library goes through here, so that specs can make one fail, and
 * count what is left of them. */
#ifndef TG_UTIL_MEM_H
#define TG_UTIL_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* All three return NULL when out of memory.  tg_realloc leaves p as it was then; size is not 0. */
void *tg_malloc(size_t size);
void *tg_calloc(size_t n, size_t size);
void *tg_realloc(void *p, size_t size);
void tg_free(void *p); /* NULL is fine */

/* The same for what is accounted for elsewhere, as a Lua state's memory is; such a block is freed by
 * tg_free_uncounted() only. */
void *tg_realloc_uncounted(void *p, size_t size);
void tg_free_uncounted(void *p);

/* A NUL-terminated copy of len bytes, the caller's; NULL when out of memory. */
char *tg_strndup(const char *s, size_t len);
char *tg_strdup(const char *s);

/* Makes the nth allocation of this thread from now fail, once; 0 turns that off.  For specs. */
void tg_mem_fail_at(unsigned n);

/* Whether the allocation that is to be made now is the one that fails: for what allocates without a call
 * of the above. */
bool tg_mem_fails(void);

/* How many blocks the whole process has from here, but for the uncounted.  Any thread; exact while
 * none allocates. */
size_t tg_mem_blocks(void);

#endif
