/* snapshot.h - the open exchanges of a gateway as text: what a control socket answers. */
#ifndef TG_CLI_SNAPSHOT_H
#define TG_CLI_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>

#include <tidegate.h>

/* Asks all workers and waits for a second at the most: those that have not answered by then are said to
 * be stuck.  The text is the caller's, to free(); NULL: no memory. */
char *cli_snapshot(struct tidegate *g, size_t most, bool json, size_t *len);

#endif
