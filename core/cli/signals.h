/* signals.h - SIGINT and SIGTERM end the gateway, SIGHUP reloads its script; the library itself sets no
 * handlers. */
#ifndef TG_CLI_SIGNALS_H
#define TG_CLI_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

#include "cli/log.h"
#include "cli/systemd.h"

#define CLI_ALARM_SIGNAL                                                                           \
    SIGVTALRM /* for tidegate_options.alarm_signal; it has its handler from start on */

struct cli_signals;

/* From here on the first SIGINT or SIGTERM stops g in good order, the second at once, and a third,
 * should even that hang, ends the process.  SIGHUP reloads.  SIGPIPE does nothing.  One at a time in a process.  NULL:
 * no memory, thread or pipe. */
struct cli_signals *cli_signals_start(struct tidegate *g, struct cli_log *log,
                                      const struct cli_systemd *systemd); /* all borrowed */

/* g is about to be freed: signals are counted on, but do not reach it any more.  NULL is fine. */
void cli_signals_release(struct cli_signals *signals);

/* For good: the process is about to end by itself.  NULL is fine. */
void cli_signals_stop(struct cli_signals *signals);

#endif
