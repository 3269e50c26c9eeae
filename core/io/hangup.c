/* hangup.c - an epoll below the loop's, which knows sockets by nothing but their end. */
#include "io/hangup.h"

#include <sys/epoll.h>
#include <unistd.h>

enum { AT_ONCE = 64 };

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct tg_hangups *all = arg;
    struct epoll_event events[AT_ONCE];
    int count = epoll_wait(fd, events, AT_ONCE, 0);
    for (int i = 0; i < count; i++)
        all->fn(all->arg, events[i].data.u64);
}

enum tg_status tg_hangups_init(struct tg_hangups *all, struct event_base *base,
                               void (*fn)(void *arg, uint64_t id), void *arg)
{
    all->fn = fn;
    all->arg = arg;
    all->fd = epoll_create1(EPOLL_CLOEXEC);
    if (all->fd < 0)
        return TG_ENOMEM;
    event_assign(&all->readable, base, all->fd, EV_READ | EV_PERSIST, on_readable, all);
    if (event_add(&all->readable, NULL) == 0)
        return TG_OK;
    close(all->fd);
    all->fd = -1;
    return TG_ENOMEM;
}

void tg_hangups_fini(struct tg_hangups *all)
{
    if (all->fd < 0)
        return;
    event_del(&all->readable);
    close(all->fd);
    all->fd = -1;
}

void tg_hangups_add(struct tg_hangups *all, int fd, uint64_t id)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = id};
    int refused = epoll_ctl(all->fd, EPOLL_CTL_ADD, fd, &event);
    (void)refused;
}

void tg_hangups_remove(struct tg_hangups *all, int fd)
{
    int refused = epoll_ctl(all->fd, EPOLL_CTL_DEL, fd, NULL);
    (void)refused;
}
