/* host_wait.c - a task that waits for a ticket. */
#include "lua/host_wait.h"

#include <stdbool.h>

#include <lauxlib.h>

#include "io/port.h"
#include "lua/host.h"
#include "lua/task.h"

#define WAIT_TYPE "tidegate.HostWait"

/* A <close> variable of the function that waits: whichever way that ends, the host hears of it once. */
struct waiting {
    struct tg_host_wait wait;
    struct tg_task *task;
    struct tidegate_ticket *ticket; /* NULL: it was resumed */
    bool told;                      /* finish or cancelled was called, or neither is to be */
};

static void on_resumed(void *target)
{
    struct waiting *waiting = target;
    waiting->ticket = NULL;
    tg_task_wake(waiting->task);
}

static int give_up(lua_State *L)
{
    struct waiting *waiting = luaL_checkudata(L, 1, WAIT_TYPE);
    if (waiting->ticket)
        tg_ticket_leave(waiting->ticket);
    waiting->ticket = NULL;
    bool told = waiting->told;
    waiting->told = true;
    if (!told && waiting->wait.cancelled)
        waiting->wait.cancelled(waiting->wait.arg);
    return 0;
}

static void push_type(lua_State *L)
{
    if (!luaL_newmetatable(L, WAIT_TYPE))
        return;
    lua_pushcfunction(L, give_up);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, give_up);
    lua_setfield(L, -2, "__gc"); /* where closers do not run: limits.script */
}

/* Stack: …, waiting. */
static int over(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct waiting *waiting = lua_touserdata(L, -1);
    waiting->told = true;
    return waiting->wait.finish(L, waiting->wait.arg);
}

int tg_host_wait(lua_State *L, const struct tg_host_wait *wait)
{
    struct tg_task_wait armed = {NULL, NULL}; /* closing it is all that is to be done */
    struct tg_task *task = tg_task_check(L);
    luaL_checkstack(L, 3, NULL);
    struct waiting *waiting = lua_newuserdatauv(L, sizeof *waiting, 0);
    *waiting = (struct waiting){.wait = *wait, .task = task, .told = true};
    push_type(L);
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    waiting->ticket = tg_ticket_new(tg_lua_host(L)->port, on_resumed, waiting);
    if (!waiting->ticket)
        return luaL_error(L, "not enough memory");
    waiting->told = false;
    wait->begin(waiting->ticket, wait->arg);
    return tg_task_wait(L, &armed, over);
}
