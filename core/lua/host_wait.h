/* host_wait.h - functions of the host's that suspend the script which calls them. */
#ifndef TG_LUA_HOST_WAIT_H
#define TG_LUA_HOST_WAIT_H

#include <lua.h>

struct tidegate_ticket;

struct tg_host_wait {
    void (*begin)(struct tidegate_ticket *ticket,
                  void *arg);               /* at once: the ticket is the host's */
    int (*finish)(lua_State *L, void *arg); /* the ticket was resumed: pushes the results */
    void (*cancelled)(void *arg);           /* instead: the script has been given up; may be NULL */
    void *arg;
};

/* The last that a C function called from a script does, as what it returns.  Raises where nothing can
 * wait, or without memory, and nothing of wait is called then. */
int tg_host_wait(lua_State *L, const struct tg_host_wait *wait);

#endif
