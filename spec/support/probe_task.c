/* probe_task.c - opens Lua states and their tasks to specs, each state on a loop of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

#include "lua/bind_channel.h"
#include "lua/bind_group.h"
#include "lua/bind_task.h"
#include "lua/bind_time.h"
#include "lua/failure.h"
#include "lua/state.h"
#include "lua/task.h"
#include "util/mem.h"

#define STATE "probe.State"
#define TASK  "probe.Task"

enum { LINES_MAX = 64, PARKED_MAX = 16 };

/* A wait that the spec ends by its number. */
struct parked {
    struct state *state;
    struct tg_task *task;
};

struct state {
    struct event_base *base;
    struct tg_lua *lua;
    struct tg_log log;
    struct task *tasks;
    char *lines[LINES_MAX];
    size_t line_count;
    unsigned suspended;
    unsigned suspended_inside; /* of these, from inside Lua */
    unsigned cancelled;
    struct parked parked[PARKED_MAX];
    const char *text; /* for enter */
};

struct task {
    struct state *state;
    struct tg_task *task;
    struct tg_scope scope; /* once t:scope() was called */
    struct task *next;
    char *text;
    char *value;
    char *traceback;
    enum tg_lua_result result;
    unsigned done; /* calls of done */
    enum { KEEP, FREE, AGAIN, SILENT } then;
};

static const char *const results[] = {"done", "waiting", "failed", "nomem", "cancelled"};

/* --- Inside the state ------------------------------------------------------------------------- */

static void on_line(void *arg, enum tg_level level, const char *line)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    struct state *s = arg;
    if (s->line_count == LINES_MAX)
        return;
    size_t size = strlen(line) + 10;
    char *text = malloc(size);
    if (!text)
        return;
    snprintf(text, size, "%s: %s", levels[level], line);
    s->lines[s->line_count++] = text;
}

static void on_suspended(void *arg)
{
    struct state *s = arg;
    s->suspended++;
    s->suspended_inside += tg_lua_current(s->lua) != NULL;
}

static void unpark(void *arg)
{
    struct parked *parked = arg;
    parked->task = NULL;
    parked->state->cancelled++;
}

static int unparked(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

static struct state *state_of(lua_State *L)
{
    return tg_lua_user(tg_lua_of(L));
}

static int park_over(lua_State *L, int status, lua_KContext context)
{
    unparked(L, status, context);
    lua_pushboolean(L, tg_task_timed_out(tg_lua_current(tg_lua_of(L))));
    return 1;
}

/* park(n[, seconds]): waits until the spec wakes n; with a time, returns whether that was over. */
static int l_park(lua_State *L)
{
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    struct timeval tv = {0, (suseconds_t)(seconds * 1e6)};
    struct state *s = state_of(L);
    struct parked *parked = &s->parked[luaL_checkinteger(L, 1) % PARKED_MAX];
    struct tg_task_wait wait = {unpark, parked};
    struct tg_task *task = tg_task_check(L);
    *parked = (struct parked){s, task};
    if (seconds < 0)
        return tg_task_wait(L, &wait, unparked);
    if (tg_task_arm_timer(task, &tv) != TG_OK)
        return luaL_error(L, "not enough memory");
    return tg_task_wait(L, &wait, park_over);
}

/* cancel(n): cancels what waits for n, from inside Lua. */
static int l_cancel(lua_State *L)
{
    tg_task_cancel(state_of(L)->parked[luaL_checkinteger(L, 1) % PARKED_MAX].task);
    return 0;
}

/* unpark(n): wakes n from inside Lua. */
static int l_unpark(lua_State *L)
{
    struct parked *parked = &state_of(L)->parked[luaL_checkinteger(L, 1) % PARKED_MAX];
    struct tg_task *task = parked->task;
    parked->task = NULL;
    if (task)
        tg_task_wake(task);
    return 0;
}

/* early(): what it waits for happens while it is armed. */
static int l_early(lua_State *L)
{
    struct tg_task_wait wait = {NULL, NULL};
    struct tg_task *task = tg_task_check(L);
    tg_task_wake(task);
    return tg_task_wait(L, &wait, unparked);
}

/* armed(seconds): arms a timer and then does not wait, as a binding that fails on the way. */
static int l_armed(lua_State *L)
{
    struct timeval tv = {0, (suseconds_t)(luaL_checknumber(L, 1) * 1e6)};
    lua_pushboolean(L, tg_task_arm_timer(tg_task_check(L), &tv) == TG_OK);
    return 1;
}

/* used(): the bytes that are counted. */
static int l_used(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_lua_memory(tg_lua_of(L)));
    return 1;
}

