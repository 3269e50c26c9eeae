/* range.c - byte ranges: read, cut to size, made few. */
#include "http/range.h"

#include <stdbool.h>

#include "http/chars.h"

struct reader {
    const char *p;
    const char *end;
    bool all_of_nothing; /* the last bytes of an empty representation were asked for */
};

static bool take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t'))
        r->p++;
}

/* 1*DIGIT; what is beyond all sizes stays there. */
static bool number(struct reader *r, uint64_t *out)
{
    const char *start = r->p;
    uint64_t n = 0;
    for (; r->p < r->end && tg_char_is(*r->p, TG_CHAR_DIGIT); r->p++) {
        uint64_t digit = (uint64_t)(*r->p - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    *out = n;
    return r->p > start;
}

/* One range-spec, cut to size; len 0 when it cannot be satisfied.  False when it is none. */
static bool range_spec(struct reader *r, uint64_t size, struct tg_range *out)
{
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;
    *out = (struct tg_range){0, 0};
    if (take(r, '-')) {
        if (!number(r, &last))
            return false;
        out->len = last < size ? last : size;
        out->first = size - out->len;
        r->all_of_nothing = r->all_of_nothing || (!size && last);
        return true;
    }
    if (!number(r, &first) || !take(r, '-'))
        return false;
    if (r->p < r->end && tg_char_is(*r->p, TG_CHAR_DIGIT))
        number(r, &last);
    if (last < first)
        return false;
    if (first >= size)
        return true;
    out->first = first;
    out->len = (last < size ? last + 1 : size) - first;
    return true;
}

static bool touch(const struct tg_range *a, const struct tg_range *b)
{
    const struct tg_range *low = a->first <= b->first ? a : b;
    const struct tg_range *high = low == a ? b : a;
    return high->first <= low->first + low->len;
}

static struct tg_range both(const struct tg_range *a, const struct tg_range *b)
{
    uint64_t end_a = a->first + a->len;
    uint64_t end_b = b->first + b->len;
    uint64_t first = a->first < b->first ? a->first : b->first;
    return (struct tg_range){first, (end_a > end_b ? end_a : end_b) - first};
}

/* Each one that is joined to another may now touch a third. */
static void add(struct tg_ranges *out, struct tg_range range)
{
    size_t place = out->count;
    for (size_t i = 0; i < out->count;) {
        if (!touch(&out->items[i], &range)) {
            i++;
            continue;
        }
        range = both(&out->items[i], &range);
        if (i < place)
            place = i;
        memmove(&out->items[i], &out->items[i + 1], (out->count - i - 1) * sizeof range);
        out->count--;
        i = 0;
    }
    if (place > out->count)
        place = out->count;
    memmove(&out->items[place + 1], &out->items[place], (out->count - place) * sizeof range);
    out->items[place] = range;
    out->count++;
}

static bool begins_with_bytes(struct reader *r)
{
    static const struct tg_slice unit = {"bytes", 5}; /* in any case: RFC 9110, 14.1 */
    if ((size_t)(r->end - r->p) < unit.len ||
        !tg_slice_equal_nocase((struct tg_slice){r->p, unit.len}, unit))
        return false;
    r->p += unit.len;
    return take(r, '=');
}

enum tg_range_result tg_range_parse(struct tg_slice value, uint64_t size, struct tg_ranges *out)
{
    struct reader r = {value.p, value.p + value.len, false};
    size_t specs = 0;
    out->count = 0;
    if (!begins_with_bytes(&r))
        return TG_RANGE_WHOLE;
    for (;;) {
        struct tg_range range;
        skip_space(&r);
        if (r.p < r.end && *r.p != ',') { /* a list may have empty elements: RFC 9110, 5.6.1 */
            if (!range_spec(&r, size, &range) || ++specs > TG_RANGES_MAX)
                return TG_RANGE_WHOLE;
            if (range.len)
                add(out, range);
            skip_space(&r);
        }
        if (r.p == r.end)
            break;
        if (!take(&r, ','))
            return TG_RANGE_WHOLE;
    }
    if (!specs || r.all_of_nothing) /* which are there, and have no first and last position */
        return TG_RANGE_WHOLE;
    return out->count ? TG_RANGE_PARTIAL : TG_RANGE_UNSATISFIABLE;
}
