/* systemd.c - socket activation and notifications, without libsystemd. */
#include "cli/systemd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_FD = 3, SOCKETS_MAX = 64, ADDRESS_SIZE = 32, MESSAGE_MAX = 1024 };

struct cli_systemd {
    int fd; /* to notify by; -1: nobody listens */
    struct sockaddr_un manager;
    socklen_t manager_len;
    int watchdog_ms;
    size_t count;
    const char *addresses[SOCKETS_MAX];
    char texts[SOCKETS_MAX][ADDRESS_SIZE];
    char *names; /* LISTEN_FDNAMES, with NULs for its colons; NULL without it */
    size_t names_len;
};

/* --- The environment -------------------------------------------------------------------------- */

/* A copy of the variable, which is taken away; NULL: there is none, or no memory. */
static char *take(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): there are no threads yet */
    char *copy = value ? strdup(value) : NULL;
    unsetenv(name); /* NOLINT(concurrency-mt-unsafe) */
    return copy;
}

/* A number in decimal digits, or 0. */
static unsigned long long number(const char *text)
{
    char *end;
    if (!text || *text < '0' || *text > '9')
        return 0;
    unsigned long long n = strtoull(text, &end, 10);
    return *end ? 0 : n;
}

/* Whether the process that a variable names is this one.  Without the variable it is. */
static bool is_for_us(const char *pid)
{
    return !pid || number(pid) == (unsigned long long)getpid();
}

static void take_sockets(struct cli_systemd *systemd)
{
    char *pid = take("LISTEN_PID");
    char *count = take("LISTEN_FDS");
    char *names = take("LISTEN_FDNAMES");
    unsigned long long n = pid && is_for_us(pid) ? number(count) : 0;
    systemd->count = n < SOCKETS_MAX ? (size_t)n : SOCKETS_MAX;
    for (size_t i = 0; i < systemd->count; i++) {
        snprintf(systemd->texts[i], ADDRESS_SIZE, "fd:%zu", FIRST_FD + i);
        systemd->addresses[i] = systemd->texts[i];
        fcntl(FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC); /* nor are they the script's processes' */
    }
    free(pid);
    free(count);
    systemd->names = names;
    systemd->names_len = names ? strlen(names) : 0;
    for (char *colon = names; colon && (colon = strchr(colon, ':')) != NULL;)
        *colon++ = '\0';
}

/* A path, or @ and a name in the abstract namespace. */
static void take_manager(struct cli_systemd *systemd)
{
    static const struct timeval patience = {1, 0};
    char *path = take("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    bool known = len > 1 && len < sizeof systemd->manager.sun_path && strchr("/@", *path);
    if (known) {
        systemd->manager.sun_family = AF_UNIX;
        memcpy(systemd->manager.sun_path, path, len);
        if (*path == '@')
            systemd->manager.sun_path[0] = '\0';
        systemd->manager_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
        systemd->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (systemd->fd >= 0)
            setsockopt(systemd->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    free(path);
}

static void take_watchdog(struct cli_systemd *systemd)
{
    char *pid = take("WATCHDOG_PID");
    char *text = take("WATCHDOG_USEC");
    unsigned long long ms =
        is_for_us(pid) ? number(text) / 3000 : 0; /* a third of what is granted */
    if (ms > INT_MAX)
        ms = INT_MAX;
    systemd->watchdog_ms = (int)ms;
    free(pid);
    free(text);
}

/* --- Sockets ---------------------------------------------------------------------------------- */

const char *const *cli_systemd_sockets(const struct cli_systemd *systemd, size_t *count)
{
    *count = systemd->count;
    return systemd->addresses;
}

/* http:// or https:// in front of an address, or nothing. */
static size_t scheme_length(const char *address)
{
    return strncmp(address, "http://", 7) == 0 ? 7 : strncmp(address, "https://", 8) == 0 ? 8 : 0;
}

bool cli_systemd_is_socket(const char *address)
{
    return strncmp(address + scheme_length(address), "fd:", 3) == 0;
}

/* The name's place among those that were handed over, or -1. */
static int place_of(const struct cli_systemd *systemd, const char *wanted)
{
    const char *name = systemd->names;
    const char *end = name + systemd->names_len;
    for (size_t i = 0; name && i < systemd->count && name <= end; i++) {
        if (strcmp(name, wanted) == 0)
            return (int)i;
        name += strlen(name) + 1;
    }
    return -1;
}

const char *cli_systemd_find(struct cli_systemd *systemd, const char *address)
{
    size_t scheme = scheme_length(address);
    const char *wanted = address + scheme + strlen("fd:");
    if (wanted[0] && !wanted[strspn(wanted, "0123456789")])
        return address;
    int place = place_of(systemd, wanted);
    if (place < 0)
        return NULL;
    char *text = systemd->texts[place];
    snprintf(text, ADDRESS_SIZE, "%.*sfd:%d", (int)scheme, address, FIRST_FD + place);
    return text;
}

void cli_systemd_release_sockets(struct cli_systemd *systemd)
{
    for (size_t i = 0; i < systemd->count; i++)
        close(FIRST_FD + (int)i);
    systemd->count = 0;
}

/* --- Notifications ---------------------------------------------------------------------------- */

void cli_systemd_notify(const struct cli_systemd *systemd, const char *format, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    if (!systemd || systemd->fd < 0)
        return;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0)
        return;
    size_t size = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    ssize_t n =
        sendto(systemd->fd, text, size, MSG_NOSIGNAL,
               (const struct sockaddr *)(const void *)&systemd->manager, systemd->manager_len);
    (void)n; /* a manager that does not listen has to do without */
}

uint64_t cli_systemd_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

int cli_systemd_watchdog_ms(const struct cli_systemd *systemd)
{
    return systemd && systemd->fd >= 0 ? systemd->watchdog_ms : 0;
}

/* --- Life ------------------------------------------------------------------------------------- */

struct cli_systemd *cli_systemd_open(void)
{
    struct cli_systemd *systemd = calloc(1, sizeof *systemd);
    if (!systemd)
        return NULL;
    systemd->fd = -1;
    take_sockets(systemd);
    take_manager(systemd);
    take_watchdog(systemd);
    return systemd;
}

void cli_systemd_close(struct cli_systemd *systemd)
{
    if (!systemd)
        return;
    if (systemd->fd >= 0)
        close(systemd->fd);
    free(systemd->names);
    free(systemd);
}
