/* chunks.c - a list of runs; short ones share a block. */
#include "body/chunks.h"

#include <string.h>

#include "util/mem.h"

enum { BLOCK = 4096 }; /* bytes of a chunk that copies are put into, at the least */

struct tg_chunk {
    struct tg_chunk *next;
    const char *data;
    size_t at;   /* bytes of data that were dropped */
    size_t len;  /* of data */
    size_t size; /* of own; 0: data is lent */
    tg_release_fn release;
    void *arg;
    char own[];
};

static void append(struct tg_chunks *chunks, struct tg_chunk *chunk)
{
    if (chunks->last)
        chunks->last->next = chunk;
    else
        chunks->first = chunk;
    chunks->last = chunk;
}

static struct tg_chunk *new_block(size_t len)
{
    size_t size = len < BLOCK ? BLOCK : len;
    struct tg_chunk *chunk = tg_malloc(sizeof *chunk + size);
    if (!chunk)
        return NULL;
    *chunk = (struct tg_chunk){.size = size};
    chunk->data = chunk->own;
    return chunk;
}

/* Takes what fits off *run. */
static void fill(struct tg_chunk *chunk, struct iovec *run)
{
    size_t room = chunk->size - chunk->len;
    size_t n = run->iov_len < room ? run->iov_len : room;
    if (!n)
        return;
    memcpy(chunk->own + chunk->len, run->iov_base, n);
    chunk->len += n;
    run->iov_base = (char *)run->iov_base + n;
    run->iov_len -= n;
}

enum tg_status tg_chunks_add(struct tg_chunks *chunks, const struct iovec *runs, int n)
{
    struct tg_chunk *last = chunks->last && chunks->last->size ? chunks->last : NULL;
    size_t room = last ? last->size - last->len : 0;
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += runs[i].iov_len;
    struct tg_chunk *more = total > room ? new_block(total - room) : NULL;
    if (total > room && !more)
        return TG_ENOMEM;
    for (int i = 0; i < n; i++) {
        struct iovec run = runs[i];
        if (last)
            fill(last, &run);
        if (more)
            fill(more, &run);
    }
    if (more)
        append(chunks, more);
    chunks->len += total;
    return TG_OK;
}

enum tg_status tg_chunks_lend(struct tg_chunks *chunks, const void *data, size_t len,
                              tg_release_fn release, void *arg)
{
    struct tg_chunk *chunk = len ? tg_malloc(sizeof *chunk) : NULL;
    if (!chunk) {
        release(data, len, arg);
        return len ? TG_ENOMEM : TG_OK;
    }
    *chunk = (struct tg_chunk){.data = data, .len = len, .release = release, .arg = arg};
    append(chunks, chunk);
    chunks->len += len;
    return TG_OK;
}

struct tg_slice tg_chunks_front(const struct tg_chunks *chunks)
{
    const struct tg_chunk *first = chunks->first;
    if (!first)
        return (struct tg_slice){NULL, 0};
    return (struct tg_slice){first->data + first->at, first->len - first->at};
}

static void remove_first(struct tg_chunks *chunks)
{
    struct tg_chunk *first = chunks->first;
    chunks->first = first->next;
    if (!chunks->first)
        chunks->last = NULL;
    if (!first->size)
        first->release(first->data, first->len, first->arg);
    tg_free(first);
}

void tg_chunks_drop(struct tg_chunks *chunks, size_t n)
{
    struct tg_chunk *first = chunks->first;
    if (!n)
        return;
    first->at += n;
    chunks->len -= n;
    if (first->at == first->len)
        remove_first(chunks);
}

void tg_chunks_clear(struct tg_chunks *chunks)
{
    while (chunks->first)
        remove_first(chunks);
    chunks->len = 0;
}
