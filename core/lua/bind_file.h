/* bind_file.h - tg.file: a file as a body. */
#ifndef TG_LUA_BIND_FILE_H
#define TG_LUA_BIND_FILE_H

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#include <lua.h>

#include "util/slice.h"

#define TG_FILE_TYPE "tidegate.File"

struct tg_out;

/* What tg.file(path, options) was given.  Texts are in user values. */
struct tg_file {
    bool ranges;
    bool follow;     /* links out of the root, too */
    bool by_reading; /* not by sendfile */
    bool tagged;     /* has an ETag; the file's own where TG_FILE_ETAG is nil */
    bool dated;      /* has a Last-Modified; the file's own unless date_given */
    bool date_given;
    bool download; /* is to be saved, as TG_FILE_NAME */
    time_t modified;
};

enum {
    TG_FILE_PATH = 1,
    TG_FILE_ROOT, /* the folder that the path is below; or nil */
    TG_FILE_CONTENT_TYPE,
    TG_FILE_ETAG,
    TG_FILE_NAME,
    TG_FILE_TEXTS = TG_FILE_NAME,
};

/* A text of the file at index, good for as long as it; p is NULL where it has none. */
struct tg_slice tg_file_text(lua_State *L, int index, int which);

void tg_file_open(lua_State *L); /* makes the metatable; once per state */
int tg_file_new(lua_State *L);   /* tg.file(path[, options]) */

/* Opens the file at index and raises, with the status of the answer, when that is not possible: it is
 * missing, may not be read, is outside of its root, is no regular file.  Never waits for a FIFO's
 * other end or for a device. */
int tg_file_open_fd(lua_State *L, int index, struct stat *info);

/* Opens a path below root as open() does with these flags; with follow, links may lead anywhere.  -1
 * with errno; raises only for a root that is none. */
int tg_file_open_below(lua_State *L, const char *root, const char *path, bool follow, int flags);

#endif
