/* fuzz_multipart.c - forms cut anywhere say the same.  Input: a byte for the boundary's length, the
 * boundary, then the form. */
#include <stdint.h>
#include <stdlib.h>

#include "http/multipart.h"
#include "util/mem.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

/* What the events say, as bytes: neighbouring data are one. */
struct told {
    struct tg_buf text;
    bool inside;
};

static void note(struct told *told, const char *mark, struct tg_slice text)
{
    CHECK(tg_buf_add(&told->text, mark, 1) == TG_OK);
    CHECK(tg_buf_add(&told->text, text.p, text.len) == TG_OK);
}

static bool on_begin(void *arg)
{
    struct told *told = arg;
    CHECK(!told->inside);
    told->inside = true;
    note(told, "<", TG_SLICE(""));
    return true;
}

static bool on_field(void *arg, struct tg_slice name, struct tg_slice value)
{
    CHECK(name.len > 0);
    note(arg, "n", name);
    note(arg, "v", value);
    return true;
}

static bool on_data(void *arg, struct tg_slice data)
{
    struct told *told = arg;
    CHECK(told->inside && data.len > 0);
    CHECK(tg_buf_add(&told->text, data.p, data.len) == TG_OK);
    return true;
}

static bool on_end(void *arg)
{
    struct told *told = arg;
    CHECK(told->inside);
    told->inside = false;
    note(told, ">", TG_SLICE(""));
    return true;
}

static const struct tg_multipart_events events = {on_begin, on_field, on_data, on_end};

/* Each piece in a block of its own, so that a sanitizer sees a read past its end. */
static enum tg_multipart_state take_apart(struct tg_slice boundary, struct tg_slice form,
                                          size_t piece, struct told *told)
{
    struct tg_multipart m;
    *told = (struct told){.inside = false};
    tg_buf_init(&told->text, SIZE_MAX / 2);
    if (tg_multipart_init(&m, boundary, &events, told) != TG_OK) {
        tg_multipart_fini(&m);
        return TG_MULTIPART_BROKEN;
    }
    for (size_t at = 0; at < form.len; at += piece) {
        size_t n = piece < form.len - at ? piece : form.len - at;
        char *copy = tg_malloc(n);
        CHECK(copy);
        memcpy(copy, form.p + at, n);
        enum tg_status status = tg_multipart_feed(&m, copy, n);
        tg_free(copy);
        CHECK(status == TG_OK || m.state == TG_MULTIPART_BROKEN);
        if (status != TG_OK)
            break;
    }
    enum tg_multipart_state state = m.state;
    CHECK(state != TG_MULTIPART_OVER || !told->inside);
    tg_multipart_fini(&m);
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const size_t pieces[] = {TG_MULTIPART_PIECE_MAX, 1, 7, 100};
    struct told whole;
    size_t n = len ? bytes[0] % 71 : 0;
    if (!len || n + 1 > len || len > 20000)
        return 0;
    struct tg_slice boundary = {(const char *)bytes + 1, n};
    struct tg_slice form = {(const char *)bytes + 1 + n, len - 1 - n};
    enum tg_multipart_state state = take_apart(boundary, form, pieces[0], &whole);
    for (size_t i = 1; i < sizeof pieces / sizeof *pieces; i++) {
        struct told told;
        enum tg_multipart_state other = take_apart(boundary, form, pieces[i], &told);
        CHECK(other == state);
        /* A form that is broken may have told of more before it was seen to be. */
        if (state != TG_MULTIPART_BROKEN)
            CHECK(tg_slice_equal(tg_buf_slice(&told.text), tg_buf_slice(&whole.text)));
        tg_buf_fini(&told.text);
    }
    tg_buf_fini(&whole.text);
    return 0;
}
