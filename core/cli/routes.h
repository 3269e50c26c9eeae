/* routes.h - the table that `tidegate routes` prints. */
#ifndef TG_CLI_ROUTES_H
#define TG_CLI_ROUTES_H

#include <stdio.h>

#include <tidegate.h>

/* Columns that no route has anything in (host, name, interceptors) are left out. */
void cli_routes_print(const struct tidegate *g, FILE *out);

#endif
