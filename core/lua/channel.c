/* channel.c - values from hand to hand, in the order in which tasks have come for them. */
#include "lua/channel.h"

#include <lauxlib.h>

#include "lua/bind_task.h"
#include "util/mem.h"

#define WAITER_TYPE "tidegate.Waiter"

static const char waiters_key = 'w'; /* its address is the key of the table of waiters */

/* A userdata.  Its user values are, for each cell, the channel and the value that it puts or was given.
 * While it waits, C finds it by its address in a table with weak values. */
struct tg_waiter {
    struct tg_task *task;
    enum tg_channel_result result; /* TG_CHANNEL_WAIT until something has happened */
    int chosen;                    /* which it was, from 1 */
    int count;
    struct tg_cell cells[];
};

struct tg_channel *tg_channel_check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, TG_CHANNEL_TYPE);
}

static lua_Integer length(const struct tg_channel *ch)
{
    return ch->last - ch->first + 1;
}

/* --- Waiters ---------------------------------------------------------------------------------- */

static int channel_value(int n)
{
    return 2 * n - 1;
}

static int item_value(int n)
{
    return 2 * n;
}

static void leave(struct tg_cell *cell)
{
    struct tg_channel *ch = cell->channel;
    if (!ch)
        return;
    TAILQ_REMOVE(cell->puts ? &ch->putters : &ch->getters, cell, link);
    cell->channel = NULL;
}

static void leave_all(struct tg_waiter *w)
{
    for (int i = 0; i < w->count; i++)
        leave(&w->cells[i]);
}

/* Allocates nothing, and does not look at Lua. */
static void settle(struct tg_cell *cell, enum tg_channel_result result)
{
    struct tg_waiter *w = cell->waiter;
    leave_all(w);
    w->chosen = (int)(cell - w->cells) + 1;
    w->result = result;
    tg_task_wake_later(w->task);
}

static void settle_all(struct tg_cells *cells, enum tg_channel_result result)
{
    struct tg_cell *cell;
    while ((cell = TAILQ_FIRST(cells)) != NULL)
        settle(cell, result);
}

/* Pushes the waiter of the first of the cells; NULL when there is none. */
static struct tg_cell *push_first(lua_State *L, struct tg_cells *cells)
{
    struct tg_cell *cell;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiters_key);
    while ((cell = TAILQ_FIRST(cells)) != NULL) {
        if (lua_rawgetp(L, -1, cell->waiter) == LUA_TUSERDATA) {
            lua_remove(L, -2);
            return cell;
        }
        lua_pop(L, 1);
        leave_all(cell->waiter); /* it is about to be collected */
    }
    lua_pop(L, 1);
    return NULL;
}

static int number_of(const struct tg_cell *cell)
{
    return (int)(cell - cell->waiter->cells) + 1;
}

/* --- The queue -------------------------------------------------------------------------------- */

/* Gives the value at index to the getter that has waited the longest. */
static bool give(lua_State *L, struct tg_channel *ch, int index)
{
    index = lua_absindex(L, index);
    struct tg_cell *cell = push_first(L, &ch->getters);
    if (!cell)
        return false;
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, item_value(number_of(cell)));
    lua_pop(L, 1);
    settle(cell, TG_CHANNEL_OK);
    return true;
}

/* Pushes the value of the putter that has waited the longest, which has put it by that. */
static bool take(lua_State *L, struct tg_channel *ch)
{
    struct tg_cell *cell = push_first(L, &ch->putters);
    if (!cell)
        return false;
    lua_getiuservalue(L, -1, item_value(number_of(cell)));
    lua_remove(L, -2);
    settle(cell, TG_CHANNEL_OK);
    return true;
}

/* The value on top is the last one now.  Pops it. */
static void append(lua_State *L, int channel, struct tg_channel *ch)
{
    lua_getiuservalue(L, channel, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, ch->last + 1);
    ch->last++;
    lua_pop(L, 1);
}

enum tg_channel_result tg_channel_put(lua_State *L, int channel, int index)
{
    struct tg_channel *ch = lua_touserdata(L, channel);
    luaL_checkstack(L, 6, NULL);
    if (ch->closed)
        return TG_CHANNEL_CLOSED;
    if (give(L, ch, index))
        return TG_CHANNEL_OK;
    if (length(ch) >= ch->capacity)
        return TG_CHANNEL_WAIT;
    lua_pushvalue(L, index);
    append(L, channel, ch);
    return TG_CHANNEL_OK;
}

/* Pushes the first of the buffer, which makes room for one who waits to put. */
static void shift(lua_State *L, int channel, struct tg_channel *ch)
{
    lua_getiuservalue(L, channel, 1);
    lua_rawgeti(L, -1, ch->first);
    lua_pushnil(L);
    lua_rawseti(L, -3, ch->first++);
    lua_remove(L, -2);
    if (!length(ch)) { /* the table begins again with its first place */
        ch->first = 1;
        ch->last = 0;
    }
    if (length(ch) < ch->capacity && take(L, ch))
        append(L, channel, ch);
}

