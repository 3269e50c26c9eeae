/* loop.c - event bases, and eventfd as the way in. */
#include "io/loop.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/mem.h"

struct tg_wake {
    int fd;
    struct event *event;
    void (*fn)(void *arg);
    void *arg;
};

struct event_base *tg_loop_new(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV |
                                      EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct tg_wake *wake = arg;
    uint64_t count;
    if (read(fd, &count, sizeof count) == sizeof count)
        wake->fn(wake->arg);
}

struct tg_wake *tg_wake_new(struct event_base *base, void (*fn)(void *arg), void *arg)
{
    struct tg_wake *wake = tg_calloc(1, sizeof *wake);
    if (!wake)
        return NULL;
    wake->fn = fn;
    wake->arg = arg;
    wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake->fd < 0)
        goto fail;
    wake->event = event_new(base, wake->fd, EV_READ | EV_PERSIST, on_wake, wake);
    if (!wake->event || event_add(wake->event, NULL) != 0)
        goto fail;
    return wake;

fail:
    tg_wake_free(wake);
    return NULL;
}

void tg_wake_free(struct tg_wake *wake)
{
    if (!wake)
        return;
    if (wake->event)
        event_free(wake->event);
    if (wake->fd >= 0)
        close(wake->fd);
    tg_free(wake);
}

void tg_wake(struct tg_wake *wake)
{
    int saved = errno; /* a signal handler must leave it alone */
    uint64_t one = 1;
    ssize_t n = write(wake->fd, &one, sizeof one);
    (void)n; /* full means that a wake is already due */
    errno = saved;
}
