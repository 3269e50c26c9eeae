/* list.c - takes lists apart. */
#include "http/list.h"

static struct tg_slice trim(struct tg_slice s)
{
    while (s.len && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct tg_slice tg_list_take(struct tg_slice *rest, char separator)
{
    const char *end = rest->len ? memchr(rest->p, separator, rest->len) : NULL;
    size_t len = end ? (size_t)(end - rest->p) : rest->len;
    struct tg_slice piece = {rest->p, len};
    size_t used = end ? len + 1 : len;
    rest->p += used;
    rest->len -= used;
    return trim(piece);
}

/* 0, 1, and up to three digits behind a point; what is none counts for nothing. */
static int parse_weight(struct tg_slice text)
{
    int weight = 0;
    int scale = TG_WEIGHT_MOST / 10;
    if (!text.len || (*text.p != '0' && *text.p != '1') || (text.len > 1 && text.p[1] != '.'))
        return 0;
    if (*text.p == '1')
        return TG_WEIGHT_MOST;
    for (size_t i = 2; i < text.len && scale; i++, scale /= 10) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return 0;
        weight += (text.p[i] - '0') * scale;
    }
    return weight;
}

int tg_list_weight(struct tg_slice parameters)
{
    while (parameters.len) {
        struct tg_slice p = tg_list_take(&parameters, ';');
        if (p.len >= 2 && (*p.p == 'q' || *p.p == 'Q') && p.p[1] == '=')
            return parse_weight((struct tg_slice){p.p + 2, p.len - 2});
    }
    return TG_WEIGHT_MOST;
}

bool tg_list_has(struct tg_slice list, struct tg_slice token)
{
    while (list.len) {
        struct tg_slice element = tg_list_take(&list, ',');
        if (tg_slice_equal_nocase(element, token))
            return true;
    }
    return false;
}
