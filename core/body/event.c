/* event.c - line by line. */
#include "body/event.h"

#include <string.h>

#include "body/json.h"

/* --- Pens ------------------------------------------------------------------------------------- */

static enum tg_status put_to_buf(void *to, const void *bytes, size_t len)
{
    return tg_buf_add(to, bytes, len);
}

static enum tg_status put_to_writer(void *to, const void *bytes, size_t len)
{
    return tg_writer_write(to, bytes, len);
}

struct tg_event_pen tg_event_pen_to(enum tg_status (*put)(void *to, const void *bytes, size_t len),
                                    void *to)
{
    return (struct tg_event_pen){.put = put, .to = to};
}

struct tg_event_pen tg_event_pen_to_buf(struct tg_buf *buf)
{
    return tg_event_pen_to(put_to_buf, buf);
}

struct tg_event_pen tg_event_pen_to_writer(struct tg_writer *w)
{
    return tg_event_pen_to(put_to_writer, w);
}

static enum tg_status put(struct tg_event_pen *pen, const char *bytes, size_t len)
{
    if (pen->status < 0 || !len)
        return pen->status;
    enum tg_status status = pen->put(pen->to, bytes, len);
    if (status != TG_OK)
        pen->status = status;
    return pen->status;
}

/* --- Lines ------------------------------------------------------------------------------------ */

/* What a line of each kind begins with, behind the line break of the one before.  The first of the
 * spaces behind the colon is not part of the value (9.2.6): a value's own stay. */
#define EVENT   TG_SLICE("\nevent: ")
#define ID      TG_SLICE("\nid: ")
#define RETRY   TG_SLICE("\nretry: ")
#define DATA    TG_SLICE("\ndata: ")
#define COMMENT TG_SLICE("\n: ")

static enum tg_status begin_line(struct tg_event_pen *pen, struct tg_slice with)
{
    size_t skip = pen->begun ? 0 : 1;
    pen->begun = true;
    return put(pen, with.p + skip, with.len - skip);
}

static enum tg_status check_value(struct tg_slice value)
{
    if (value.len > TG_EVENT_FIELD_MAX)
        return TG_ELIMIT;
    for (size_t i = 0; i < value.len; i++)
        if (value.p[i] == '\n' || value.p[i] == '\r' || value.p[i] == '\0')
            return TG_EINVAL;
    return TG_OK;
}

static enum tg_status put_field(struct tg_event_pen *pen, struct tg_slice with,
                                struct tg_slice value)
{
    enum tg_status status = check_value(value);
    if (status != TG_OK)
        return status;
    begin_line(pen, with);
    return put(pen, value.p, value.len);
}

/* Text that goes on with a line: each of its line breaks begins another. */
static enum tg_status put_lines(struct tg_event_pen *pen, struct tg_slice with,
                                struct tg_slice text)
{
    const char *at = text.len ? text.p : "";
    const char *end = at + text.len;
    while (at < end) {
        const char *from = at;
        if (pen->cr && *at == '\n')
            from = ++at;
        pen->cr = false;
        while (at < end && *at != '\n' && *at != '\r')
            at++;
        put(pen, from, (size_t)(at - from));
        if (at == end)
            break;
        pen->cr = *at++ == '\r';
        begin_line(pen, with);
    }
    return pen->status;
}

/* --- Fields ----------------------------------------------------------------------------------- */

enum tg_status tg_event_name(struct tg_event_pen *pen, struct tg_slice name)
{
    return put_field(pen, EVENT, name);
}

enum tg_status tg_event_id(struct tg_event_pen *pen, struct tg_slice id)
{
    return put_field(pen, ID, id);
}

enum tg_status tg_event_retry(struct tg_event_pen *pen, uint64_t milliseconds)
{
    char text[TG_NUMBER_MAX];
    int64_t n = milliseconds < INT64_MAX ? (int64_t)milliseconds : INT64_MAX;
    return put_field(pen, RETRY, (struct tg_slice){text, tg_format_integer(text, n)});
}

enum tg_status tg_event_begin_data(struct tg_event_pen *pen)
{
    pen->cr = false;
    return begin_line(pen, DATA);
}

enum tg_status tg_event_add_data(struct tg_event_pen *pen, struct tg_slice piece)
{
    return put_lines(pen, DATA, piece);
}

enum tg_status tg_event_data(struct tg_event_pen *pen, struct tg_slice text)
{
    tg_event_begin_data(pen);
    return put_lines(pen, DATA, text);
}

enum tg_status tg_event_comment(struct tg_event_pen *pen, struct tg_slice text)
{
    pen->cr = false;
    begin_line(pen, COMMENT);
    return put_lines(pen, COMMENT, text);
}

enum tg_status tg_event_end(struct tg_event_pen *pen)
{
    if (!pen->begun)
        return pen->status;
    pen->begun = false;
    return put(pen, "\n\n", 2);
}

/* --- Whole events ----------------------------------------------------------------------------- */

enum tg_status tg_event_print(struct tg_event_pen *pen, const struct tg_event *event)
{
    enum tg_status status = check_value(event->name);
    if (status == TG_OK)
        status = check_value(event->id);
    if (status != TG_OK)
        return status;
    if (event->name.p)
        tg_event_name(pen, event->name);
    if (event->id.p)
        tg_event_id(pen, event->id);
    if (event->retry != TG_EVENT_NO_RETRY)
        tg_event_retry(pen, event->retry);
    if (event->data.p)
        tg_event_data(pen, event->data);
    return tg_event_end(pen);
}

enum tg_status tg_event_format(struct tg_buf *buf, const struct tg_event *event)
{
    size_t len = buf->len;
    struct tg_event_pen pen = tg_event_pen_to_buf(buf);
    enum tg_status status = tg_event_print(&pen, event);
    if (status == TG_OK)
        return TG_OK;
    buf->len = len;
    if (buf->p)
        buf->p[len] = '\0';
    return status;
}
