/* options.h - what the command line says. */
#ifndef TG_CLI_OPTIONS_H
#define TG_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum cli_command {
    CLI_RUN,
    CLI_CHECK,
    CLI_ROUTES,
    CLI_EXPLAIN,
    CLI_TOP,
    CLI_NEW,
    CLI_TEST,
    CLI_VERSION,
    CLI_HELP
};

struct cli_options {
    enum cli_command command;
    const char *script; /* or, for new and test, the folder; strings are argv's */
    const char *method; /* for explain */
    const char *path;
    const char *const *args; /* for test: what follows the folder */
    size_t arg_count;
    const char **listen; /* freed by cli_options_fini() */
    size_t listen_count;
    const char **limits; /* the same */
    size_t limit_count;
    const char *pidfile;
    const char *tls_cert;
    const char *tls_key;
    const char *control; /* for run and top */
    bool json;           /* for top, like the next */
    bool once;
    unsigned workers; /* 0: not said */
    const char *log;  /* "text", "json", "off", or NULL */
    bool dev;
    bool watch;
    bool quiet;
};

/* False after it has said on stderr what is wrong: a usage error.  options is to be finished in both
 * cases. */
bool cli_options_parse(struct cli_options *options, int argc, char **argv);
void cli_options_fini(struct cli_options *options);

extern const char cli_usage[];

#endif
