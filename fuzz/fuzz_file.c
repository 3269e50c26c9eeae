/* fuzz_file.c - what clients say about files: Range, conditions, dates, entity-tags; and the names of
 * downloads.  Input: a byte that says which, for ranges two of size, and the text. */
#include <stdint.h>
#include <stdlib.h>

#include "http/conditional.h"
#include "http/date.h"
#include "http/disposition.h"
#include "http/head.h"
#include "http/range.h"
#include "util/clock.h"
#include "util/mem.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { KINDS = 4, FIELDS = 64, SIZE_MAX_BYTES = 65536 };

static const time_t now = 1795000000;

/* --- Ranges, against a map of bytes --------------------------------------------------------------- */

/* A run of digits without the zeros before them. */
struct position {
    bool some;
    const char *digits;
    size_t len;
};

static const char *read_position(const char *p, struct position *out)
{
    size_t len = strspn(p, "0123456789");
    size_t zeros = strspn(p, "0");
    zeros = zeros < len ? zeros : len;
    *out = (struct position){len > 0, p + zeros, len - zeros};
    return p + len;
}

/* All beyond the map are alike. */
static uint64_t number(const struct position *p)
{
    uint64_t n = 0;
    for (size_t i = 0; i < p->len; i++)
        n = p->len > 9 ? SIZE_MAX_BYTES : n * 10 + (uint64_t)(p->digits[i] - '0');
    return n;
}

static bool is_less(const struct position *a, const struct position *b)
{
    return a->len == b->len ? memcmp(a->digits, b->digits, a->len) < 0 : a->len < b->len;
}

/* Numbers of 20 digits and more, some of which do not fit 64 bits: those may be taken for equal. */
static bool has_huge(const char *text)
{
    struct position p;
    for (; *text; text++) {
        text = read_position(text, &p);
        if (p.len > 19)
            return true;
        if (!*text)
            return false;
    }
    return false;
}

/* Marks what one spec asks for; false when it is none. */
static bool mark(const char *spec, unsigned char *map, uint64_t size)
{
    struct position from;
    struct position to;
    const char *p = read_position(spec, &from);
    if (*p != '-')
        return false;
    p = read_position(p + 1, &to);
    if (*p || (!from.some && !to.some) || (from.some && to.some && is_less(&to, &from)))
        return false;
    uint64_t first = number(&from);
    uint64_t end = from.some && to.some ? number(&to) + 1 : size;
    if (!from.some)
        first = number(&to) < size ? size - number(&to) : 0;
    for (uint64_t i = first; i < end && i < size; i++)
        map[i] = 1;
    return true;
}

/* How many specs there are, marked in the map; -1 when the whole is to be sent. */
static int mark_all(char *text, unsigned char *map, uint64_t size)
{
    int count = 0;
    char *rest = NULL;
    if (strncasecmp(text, "bytes=", 6) != 0)
        return -1;
    for (char *spec = strtok_r(text + 6, ",", &rest); spec; spec = strtok_r(NULL, ",", &rest)) {
        spec += strspn(spec, " \t");
        for (size_t n = strlen(spec); n && strchr(" \t", spec[n - 1]); n--)
            spec[n - 1] = '\0';
        if (!*spec)
            continue;
        if (!mark(spec, map, size))
            return -1;
        count++;
    }
    return count && count <= TG_RANGES_MAX ? count : -1;
}

static void check_cover(const struct tg_ranges *ranges, const unsigned char *map, uint64_t size)
{
    unsigned char *cover = tg_calloc(1, size + 1);
    CHECK(cover && ranges->count >= 1 && ranges->count <= TG_RANGES_MAX);
    for (size_t i = 0; i < ranges->count; i++) {
        const struct tg_range *r = &ranges->items[i];
        CHECK(r->len && r->first < size && r->len <= size - r->first);
        CHECK(map[r->first] && map[r->first + r->len - 1]);
        for (uint64_t at = r->first; at < r->first + r->len; at++)
            CHECK(!cover[at]++);
    }
    for (uint64_t at = 0; at < size; at++)
        CHECK(!cover[at] == !map[at]);
    tg_free(cover);
}

