/* text.h - a string that grows. */
#ifndef TG_CLI_TEXT_H
#define TG_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed it is empty.  p is malloc()'s, and the owner's to free. */
struct cli_text {
    char *p;
    size_t len;
    size_t size;
    bool failed; /* there was no memory: nothing is added any more */
};

/* No more than 16 KiB at a time. */
void cli_text_add(struct cli_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "name":"value" as JSON has it; bytes that are no UTF-8 become U+FFFD. */
void cli_text_add_member(struct cli_text *text, const char *name, const char *value);

/* As it is, but for what could move a terminal's cursor. */
void cli_text_add_plain(struct cli_text *text, const char *value);

#endif
