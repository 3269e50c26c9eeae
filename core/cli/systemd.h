/* systemd.h - what a service manager hands to a process, and what it wants to be told: sockets that
 * listen already (sd_listen_fds(3)), and the datagrams of sd_notify(3).
 *
 * Both are protocols of a few lines: environment variables, and text to a unix socket.
 */
#ifndef TG_CLI_SYSTEMD_H
#define TG_CLI_SYSTEMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_systemd;

/* Reads the environment and takes the variables out of it: what the script starts is not concerned.
 * Before there are threads.  NULL: no memory. */
struct cli_systemd *cli_systemd_open(void);
void cli_systemd_close(struct cli_systemd *systemd); /* NULL is fine */

/* The addresses ("fd:3") of the sockets that were handed over, count of them; systemd's. */
const char *const *cli_systemd_sockets(const struct cli_systemd *systemd, size_t *count);

/* Whether an address is one of a socket that is handed over: "fd:", perhaps behind http:// or https://. */
bool cli_systemd_is_socket(const char *address);

/* What such an address with a name (FileDescriptorName=) stands for, or NULL; one with a number stands
 * for itself.  The text is systemd's, good until the name is asked for again. */
const char *cli_systemd_find(struct cli_systemd *systemd, const char *address);

/* The gateway has its own descriptors of them by now: closes those that were handed over. */
void cli_systemd_release_sockets(struct cli_systemd *systemd);

/* Any thread: sends the lines ("READY=1\nSTATUS=…"), where somebody listens. */
void cli_systemd_notify(const struct cli_systemd *systemd, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The monotonic clock in microseconds, as RELOADING=1 wants it. */
uint64_t cli_systemd_now(void);

/* How often WATCHDOG=1 is to be sent, in milliseconds; 0: never. */
int cli_systemd_watchdog_ms(const struct cli_systemd *systemd);

#endif
