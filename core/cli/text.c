/* text.c - a string that grows, and what may not be printed as it is. */
#include "cli/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE_MAX = 16384 };

void cli_text_add(struct cli_text *text, const char *format, ...)
{
    va_list args;
    if (text->failed)
        return;
    if (text->size - text->len < PIECE_MAX) {
        size_t size = text->size * 2 + PIECE_MAX;
        char *p = realloc(text->p, size);
        text->failed = !p;
        if (!p)
            return;
        text->p = p;
        text->size = size;
    }
    va_start(args, format);
    int len = vsnprintf(text->p + text->len, text->size - text->len, format, args);
    va_end(args);
    if (len > 0)
        text->len +=
            (size_t)len < text->size - text->len ? (size_t)len : text->size - text->len - 1;
}

/* How many bytes of text are a character of UTF-8 (RFC 3629); 0: none. */
static size_t utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char from, to, second_from, second_to, length;
    } kinds[] = {
        {0x20, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (*p < kinds[i].from || *p > kinds[i].to)
            continue;
        if (kinds[i].length > 1 && (p[1] < kinds[i].second_from || p[1] > kinds[i].second_to))
            return 0;
        for (size_t n = 2; n < kinds[i].length; n++)
            if ((p[n] & 0xc0) != 0x80)
                return 0;
        return kinds[i].length;
    }
    return 0;
}

void cli_text_add_member(struct cli_text *text, const char *name, const char *value)
{
    cli_text_add(text, "\"%s\":\"", name);
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        size_t len = utf8_length(p);
        if (*p == '"' || *p == '\\')
            cli_text_add(text, "\\%c", *p);
        else if (*p < 0x20)
            cli_text_add(text, "\\u%04x", *p);
        else if (!len)
            cli_text_add(text, "\xEF\xBF\xBD");
        else
            cli_text_add(text, "%.*s", (int)len, (const char *)p);
        p += len ? len : 1;
    }
    cli_text_add(text, "\"");
}

void cli_text_add_plain(struct cli_text *text, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        size_t len = utf8_length(p);
        bool control = !len || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
        cli_text_add(text, "%.*s", control ? 1 : (int)len, control ? "?" : (const char *)p);
        p += len ? len : 1;
    }
}