enum tg_channel_result tg_channel_get(lua_State *L, int channel)
{
    struct tg_channel *ch = lua_touserdata(L, channel);
    luaL_checkstack(L, 6, NULL);
    if (length(ch)) {
        shift(L, channel, ch);
        return TG_CHANNEL_OK;
    }
    if (take(L, ch))
        return TG_CHANNEL_OK;
    if (ch->closed)
        return TG_CHANNEL_CLOSED;
    return ch->orphaned ? TG_CHANNEL_STUCK : TG_CHANNEL_WAIT;
}

void tg_channel_close(struct tg_channel *channel)
{
    channel->closed = true;
    settle_all(&channel->getters, TG_CHANNEL_CLOSED);
    settle_all(&channel->putters, TG_CHANNEL_CLOSED);
}

/* --- Waiting ---------------------------------------------------------------------------------- */

struct tg_waiter *tg_waiter_new(lua_State *L, int count)
{
    struct tg_waiter *w =
        lua_newuserdatauv(L, sizeof *w + (size_t)count * sizeof *w->cells, 2 * count);
    w->task = NULL;
    w->result = TG_CHANNEL_WAIT;
    w->chosen = 0;
    w->count = count;
    for (int i = 0; i < count; i++)
        w->cells[i] = (struct tg_cell){.waiter = w};
    luaL_setmetatable(L, WAITER_TYPE);
    lua_toclose(L, -1);
    return w;
}

void tg_waiter_set(lua_State *L, struct tg_waiter *waiter, int n, int channel, int value)
{
    lua_pushvalue(L, channel);
    lua_setiuservalue(L, -2, channel_value(n));
    waiter->cells[n - 1].puts = value != 0;
    if (!value)
        return;
    lua_pushvalue(L, value);
    lua_setiuservalue(L, -2, item_value(n));
}

/* What the task waits for is in the waiter, which is closed with its coroutine: this is but a mark. */
static void nothing(void *arg)
{
    (void)arg;
}

static bool is_own(const struct tg_channel *ch, const struct tg_scope *scope)
{
    return !ch->shared && ch->scope == scope->number && LIST_EMPTY(&ch->claims);
}

/* Puts w, which is on top, into its channels' queues; whether all of these are its exchange's own. */
static bool enter(lua_State *L, struct tg_waiter *w)
{
    const struct tg_scope *scope = tg_task_scope(w->task);
    bool own = true;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiters_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, w); /* nothing raises after it */
    lua_pop(L, 1);
    for (int i = 0; i < w->count; i++) {
        struct tg_cell *cell = &w->cells[i];
        lua_getiuservalue(L, -1, channel_value(i + 1));
        cell->channel = lua_touserdata(L, -1);
        lua_pop(L, 1);
        TAILQ_INSERT_TAIL(cell->puts ? &cell->channel->putters : &cell->channel->getters, cell,
                          link);
        own = own && is_own(cell->channel, scope);
    }
    return own;
}

int tg_waiter_wait(lua_State *L, struct tg_waiter *waiter, const struct timeval *timeout,
                   lua_KFunction k)
{
    struct tg_task_wait wait = {nothing, waiter};
    waiter->task = tg_task_check(L);
    bool own = enter(L, waiter);
    if (timeout && tg_task_arm_timer(waiter->task, timeout) != TG_OK)
        return luaL_error(L, "not enough memory");
    if (own && !timeout)
        tg_task_stick(waiter->task);
    return tg_task_wait(L, &wait, k);
}

enum tg_channel_result tg_waiter_result(lua_State *L, int index, int *n)
{
    struct tg_waiter *w = lua_touserdata(L, index);
    enum tg_channel_result result = w->result;
    leave_all(w);
    *n = w->chosen;
    if (result == TG_CHANNEL_OK && !w->cells[w->chosen - 1].puts) {
        lua_getiuservalue(L, index, item_value(w->chosen));
        w->chosen = 0; /* it is not to be given back */
    }
    return result;
}

/* Runs on every way out: what it was given and has not taken is the next one's. */
static int waiter_close(lua_State *L)
{
    struct tg_waiter *w = luaL_checkudata(L, 1, WAITER_TYPE);
    int n = w->chosen;
    leave_all(w);
    w->chosen = 0;
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &waiters_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, w);
    if (!n || w->result != TG_CHANNEL_OK || w->cells[n - 1].puts)
        return 0;
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, channel_value(n));
    lua_getiuservalue(L, 1, item_value(n));
    struct tg_channel *ch = lua_touserdata(L, 2);
    if (give(L, ch, 3))
        return 0;
    lua_getiuservalue(L, 2, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, ch->first - 1);
    ch->first--;
    return 0;
}

