/* project.h - `tidegate new` and `tidegate test`. */
#ifndef TG_CLI_PROJECT_H
#define TG_CLI_PROJECT_H

#include <stdbool.h>
#include <stddef.h>

/* Makes a project in folder, which is made if need be and has to be empty.  NULL, or why not: good until the
 * next call, and *what is the file or folder that it is about. */
const char *cli_project_new(const char *folder, const char **what);

/* Runs the specs in folder; args are Busted's.  Returns the exit code. */
int cli_project_test(const char *folder, const char *const *args, size_t count);

#endif
