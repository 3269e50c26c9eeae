/* framing.c - the grammar of bodies, a byte at a time outside the data and a run at a time in it. */
#include "http/framing.h"

#include "http/chars.h"

enum place {
    DONE,
    BROKEN,
    DATA,    /* by length, or of a chunk */
    DATA_CR, /* behind a chunk's data */
    DATA_LF,
    SIZE,      /* hex digits: line counts them */
    EXTENSION, /* behind ';': skipped */
    SIZE_LF,
    TRAILER, /* at a line's beginning */
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
};

enum { SIZE_DIGITS_MAX = 15 }; /* 60 bits */

void tg_framing_init(struct tg_framing *framing, enum tg_framing_kind kind, uint64_t length)
{
    *framing = (struct tg_framing){.kind = kind, .left = length, .at = DONE};
    if (kind == TG_FRAMING_CHUNKED)
        framing->at = SIZE;
    else if (kind == TG_FRAMING_LENGTH && length)
        framing->at = DATA;
    if (kind == TG_FRAMING_CHUNKED)
        framing->left = 0;
}

enum tg_framing_state tg_framing_state(const struct tg_framing *framing)
{
    switch (framing->at) {
    case DONE:
        return TG_FRAMING_DONE;
    case BROKEN:
        return TG_FRAMING_BROKEN;
    default:
        return TG_FRAMING_MORE;
    }
}

static int in_size(struct tg_framing *f, char c)
{
    if (tg_char_is(c, TG_CHAR_HEX)) {
        if (++f->line > SIZE_DIGITS_MAX)
            return BROKEN;
        int digit = tg_char_is(c, TG_CHAR_DIGIT) ? c - '0' : (c | 0x20) - 'a' + 10;
        f->left = f->left << 4 | (uint64_t)digit;
        return SIZE;
    }
    if (!f->line)
        return BROKEN;
    return c == '\r' ? SIZE_LF : c == ';' ? EXTENSION : BROKEN;
}

static int in_extension(struct tg_framing *f, char c)
{
    if (++f->line > TG_CHUNK_LINE_MAX)
        return BROKEN;
    if (c == '\r')
        return SIZE_LF;
    return tg_char_is(c, TG_CHAR_VALUE) ? EXTENSION : BROKEN;
}

static int behind_size(struct tg_framing *f, char c)
{
    if (c != '\n')
        return BROKEN;
    f->line = 0;
    return f->left ? DATA : TRAILER;
}

/* Trailers are checked and forgotten. */
static int in_trailers(struct tg_framing *f, char c)
{
    if (++f->trailers > TG_TRAILERS_MAX)
        return BROKEN;
    switch (f->at) {
    case TRAILER:
        if (c == '\r')
            return END_LF;
        return tg_char_is(c, TG_CHAR_TOKEN) ? NAME : BROKEN;
    case NAME:
        if (c == ':')
            return VALUE;
        return tg_char_is(c, TG_CHAR_TOKEN) ? NAME : BROKEN;
    case VALUE:
        if (c == '\r')
            return VALUE_LF;
        return tg_char_is(c, TG_CHAR_VALUE) ? VALUE : BROKEN;
    case VALUE_LF:
        return c == '\n' ? TRAILER : BROKEN;
    default: /* END_LF */
        return c == '\n' ? DONE : BROKEN;
    }
}

static int step(struct tg_framing *f, char c)
{
    switch (f->at) {
    case SIZE:
        return in_size(f, c);
    case EXTENSION:
        return in_extension(f, c);
    case SIZE_LF:
        return behind_size(f, c);
    case DATA_CR:
        return c == '\r' ? DATA_LF : BROKEN;
    case DATA_LF:
        return c == '\n' ? SIZE : BROKEN;
    default:
        return in_trailers(f, c);
    }
}

size_t tg_framing_next(struct tg_framing *framing, const char *bytes, size_t len,
                       struct tg_slice *data)
{
    size_t i = 0;
    *data = (struct tg_slice){NULL, 0};
    while (i < len && framing->at > BROKEN && framing->at != DATA)
        framing->at = step(framing, bytes[i++]);
    if (framing->at != DATA || i == len)
        return i;
    size_t run = len - i < framing->left ? len - i : (size_t)framing->left;
    *data = (struct tg_slice){bytes + i, run};
    framing->left -= run;
    if (!framing->left)
        framing->at = framing->kind == TG_FRAMING_CHUNKED ? DATA_CR : DONE;
    return i + run;
}
