/* host_wait.c - a task that waits for a ticket. */
#include "lua/host_wait.h"

#include <lauxlib.h>

#include "io/port.h"
#include "lua/host.h"
#include "lua/task.h"
#include "util/mem.h"

struct waiting {
    struct tg_host_wait wait;
    struct tg_task *task;
    struct tidegate_ticket *ticket;
};

static void on_resumed(void *target)
{
    struct waiting *waiting = target;
    waiting->ticket = NULL;
    tg_task_wake(waiting->task);
}

static void on_cancelled(void *arg)
{
    struct waiting *waiting = arg;
    struct tg_host_wait wait = waiting->wait;
    tg_ticket_leave(waiting->ticket);
    tg_free(waiting);
    if (wait.cancelled)
        wait.cancelled(wait.arg);
}

/* Stack: …, waiting. */
static int over(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct waiting *waiting = lua_touserdata(L, -1);
    struct tg_host_wait wait = waiting->wait;
    lua_pop(L, 1);
    tg_free(waiting);
    return wait.finish(L, wait.arg);
}

int tg_host_wait(lua_State *L, const struct tg_host_wait *wait)
{
    struct tg_task *task = tg_task_check(L);
    luaL_checkstack(L, 1, NULL);
    struct waiting *waiting = tg_malloc(sizeof *waiting);
    struct tidegate_ticket *ticket =
        waiting ? tg_ticket_new(tg_lua_host(L)->port, on_resumed, waiting) : NULL;
    if (!ticket) {
        tg_free(waiting);
        return luaL_error(L, "not enough memory");
    }
    *waiting = (struct waiting){.wait = *wait, .task = task, .ticket = ticket};
    lua_pushlightuserdata(L, waiting);
    wait->begin(ticket, wait->arg);
    struct tg_task_wait armed = {on_cancelled, waiting};
    return tg_task_wait(L, &armed, over);
}
