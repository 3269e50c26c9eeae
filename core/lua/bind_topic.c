/* bind_topic.c - tg.topic(name[, options]) and what a script does with a topic. */
#include "lua/bind_topic.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>

#include "body/json_check.h"
#include "lua/bind_json.h"
#include "lua/body_kind.h"
#include "lua/host.h"
#include "lua/state.h"
#include "lua/task.h"
#include "lua/topic_stats.h"
#include "util/clock.h"

static const char cache_key =
    'c'; /* its address is the key, in the registry: handles by name, weak */

struct handle {
    struct tg_topic *topic; /* held; NULL before it is open */
};

/* --- The post --------------------------------------------------------------------------------- */

static struct tg_post *find_post(lua_State *L)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    return host ? host->post : NULL;
}

struct tg_post *tg_topics_post(lua_State *L)
{
    struct tg_post *post = find_post(L);
    if (!post)
        luaL_error(L, "there are no topics here");
    return post;
}

/* For calls that want the caller's own post: none while the state is on another thread. */
static struct tg_post *own_post(lua_State *L)
{
    return tg_lua_is_held(tg_lua_of(L)) ? NULL : find_post(L);
}

struct tg_topic *tg_topic_check(lua_State *L, int index)
{
    const struct handle *handle = luaL_checkudata(L, index, TG_TOPIC_TYPE);
    return handle->topic;
}

/* --- Options ---------------------------------------------------------------------------------- */

static lua_Number number(lua_State *L, const char *where, const char *name, lua_Number most)
{
    lua_Number value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(value >= 0 && value <= most))
        luaL_error(L, "%s: %s is a number from 0 to %f, this is %s", where, name, most,
                   luaL_tolstring(L, -1, NULL));
    return value;
}

static uint64_t milliseconds(lua_State *L, const char *name)
{
    return (uint64_t)ceil(number(L, "tg.topic", name, 1e9) * 1000);
}

static enum tg_overflow overflow(lua_State *L)
{
    static const char *const names[] = {"drop_oldest", "latest", "close", "block"};
    const char *name = lua_tostring(L, -1);
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum tg_overflow)i;
    luaL_error(L, "tg.topic: overflow is \"drop_oldest\", \"latest\", \"close\" or \"block\"");
    return TG_OVERFLOW_DROP_OLDEST;
}

/* The option called name, whose value is on top. */
static void take_option(lua_State *L, struct tg_topic_options *o, const char *name)
{
    if (strcmp(name, "history") == 0)
        o->history = (uint32_t)number(L, "tg.topic", name, TG_HISTORY_MAX);
    else if (strcmp(name, "history_bytes") == 0)
        o->history_bytes = (size_t)number(L, "tg.topic", name, 1e12);
    else if (strcmp(name, "max_age") == 0)
        o->max_age = milliseconds(L, name);
    else if (strcmp(name, "linger") == 0)
        o->linger = milliseconds(L, name);
    else if (strcmp(name, "heartbeat") == 0)
        o->heartbeat = milliseconds(L, name);
    else if (strcmp(name, "overflow") == 0)
        o->overflow = overflow(L);
    else
        luaL_error(L, "tg.topic: unknown option %s", name);
}

static void take_options(lua_State *L, struct tg_topic *topic, int index)
{
    struct tg_topic_options options;
    tg_topic_get_options(topic, &options);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "tg.topic: the names of options are strings");
        take_option(L, &options, lua_tostring(L, -2));
        lua_pop(L, 1);
    }
    if (tg_topic_set_options(topic, &options) != TG_OK)
        luaL_error(L, "tg.topic: the history is too long");
}

/* --- tg.topic --------------------------------------------------------------------------------- */

/* Pushes the handle that is known for the name at 1, if there is one. */
static bool push_cached(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key);
    lua_pushvalue(L, 1);
    return lua_rawget(L, -2) != LUA_TNIL;
}

static void cache(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void open_topic(lua_State *L, struct handle *handle)
{
    struct tg_slice name;
    name.p = lua_tolstring(L, 1, &name.len);
    switch (tg_topic_open(&handle->topic, tg_post_broker(tg_topics_post(L)), name)) {
    case TG_OK:
        return;
    case TG_EINVAL:
        luaL_argerror(L, 1, "a topic's name is not empty and has no control characters");
        return;
    case TG_ELIMIT:
        luaL_argcheck(L, name.len <= TG_TOPIC_NAME_MAX, 1, "a topic's name has at most 255 bytes");
        luaL_error(L, "tg.topic: there are %d topics already", TG_TOPICS_MAX);
        return;
    default:
        luaL_error(L, "not enough memory");
    }
}

static int l_topic(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        luaL_checktype(L, 2, LUA_TTABLE);
    if (!push_cached(L)) {
        lua_settop(L, 2);
        struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
        handle->topic = NULL;
        luaL_setmetatable(L, TG_TOPIC_TYPE);
        open_topic(L, handle);
        cache(L);
    }
    if (!lua_isnil(L, 2))
        take_options(L, tg_topic_check(L, -1), 2);
    return 1;
}

static int topic_gc(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, TG_TOPIC_TYPE);
    tg_topic_release(handle->topic);
    handle->topic = NULL;
    return 0;
}

