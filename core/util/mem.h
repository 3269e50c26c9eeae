/* mem.h - every allocation of the library goes through here, so that specs can make one fail. */
#ifndef TG_UTIL_MEM_H
#define TG_UTIL_MEM_H

#include <stddef.h>

/* All three return NULL when out of memory.  tg_realloc leaves p as it was then. */
void *tg_malloc(size_t size);
void *tg_calloc(size_t n, size_t size);
void *tg_realloc(void *p, size_t size);
void tg_free(void *p); /* NULL is fine */

/* A NUL-terminated copy of len bytes, the caller's; NULL when out of memory. */
char *tg_strndup(const char *s, size_t len);
char *tg_strdup(const char *s);

/* Makes the nth allocation of this thread from now fail, once; 0 turns that off.  For specs. */
void tg_mem_fail_at(unsigned n);

#endif
