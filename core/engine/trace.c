/* trace.c - reads traceparent (https://www.w3.org/TR/trace-context/, 3.2). */
#include "engine/trace.h"

enum { VERSION_AT = 0, ID_AT = 3, PARENT_AT = 36, FLAGS_AT = 53, LENGTH = 55 };

static bool is_hex(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    return true;
}

static bool is_id(const char *p, size_t len)
{
    bool some = false;
    for (size_t i = 0; i < len; i++)
        some = some || p[i] != '0';
    return some && is_hex(p, len);
}

bool tg_trace_is_parent(struct tg_slice value)
{
    const char *p = value.p;
    if (value.len < LENGTH || p[ID_AT - 1] != '-' || p[PARENT_AT - 1] != '-' ||
        p[FLAGS_AT - 1] != '-')
        return false;
    if (!is_hex(p, 2) || !is_id(p + ID_AT, TG_TRACE_ID_LENGTH) || !is_id(p + PARENT_AT, 16) ||
        !is_hex(p + FLAGS_AT, 2) || (p[0] == 'f' && p[1] == 'f'))
        return false;
    bool first = p[VERSION_AT] == '0' && p[VERSION_AT + 1] == '0';
    return value.len == LENGTH || (!first && p[LENGTH] == '-');
}

static bool is_parent_field(struct tg_slice name)
{
    return tg_slice_equal_nocase(name, TG_SLICE("traceparent"));
}

struct tg_slice tg_trace_of(const struct tg_conn *conn)
{
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t count = tg_conn_head(conn)->field_count;
    struct tg_slice found = {NULL, 0};
    for (size_t i = 0; i < count; i++) {
        if (!is_parent_field(tg_conn_field_name(conn, &fields[i])))
            continue;
        struct tg_slice value = tg_conn_field_value(conn, &fields[i]);
        if (found.p || !tg_trace_is_parent(value))
            return (struct tg_slice){NULL, 0};
        found = value;
    }
    return found;
}

struct tg_slice tg_trace_id(struct tg_slice parent)
{
    return (struct tg_slice){parent.p + ID_AT, TG_TRACE_ID_LENGTH};
}

bool tg_trace_is_field(struct tg_slice name)
{
    return is_parent_field(name) || tg_slice_equal_nocase(name, TG_SLICE("tracestate"));
}