static void check_ranges(struct tg_slice text)
{
    if (text.len < 2)
        return;
    uint64_t size = (uint64_t)(unsigned char)text.p[0] << 8 | (unsigned char)text.p[1];
    struct tg_ranges ranges;
    struct tg_slice value = {text.p + 2, text.len - 2};
    enum tg_range_result result = tg_range_parse(value, size, &ranges);
    char *copy = tg_strndup(value.p, value.len);
    unsigned char *map = tg_calloc(1, size + 1);
    CHECK(copy && map);
    bool beyond = memchr(value.p, '\0', value.len) || has_huge(copy); /* no field holds a NUL */
    if (beyond)
        CHECK(result <= TG_RANGE_UNSATISFIABLE);
    else if (mark_all(copy, map, size) < 0)
        CHECK(result == TG_RANGE_WHOLE);
    else if (memchr(map, 1, size))
        CHECK(result == TG_RANGE_PARTIAL);
    else
        CHECK(result == TG_RANGE_UNSATISFIABLE || (result == TG_RANGE_WHOLE && !size));
    if (result == TG_RANGE_PARTIAL && !beyond)
        check_cover(&ranges, map, size);
    tg_free(copy);
    tg_free(map);
}

/* --- The rest ------------------------------------------------------------------------------------- */

static void check_date(struct tg_slice text)
{
    time_t read;
    time_t again;
    char printed[TG_HTTP_DATE_SIZE];
    if (!tg_http_date_parse(text, now, &read) || read >= 253402300800)
        return; /* a leap second may be in the year 10000 */
    tg_http_date(printed, read);
    CHECK(tg_http_date_parse((struct tg_slice){printed, strlen(printed)}, now, &again));
    CHECK(read == again);
}

static void check_disposition(struct tg_slice name)
{
    struct tg_buf value;
    tg_buf_init(&value, 1 << 20);
    CHECK(tg_disposition_add(&value, name) == TG_OK);
    CHECK(tg_is_field_value(value.p, value.len));
    tg_buf_fini(&value);
}

/* The text as the fields of a head. */
static void check_conditions(struct tg_slice text)
{
    static const char line[] = "GET / HTTP/1.1\r\nHost: a\r\n";
    struct tg_head_limits limits = {0, 0};
    struct tg_field fields[FIELDS];
    struct tg_head head;
    size_t len = sizeof line - 1 + text.len + 4;
    char *bytes = tg_malloc(len);
    CHECK(bytes);
    memcpy(bytes, line, sizeof line - 1);
    memcpy(bytes + sizeof line - 1, text.p, text.len);
    memcpy(bytes + len - 4, "\r\n\r\n", 4);
    if (tg_head_parse(bytes, len, &limits, &head, fields, FIELDS) == 0) {
        struct tg_validators v = {TG_SLICE("\"a\""), true, 784111777, now};
        int status = tg_conditional_status(bytes, fields, head.field_count, &v);
        struct tg_slice range = tg_conditional_range(bytes, fields, head.field_count, &v);
        CHECK(status == 0 || status == 304 || status == 412);
        CHECK(!range.p || (range.p >= bytes && range.p + range.len <= bytes + len));
    }
    tg_free(bytes);
    if (tg_is_etag(text)) {
        CHECK(tg_etag_listed(text, text, TG_ETAG_WEAK));
        CHECK(tg_etag_listed(text, text, TG_ETAG_STRONG) == (*text.p != 'W'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[KINDS])(struct tg_slice) = {check_ranges, check_date,
                                                           check_disposition, check_conditions};
    if (size < 2)
        return 0;
    char *copy = tg_malloc(size - 1); /* of its own, so that a read past its end is seen */
    CHECK(copy);
    memcpy(copy, data + 1, size - 1);
    checks[*data % KINDS]((struct tg_slice){copy, size - 1});
    tg_free(copy);
    return 0;
}
