/* top.c - asks a control socket, once or each second, and shows the answer. */
#include "cli/top.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536 };

static int connect_to(const char *path, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (connect(*fd, (const struct sockaddr *)(const void *)&address, sizeof address) == 0)
        return 0;
    int error = errno;
    close(*fd);
    return error;
}

/* Everything up to the end, with a NUL behind it. */
static int read_all(int fd, char **text)
{
    size_t len = 0;
    size_t size = 0;
    for (;;) {
        if (size - len < CHUNK) {
            size = size * 2 + CHUNK + 1;
            char *p = realloc(*text, size);
            if (!p)
                return ENOMEM;
            *text = p;
        }
        ssize_t n = read(fd, *text + len, size - len - 1);
        if (n < 0)
            return errno;
        (*text)[len += (size_t)n] = '\0';
        if (!n)
            return len ? 0 : ECONNRESET;
    }
}

static int ask(const char *path, bool json, char **text)
{
    const char *request = json ? "top json\n" : "top text\n";
    int fd;
    int error = connect_to(path, &fd);
    if (error)
        return error;
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        error = errno;
    if (!error)
        error = read_all(fd, text);
    close(fd);
    return error;
}

/* No line is longer than the terminal is wide, nor are there more than it has. */
static void draw(const char *text)
{
    struct winsize window;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || !window.ws_row || !window.ws_col)
        window = (struct winsize){.ws_row = 24, .ws_col = 80};
    unsigned row = 1;
    unsigned column = 0;
    fputs("\033[H\033[2J", stdout);
    for (; *text && row < window.ws_row; text++) {
        if (*text == '\n') {
            row++;
            column = 0;
        } else if (((unsigned char)*text & 0xC0) != 0x80) {
            column++;
        }
        if (column <= window.ws_col)
            putchar(*text);
    }
    fflush(stdout);
}

int cli_top(const struct cli_top_options *options)
{
    static const struct timespec pause = {1, 0};
    bool once = options->once || options->json || !isatty(STDOUT_FILENO);
    for (;;) {
        char *text = NULL;
        int error = ask(options->control, options->json, &text);
        if (!error && once)
            fputs(text, stdout);
        else if (!error)
            draw(text);
        free(text);
        if (error || once)
            return error;
        nanosleep(&pause, NULL);
    }
}
