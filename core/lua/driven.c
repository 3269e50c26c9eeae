/* driven.c - between a source's callbacks and a task. */
#include "lua/driven.h"

#include <lauxlib.h>

#include "lua/bind_writer.h"
#include "lua/call.h"
#include "lua/task.h"

static struct tg_source *take_source(struct tg_driven *driven)
{
    struct tg_source *source = driven->source;
    driven->source = NULL;
    if (source)
        driven->call->driven = NULL;
    return source;
}

static void on_done(void *arg, enum tg_status status)
{
    struct tg_driven *driven = arg;
    take_source(driven);
    driven->status = status;
    tg_task_wake(driven->task);
}

static void drop_source(void *arg)
{
    struct tg_source *source = take_source(arg);
    if (source)
        source->stop(source);
}

void tg_driven_prepare(lua_State *L, struct tg_driven *driven, struct tg_call *call)
{
    if (call->driven)
        luaL_error(L, "another body is being written to the response");
    *driven = (struct tg_driven){.call = call, .task = tg_task_check(L)};
}

int tg_driven_wait(lua_State *L, struct tg_driven *driven, struct tg_source *source,
                   lua_KFunction k)
{
    struct tg_task_wait wait = {drop_source, driven};
    driven->source = source;
    driven->call->driven = driven;
    source->done = on_done;
    source->arg = driven;
    enum tg_status status = tg_writer_flush(driven->call->out.writer);
    if (status < 0)
        drop_source(driven);
    tg_out_check(L, status);
    return tg_task_wait(L, &wait, k);
}

void tg_driven_check(lua_State *L, const struct tg_driven *driven)
{
    tg_out_check(L, driven->status);
}

void tg_driven_stop(struct tg_driven *driven, enum tg_status status)
{
    if (!driven || !driven->source)
        return;
    drop_source(driven);
    driven->status = status;
    tg_task_wake_later(driven->task);
}
