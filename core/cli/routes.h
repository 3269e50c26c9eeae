/* routes.h - the table that `tidegate routes` prints. */
#ifndef TG_CLI_ROUTES_H
#define TG_CLI_ROUTES_H

#include <stdbool.h>
#include <stdio.h>

#include <tidegate.h>

/* Columns that no route has anything in (host, name, interceptors) are left out. */
/* Where a request with this method and path goes; a URL's host counts.  False, and said on stderr, when
 * it is no route's. */
bool cli_explain_print(const struct tidegate *g, const char *method, const char *path, FILE *out);

void cli_routes_print(const struct tidegate *g, FILE *out);

#endif
