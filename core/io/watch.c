/* watch.c - watches folders, and looks for the names of files in what they tell. */
#include "io/watch.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>

#include "util/mem.h"

enum { BUFFER = 16384 };

static const struct timeval rest = {0, (suseconds_t)TG_WATCH_REST_MS * 1000};

struct file {
    char *path; /* as it was given; the name is its last part */
    int folder; /* inotify's number for it; -1 once it has gone */
};

struct tg_watch {
    int fd;
    struct event *readable;
    struct event *rested;
    void (*fn)(void *arg);
    void *arg;
    pthread_mutex_t lock; /* of the files */
    struct file files[TG_WATCH_FILES_MAX];
    size_t count;
};

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- What inotify tells ------------------------------------------------------------------------- */

/* A file that is created is not written yet: its close is the save.  A link is whole at once. */
static bool is_save(const struct file *file, uint32_t mask)
{
    struct stat info;
    if (!(mask & IN_CREATE))
        return true;
    return lstat(file->path, &info) == 0 && S_ISLNK(info.st_mode);
}

/* With watch->lock held. */
static bool concerns_us(struct tg_watch *watch, const struct inotify_event *event)
{
    bool ours = (event->mask & IN_Q_OVERFLOW) != 0;
    for (size_t i = 0; i < watch->count; i++) {
        struct file *file = &watch->files[i];
        if (file->folder != event->wd)
            continue;
        if (event->mask & IN_IGNORED)
            file->folder = -1;
        else if (event->len && strcmp(event->name, name_of(file->path)) == 0)
            ours = ours || is_save(file, event->mask);
    }
    return ours;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct tg_watch *watch = arg;
    _Alignas(struct inotify_event) char buffer[BUFFER];
    bool ours = false;
    ssize_t n = read(fd, buffer, sizeof buffer);
    pthread_mutex_lock(&watch->lock);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *event = (const void *)(buffer + at);
        ours = concerns_us(watch, event) || ours;
        at += (ssize_t)(sizeof *event + event->len);
    }
    pthread_mutex_unlock(&watch->lock);
    if (ours)
        event_add(watch->rested, &rest);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    const struct tg_watch *watch = arg;
    watch->fn(watch->arg);
}

/* --- Files -------------------------------------------------------------------------------------- */

static int watch_folder(const struct tg_watch *watch, const char *path)
{
    char folder[PATH_MAX];
    size_t len = (size_t)(name_of(path) - path);
    if (len >= sizeof folder)
        return -1;
    memcpy(folder, path, len);
    folder[len] = '\0';
    return inotify_add_watch(watch->fd, len ? folder : ".",
                             IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ONLYDIR);
}

/* With watch->lock held. */
static enum tg_status add(struct tg_watch *watch, const char *path)
{
    struct file *file = watch->files;
    const struct file *end = watch->files + watch->count;
    while (file < end && strcmp(file->path, path) != 0)
        file++;
    if (file < end && file->folder >= 0)
        return TG_OK;
    if (watch->count == TG_WATCH_FILES_MAX)
        return TG_ELIMIT;
    int folder = watch_folder(watch, path);
    if (folder < 0)
        return TG_EIO;
    if (file < end) {
        file->folder = folder;
        return TG_OK;
    }
    file->path = tg_strdup(path);
    if (!file->path)
        return TG_ENOMEM;
    file->folder = folder;
    watch->count++;
    return TG_OK;
}

enum tg_status tg_watch_add(struct tg_watch *watch, const char *path)
{
    char target[PATH_MAX];
    pthread_mutex_lock(&watch->lock);
    enum tg_status status = add(watch, path);
    if (status == TG_OK && realpath(path, target) && strcmp(target, path) != 0)
        status = add(watch, target);
    pthread_mutex_unlock(&watch->lock);
    return status;
}

/* --- Life --------------------------------------------------------------------------------------- */

struct tg_watch *tg_watch_new(struct event_base *base, void (*fn)(void *arg), void *arg)
{
    struct tg_watch *watch = tg_calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    watch->fn = fn;
    watch->arg = arg;
    pthread_mutex_init(&watch->lock, NULL);
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0)
        goto fail;
    watch->readable = event_new(base, watch->fd, EV_READ | EV_PERSIST, on_readable, watch);
    watch->rested = event_new(base, -1, 0, on_rested, watch);
    if (!watch->readable || !watch->rested || event_add(watch->readable, NULL) != 0)
        goto fail;
    return watch;

fail:
    tg_watch_free(watch);
    return NULL;
}

void tg_watch_free(struct tg_watch *watch)
{
    if (!watch)
        return;
    if (watch->readable)
        event_free(watch->readable);
    if (watch->rested)
        event_free(watch->rested);
    if (watch->fd >= 0)
        close(watch->fd);
    for (size_t i = 0; i < watch->count; i++)
        tg_free(watch->files[i].path);
    pthread_mutex_destroy(&watch->lock);
    tg_free(watch);
}
