/* life.h - what a service says about its own life: on_start, on_stop and check. */
#ifndef TG_LUA_LIFE_H
#define TG_LUA_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "lua/host.h"
#include "lua/state.h"

struct tg_buf;
struct tg_task;

struct tg_lua_life {
    struct tg_lua *lua;
    struct tg_lua_host host;
    int on_start; /* references */
    int on_stop;
    int check;
    int service;            /* its table, where it has a check */
    struct tg_buf *problem; /* where what is wrong goes, while check runs */
    struct tg_task *task;
    const char *running; /* the name of what task runs; NULL: nothing */
    bool stopped;        /* on_stop was called */
    uint64_t drain;      /* milliseconds that detached tasks have after it; 0: no limit */
    void (*done)(void *arg);
    void *arg;
};

/* Takes the functions of the service table at index. */
void tg_lua_life_load(lua_State *L, struct tg_lua_life *life, int index);
void tg_lua_life_fini(struct tg_lua_life *life); /* cancels what runs */

/* On the loop's thread.  Begins check(gateway), a task that may wait: what it raises, and what it says
 * when it returns false, is added to problem.  done(arg) is called from the loop when it has ended.  False:
 * it has already, and done is not called. */
bool tg_lua_life_check(struct tg_lua_life *life, struct tg_buf *problem, void (*done)(void *arg),
                       void *arg);

/* On the loop's thread.  Begins on_start(gateway), a task that may wait; what it raises is logged. */
void tg_lua_life_start(struct tg_lua_life *life);

/* Begins on_stop(gateway), once, and then waits for the detached tasks of its exchanges, for no longer
 * than drain: done(arg) is called from the loop after it.  False: there is nothing to wait for (any
 * more); done is not called. */
bool tg_lua_life_stop(struct tg_lua_life *life, uint64_t drain, void (*done)(void *arg), void *arg);

#endif
