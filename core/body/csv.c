/* csv.c - texts between separators. */
#include "body/csv.h"

bool tg_csv_is_plain(struct tg_slice text, char separator)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (c == separator || c == '"' || c == '\n' || c == '\r')
            return false;
    }
    return text.len > 0;
}

size_t tg_csv_escape(char *out, size_t size, const char **s, size_t *len)
{
    size_t used = 0;
    while (*len && size - used >= 2) {
        size_t room = size - used < *len ? size - used : *len;
        const char *quote = memchr(*s, '"', room);
        size_t plain = quote ? (size_t)(quote - *s) : room;
        memcpy(out + used, *s, plain);
        used += plain;
        *s += plain;
        *len -= plain;
        if (!quote || size - used < 2)
            continue;
        out[used++] = '"';
        out[used++] = '"';
        ++*s;
        --*len;
    }
    return used;
}

enum tg_status tg_csv_cell(struct tg_writer *w, struct tg_slice text, char separator)
{
    if (tg_csv_is_plain(text, separator))
        return tg_writer_write(w, text.p, text.len);
    tg_writer_write(w, "\"", 1);
    while (text.len) {
        size_t size = text.len < TG_WRITER_ROOM_MAX / 2 ? 2 * text.len : TG_WRITER_ROOM_MAX;
        char *out = tg_writer_room(w, size);
        if (!out)
            return w->failed;
        tg_writer_advance(w, tg_csv_escape(out, size, &text.p, &text.len));
    }
    return tg_writer_write(w, "\"", 1);
}
