/* log.h - lines on stderr that never hold up whoever has something to say.
 *
 * Lines are gathered in memory and written by a thread of the log's own, in the order they came in: a
 * terminal that is scrolled back, or a pipe that nobody reads, stops that thread and no worker.
 * A line goes out at once when the last write was 100 ms ago or more, or when it is a warning or an
 * error; otherwise within 100 ms, or when 16 KiB are gathered, so that an access log under load costs
 * a few large writes.  When 192 KiB wait (256 KiB for warnings and errors), further lines are dropped,
 * and counted in a line that takes their place.
 */
#ifndef TG_CLI_LOG_H
#define TG_CLI_LOG_H

#include <stdbool.h>

#include <tidegate.h>

struct cli_log;

/* NULL: no memory or no thread.  fd is borrowed.  json: every line is an object. */
struct cli_log *cli_log_open(int fd, bool json);

/* Writes out what is gathered, then frees; but for no longer than a second: what a stuck reader has
 * not taken by then is lost.  Nobody may use log any more.  NULL is fine. */
void cli_log_close(struct cli_log *log);

/* Any thread.  One line with the time and the level.  For tidegate_options.log: arg is the log. */
void cli_log_line(void *arg, enum tidegate_level level, const char *line);

/* Any thread.  A line that is JSON already.  For tidegate_options.access. */
void cli_log_object(void *arg, const char *line);

/* Any thread.  `tidegate: what: why`, or `tidegate: what` without a why; at once. */
void cli_log_say(struct cli_log *log, enum tidegate_level level, const char *what, const char *why);

#endif
