/* log.c - formats a line and hands it over. */
#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>

static void escape_controls(const char *from, char *to, size_t size)
{
    size_t n = 0;
    for (; *from && n + 5 < size; from++) {
        unsigned char c = (unsigned char)*from;
        if (c >= 0x20 && c != 0x7f)
            to[n++] = *from;
        else if (c == '\n') /* of a traceback, or a text of several lines */
            n += (size_t)snprintf(to + n, size - n, " | ");
        else if (c == '\t')
            to[n++] = ' ';
        else
            n += (size_t)snprintf(to + n, size - n, "\\x%02x", (unsigned)c);
    }
    to[n] = '\0';
}

void tg_log(const struct tg_log *log, enum tg_level level, const char *format, ...)
{
    if (!log || !log->write || level < log->least)
        return;
    char raw[TG_LOG_LINE_MAX];
    char line[TG_LOG_LINE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    escape_controls(raw, line, sizeof line);
    log->write(log->arg, level, line);
}
