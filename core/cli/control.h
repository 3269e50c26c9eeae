/* control.h - the unix socket on which a running gateway says what it is doing.
 *
 * One request for a connection: a line, `top json` or `top text`, and behind it perhaps how many
 * exchanges of each worker at the most (1000).  The answer is a line of JSON, or a table; then the
 * connection ends.
 */
#ifndef TG_CLI_CONTROL_H
#define TG_CLI_CONTROL_H

#include <tidegate.h>

struct cli_control;

/* Answers on a thread of its own, by a socket at path (mode 0600) that takes the place of one that was
 * there.  NULL, and *error is errno's.  g and path are borrowed. */
struct cli_control *cli_control_start(struct tidegate *g, const char *path, int *error);

/* Before g is freed.  Removes the socket, unless it is another's by now.  NULL is fine. */
void cli_control_stop(struct cli_control *control);

#endif
