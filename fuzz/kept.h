/* kept.h - a writer whose client keeps everything, for fuzz targets that print. */
#ifndef TG_FUZZ_KEPT_H
#define TG_FUZZ_KEPT_H

#include <stdlib.h>
#include <string.h>

#include "body/writer.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct kept {
    char *bytes;
    size_t len;
    struct tg_response_head head;
    struct tg_gather gather;
    struct tg_writer writer;
};

static inline enum tg_status kept_commit(void *sink, const struct tg_response_head *head)
{
    (void)sink;
    (void)head;
    return TG_OK;
}

static inline enum tg_status kept_send(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct kept *kept = sink;
    (void)flags;
    for (int i = 0; i < n; i++) {
        char *grown = realloc(kept->bytes, kept->len + runs[i].iov_len + 1);
        CHECK(grown);
        memcpy(grown + kept->len, runs[i].iov_base, runs[i].iov_len);
        kept->bytes = grown;
        kept->len += runs[i].iov_len;
    }
    return TG_OK;
}

static inline size_t kept_pending(void *sink)
{
    (void)sink;
    return 0;
}

static inline void kept_begin(struct kept *kept)
{
    static const struct tg_sink_ops ops = {
        .commit = kept_commit, .send = kept_send, .pending = kept_pending};
    *kept = (struct kept){.head = {.status = 200, .length = TG_LENGTH_UNKNOWN}};
    CHECK(tg_gather_init(&kept->gather, 1) == TG_OK);
    struct tg_writer_options options = {&ops, kept, &kept->gather, SIZE_MAX, 0};
    tg_writer_init(&kept->writer, &options);
    tg_writer_begin(&kept->writer, &kept->head);
}

static inline void kept_end(struct kept *kept)
{
    CHECK(tg_writer_end(&kept->writer) == TG_OK && kept->writer.bytes == kept->len);
}

static inline void kept_free(struct kept *kept)
{
    tg_writer_fini(&kept->writer);
    tg_gather_fini(&kept->gather);
    free(kept->bytes);
}

#endif