/* --- Nobody left who could put, or get ---------------------------------------------------------- */

static bool can_go_on(const struct tg_scope *scope, const struct tg_waiter *w)
{
    for (int i = 0; i < w->count; i++)
        if (!is_own(w->cells[i].channel, scope))
            return true;
    return false;
}

static struct tg_cell *fed_cell(struct tg_waiter *w)
{
    for (int i = 0; i < w->count; i++)
        if (w->cells[i].channel->fed)
            return &w->cells[i];
    return NULL;
}

/* Every task of the scope waits for another of it: those that wait for a channel will hear no more. Where
 * no task was ever seen that would put, another exchange may be about to. */
static void on_stuck(struct tg_scope *scope)
{
    struct tg_task *task = NULL;
    while ((task = tg_scope_next(scope, task)) != NULL) {
        const struct tg_waiter *w = tg_task_waits_by(task, nothing);
        if (w && can_go_on(scope, w))
            return;
    }
    while ((task = tg_scope_next(scope, task)) != NULL) {
        struct tg_waiter *w = tg_task_waits_by(task, nothing);
        struct tg_cell *cell = w ? fed_cell(w) : NULL;
        if (cell)
            settle(cell, TG_CHANNEL_STUCK);
    }
}

void tg_channel_given(lua_State *L, int fn, int nargs)
{
    const struct tg_scope *scope = tg_scope_of(L);
    if (!scope->channels)
        return;
    fn = lua_absindex(L, fn);
    for (int n = 1; lua_getupvalue(L, fn, n); n++) {
        struct tg_channel *ch = luaL_testudata(L, -1, TG_CHANNEL_TYPE);
        if (ch && ch->scope == scope->number)
            ch->fed = true;
        lua_pop(L, 1);
    }
    for (int i = fn + 1; i <= fn + nargs; i++) {
        struct tg_channel *ch = luaL_testudata(L, i, TG_CHANNEL_TYPE);
        if (ch && ch->scope == scope->number)
            ch->fed = true;
    }
}

static void drop_claim(struct tg_claim *claim)
{
    LIST_REMOVE(claim, of_channel);
    LIST_REMOVE(claim, of_task);
    tg_free(claim);
}

static void check_orphaned(struct tg_channel *ch)
{
    ch->orphaned = LIST_EMPTY(&ch->claims);
    if (ch->orphaned)
        settle_all(&ch->getters, TG_CHANNEL_STUCK);
}

void tg_channel_claim(lua_State *L, struct tg_channel *channel, struct tg_spawned *spawned)
{
    if (spawned->task) {
        struct tg_claim *claim = tg_malloc(sizeof *claim);
        if (!claim) {
            luaL_error(L, "not enough memory");
            return; /* it does not come here */
        }
        claim->channel = channel;
        LIST_INSERT_HEAD(&channel->claims, claim, of_channel);
        LIST_INSERT_HEAD(&spawned->claims, claim, of_task);
    }
    check_orphaned(channel);
}

void tg_channel_unclaim(struct tg_spawned *spawned)
{
    struct tg_claim *claim;
    while ((claim = LIST_FIRST(&spawned->claims)) != NULL) {
        struct tg_channel *ch = claim->channel;
        drop_claim(claim);
        check_orphaned(ch);
    }
}

/* --- Life ------------------------------------------------------------------------------------- */

struct tg_channel *tg_channel_new(lua_State *L, lua_Integer capacity, bool shared)
{
    struct tg_scope *scope = tg_scope_of(L);
    struct tg_channel *ch = lua_newuserdatauv(L, sizeof *ch, 1);
    *ch = (struct tg_channel){
        .capacity = capacity,
        .first = 1,
        .scope = scope->number,
        .shared = shared || !scope->number,
    };
    TAILQ_INIT(&ch->getters);
    TAILQ_INIT(&ch->putters);
    LIST_INIT(&ch->claims);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, TG_CHANNEL_TYPE);
    scope->channels++;
    return ch;
}

/* Its waiters hold it, so there are none; or the state is closed, and they will not look at it. */
static int channel_gc(lua_State *L)
{
    struct tg_channel *ch = tg_channel_check(L, 1);
    struct tg_cell *cell;
    while ((cell = TAILQ_FIRST(&ch->getters)) != NULL || (cell = TAILQ_FIRST(&ch->putters)) != NULL)
        leave_all(cell->waiter);
    while (!LIST_EMPTY(&ch->claims))
        drop_claim(LIST_FIRST(&ch->claims));
    return 0;
}

void tg_channel_open(lua_State *L)
{
    tg_task_on_stuck(tg_lua_of(L), on_stuck);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &waiters_key);

    luaL_newmetatable(L, WAITER_TYPE);
    lua_pushcfunction(L, waiter_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, waiter_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);

    luaL_newmetatable(L, TG_CHANNEL_TYPE);
    lua_pushcfunction(L, channel_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
