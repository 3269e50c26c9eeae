/* watch.h - tells when one of some files was saved, whichever way: written, or renamed to (inotify). */
#ifndef TG_IO_WATCH_H
#define TG_IO_WATCH_H

#include "util/status.h"

struct event_base;
struct tg_watch;

enum { TG_WATCH_FILES_MAX = 4096, TG_WATCH_REST_MS = 50 };

/* fn(arg) runs on the loop's thread once a save has rested for TG_WATCH_REST_MS: saves that come closer
 * together are one.  NULL when out of memory or descriptors. */
struct tg_watch *tg_watch_new(struct event_base *base, void (*fn)(void *arg), void *arg);
void tg_watch_free(struct tg_watch *watch); /* on the loop's thread; NULL is fine */

/* Any thread.  The folder is watched, so that the file may go and come again; for a symbolic link, its
 * target's too.  What is watched already is fine.  TG_EIO: there is no such folder, or too many are
 * watched; TG_ELIMIT: TG_WATCH_FILES_MAX; TG_ENOMEM. */
enum tg_status tg_watch_add(struct tg_watch *watch, const char *path);

#endif
