/* beneath.c - openat2() with RESOLVE_BENEATH, and the same by hand. */
#include "io/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 64, /* folders, each of which is held */
    LINKS_MAX = 40,
    TRIES = 4, /* EAGAIN: something was moved while the kernel looked at ".." */
};

struct walk {
    int folders[DEPTH_MAX]; /* the first one is not ours */
    int depth;
    int links;
    char rest[PATH_MAX];
};

static int refuse(int error)
{
    errno = error;
    return -1;
}

/* Takes the next name off the rest; false at its end. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1], size_t *len)
{
    const char *from = w->rest + strspn(w->rest, "/");
    *len = strcspn(from, "/");
    if (!*len)
        return false;
    if (*len <= NAME_MAX) {
        memcpy(name, from, *len);
        name[*len] = '\0';
    }
    memmove(w->rest, from + *len, strlen(from + *len) + 1);
    return true;
}

/* What is behind the link goes before the rest of the way. */
static int follow(struct walk *w, int link)
{
    char way[PATH_MAX];
    ssize_t n = readlinkat(link, "", way, sizeof way);
    if (n < 0)
        return -1;
    if (++w->links > LINKS_MAX)
        return refuse(ELOOP);
    if (n > 0 && way[0] == '/')
        return refuse(EXDEV);
    if ((size_t)n + strlen(w->rest) >= sizeof way)
        return refuse(ENAMETOOLONG);
    memcpy(way + n, w->rest, strlen(w->rest) + 1); /* it begins with a slash, or is empty */
    memcpy(w->rest, way, strlen(way) + 1);
    return 0;
}

static int go_up(struct walk *w)
{
    if (w->depth == 0)
        return refuse(EXDEV);
    close(w->folders[w->depth--]);
    return 0;
}

static int go_down(struct walk *w, int folder)
{
    if (w->depth == DEPTH_MAX - 1)
        return refuse(ENAMETOOLONG);
    w->folders[++w->depth] = folder;
    return 0;
}

/* Goes on by a name.  0: there is more to do; 1: it is the last one, and no folder to go through. */
static int step(struct walk *w, const char *name)
{
    struct stat info;
    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0)
        return go_up(w);
    int fd = openat(w->folders[w->depth], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fstat(fd, &info);
    if (result == 0 && S_ISDIR(info.st_mode)) {
        result = go_down(w, fd);
        if (result == 0)
            return 0; /* the walk keeps it */
    } else if (result == 0 && S_ISLNK(info.st_mode)) {
        result = follow(w, fd);
    } else if (result == 0) {
        result = *w->rest ? refuse(ENOTDIR) : 1;
    }
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static int walk(struct walk *w, int flags)
{
    char name[NAME_MAX + 1];
    size_t len;
    while (next_name(w, name, &len)) {
        if (len > NAME_MAX)
            return refuse(ENAMETOOLONG);
        int last = step(w, name);
        if (last < 0)
            return -1;
        if (last)
            return openat(w->folders[w->depth], name, flags | O_NOFOLLOW);
    }
    return openat(w->folders[w->depth], ".", flags);
}

int tg_open_beneath_by_steps(int folder, const char *path, int flags)
{
    struct walk w = {.folders = {folder}};
    if (*path == '/')
        return refuse(EXDEV);
    if (!*path)
        return refuse(ENOENT);
    if (strlen(path) >= sizeof w.rest)
        return refuse(ENAMETOOLONG);
    memcpy(w.rest, path, strlen(path) + 1);
    int fd = walk(&w, flags);
    int error = errno;
    while (w.depth)
        close(w.folders[w.depth--]);
    errno = error;
    return fd;
}

int tg_open_beneath(int folder, const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int i = 0; i < TRIES; i++) {
        long fd = syscall(SYS_openat2, folder, path, &how, sizeof how);
        if (fd >= 0)
            return (int)fd;
        if (errno == ENOSYS || errno == EPERM)
            break;
        if (errno != EAGAIN)
            return -1;
    }
    return tg_open_beneath_by_steps(folder, path, flags);
}
