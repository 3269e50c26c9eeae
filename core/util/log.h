/* log.h - lines for whoever runs the gateway.  The library itself never prints. */
#ifndef TG_UTIL_LOG_H
#define TG_UTIL_LOG_H

enum tg_level { TG_LOG_DEBUG, TG_LOG_INFO, TG_LOG_WARN, TG_LOG_ERROR };

enum { TG_LOG_LINE_MAX = 8192 }; /* bytes; a longer line is cut */

struct tg_log {
    void (*write)(void *arg, enum tg_level level, const char *line); /* NULL: nobody listens */
    void *arg;                                                       /* borrowed */
    enum tg_level least; /* lines below it are not made */
};

/* One line, without its line break: line breaks in it become " | ", other control characters \xNN, so
 * that input cannot forge a line. */
void tg_log(const struct tg_log *log, enum tg_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
