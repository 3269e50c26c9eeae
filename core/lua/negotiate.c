/* negotiate.c - reads Accept. */
#include "lua/negotiate.h"

#include <stdint.h>

#include "http/conn.h"
#include "lua/bind_format.h"

enum { OFFERED = 16 + TG_SCRIPT_FORMATS_MAX };

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

/* Takes what is before the next separator off *rest. */
static struct tg_slice take(struct tg_slice *rest, char separator)
{
    const char *end = memchr(rest->p, separator, rest->len);
    size_t len = end ? (size_t)(end - rest->p) : rest->len;
    struct tg_slice piece = {rest->p, len};
    size_t used = end ? len + 1 : len;
    rest->p += used;
    rest->len -= used;
    return trim(piece);
}

/* qvalue, in thousandths. */
static int quality(struct tg_slice parameters)
{
    while (parameters.len) {
        struct tg_slice p = take(&parameters, ';');
        if (p.len < 3 || (*p.p != 'q' && *p.p != 'Q') || p.p[1] != '=')
            continue;
        int q = p.p[2] == '1' ? 1000 : 0;
        int scale = 100;
        for (size_t i = 4; i < p.len && i < 7 && q < 1000; i++, scale /= 10)
            if (p.p[i] >= '0' && p.p[i] <= '9')
                q += (p.p[i] - '0') * scale;
        return q;
    }
    return 1000;
}

/* How closely a range names type: 4 exactly, 3 by its suffix, 2 its kind, 1 anything, 0 not. */
static int closeness(struct tg_slice range, struct tg_slice type)
{
    if (tg_slice_equal(range, TG_SLICE("*/*")))
        return 1;
    if (tg_slice_equal_nocase(range, type))
        return 4;
    if (tg_media_type_has_suffix(range, type))
        return 3;
    const char *slash = memchr(type.p, '/', type.len);
    size_t kind = (size_t)(slash - type.p) + 1;
    bool any = range.len == kind + 1 && range.p[kind] == '*';
    return any && strncasecmp(range.p, type.p, kind) == 0 ? 2 : 0;
}

struct wish {
    int closeness;
    int quality;
};

static void read_accept(struct tg_slice accept, const struct tg_slice *types, struct wish *wishes,
                        size_t count)
{
    while (accept.len) {
        struct tg_slice parameters = take(&accept, ',');
        struct tg_slice range = take(&parameters, ';');
        int q = quality(parameters);
        for (size_t i = 0; i < count; i++) {
            int close = closeness(range, types[i]);
            if (close > wishes[i].closeness)
                wishes[i] = (struct wish){close, q};
        }
    }
}

static void read_wishes(const struct tg_conn *conn, const struct tg_slice *types,
                        struct wish *wishes, size_t count)
{
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t field_count = tg_conn_head(conn)->field_count;
    for (size_t i = 0; i < field_count; i++)
        if (tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), TG_SLICE("accept")))
            read_accept(tg_conn_field_value(conn, &fields[i]), types, wishes, count);
}

size_t tg_negotiate(const struct tg_conn *conn, const struct tg_slice *types, size_t count)
{
    size_t best = 0;
    struct wish wishes[OFFERED] = {{0, 0}};
    if (count > OFFERED)
        count = OFFERED;
    read_wishes(conn, types, wishes, count);
    for (size_t i = 0; i < count; i++)
        if (wishes[i].quality > wishes[best].quality)
            best = i;
    return best;
}

static bool has_accept(const struct tg_conn *conn)
{
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t count = tg_conn_head(conn)->field_count;
    for (size_t i = 0; i < count; i++)
        if (tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), TG_SLICE("accept")))
            return true;
    return false;
}

const struct tg_format *tg_negotiate_format(lua_State *L, const struct tg_conn *conn, bool strict)
{
    struct tg_slice types[OFFERED];
    struct wish wishes[OFFERED] = {{0, 0}};
    const struct tg_format *format;
    size_t count = 0;
    if (!has_accept(conn))
        return &tg_format_json;
    while (count < OFFERED && (format = tg_formats_at(L, count)) != NULL)
        types[count++] = format->media_type;
    read_wishes(conn, types, wishes, count);
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (wishes[i].quality > wishes[best].quality)
            best = i;
    if (!wishes[best].quality)
        return strict ? NULL : &tg_format_json;
    return tg_formats_at(L, best);
}
