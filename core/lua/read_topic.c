/* read_topic.c - for event in topic:events(after) do, and what long polling answers with. */
#include <lauxlib.h>

#include "lua/bind_time.h"
#include "lua/bind_topic.h"
#include "lua/task.h"

#define READER_TYPE "tidegate.TopicReader"

enum { POLL_BYTES = 1048576 }; /* of an answer, unless one event is larger */

/* Its user value is the topic. */
struct events {
    struct tg_reader *reader; /* NULL: it is over */
    struct tg_news news;      /* the last; its record is held */
    struct tg_task *task;     /* while it waits */
};

static void on_news(void *arg)
{
    struct events *events = arg;
    struct tg_task *task = events->task;
    events->task = NULL; /* at once: one that is cancelled before it goes on says nothing */
    if (task)
        tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct events *events = arg;
    events->task = NULL;
}

static void drop_news(struct events *events)
{
    tg_record_unref(events->news.record);
    events->news.record = NULL;
}

static int events_gc(lua_State *L)
{
    struct events *events = luaL_checkudata(L, 1, READER_TYPE);
    drop_news(events);
    tg_reader_free(events->reader);
    events->reader = NULL;
    return 0;
}

/* Another task may wait for them: they are over for that, too. */
static int events_close(lua_State *L)
{
    events_gc(L);
    on_news(lua_touserdata(L, 1));
    return 0;
}

/* Pushes a reader of the topic at 1, from the id at 2 on, or from now on where that is nil. */
static struct events *push_events(lua_State *L)
{
    struct tg_slice after = {NULL, 0};
    struct tg_topic *topic = tg_topic_check(L, 1);
    struct tg_post *post = tg_topics_post(L);
    if (tg_lua_is_held(tg_lua_of(L)))
        luaL_error(L, "cannot read a topic while the script loads");
    if (!lua_isnoneornil(L, 2))
        after.p = luaL_checklstring(L, 2, &after.len);
    struct events *events = lua_newuserdatauv(L, sizeof *events, 1);
    *events = (struct events){.reader = NULL};
    luaL_setmetatable(L, READER_TYPE);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    events->reader = tg_reader_new(post, topic, after, on_news, events);
    if (!events->reader)
        luaL_error(L, "not enough memory");
    return events;
}

static enum tg_status next(lua_State *L, struct events *events)
{
    if (events->task)
        luaL_error(L, "another task waits for these events");
    drop_news(events);
    if (!events->reader)
        return TG_ECLOSED;
    return tg_reader_next(events->reader, &events->news);
}

static int wait_for_news(lua_State *L, struct events *events, const struct timeval *tv,
                         lua_KFunction k)
{
    struct tg_task_wait wait = {stop_waiting, events};
    struct tg_task *task = tg_task_check(L);
    if (tv && tg_task_arm_timer(task, tv) != TG_OK)
        return luaL_error(L, "not enough memory");
    events->task = task;
    return tg_task_wait(L, &wait, k);
}

/* --- topic:events(after) ------------------------------------------------------------------------ */

static void set_slice(lua_State *L, const char *name, struct tg_slice slice)
{
    lua_pushlstring(L, slice.p, slice.len);
    lua_setfield(L, -2, name);
}

static int push_gap(lua_State *L, uint64_t missed)
{
    lua_createtable(L, 0, 4);
    lua_pushliteral(L, "tidegate-gap");
    lua_setfield(L, -2, "event");
    if (missed) {
        lua_pushinteger(L, (lua_Integer)missed);
        lua_setfield(L, -2, "missed");
        lua_pushfstring(L, "{\"missed\":%I}", (LUAI_UACINT)missed);
    } else {
        lua_pushliteral(L, "{\"missed\":null}");
    }
    lua_setfield(L, -2, "data"); /* as streams have it, for whoever passes it on */
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "json");
    return 1;
}

