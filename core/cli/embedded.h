/* embedded.h - files of the command's own: what `new` writes, and what `test` runs. */
#ifndef TG_CLI_EMBEDDED_H
#define TG_CLI_EMBEDDED_H

#include <stddef.h>

struct cli_file {
    const char *path; /* below core/cli/files/ */
    const char *text; /* NUL-terminated */
    size_t len;
};

extern const struct cli_file cli_files[]; /* the last has no path */

#endif
