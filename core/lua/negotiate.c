/* negotiate.c - reads Accept. */
#include "lua/negotiate.h"

#include <stdint.h>

#include "http/conn.h"
#include "http/list.h"
#include "lua/bind_format.h"

enum { OFFERED = 16 + TG_SCRIPT_FORMATS_MAX };

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
        struct tg_slice parameters = tg_list_take(&accept, ',');
        struct tg_slice range = tg_list_take(&parameters, ';');
        int q = tg_list_weight(parameters);
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
