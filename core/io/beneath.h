/* beneath.h - files below a folder, whatever their paths and links say. */
#ifndef TG_IO_BENEATH_H
#define TG_IO_BENEATH_H

/* Opens path, which is relative to folder, as open() does with these flags, and returns the
 * descriptor; -1 with errno.  EXDEV: it leads out, by "..", by an absolute path or by a link of either
 * kind.  Links that stay below are followed. */
int tg_open_beneath(int folder, const char *path, int flags);

/* The same for a kernel that has no openat2(), or is not allowed to do it.  Holds every folder on the
 * way, so that one that is moved meanwhile leads nowhere else. */
int tg_open_beneath_by_steps(int folder, const char *path, int flags);

#endif
