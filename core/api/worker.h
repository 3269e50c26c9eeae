/* worker.h - one loop with everything that it serves: a server, an engine, a script. */
#ifndef TG_API_WORKER_H
#define TG_API_WORKER_H

#include <stdbool.h>

#include "engine/exchange.h"
#include "http/server.h"
#include "lua/script.h"

struct tg_worker {
    struct event_base *base;
    bool own_base;
    struct tg_limits limits;
    const struct tg_log *log;
    struct tg_gather gather;
    struct tg_engine engine;
    struct tg_server *server;
    struct tg_lua_script *script;
};

struct tg_worker_options {
    struct event_base *base; /* NULL: one of its own */
    const struct tg_log *log;
    bool access_log;
    bool dev;
    const char *path; /* as in tg_lua_script_options */
    const char *text;
    int (*setup)(struct lua_State *L, void *arg);
    void *setup_arg;
};

/* Loads the script; listens to nothing yet.  On a failure w is to be closed all the same. */
enum tg_status tg_worker_open(struct tg_worker *w, const struct tg_worker_options *options,
                              struct tg_buf *problems);
void tg_worker_close(struct tg_worker *w); /* ends every exchange */

#endif
