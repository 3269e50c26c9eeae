/* channel.h - channels: a queue with room for so many, and tasks that wait at both ends. */
#ifndef TG_LUA_CHANNEL_H
#define TG_LUA_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <lua.h>

#include "lua/task.h"

#define TG_CHANNEL_TYPE "tidegate.Channel"

enum { TG_SELECT_MAX = 100 }; /* channels that one task waits for */

struct tg_spawned;
struct tg_waiter;

/* A place in a channel's queue. */
struct tg_cell {
    TAILQ_ENTRY(tg_cell) link;
    struct tg_channel *channel; /* NULL: it is in no queue */
    struct tg_waiter *waiter;
    bool puts;
};
TAILQ_HEAD(tg_cells, tg_cell);

/* One that is known to put to the channel, by ch:producer(task). */
struct tg_claim {
    LIST_ENTRY(tg_claim) of_channel;
    LIST_ENTRY(tg_claim) of_task;
    struct tg_channel *channel;
};
LIST_HEAD(tg_claims, tg_claim);

/* A userdata.  Its user value is the buffer: a table with what is in the channel, from first to last.
 * Getters wait only while that is empty, putters only while it is full. */
struct tg_channel {
    lua_Integer capacity;
    lua_Integer first;
    lua_Integer last;
    struct tg_cells getters;
    struct tg_cells putters;
    uint64_t scope; /* that has made it */
    bool shared;    /* others may put to it, now or later */
    bool fed;       /* a task of its scope has put to it, or is likely to */
    bool closed;
    bool orphaned; /* those that were to put to it have ended */
    struct tg_claims claims;
};

enum tg_channel_result {
    TG_CHANNEL_OK,
    TG_CHANNEL_WAIT,   /* it is empty, or full */
    TG_CHANNEL_CLOSED, /* and empty, for a getter */
    TG_CHANNEL_STUCK,  /* nobody is left who could do the other half */
};

void tg_channel_open(lua_State *L); /* once per state */

/* The channel at index; raises when it is none. */
struct tg_channel *tg_channel_check(lua_State *L, int index);

/* Pushes a new channel, of the scope of the task that runs. */
struct tg_channel *tg_channel_new(lua_State *L, lua_Integer capacity, bool shared);

/* Puts the value at index into the channel at `channel`, or pushes the first that is in it, if that can
 * be done without waiting.  May raise when out of memory. */
enum tg_channel_result tg_channel_put(lua_State *L, int channel, int index);
enum tg_channel_result tg_channel_get(lua_State *L, int channel);

/* Who waits to put is told that it is closed, as is who waits to get. */
void tg_channel_close(struct tg_channel *channel);

/* The task is likely to put to the channel: to let go of it is the task's last act. */
void tg_channel_claim(lua_State *L, struct tg_channel *channel, struct tg_spawned *spawned);
void tg_channel_unclaim(struct tg_spawned *spawned); /* it is over */

/* A task is spawned with the function at index fn and the nargs values above it: those channels among
 * its arguments and upvalues that were made in this scope will be fed. */
void tg_channel_given(lua_State *L, int fn, int nargs);

/* --- Waiting ---------------------------------------------------------------------------------- */

/* Pushes a waiter for count channels, which is to be closed when the function returns that calls this:
 * until then nothing may be popped below it. */
struct tg_waiter *tg_waiter_new(lua_State *L, int count);

/* Sets what the nth waits for: to get from the channel at index, or to put value (a place on the stack)
 * to it if that is not 0. */
void tg_waiter_set(lua_State *L, struct tg_waiter *waiter, int n, int channel, int value);

/* Waits for the first that happens.  timeout may be NULL.  k begins with tg_task_resumed(). */
int tg_waiter_wait(lua_State *L, struct tg_waiter *waiter, const struct timeval *timeout,
                   lua_KFunction k);

/* What has happened: n is the one; 0, and TG_CHANNEL_WAIT, when the time was over.  For a getter and
 * TG_CHANNEL_OK it pushes the value, once.  index: of the waiter. */
enum tg_channel_result tg_waiter_result(lua_State *L, int index, int *n);

#endif
