/* edn.c - what is a keyword. */
#include "body/edn.h"

#include "body/json.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins_symbol(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("*!_?$%&=<>", c) != NULL);
}

static bool is_sign(char c)
{
    return c == '-' || c == '+' || c == '.';
}

static bool is_symbol(struct tg_slice s)
{
    if (!s.len || !(begins_symbol(*s.p) || is_sign(*s.p)))
        return false;
    if (is_sign(*s.p) && s.len > 1 && is_digit(s.p[1]))
        return false; /* it would be a number */
    for (size_t i = 1; i < s.len; i++)
        if (!begins_symbol(s.p[i]) && !is_sign(s.p[i]) && !is_digit(s.p[i]))
            return false;
    return true;
}

bool tg_edn_is_keyword(struct tg_slice name)
{
    const char *slash = name.len ? memchr(name.p, '/', name.len) : NULL;
    if (!slash)
        return is_symbol(name);
    size_t before = (size_t)(slash - name.p);
    return is_symbol((struct tg_slice){name.p, before}) &&
           is_symbol((struct tg_slice){slash + 1, name.len - before - 1});
}

enum tg_status tg_edn_name(struct tg_writer *w, struct tg_slice name)
{
    if (!tg_edn_is_keyword(name))
        return tg_json_string(w, name.p, name.len);
    tg_writer_write(w, ":", 1);
    return tg_writer_write(w, name.p, name.len);
}
