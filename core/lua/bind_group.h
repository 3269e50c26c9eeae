/* bind_group.h - groups: tasks whose ends one task waits for, one after the other. */
#ifndef TG_LUA_BIND_GROUP_H
#define TG_LUA_BIND_GROUP_H

#include <lua.h>

struct tg_spawned;

void tg_group_open(lua_State *L); /* adds group to the table on top; once per state */

/* For bind_task.c: the task, which may be in a group, is over. */
void tg_group_ended(struct tg_spawned *spawned);

#endif
