/* fuzz_filter.c - writes any bytes through a filter, in any pieces: it is what they are in one piece.
 * Input: the filter, the sizes of the pieces (a byte each, up to 0), and the bytes. */
#include <stdint.h>

#include "body/csv.h"
#include "body/event.h"
#include "body/filter.h"
#include "body/json.h"
#include "kept.h"

enum { MODES = TG_FILTER_EVENT + 1 };

/* In one piece, without a filter. */
static void print_whole(struct tg_writer *w, enum tg_filter_mode mode, struct tg_slice text)
{
    struct tg_event_pen pen = tg_event_pen_to_writer(w);
    switch (mode) {
    case TG_FILTER_AS_IS:
        tg_writer_write(w, text.p, text.len);
        break;
    case TG_FILTER_ONE_LINE:
        for (size_t i = 0; i < text.len; i++)
            tg_writer_write(w, text.p[i] == '\n' || text.p[i] == '\r' ? " " : text.p + i, 1);
        break;
    case TG_FILTER_JSON:
        tg_json_string(w, text.p, text.len);
        break;
    case TG_FILTER_CSV:
        tg_writer_write(w, "\"", 1);
        for (size_t i = 0; i < text.len; i++)
            tg_writer_write(w, text.p[i] == '"' ? "\"\"" : text.p + i, text.p[i] == '"' ? 2 : 1);
        tg_writer_write(w, "\"", 1);
        break;
    case TG_FILTER_EVENT:
        tg_event_data(&pen, text);
        break;
    }
}

static void write_pieces(struct tg_filter *filter, const uint8_t *sizes, struct tg_slice text)
{
    for (const uint8_t *size = sizes; text.len; size = *size ? size + 1 : sizes) {
        size_t len = *size < text.len ? *size : text.len;
        len = len ? len : 1;
        CHECK(tg_writer_write(&filter->writer, text.p, len) == TG_OK);
        if (*size % 3 == 0)
            tg_gather_flush(filter->gather.root);
        text.p += len;
        text.len -= len;
    }
}

static void print_pieces(struct tg_writer *w, enum tg_filter_mode mode, const uint8_t *sizes,
                         struct tg_slice text)
{
    struct tg_filter filter;
    struct tg_event_pen pen = tg_event_pen_to_writer(w);
    bool quoted = mode == TG_FILTER_JSON || mode == TG_FILTER_CSV;
    if (quoted)
        tg_writer_write(w, "\"", 1);
    if (mode == TG_FILTER_EVENT)
        tg_event_begin_data(&pen);
    CHECK(tg_filter_init(&filter, w, mode) == TG_OK);
    write_pieces(&filter, sizes, text);
    CHECK(tg_filter_end(&filter) == TG_OK);
    tg_filter_fini(&filter);
    if (quoted)
        tg_writer_write(w, "\"", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size > 1 ? memchr(data + 1, 0, size - 1) : NULL;
    if (!zero)
        return 0;
    enum tg_filter_mode mode = (enum tg_filter_mode)(data[0] % MODES);
    struct tg_slice text = {(const char *)zero + 1, (size_t)(data + size - zero - 1)};
    struct kept whole;
    struct kept pieces;
    kept_begin(&whole);
    kept_begin(&pieces);
    print_whole(&whole.writer, mode, text);
    print_pieces(&pieces.writer, mode, data + 1, text);
    kept_end(&whole);
    kept_end(&pieces);
    CHECK(whole.len == pieces.len);
    CHECK(!whole.len || memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
    kept_free(&whole);
    kept_free(&pieces);
    return 0;
}
