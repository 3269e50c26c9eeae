/* topic_stats.c - what has become of topics' events, and who is slow to take them. */
#include "lua/topic_stats.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/bind_topic.h"

#define HELD_TYPE "tidegate.HeldTopics"

enum {
    LISTED_MAX = 1000, /* topics that are listed one by one */
    SLOW_MAX = 20,     /* slow subscribers of one topic that are named */
    WHO_MAX = 96,
};

/* A userdata, so that an error lets go of them. */
struct held {
    size_t count;
    struct tg_topic *topics[];
};

static int held_gc(lua_State *L)
{
    struct held *held = luaL_checkudata(L, 1, HELD_TYPE);
    while (held->count)
        tg_topic_release(held->topics[--held->count]);
    return 0;
}

static struct held *push_held(lua_State *L, struct tg_broker *broker)
{
    size_t most = tg_broker_topic_count(broker);
    struct held *held = lua_newuserdatauv(L, sizeof *held + most * sizeof *held->topics, 0);
    held->count = 0;
    luaL_setmetatable(L, HELD_TYPE);
    held->count = tg_broker_topics(broker, held->topics, most);
    return held;
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

/* --- The slow ones: copied first, for the topic is locked meanwhile ------------------------------ */

struct slow_list {
    size_t count;
    struct slow {
        char who[WHO_MAX];
        uint64_t behind;
        uint64_t dropped;
    } list[SLOW_MAX];
};

static void add_slow(void *arg, const struct tg_slow_stats *stats)
{
    struct slow_list *all = arg;
    if (all->count == SLOW_MAX)
        return;
    struct slow *slow = &all->list[all->count++];
    size_t len = strnlen(stats->who, WHO_MAX - 1);
    memcpy(slow->who, stats->who, len);
    slow->who[len] = '\0';
    slow->behind = stats->behind;
    slow->dropped = stats->dropped;
}

static void push_slow(lua_State *L, struct tg_topic *topic)
{
    struct slow_list all = {0};
    tg_topic_each_slow(topic, add_slow, &all);
    lua_createtable(L, (int)all.count, 0);
    for (size_t i = 0; i < all.count; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, all.list[i].who);
        lua_setfield(L, -2, "who");
        set_count(L, "behind", all.list[i].behind);
        set_count(L, "dropped", all.list[i].dropped);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* --- All topics ----------------------------------------------------------------------------------- */

static void add(struct tg_topic_stats *all, const struct tg_topic_stats *one)
{
    all->subscribers += one->subscribers;
    all->published += one->published;
    all->delivered += one->delivered;
    all->dropped += one->dropped;
    all->slow += one->slow;
}

static void set_counts(lua_State *L, const struct tg_topic_stats *stats)
{
    set_count(L, "subscribers", stats->subscribers);
    set_count(L, "published", stats->published);
    set_count(L, "delivered", stats->delivered);
    set_count(L, "dropped", stats->dropped);
}

/* By its name into the table on top. */
static void set_topic(lua_State *L, struct tg_topic *topic, const struct tg_topic_stats *stats)
{
    lua_pushlstring(L, stats->name.p, stats->name.len);
    lua_createtable(L, 0, 7);
    set_counts(L, stats);
    set_count(L, "history", stats->history);
    set_count(L, "history_bytes", stats->history_bytes);
    push_slow(L, topic);
    lua_setfield(L, -2, "slow");
    lua_rawset(L, -3);
}

void tg_topics_push_stats(lua_State *L)
{
    struct tg_broker *broker = tg_post_broker(tg_topics_post(L));
    struct tg_topic_stats all;
    tg_broker_get_gone(broker, &all);
    const struct held *held = push_held(L, broker);
    lua_createtable(L, 0, 7);
    lua_newtable(L);
    for (size_t i = 0; i < held->count; i++) {
        struct tg_topic_stats one;
        tg_topic_get_stats(held->topics[i], &one);
        add(&all, &one);
        if (i < LISTED_MAX)
            set_topic(L, held->topics[i], &one);
    }
    lua_setfield(L, -2, "by_name");
    set_count(L, "count", held->count);
    set_counts(L, &all);
    set_count(L, "slow", all.slow);
    lua_remove(L, -2);
}

void tg_topic_stats_open(lua_State *L)
{
    luaL_newmetatable(L, HELD_TYPE);
    lua_pushcfunction(L, held_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
