/* disposition.c - the names of downloads, in both of their forms. */
#include "http/disposition.h"

#include <stdbool.h>

/* The length of the character at the front of s: 1 to 4; 0 when it is no UTF-8 (RFC 3629). */
static size_t character(struct tg_slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t len = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    if (len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] >= 0xa0) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] >= 0x90))
        return 0;
    return len;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* attr-char (RFC 8187, 3.2.1) */
static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$&+-.^_`|~", c));
}

/* What some browsers take for an escape inside a quoted string is said the other way, too. */
static bool needs_more(struct tg_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.p[i] >= 0x80 || name.p[i] == '%' || name.p[i] == '"' ||
            name.p[i] == '\\')
            return true;
    return false;
}

static enum tg_status add_quoted(struct tg_buf *out, struct tg_slice name)
{
    enum tg_status status = tg_buf_addf(out, "; filename=\"");
    while (status == TG_OK && name.len) {
        size_t len = character(name);
        char c = '_';
        if (len == 1 && !is_control(*name.p))
            c = *name.p;
        if (c == '"' || c == '\\')
            status = tg_buf_add(out, "\\", 1);
        if (status == TG_OK)
            status = tg_buf_add(out, &c, 1);
        name.p += len ? len : 1;
        name.len -= len ? len : 1;
    }
    return status == TG_OK ? tg_buf_add(out, "\"", 1) : status;
}

static enum tg_status add_encoded(struct tg_buf *out, struct tg_slice name)
{
    enum tg_status status = tg_buf_addf(out, "; filename*=UTF-8''");
    while (status == TG_OK && name.len) {
        size_t len = character(name);
        bool bad = !len || is_control(*name.p);
        for (size_t i = 0; i < len && !bad && status == TG_OK; i++)
            status = is_plain(name.p[i]) ? tg_buf_add(out, &name.p[i], 1)
                                         : tg_buf_addf(out, "%%%02X", (unsigned char)name.p[i]);
        if (bad)
            status = tg_buf_add(out, "_", 1);
        name.p += len ? len : 1;
        name.len -= len ? len : 1;
    }
    return status;
}

enum tg_status tg_disposition_add(struct tg_buf *out, struct tg_slice name)
{
    const char *slash = name.len ? memrchr(name.p, '/', name.len) : NULL;
    if (slash)
        name = (struct tg_slice){slash + 1, (size_t)(name.p + name.len - slash - 1)};
    enum tg_status status = tg_buf_addf(out, "attachment");
    if (status == TG_OK && name.len)
        status = add_quoted(out, name);
    if (status == TG_OK && needs_more(name))
        status = add_encoded(out, name);
    return status;
}
