/* print_text.c - long strings, in pieces: between two of them the client may be waited for. */
#include "body/csv.h"
#include "body/event.h"
#include "body/json.h"
#include "lua/print_impl.h"

enum { PIECE = 16384 };

static struct tg_slice quote_of(const struct tg_format *format)
{
    if (format->dialect == TG_DIALECT_CSV)
        return TG_SLICE("\"");
    return format->raw || format->dialect == TG_DIALECT_SCRIPT ? TG_SLICE("") : TG_SLICE("\"");
}

void tg_print_open_text(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    tg_print_push(L, p, TG_FRAME_TEXT, format);
    tg_print_put(p->watch.w, quote_of(format));
}

static size_t put_escaped(struct tg_writer *w, struct tg_slice left,
                          size_t (*print)(char *out, size_t size, const char **s, size_t *len))
{
    size_t before = left.len;
    char *out = tg_writer_room(w, TG_WRITER_ROOM_MAX);
    if (!out)
        return 0; /* w->failed says why */
    tg_writer_advance(w, print(out, TG_WRITER_ROOM_MAX, &left.p, &left.len));
    return before - left.len;
}

/* Returns how much of it was printed. */
static size_t put_piece(struct tg_writer *w, const struct tg_format *format, struct tg_slice text,
                        size_t from)
{
    struct tg_slice left = {text.p + from, text.len - from};
    struct tg_slice piece = {left.p, left.len < PIECE ? left.len : PIECE};
    struct tg_event_pen pen = tg_event_pen_to_writer(w);
    switch (format->dialect) {
    case TG_DIALECT_CSV:
        return put_escaped(w, left, tg_csv_escape);
    case TG_DIALECT_EVENT:
        pen.begun = true;
        pen.cr = from > 0 && left.p[-1] == '\r';
        tg_event_add_data(&pen, piece);
        return piece.len;
    case TG_DIALECT_JSON:
    case TG_DIALECT_EDN:
        if (!format->raw)
            return put_escaped(w, left, tg_json_escape);
        break;
    case TG_DIALECT_SCRIPT:
        break;
    }
    tg_writer_write(w, piece.p, piece.len);
    return piece.len;
}

bool tg_print_step_text(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    struct tg_slice text;
    text.p = lua_tolstring(L, f->base, &text.len);
    f->n += (lua_Integer)put_piece(p->watch.w, f->format, text, (size_t)f->n);
    if ((size_t)f->n < text.len)
        return false;
    tg_print_put(p->watch.w, quote_of(f->format));
    return true;
}
