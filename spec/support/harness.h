/* harness.h - what the parts of the harness share. */
#ifndef TG_SPEC_HARNESS_H
#define TG_SPEC_HARNESS_H

#include <lua.h>

/* All times in seconds in Lua, in milliseconds of the monotonic clock here. */
double harness_now(void);
double harness_deadline(lua_State *L, int index); /* from the timeout at index, or 5 s */
int harness_ms_until(double deadline);

/* 1: ready, 0: the deadline has passed, -1: errno. */
int harness_wait(int fd, short events, double deadline);

/* Pushes nil and a word: "timeout", "closed", "reset", "again" or the system's text. */
int harness_fail(lua_State *L, int error);

/* A class whose objects close_fn closes: as a method, by collection and by <close>. */
void harness_class(lua_State *L, const char *name, lua_CFunction close_fn);

int harness_socket_fd(lua_State *L, int index); /* of a socket of ours; -1: closed */

/* Each adds its functions to the table on top of the stack. */
void harness_add_sockets(lua_State *L);
void harness_add_processes(lua_State *L);

#endif