static int topic_to_string(lua_State *L)
{
    struct tg_slice name = tg_topic_name(tg_topic_check(L, 1));
    lua_pushliteral(L, TG_TOPIC_TYPE ": ");
    lua_pushlstring(L, name.p, name.len);
    lua_concat(L, 2);
    return 1;
}

/* --- topic:publish(event[, options]) ------------------------------------------------------------ */

static struct tg_slice text_at(lua_State *L, int index)
{
    struct tg_slice text;
    text.p = lua_tolstring(L, index, &text.len);
    return text;
}

/* The field of the event at 2, a string, left on the stack; empty where there is none. */
static struct tg_slice text_field(lua_State *L, const char *name)
{
    int type = lua_getfield(L, 2, name);
    if (type == LUA_TNIL)
        return (struct tg_slice){NULL, 0};
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "publish: %s is a string, this is a %s", name, luaL_typename(L, -1));
    return text_at(L, -1);
}

/* Replaces the value on top by its JSON. */
static void encode(lua_State *L)
{
    lua_pushcfunction(L, tg_json_encode);
    lua_insert(L, -2);
    lua_call(L, 1, 1);
}

/* Data: text as it is; what is no text is JSON. */
static void take_data(lua_State *L, struct tg_message *message)
{
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        break;
    case LUA_TNIL:
        return;
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
    case LUA_TTABLE:
        message->json = true;
        encode(L);
        break;
    default:
        luaL_error(L, "publish: data is a string or JSON, this is a %s", luaL_typename(L, -1));
    }
    message->data = text_at(L, -1);
}

static bool is_field(const char *name)
{
    return strcmp(name, "event") == 0 || strcmp(name, "key") == 0 || strcmp(name, "data") == 0 ||
           strcmp(name, "json") == 0;
}

static void check_fields(lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (!is_field(name))
            luaL_error(L,
                       strcmp(name, "id") == 0
                           ? "publish: a topic gives its events their ids itself"
                           : "publish: an event has event, data and key, this has %s",
                       name);
        lua_pop(L, 1);
    }
}

