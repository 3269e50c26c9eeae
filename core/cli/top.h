/* top.h - `tidegate top`: what the gateway behind a control socket is doing. */
#ifndef TG_CLI_TOP_H
#define TG_CLI_TOP_H

#include <stdbool.h>

struct cli_top_options {
    const char *control; /* path of the socket */
    bool json;
    bool once; /* so it is without a terminal, and for JSON */
};

/* 0, or errno's of why there was no answer. */
int cli_top(const struct cli_top_options *options);

#endif
