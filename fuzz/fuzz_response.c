/* fuzz_response.c - heads of hostile servers, and what they say is gzip.  Input: 'h' and the lines of a
 * head; or 'd', the size of the pieces that it comes in, and the bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "http/head.h"
#include "upstream/decode.h"
#include "upstream/head.h"
#include "util/mem.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_MAX = 4096, TEXT_MAX = 100000 };

static void *copy_of(const uint8_t *data, size_t size)
{
    void *copy = tg_malloc(size ? size : 1);
    CHECK(copy);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

/* What goes on to a client is what a server could have said well. */
static void check_head(const struct tg_upstream_head *head)
{
    struct tg_fetch_field field;
    unsigned lengths = 0;
    CHECK(head->status >= 200 && head->status <= 999);
    CHECK(head->field_count <= TG_FETCH_FIELDS_MAX && head->bytes <= HEAD_MAX);
    for (size_t i = 0; tg_upstream_head_field(head, i, &field); i++) {
        CHECK(tg_is_token(field.name.p, field.name.len));
        CHECK(tg_is_field_value(field.value.p, field.value.len));
        CHECK(field.value.p[field.value.len] == '\0');
        lengths += tg_slice_equal_nocase(field.name, TG_SLICE("content-length"));
        tg_upstream_head_is_hop(head, i);
    }
    CHECK(lengths == (head->length != TG_FETCH_LENGTH_UNKNOWN));
    CHECK(!(lengths && head->coded));
}

static void try_head(const uint8_t *data, size_t size)
{
    struct tg_upstream_head head;
    enum tg_upstream_line result = TG_LINE_TAKEN;
    tg_upstream_head_init(&head, HEAD_MAX);
    while (size && result == TG_LINE_TAKEN) {
        const char *why = NULL;
        const uint8_t *lf = memchr(data, '\n', size);
        size_t len = lf ? (size_t)(lf - data) + 1 : size;
        char *line = copy_of(data, len);
        result = tg_upstream_head_line(&head, (struct tg_slice){line, len}, &why);
        CHECK((result == TG_LINE_PROTOCOL) == (why != NULL));
        tg_free(line);
        data += len;
        size -= len;
    }
    if (result == TG_LINE_ENDS)
        check_head(&head);
    tg_upstream_head_fini(&head);
}

static enum tg_status drain(struct tg_decode *decode, size_t *total)
{
    struct tg_slice block;
    enum tg_status status = tg_decode_next(decode, &block);
    while (status == TG_OK && block.len) {
        CHECK(block.len <= TG_DECODE_OUT_MAX);
        *total += block.len;
        tg_decode_taken(decode);
        status = tg_decode_next(decode, &block);
    }
    return status;
}

static void try_decode(const uint8_t *data, size_t size, size_t piece)
{
    struct tg_decode *decode = tg_decode_new(TEXT_MAX);
    enum tg_status status = TG_OK;
    size_t total = 0;
    CHECK(decode);
    for (size_t at = 0; at < size && status == TG_OK; at += piece) {
        size_t n = piece < size - at ? piece : size - at;
        char *copy = copy_of(data + at, n);
        tg_decode_feed(decode, copy, n);
        tg_free(copy);
        status = drain(decode, &total);
        CHECK(status != TG_OK || tg_decode_idle(decode));
    }
    CHECK(total <= TEXT_MAX);
    tg_decode_free(decode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 2 && data[0] == 'd')
        try_decode(data + 2, size - 2, (size_t)data[1] + 1);
    else if (size > 1 && data[0] == 'h')
        try_head(data + 1, size - 1);
    return 0;
}