/* The event at 2: a string, or { event =, data =, key = }.  Its texts stay on the stack. */
static void take_message(lua_State *L, struct tg_message *message)
{
    *message = (struct tg_message){.json = false};
    if (lua_type(L, 2) == LUA_TSTRING) {
        message->data = text_at(L, 2);
        return;
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    check_fields(L);
    message->event = text_field(L, "event");
    message->key = text_field(L, "key");
    lua_getfield(L, 2, "json");
    bool json = lua_toboolean(L, -1);
    lua_getfield(L, 2, "data");
    take_data(L, message);
    if (json && !message->json && !tg_json_valid(message->data))
        luaL_error(L, "publish: data is not JSON, and json says that it is");
    message->json = message->json || json;
}

static int published(lua_State *L, enum tg_status status, const char *id)
{
    switch (status) {
    case TG_OK:
        lua_pushstring(L, id);
        return 1;
    case TG_ECLOSED:
        lua_pushnil(L);
        lua_pushliteral(L, "closed");
        return 2;
    case TG_EINVAL:
        return luaL_error(L, "publish: an event's name has no line break and no NUL, and does not "
                             "begin with tidegate-");
    case TG_ELIMIT:
        return luaL_error(L, "publish: data has at most %d bytes, an event's name and key %d each",
                          TG_EVENT_BYTES_MAX, TG_EVENT_NAME_MAX);
    default:
        return luaL_error(L, "not enough memory");
    }
}

/* Of a call that waits for room: at 4. */
struct publishing {
    struct tg_publish_wait wait;
    struct tg_task *task;
    bool timed;
    uint64_t until; /* nanoseconds */
};

static void on_room(void *arg)
{
    struct publishing *publishing = arg;
    tg_task_wake(publishing->task);
}

static void stop_waiting(void *arg)
{
    struct publishing *publishing = arg;
    tg_topic_unwait(&publishing->wait);
}

static int try_to_publish(lua_State *L);

static int room_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct publishing *publishing = lua_touserdata(L, 4);
    tg_topic_unwait(&publishing->wait);
    if (!tg_task_timed_out(publishing->task))
        return try_to_publish(L);
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

static int wait_for_room(lua_State *L, struct publishing *publishing)
{
    struct tg_task_wait wait = {stop_waiting, publishing};
    uint64_t now = tg_clock_ns();
    uint64_t left = publishing->until > now ? publishing->until - now : 0;
    struct timeval tv = {(time_t)(left / 1000000000U), (suseconds_t)(left / 1000U % 1000000U)};
    if (publishing->timed && tg_task_arm_timer(publishing->task, &tv) != TG_OK) {
        tg_topic_unwait(&publishing->wait);
        return luaL_error(L, "not enough memory");
    }
    return tg_task_wait(L, &wait, room_resumed);
}

/* Stack: topic, event, options, publishing. */
static int try_to_publish(lua_State *L)
{
    char id[TG_EVENT_ID_MAX];
    struct tg_message message;
    struct publishing *publishing = lua_touserdata(L, 4);
    lua_settop(L, 4);
    take_message(L, &message);
    publishing->task = tg_task_check(L);
    publishing->wait =
        (struct tg_publish_wait){.post = tg_topics_post(L), .fn = on_room, .arg = publishing};
    enum tg_status status =
        tg_topic_publish_wait(tg_topic_check(L, 1), &message, id, &publishing->wait);
    if (status != TG_AGAIN)
        return published(L, status, id);
    return wait_for_room(L, publishing);
}

static void check_blocks(lua_State *L, struct tg_topic *topic)
{
    struct tg_topic_options options;
    tg_topic_get_options(topic, &options);
    if (options.overflow != TG_OVERFLOW_BLOCK)
        luaL_error(L, "publish: only a topic of overflow = \"block\" has its publishers wait");
}

/* { wait = true or seconds }: false when there is no wait in it. */
static bool take_wait(lua_State *L, struct publishing *publishing)
{
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_getfield(L, 3, "wait");
    *publishing = (struct publishing){.timed = lua_type(L, -1) == LUA_TNUMBER};
    if (publishing->timed)
        publishing->until = tg_clock_ns() + (uint64_t)(number(L, "publish", "wait", 1e9) * 1e9);
    bool waits = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return waits;
}

static int l_publish(lua_State *L)
{
    char id[TG_EVENT_ID_MAX];
    struct tg_message message;
    struct tg_topic *topic = tg_topic_check(L, 1);
    lua_settop(L, 3);
    if (!lua_isnil(L, 3)) {
        struct publishing *publishing = lua_newuserdatauv(L, sizeof *publishing, 0);
        if (take_wait(L, publishing)) {
            check_blocks(L, topic);
            return try_to_publish(L);
        }
    }
    take_message(L, &message);
    return published(L, tg_topic_publish(topic, own_post(L), &message, id), id);
}

/* --- The rest ----------------------------------------------------------------------------------- */

static int l_close(lua_State *L)
{
    tg_topic_close(tg_topic_check(L, 1), own_post(L));
    lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key); /* the name means another topic now */
    struct tg_slice name = tg_topic_name(tg_topic_check(L, 1));
    lua_pushlstring(L, name.p, name.len);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TUSERDATA && lua_rawequal(L, -1, 1)) {
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, -5);
    }
    return 0;
}

static int l_subscribers(lua_State *L)
{
    struct tg_topic_stats stats;
    tg_topic_get_stats(tg_topic_check(L, 1), &stats);
    lua_pushinteger(L, (lua_Integer)stats.subscribers);
    return 1;
}

/* topic.name, and the methods, which are the upvalue. */
static int topic_index(lua_State *L)
{
    const char *name = lua_tostring(L, 2);
    if (!name || strcmp(name, "name") != 0) {
        lua_settop(L, 2);
        lua_rawget(L, lua_upvalueindex(1));
        return 1;
    }
    struct tg_slice text = tg_topic_name(tg_topic_check(L, 1));
    lua_pushlstring(L, text.p, text.len);
    return 1;
}

static void make_cache(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
}

void tg_topics_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"publish", l_publish},         {"events", tg_topic_events},
                                       {"subscribers", l_subscribers}, {"close", l_close},
                                       {"_poll", tg_topic_poll},       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", topic_gc}, {"__tostring", topic_to_string}, {NULL, NULL}};
    make_cache(L);
    luaL_newmetatable(L, TG_TOPIC_TYPE);
    tg_body_kind_set(L, &tg_topic_kind);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, topic_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    tg_topic_readers_open(L);
    tg_topic_stats_open(L);
    lua_pushcfunction(L, l_topic);
    lua_setfield(L, -2, "topic");
}