/* yield(): a C library's, which knows nothing of tasks. */
static int l_foreign_yield(lua_State *L)
{
    return lua_yield(L, 0);
}

/* resume(co): likewise. */
static int l_foreign_resume(lua_State *L)
{
    int n;
    lua_State *co = lua_tothread(L, 1);
    int status = lua_resume(co, L, 0, &n);
    lua_pushinteger(L, status);
    if (status > LUA_YIELD)
        lua_xmove(co, L, 1);
    else
        lua_pushnil(L);
    return 2;
}

static int open_globals(lua_State *L)
{
    static const luaL_Reg functions[] = {{"park", l_park},
                                         {"unpark", l_unpark},
                                         {"cancel", l_cancel},
                                         {"early", l_early},
                                         {"armed", l_armed},
                                         {"used", l_used},
                                         {"foreign_yield", l_foreign_yield},
                                         {"foreign_resume", l_foreign_resume},
                                         {NULL, NULL}};
    tg_failure_open(L);
    lua_newtable(L);
    tg_time_open(L);
    tg_task_open(L);
    tg_group_open(L);
    tg_channels_open(L);
    tg_failure_push_closed(L);
    lua_setfield(L, -2, "closed");
    lua_setglobal(L, "tg");
    luaL_newlib(L, functions);
    lua_setglobal(L, "probe");
    return 0;
}

/* --- Tasks ------------------------------------------------------------------------------------ */

/* By libc's own: the allocations that are made to fail are the library's. */
static void replace(char **text, const char *by)
{
    free(*text);
    *text = by ? strdup(by) : NULL;
}

