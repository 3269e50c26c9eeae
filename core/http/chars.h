/* chars.h - the classes of characters that HTTP/1's grammar is made of. */
#ifndef TG_HTTP_CHARS_H
#define TG_HTTP_CHARS_H

enum {
    TG_CHAR_TOKEN = 1,  /* tchar (RFC 9110, 5.6.2) */
    TG_CHAR_VALUE = 2,  /* of a field value: visible, SP, HTAB, obs-text */
    TG_CHAR_TARGET = 4, /* of a request target: visible ASCII but '#' */
    TG_CHAR_HOST = 8,   /* of a reg-name (RFC 3986, 3.2.2), with the % of its escapes */
    TG_CHAR_DIGIT = 16,
    TG_CHAR_HEX = 32,
};

extern const unsigned char tg_char_classes[256];

static inline int tg_char_is(char c, int classes)
{
    return tg_char_classes[(unsigned char)c] & classes;
}

/* The first byte from p on that is of none of the classes.  There has to be one: CR, LF and NUL are
 * of no class at all. */
static inline const char *tg_char_skip(const char *p, int classes)
{
    while (tg_char_is(*p, classes))
        p++;
    return p;
}

#endif
