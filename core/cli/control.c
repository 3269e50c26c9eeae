/* control.c - a thread that answers one connection after the other. */
#include "cli/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/snapshot.h"

enum { REQUEST_MAX = 256, MOST = 1000, MOST_EVER = 100000, QUEUE = 16 };

struct cli_control {
    struct tidegate *g;
    const char *path;
    int fd;
    struct stat socket; /* to know it again */
    int stop[2];
    pthread_t thread;
};

/* --- Answering -------------------------------------------------------------------------------- */

/* Slow clients are for this thread alone, but others wait behind them. */
static bool read_line(int fd, char line[REQUEST_MAX])
{
    size_t len = 0;
    while (len < REQUEST_MAX - 1) {
        ssize_t n = recv(fd, line + len, REQUEST_MAX - 1 - len, 0);
        if (n <= 0)
            return false;
        char *end = memchr(line + len, '\n', (size_t)n);
        len += (size_t)n;
        if (!end)
            continue;
        *end = '\0';
        return true;
    }
    return false;
}

static void send_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* "top json 50": false when it is none of ours. */
static bool understand(char *line, bool *json, size_t *most)
{
    char *rest;
    const char *what = strtok_r(line, " \r", &rest);
    const char *how = what ? strtok_r(NULL, " \r", &rest) : NULL;
    const char *number = how ? strtok_r(NULL, " \r", &rest) : NULL;
    if (!what || strcmp(what, "top") != 0)
        return false;
    *json = !how || strcmp(how, "json") == 0;
    *most = number ? strtoul(number, NULL, 10) : MOST;
    if (*most > MOST_EVER)
        *most = MOST_EVER;
    return *json || strcmp(how, "text") == 0;
}

static void answer(const struct cli_control *control, int fd)
{
    static const char unknown[] = "{\"error\":\"expected: top json or top text\"}\n";
    static const char no_memory[] = "{\"error\":\"not enough memory\"}\n";
    static const struct timeval patience = {1, 0};
    char line[REQUEST_MAX];
    bool json;
    size_t most;
    size_t len;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!read_line(fd, line))
        return;
    if (!understand(line, &json, &most)) {
        send_all(fd, unknown, sizeof unknown - 1);
        return;
    }
    char *text = cli_snapshot(control->g, most, json, &len);
    if (text)
        send_all(fd, text, len);
    else
        send_all(fd, no_memory, sizeof no_memory - 1);
    free(text);
}

static void *run(void *arg)
{
    const struct cli_control *control = arg;
    struct pollfd polled[] = {{control->fd, POLLIN, 0}, {control->stop[0], POLLIN, 0}};
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (polled[1].revents)
            return NULL;
        int fd = polled[0].revents ? accept4(control->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            answer(control, fd);
            close(fd);
        } else if (polled[0].revents && errno != EAGAIN) {
            poll(&polled[1], 1, 100); /* out of descriptors: not at once again */
        }
    }
}

/* --- Life ------------------------------------------------------------------------------------- */

/* Under a name of its own first: there is no moment without a socket, nor one with wider rights. */
static int listen_at(struct cli_control *control)
{
    struct stat info;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path, sizeof address.sun_path, "%s.%ld", control->path,
                       (long)getpid());
    if (len < 0 || (size_t)len >= sizeof address.sun_path)
        return ENAMETOOLONG;
    if (lstat(control->path, &info) == 0 && !S_ISSOCK(info.st_mode))
        return EEXIST;
    unlink(address.sun_path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (control->fd < 0 || fchmod(control->fd, 0600) != 0 ||
        bind(control->fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0)
        return errno;
    if (chmod(address.sun_path, 0600) == 0 && lstat(address.sun_path, &control->socket) == 0 &&
        listen(control->fd, QUEUE) == 0 && rename(address.sun_path, control->path) == 0)
        return 0;
    int error = errno;
    unlink(address.sun_path);
    return error;
}

static void remove_socket(const struct cli_control *control)
{
    struct stat info;
    if (lstat(control->path, &info) == 0 && info.st_ino == control->socket.st_ino &&
        info.st_dev == control->socket.st_dev)
        unlink(control->path);
}

static void free_control(struct cli_control *control)
{
    if (control->fd >= 0)
        close(control->fd);
    if (control->stop[0] >= 0) {
        close(control->stop[0]);
        close(control->stop[1]);
    }
    free(control);
}

struct cli_control *cli_control_start(struct tidegate *g, const char *path, int *error)
{
    struct cli_control *control = calloc(1, sizeof *control);
    *error = ENOMEM;
    if (!control)
        return NULL;
    *control = (struct cli_control){.g = g, .path = path, .fd = -1, .stop = {-1, -1}};
    *error = pipe2(control->stop, O_CLOEXEC) == 0 ? listen_at(control) : errno;
    if (!*error) {
        *error = pthread_create(&control->thread, NULL, run, control);
        if (*error)
            remove_socket(control);
    }
    if (!*error)
        return control;
    free_control(control);
    return NULL;
}

void cli_control_stop(struct cli_control *control)
{
    if (!control)
        return;
    remove_socket(control);
    ssize_t n = write(control->stop[1], "", 1);
    (void)n;
    pthread_join(control->thread, NULL);
    free_control(control);
}
