/* trial.h - a worker that serves nobody: services are tried on it before they serve, and specs run. */
#ifndef TG_API_TRIAL_H
#define TG_API_TRIAL_H

#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/status.h"

struct tidegate;

/* Loads the script once more, on a loop of its own, and runs its check there: no worker waits for what
 * that waits for.  TG_EINVAL: *problems has what it said, or that limits.response_timeout has passed.
 * Blocks the caller's thread. */
enum tg_status tg_trial_check(struct tidegate *g, uint64_t number, struct tg_buf *problems);

/* Runs g's script as a program until it ends, with its arguments.  *code is what it gave to os.exit().
 * TG_EINVAL: *problem has what it has raised. */
enum tg_status tg_trial_run(struct tidegate *g, const char *const *args, size_t count, int *code,
                            struct tg_buf *problem);

#endif
