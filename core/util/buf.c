/* buf.c - growth by doubling, up to the cap. */
#include "util/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "util/mem.h"

void tg_buf_init(struct tg_buf *buf, size_t cap)
{
    *buf = (struct tg_buf){.cap = cap};
}

void tg_buf_fini(struct tg_buf *buf)
{
    tg_free(buf->p);
    tg_buf_init(buf, buf->cap);
}

void tg_buf_clear(struct tg_buf *buf)
{
    buf->len = 0;
    if (buf->p)
        buf->p[0] = '\0';
}

static enum tg_status make_room(struct tg_buf *buf, size_t len)
{
    if (len > buf->cap - buf->len)
        return TG_ELIMIT;
    size_t need = buf->len + len + 1;
    if (need <= buf->size)
        return TG_OK;

    size_t size = buf->size ? buf->size : 64;
    while (size < need)
        size *= 2;
    char *p = tg_realloc(buf->p, size);
    if (!p)
        return TG_ENOMEM;
    buf->p = p;
    buf->size = size;
    return TG_OK;
}

void tg_buf_reserve(struct tg_buf *buf, size_t len)
{
    if (len > buf->cap)
        len = buf->cap;
    if (buf->size > len)
        return;
    char *p = tg_realloc(buf->p, len + 1);
    if (!p)
        return;
    buf->p = p;
    buf->size = len + 1;
    buf->p[buf->len] = '\0';
}

enum tg_status tg_buf_add(struct tg_buf *buf, const void *data, size_t len)
{
    enum tg_status status = make_room(buf, len);
    if (status != TG_OK)
        return status;
    if (len)
        memcpy(buf->p + buf->len, data, len);
    buf->len += len;
    buf->p[buf->len] = '\0';
    return TG_OK;
}

enum tg_status tg_buf_addf(struct tg_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return TG_EINVAL;

    enum tg_status status = make_room(buf, (size_t)len);
    if (status != TG_OK)
        return status;
    va_start(args, format);
    vsnprintf(buf->p + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
    return TG_OK;
}