static int push_news(lua_State *L, const struct tg_news *news)
{
    const struct tg_record *record = news->record;
    if (!record)
        return push_gap(L, news->missed);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, record->id);
    lua_setfield(L, -2, "id");
    if (record->event.len)
        set_slice(L, "event", record->event);
    if (record->key.p != record->event.p)
        set_slice(L, "key", record->key);
    set_slice(L, "data", record->data);
    if (record->json) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "json");
    }
    return 1;
}

static int next_event(lua_State *L);

static int events_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return next_event(L);
}

static int next_event(lua_State *L)
{
    struct events *events = luaL_checkudata(L, 1, READER_TYPE);
    lua_settop(L, 1);
    switch (next(L, events)) {
    case TG_OK:
        return push_news(L, &events->news);
    case TG_AGAIN:
        return wait_for_news(L, events, NULL, events_resumed);
    default:
        return 0;
    }
}

int tg_topic_events(lua_State *L)
{
    lua_settop(L, 2);
    push_events(L);
    lua_pushcfunction(L, next_event);
    lua_insert(L, 3);
    lua_pushnil(L);
    lua_pushvalue(L, 4);
    return 4; /* the last is closed when the loop is left */
}

/* --- topic:_poll(after, seconds, lines) --------------------------------------------------------- */

struct answer {
    luaL_Buffer text;
    size_t len;
    bool lines;
};

static void add_text(struct answer *answer, const char *text, size_t len)
{
    if (!answer->lines) {
        luaL_addchar(&answer->text, answer->len ? ',' : '[');
        len--; /* the line break */
    }
    luaL_addlstring(&answer->text, text, len);
    answer->len += len + 1;
}

static void add_news(lua_State *L, struct answer *answer, const struct tg_news *news)
{
    if (news->record) {
        const struct tg_text *text = tg_record_text(news->record, TG_FORM_LINES);
        if (text)
            add_text(answer, text->bytes, text->len);
        else
            luaL_error(L, "not enough memory");
        return;
    }
    char gap[96];
    int len = tg_gap_print(gap, sizeof gap, news->missed);
    add_text(answer, gap, (size_t)len);
}

/* Everything there is by now, the last news first of all. */
static int push_answer(lua_State *L, struct events *events)
{
    struct answer answer = {.lines = lua_toboolean(L, 4)};
    char id[TG_EVENT_ID_MAX];
    luaL_buffinit(L, &answer.text);
    do {
        add_news(L, &answer, &events->news);
    } while (answer.len < POLL_BYTES && next(L, events) == TG_OK);
    if (!answer.lines)
        luaL_addchar(&answer.text, ']');
    luaL_pushresult(&answer.text);
    tg_reader_position(events->reader, id);
    lua_pushstring(L, id);
    return 2;
}

static int poll_on(lua_State *L);

static int poll_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct events *events = lua_touserdata(L, 5);
    bool timed_out = events->task != NULL; /* else by on_news() */
    events->task = NULL;
    if (!timed_out)
        return poll_on(L);
    char id[TG_EVENT_ID_MAX];
    lua_pushnil(L);
    tg_reader_position(events->reader, id);
    lua_pushstring(L, id);
    return 2;
}

/* Stack: topic, after, seconds, lines, events. */
static int poll_on(lua_State *L)
{
    struct events *events = lua_touserdata(L, 5);
    enum tg_status status = next(L, events);
    if (status == TG_OK)
        return push_answer(L, events);
    if (status != TG_AGAIN) {
        lua_pushnil(L);
        return 1;
    }
    struct timeval tv = tg_check_duration(L, 3);
    return wait_for_news(L, events, &tv, poll_resumed);
}

int tg_topic_poll(lua_State *L)
{
    tg_check_duration(L, 3);
    lua_settop(L, 4);
    push_events(L);
    lua_toclose(L, 5);
    return poll_on(L);
}

void tg_topic_readers_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        {"__gc", events_gc}, {"__close", events_close}, {NULL, NULL}};
    luaL_newmetatable(L, READER_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    lua_pop(L, 1);
}
