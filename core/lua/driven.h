/* driven.h - a coroutine that waits for a body which goes on by itself (body/source.h). */
#ifndef TG_LUA_DRIVEN_H
#define TG_LUA_DRIVEN_H

#include <lua.h>

#include "body/source.h"

struct tg_call;
struct tg_task;

/* In Lua's memory, on the stack of whoever waits. */
struct tg_driven {
    struct tg_call *call;
    struct tg_source *source; /* NULL: it is done, or was stopped */
    struct tg_task *task;
    enum tg_status status; /* how it ended */
};

/* Before a source that writes call's response is begun.  Raises where the caller cannot wait, and while
 * there is another source. */
void tg_driven_prepare(lua_State *L, struct tg_driven *driven, struct tg_call *call);

/* Takes the source, flushes its writer, and suspends the caller until the source is done; then k runs,
 * which begins with tg_task_resumed() and goes on with tg_driven_check(). */
int tg_driven_wait(lua_State *L, struct tg_driven *driven, struct tg_source *source,
                   lua_KFunction k);

/* Raises what has ended the source, if that was an error. */
void tg_driven_check(lua_State *L, const struct tg_driven *driven);

/* Ends the wait with this status, if its source is not done yet.  From inside Lua, too.  NULL is fine. */
void tg_driven_stop(struct tg_driven *driven, enum tg_status status);

#endif
