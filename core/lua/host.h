/* host.h - what a gateway lends to each script that it loads, and what the script may say of it. */
#ifndef TG_LUA_HOST_H
#define TG_LUA_HOST_H

#include <stdint.h>

struct tg_post;
struct tg_stores;
struct tg_streams;

/* Borrowed: all of it outlives the state. */
struct tg_lua_host {
    struct tg_stores *stores;   /* behind tg.shared */
    struct tg_post *post;       /* the worker's, behind tg.topic */
    struct tg_streams *streams; /* the worker's, behind tg.sse */
    unsigned worker;            /* its number, from 1 on */
    uint64_t generation;
};

#endif