/* Keeps what the chunk returned, which is above the argument, as text. */
static int chunk_done(lua_State *L, int status, lua_KContext context)
{
    luaL_Buffer text;
    int count = lua_gettop(L);
    struct task *t = lua_touserdata(L, 1);
    (void)status;
    (void)context;
    luaL_buffinit(L, &text);
    for (int i = 2; i <= count; i++) {
        if (i > 2)
            luaL_addchar(&text, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    replace(&t->value, lua_tostring(L, -1));
    return 0;
}

static int run_chunk(lua_State *L)
{
    const struct task *t = lua_touserdata(L, 1);
    if (luaL_loadbufferx(L, t->text, strlen(t->text), "=chunk", "t") != LUA_OK)
        return lua_error(L);
    lua_callk(L, 0, LUA_MULTRET, 0, chunk_done);
    return chunk_done(L, LUA_OK, 0);
}

static int take_error(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    tg_task_push_error(L, t->task);
    replace(&t->traceback, lua_tostring(L, -1));
    replace(&t->value, luaL_tolstring(L, -2, NULL));
    return 0;
}

static void note(struct task *t, enum tg_lua_result result)
{
    t->result = result;
    if ((result == TG_LUA_FAILED || result == TG_LUA_NOMEM) && t->then != SILENT)
        tg_lua_enter(t->state->lua, take_error, t);
}

static void on_done(void *owner, enum tg_lua_result result)
{
    struct task *t = owner;
    t->done++;
    note(t, result);
    if (t->then == FREE) {
        tg_task_free(t->task);
        t->task = NULL;
    } else if (t->then == AGAIN) {
        t->then = KEEP;
        note(t, tg_task_start(t->task, run_chunk, t));
    }
}

static struct state *state_at(lua_State *L)
{
    struct state *s = luaL_checkudata(L, 1, STATE);
    luaL_argcheck(L, s->lua, 1, "freed");
    return s;
}

static struct task *task_at(lua_State *L)
{
    return luaL_checkudata(L, 1, TASK);
}

/* s:task([then]): a task, which frees itself ("free") or starts again ("again") when it is done, or
 * is not asked what it failed with ("silent"). */
static int s_task(lua_State *L)
{
    static const char *const thens[] = {"keep", "free", "again", "silent", NULL};
    struct state *s = state_at(L);
    int then = luaL_checkoption(L, 2, "keep", thens);
    struct task *t = lua_newuserdatauv(L, sizeof *t, 1);
    *t = (struct task){.state = s, .then = then, .next = s->tasks};
    luaL_setmetatable(L, TASK);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    t->task = tg_task_new(s->lua, on_done, t);
    if (!t->task) {
        lua_pushnil(L);
        return 1;
    }
    s->tasks = t;
    lua_getiuservalue(L, 1, 1); /* the state's list: it goes through it when it is freed */
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    return 1;
}

/* t:start(text): how far it came. */
static int t_start(lua_State *L)
{
    struct task *t = task_at(L);
    replace(&t->text, luaL_checkstring(L, 2));
    replace(&t->value, NULL);
    note(t, tg_task_start(t->task, run_chunk, t));
    lua_pushstring(L, results[t->result]);
    return 1;
}

/* t:state(): how far it is, what came of it, the traceback, and how often done was called. */
static int t_state(lua_State *L)
{
    const struct task *t = task_at(L);
    bool waits = t->task && tg_task_waiting(t->task);
    lua_pushstring(L, waits ? "waiting" : results[t->result]);
    lua_pushstring(L, t->value);
    lua_pushstring(L, t->traceback);
    lua_pushinteger(L, t->done);
    return 4;
}

static int t_waiting(lua_State *L)
{
    lua_pushboolean(L, tg_task_waiting(task_at(L)->task));
    return 1;
}

static int t_cancel(lua_State *L)
{
    tg_task_cancel(task_at(L)->task);
    return 0;
}

/* t:scope(): what it spawns is its own from here on, as an exchange's is. */
static int t_scope(lua_State *L)
{
    struct task *t = task_at(L);
    tg_task_open_scope(t->task, &t->scope, t);
    return 0;
}

/* t:live(): how many it has spawned that have not ended. */
static int t_live(lua_State *L)
{
    lua_pushinteger(L, task_at(L)->scope.live);
    return 1;
}

/* t:over(): what an exchange does with its tasks at its end. */
static int t_over(lua_State *L)
{
    struct task *t = task_at(L);
    tg_task_cancel(t->task);
    tg_spawned_log(t->state->lua, &t->scope, NULL);
    return 0;
}

/* Wakes it, whatever it waits for. */
static int t_wake(lua_State *L)
{
    tg_task_wake(task_at(L)->task);
    return 0;
}

static int t_free(lua_State *L)
{
    struct task *t = task_at(L);
    tg_task_free(t->task);
    t->task = NULL;
    return 0;
}

/* Its state has freed the task before. */
static int t_gc(lua_State *L)
{
    struct task *t = task_at(L);
    replace(&t->text, NULL);
    replace(&t->value, NULL);
    replace(&t->traceback, NULL);
    return 0;
}

/* --- States ----------------------------------------------------------------------------------- */

static void free_state(struct state *s)
{
    for (; s->tasks; s->tasks = s->tasks->next) {
        tg_task_free(s->tasks->task);
        s->tasks->task = NULL;
    }
    tg_lua_free(s->lua);
    s->lua = NULL;
    for (size_t i = 0; i < s->line_count; i++)
        free(s->lines[i]);
    s->line_count = 0;
    if (s->base)
        event_base_free(s->base);
    s->base = NULL;
}

/* new([memory[, fail]]): nil when out of memory; fail is the allocation that fails. */
static int p_new(lua_State *L)
{
    size_t memory = (size_t)luaL_optinteger(L, 1, 0);
    unsigned fail = (unsigned)luaL_optinteger(L, 2, 0);
    struct state *s = lua_newuserdatauv(L, sizeof *s, 1);
    *s = (struct state){0};
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    s->base = event_base_new();
    s->log = (struct tg_log){on_line, s, TG_LOG_INFO};
    luaL_setmetatable(L, STATE);
    struct tg_lua_options options = {
        .memory_max = memory, .base = s->base, .log = &s->log, .suspended = on_suspended, .arg = s};
    tg_mem_fail_at(fail);
    s->lua = tg_lua_new(&options);
    tg_mem_fail_at(0);
    if (!s->lua) {
        lua_pushnil(L);
        return 1;
    }
    tg_lua_set_user(s->lua, s);
    if (tg_lua_enter(s->lua, open_globals, NULL) != TG_LUA_DONE)
        lua_pushnil(L);
    return 1;
}

static int s_free(lua_State *L)
{
    free_state(luaL_checkudata(L, 1, STATE));
    return 0;
}

static int enter_chunk(lua_State *L)
{
    const struct state *s = lua_touserdata(L, 1);
    if (luaL_loadbufferx(L, s->text, strlen(s->text), "=chunk", "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 0);
    return 0;
}

/* s:enter(text): the result, and the error. */
static int s_enter(lua_State *L)
{
    struct state *s = state_at(L);
    s->text = luaL_checkstring(L, 2);
    enum tg_lua_result result = tg_lua_enter(s->lua, enter_chunk, s);
    lua_pushstring(L, results[result]);
    lua_pushstring(L, result == TG_LUA_DONE ? NULL : tg_lua_error(s->lua));
    return 2;
}

/* Handles what there is to handle, once. */
static int s_step(lua_State *L)
{
    event_base_loop(state_at(L)->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return 0;
}

/* Until nothing more can happen by itself. */
static int s_loop(lua_State *L)
{
    event_base_dispatch(state_at(L)->base);
    return 0;
}

/* How many timers there are. */
static int s_events(lua_State *L)
{
    lua_pushinteger(L, event_base_get_num_events(state_at(L)->base, EVENT_BASE_COUNT_ADDED));
    return 1;
}

static int s_wake(lua_State *L)
{
    struct parked *parked = &state_at(L)->parked[luaL_checkinteger(L, 2) % PARKED_MAX];
    struct tg_task *task = parked->task;
    parked->task = NULL;
    if (task)
        tg_task_wake(task);
    lua_pushboolean(L, task != NULL);
    return 1;
}

static int s_memory(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_lua_memory(state_at(L)->lua));
    return 1;
}

static int s_log(lua_State *L)
{
    const struct state *s = state_at(L);
    lua_newtable(L);
    for (size_t i = 0; i < s->line_count; i++) {
        lua_pushstring(L, s->lines[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* How often a task has suspended, and how often that was told from inside a task. */
static int s_suspended(lua_State *L)
{
    const struct state *s = state_at(L);
    lua_pushinteger(L, s->suspended);
    lua_pushinteger(L, s->suspended_inside);
    return 2;
}

static int s_cancelled(lua_State *L)
{
    lua_pushinteger(L, state_at(L)->cancelled);
    return 1;
}

/* fail_at(n): the nth allocation from now fails; 0: none. */
static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

static void make_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_probe_task(lua_State *L);
int luaopen_probe_task(lua_State *L)
{
    static const luaL_Reg state[] = {
        {"task", s_task},           {"enter", s_enter},   {"step", s_step},
        {"loop", s_loop},           {"events", s_events}, {"wake", s_wake},
        {"memory", s_memory},       {"log", s_log},       {"suspended", s_suspended},
        {"cancelled", s_cancelled}, {"free", s_free},     {"__gc", s_free},
        {"__close", s_free},        {NULL, NULL},
    };
    static const luaL_Reg task[] = {
        {"start", t_start}, {"state", t_state}, {"waiting", t_waiting}, {"cancel", t_cancel},
        {"wake", t_wake},   {"free", t_free},   {"scope", t_scope},     {"live", t_live},
        {"over", t_over},   {"__gc", t_gc},     {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"new", p_new}, {"fail_at", p_fail_at}, {NULL, NULL}};
    make_class(L, STATE, state);
    make_class(L, TASK, task);
    luaL_newlib(L, functions);
    return 1;
}
