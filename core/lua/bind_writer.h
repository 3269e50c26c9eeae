/* bind_writer.h - out: a body's writer as a script sees it, and waiting for it. */
#ifndef TG_LUA_BIND_WRITER_H
#define TG_LUA_BIND_WRITER_H

#include <lua.h>

#include "body/writer.h"

struct tg_out;

void tg_out_open(lua_State *L); /* makes the metatable; once per state */

/* Pushes the script's handle on out.  It may keep it: it raises tg.closed afterwards. */
void tg_out_push(lua_State *L, struct tg_out *out);

/* Suspends the caller until w may be written to again; then k runs, beginning with
 * tg_task_resumed(). */
int tg_out_wait(lua_State *L, struct tg_writer *w, lua_KFunction k);

/* Raises what a status below zero means to a producer; else does nothing. */
void tg_out_check(lua_State *L, enum tg_status status);

#endif
