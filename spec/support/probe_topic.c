/* probe_topic.c - opens topics to specs: a broker and a post on a loop that they turn, subscribers over
 * sinks that they fill, and a storm of threads. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

#include "body/json_check.h"
#include "io/loop.h"
#include "topic/history.h"
#include "topic/post.h"
#include "util/buf.h"
#include "util/mem.h"

#define WORLD      "probe.World"
#define TOPIC      "probe.Topic"
#define SUBSCRIBER "probe.Subscriber"
#define READER     "probe.Reader"

enum { TEXT_MAX = 64 << 20 };

static int push_status(lua_State *L, enum tg_status status)
{
    static const char *const names[] = {"limit",  "invalid", "io",   "memory",
                                        "closed", "ok",      "again"};
    lua_pushstring(L, names[status - TG_ELIMIT]);
    return 1;
}

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice slice;
    slice.p = luaL_optlstring(L, index, "", &slice.len);
    return slice;
}

static struct tg_slice slice_field(lua_State *L, int index, const char *name)
{
    lua_getfield(L, index, name);
    struct tg_slice slice = slice_at(L, -1);
    if (lua_isnil(L, -1))
        slice = (struct tg_slice){NULL, 0};
    lua_pop(L, 1); /* the table keeps it */
    return slice;
}

/* --- A client --------------------------------------------------------------------------------- */

struct client {
    struct tg_writer writer;
    struct tg_gather gather;
    struct tg_response_head head;
    struct tg_buf text;
    size_t room;    /* bytes that it still takes at once */
    size_t pending; /* of those that it did not */
    size_t sends;
    size_t releases;
    void (*drain_fn)(void *arg);
    void *drain_arg;
    struct tg_source *source; /* NULL when it is done, or stopped */
    enum tg_status status;
    bool gone;
    bool done;
};

static enum tg_status client_commit(void *sink, const struct tg_response_head *head)
{
    (void)sink;
    (void)head;
    return TG_OK;
}

static enum tg_status take(struct client *c, const void *data, size_t len)
{
    if (c->gone)
        return TG_ECLOSED;
    size_t now = len < c->room ? len : c->room;
    c->room -= now;
    c->pending += len - now;
    return tg_buf_add(&c->text, data, len);
}

static enum tg_status client_send(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct client *c = sink;
    enum tg_status status = TG_OK;
    (void)flags;
    c->sends++;
    for (int i = 0; i < n && status == TG_OK; i++)
        status = take(c, runs[i].iov_base, runs[i].iov_len);
    return status;
}

static enum tg_status client_send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                       tg_release_fn release, void *arg)
{
    struct client *c = sink;
    (void)flags;
    c->sends++;
    c->releases++;
    enum tg_status status = take(c, data, len);
    release(data, len, arg);
    return status;
}

static size_t client_pending(void *sink)
{
    return ((const struct client *)sink)->pending;
}

static void client_on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct client *c = sink;
    (void)low_water;
    c->drain_fn = fn;
    c->drain_arg = arg;
}

static const struct tg_sink_ops client_ops = {
    .commit = client_commit,
    .send = client_send,
    .send_lent = client_send_lent,
    .pending = client_pending,
    .on_drain = client_on_drain,
};

static void client_done(void *arg, enum tg_status status)
{
    struct client *c = arg;
    c->source = NULL;
    c->done = true;
    c->status = status;
    if (status == TG_OK)
        c->status = tg_writer_flush(&c->writer);
}

static bool client_open(struct client *c)
{
    *c = (struct client){.room = SIZE_MAX, .head = {.status = 200, .length = TG_LENGTH_UNKNOWN}};
    tg_buf_init(&c->text, TEXT_MAX);
    if (tg_gather_init(&c->gather, TG_WRITER_ROOM_MAX) != TG_OK)
        return false;
    struct tg_writer_options options = {
        .ops = &client_ops, .sink = c, .gather = &c->gather, .high_water = SIZE_MAX};
    tg_writer_init(&c->writer, &options);
    tg_writer_begin(&c->writer, &c->head);
    return true;
}

static void client_close(struct client *c)
{
    if (c->source)
        c->source->stop(c->source);
    c->source = NULL;
    if (c->gather.bytes)
        tg_writer_fini(&c->writer);
    tg_gather_fini(&c->gather);
    tg_buf_fini(&c->text);
}

static void describe(void *arg, char *out, size_t size)
{
    snprintf(out, size, "client %zu", ((const struct client *)arg)->sends);
}

static enum tg_status subscribe(struct client *c, struct tg_post *post, struct tg_topic *topic,
                                enum tg_form form, struct tg_slice after)
{
    struct tg_subscribe options = {topic, &c->writer, form, after, describe, c};
    enum tg_status status = tg_subscribe(&c->source, post, &options);
    if (status != TG_OK)
        return status;
    c->source->done = client_done;
    c->source->arg = c;
    status = tg_writer_flush(&c->writer);
    return status < 0 ? status : TG_OK;
}

/* --- The world: a broker, a loop, a post ------------------------------------------------------- */

struct world {
    struct tg_broker *broker;
    struct event_base *base;
    struct tg_post *post;
};

static struct world *world_at(lua_State *L)
{
    return luaL_checkudata(L, 1, WORLD);
}

static int world_gc(lua_State *L)
{
    struct world *w = world_at(L);
    tg_post_free(w->post);
    tg_broker_free(w->broker);
    if (w->base)
        event_base_free(w->base);
    *w = (struct world){NULL};
    return 0;
}

/* new(): nil when there was no memory. */
static int p_new(lua_State *L)
{
    struct world *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct world){NULL};
    luaL_setmetatable(L, WORLD);
    w->base = tg_loop_new();
    w->broker = w->base ? tg_broker_new() : NULL;
    w->post = w->broker ? tg_post_new(w->broker, w->base) : NULL;
    if (!w->post)
        lua_pushnil(L);
    return 1;
}

/* world:turn(n): n turns of the loop (8), none of which waits. */
static int w_turn(lua_State *L)
{
    struct world *w = world_at(L);
    for (lua_Integer n = luaL_optinteger(L, 2, 8); n > 0; n--)
        event_base_loop(w->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return 0;
}

static int w_stop(lua_State *L)
{
    tg_post_stop(world_at(L)->post);
    return 0;
}

static int w_topics(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_broker_topic_count(world_at(L)->broker));
    return 1;
}

/* --- Topics ----------------------------------------------------------------------------------- */

struct topic {
    struct tg_topic *topic;
    struct world *world; /* the user value */
    struct tg_publish_wait wait;
    unsigned rooms; /* how often it was called */
};

static struct topic *topic_at(lua_State *L)
{
    return luaL_checkudata(L, 1, TOPIC);
}

static int topic_gc(lua_State *L)
{
    struct topic *t = topic_at(L);
    if (t->topic)
        tg_topic_unwait(&t->wait);
    tg_topic_release(t->topic);
    t->topic = NULL;
    return 0;
}

static lua_Integer option(lua_State *L, int index, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, index, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

static enum tg_status set_options(lua_State *L, struct tg_topic *topic, int index)
{
    static const char *const names[] = {"drop_oldest", "latest", "close", "block", NULL};
    struct tg_topic_options o;
    tg_topic_get_options(topic, &o);
    o.history = (uint32_t)option(L, index, "history", o.history);
    o.history_bytes = (size_t)option(L, index, "history_bytes", (lua_Integer)o.history_bytes);
    o.max_age = (uint64_t)option(L, index, "max_age", (lua_Integer)o.max_age);
    o.linger = (uint64_t)option(L, index, "linger", (lua_Integer)o.linger);
    o.heartbeat = (uint64_t)option(L, index, "heartbeat", (lua_Integer)o.heartbeat);
    lua_getfield(L, index, "overflow");
    o.overflow = (enum tg_overflow)luaL_checkoption(L, -1, names[o.overflow], names);
    lua_pop(L, 1);
    return tg_topic_set_options(topic, &o);
}

/* world:topic(name, options): nil and why not. */
static int w_topic(lua_State *L)
{
    struct world *w = world_at(L);
    struct topic *t = lua_newuserdatauv(L, sizeof *t, 1);
    *t = (struct topic){.world = w};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, TOPIC);
    enum tg_status status = tg_topic_open(&t->topic, w->broker, slice_at(L, 2));
    if (status == TG_OK && lua_istable(L, 3))
        status = set_options(L, t->topic, 3);
    if (status == TG_OK)
        return 1;
    lua_pushnil(L);
    return push_status(L, status) + 1;
}

static int t_set(lua_State *L)
{
    return push_status(L, set_options(L, topic_at(L)->topic, 2));
}

static void on_room(void *arg)
{
    ((struct topic *)arg)->rooms++;
}

/* topic:publish(data, { event =, key =, json =, wait = bool, foreign = bool }): the id, or nil and
 * why not. */
static int t_publish(lua_State *L)
{
    struct topic *t = topic_at(L);
    char id[TG_EVENT_ID_MAX];
    struct tg_message message = {.data = slice_at(L, 2)};
    bool waits = false;
    bool foreign = false;
    if (lua_istable(L, 3)) {
        message.event = slice_field(L, 3, "event");
        message.key = slice_field(L, 3, "key");
        lua_getfield(L, 3, "json");
        message.json = lua_toboolean(L, -1);
        lua_getfield(L, 3, "wait");
        waits = lua_toboolean(L, -1);
        lua_getfield(L, 3, "foreign");
        foreign = lua_toboolean(L, -1);
    }
    enum tg_status status;
    if (waits) {
        tg_topic_unwait(&t->wait);
        t->wait = (struct tg_publish_wait){.post = t->world->post, .fn = on_room, .arg = t};
        status = tg_topic_publish_wait(t->topic, &message, id, &t->wait);
    } else {
        status = tg_topic_publish(t->topic, foreign ? NULL : t->world->post, &message, id);
    }
    if (status != TG_OK) {
        lua_pushnil(L);
        return push_status(L, status) + 1;
    }
    lua_pushstring(L, id);
    return 1;
}

static int t_rooms(lua_State *L)
{
    lua_pushinteger(L, topic_at(L)->rooms);
    return 1;
}

static int t_unwait(lua_State *L)
{
    tg_topic_unwait(&topic_at(L)->wait);
    return 0;
}

static int t_close(lua_State *L)
{
    struct topic *t = topic_at(L);
    tg_topic_close(t->topic, t->world->post);
    return 0;
}

static void set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void add_slow(void *arg, const struct tg_slow_stats *slow)
{
    lua_State *L = arg;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, slow->who);
    lua_setfield(L, -2, "who");
    set_integer(L, "behind", slow->behind);
    set_integer(L, "dropped", slow->dropped);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

static int t_stats(lua_State *L)
{
    struct tg_topic *topic = topic_at(L)->topic;
    struct tg_topic_stats stats;
    tg_topic_get_stats(topic, &stats);
    lua_createtable(L, 0, 8);
    set_integer(L, "subscribers", stats.subscribers);
    set_integer(L, "published", stats.published);
    set_integer(L, "delivered", stats.delivered);
    set_integer(L, "dropped", stats.dropped);
    set_integer(L, "history", stats.history);
    set_integer(L, "history_bytes", stats.history_bytes);
    lua_newtable(L);
    tg_topic_each_slow(topic, add_slow, L);
    lua_setfield(L, -2, "slow");
    return 1;
}

/* --- Subscribers ------------------------------------------------------------------------------ */

static struct client *client_at(lua_State *L)
{
    return luaL_checkudata(L, 1, SUBSCRIBER);
}

static int client_gc(lua_State *L)
{
    client_close(client_at(L));
    return 0;
}

/* topic:subscribe({ after =, lines = bool, room = bytes }): nil and why not. */
static int t_subscribe(lua_State *L)
{
    struct topic *t = topic_at(L);
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    struct client *c = lua_newuserdatauv(L, sizeof *c, 1);
    bool open = client_open(c);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, SUBSCRIBER);
    c->room = (size_t)option(L, 2, "room", -1);
    lua_getfield(L, 2, "lines");
    enum tg_form form = lua_toboolean(L, -1) ? TG_FORM_LINES : TG_FORM_STREAM;
    lua_pop(L, 1);
    enum tg_status status = TG_ENOMEM;
    if (open)
        status = subscribe(c, t->world->post, t->topic, form, slice_field(L, 2, "after"));
    if (status == TG_OK)
        return 1;
    client_close(c);
    lua_pushnil(L);
    return push_status(L, status) + 1;
}

/* What has come since the last call. */
static int c_text(lua_State *L)
{
    struct client *c = client_at(L);
    lua_pushlstring(L, c->text.p ? c->text.p : "", c->text.len);
    tg_buf_clear(&c->text);
    return 1;
}

/* client:drain(room): it has taken everything, and takes so many bytes more. */
static int c_drain(lua_State *L)
{
    struct client *c = client_at(L);
    void (*fn)(void *) = c->drain_fn;
    c->room = (size_t)luaL_optinteger(L, 2, -1);
    c->pending = 0;
    c->drain_fn = NULL;
    if (fn)
        fn(c->drain_arg);
    return 0;
}

static int c_leave(lua_State *L)
{
    client_at(L)->gone = true;
    return 0;
}

static int c_stop(lua_State *L)
{
    client_close(client_at(L));
    return 0;
}

static int c_state(lua_State *L)
{
    const struct client *c = client_at(L);
    lua_createtable(L, 0, 5);
    set_integer(L, "pending", c->pending);
    set_integer(L, "sends", c->sends);
    set_integer(L, "lent", c->releases);
    lua_pushboolean(L, c->drain_fn != NULL);
    lua_setfield(L, -2, "waits");
    if (c->done) {
        push_status(L, c->status);
        lua_setfield(L, -2, "done");
    }
    return 1;
}

/* --- Readers ---------------------------------------------------------------------------------- */

struct reader {
    struct tg_reader *reader;
    unsigned news;
};

static struct reader *reader_at(lua_State *L)
{
    return luaL_checkudata(L, 1, READER);
}

static void on_news(void *arg)
{
    ((struct reader *)arg)->news++;
}

static int reader_gc(lua_State *L)
{
    struct reader *r = reader_at(L);
    tg_reader_free(r->reader);
    r->reader = NULL;
    return 0;
}

static int t_reader(lua_State *L)
{
    struct topic *t = topic_at(L);
    struct tg_slice after = {NULL, 0};
    if (!lua_isnoneornil(L, 2))
        after = slice_at(L, 2);
    struct reader *r = lua_newuserdatauv(L, sizeof *r, 1);
    *r = (struct reader){NULL, 0};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, READER);
    r->reader = tg_reader_new(t->world->post, t->topic, after, on_news, r);
    if (!r->reader)
        lua_pushnil(L);
    return 1;
}

/* reader:next(): "ok" and the data, "gap" and how many, "again", or "closed". */
static int r_next(lua_State *L)
{
    struct reader *r = reader_at(L);
    struct tg_news news;
    enum tg_status status = tg_reader_next(r->reader, &news);
    if (status != TG_OK)
        return push_status(L, status);
    if (!news.record) {
        lua_pushliteral(L, "gap");
        lua_pushinteger(L, (lua_Integer)news.missed);
        return 2;
    }
    lua_pushliteral(L, "ok");
    lua_pushlstring(L, news.record->data.p, news.record->data.len);
    tg_record_unref(news.record);
    return 2;
}

static int r_news(lua_State *L)
{
    lua_pushinteger(L, reader_at(L)->news);
    return 1;
}

static int r_position(lua_State *L)
{
    char id[TG_EVENT_ID_MAX];
    tg_reader_position(reader_at(L)->reader, id);
    lua_pushstring(L, id);
    return 1;
}

/* --- A storm: threads that publish, and threads that listen -------------------------------------- */

enum { STORM_CLIENTS = 4, STORM_SECONDS = 60 };

struct storm {
    struct tg_broker *broker;
    struct tg_topic *topic;
    int events; /* each publisher's */
    int publishers;
    atomic_int ready;
};

struct storm_thread {
    struct storm *storm;
    pthread_t thread;
    int number;
    bool started;
    bool good;
};

/* "data: <publisher> <number>": of each publisher every number, in order. */
static bool all_in_order(const struct storm *storm, const struct tg_buf *text)
{
    int last[16] = {0};
    int total = 0;
    for (const char *at = text->p; at && (at = strstr(at, "data: ")) != NULL; at++) {
        char *end;
        long publisher = strtol(at + 6, &end, 10);
        long number = strtol(end, NULL, 10);
        if (publisher < 0 || publisher >= 16 || number != ++last[publisher])
            return false;
        total++;
    }
    return total == storm->events * storm->publishers;
}

static bool all_done(const struct client *clients)
{
    for (int i = 0; i < STORM_CLIENTS; i++)
        if (!clients[i].done)
            return false;
    return true;
}

/* A client that is slow now and then, and one that comes and goes. */
static void disturb(struct client *slow, struct client *restless, struct tg_post *post,
                    struct storm *storm)
{
    slow->room = 500;
    slow->pending = 0;
    void (*fn)(void *) = slow->drain_fn;
    slow->drain_fn = NULL;
    if (fn)
        fn(slow->drain_arg);
    client_close(restless);
    if (client_open(restless))
        (void)!subscribe(restless, post, storm->topic, TG_FORM_LINES, (struct tg_slice){NULL, 0});
}

static void *hear(void *arg)
{
    struct storm_thread *t = arg;
    struct storm *storm = t->storm;
    struct client clients[STORM_CLIENTS];
    struct client restless;
    struct tg_slice none = {NULL, 0};
    struct event_base *base = tg_loop_new();
    struct tg_post *post = tg_post_new(storm->broker, base);
    time_t until = time(NULL) + STORM_SECONDS;
    t->good = client_open(&restless);
    for (int i = 0; i < STORM_CLIENTS; i++)
        t->good = client_open(&clients[i]) && t->good &&
                  subscribe(&clients[i], post, storm->topic, TG_FORM_STREAM, none) == TG_OK;
    atomic_fetch_add(&storm->ready, 1);
    while (t->good && !all_done(clients) && time(NULL) < until) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        disturb(&clients[0], &restless, post, storm);
    }
    for (int i = 0; i < STORM_CLIENTS; i++) {
        t->good = t->good && clients[i].done && all_in_order(storm, &clients[i].text);
        client_close(&clients[i]);
    }
    client_close(&restless);
    tg_post_free(post);
    event_base_free(base);
    return NULL;
}

static void *talk(void *arg)
{
    struct storm_thread *t = arg;
    struct storm *storm = t->storm;
    char id[TG_EVENT_ID_MAX];
    char text[32];
    t->good = true;
    for (int n = 1; n <= storm->events; n++) {
        int len = snprintf(text, sizeof text, "%d %d", t->number, n);
        struct tg_message message = {.data = {text, (size_t)len}};
        t->good = tg_topic_publish(storm->topic, NULL, &message, id) == TG_OK && t->good;
    }
    return NULL;
}

static bool start_all(struct storm_thread *threads, int count, void *(*fn)(void *arg))
{
    bool started = true;
    for (int i = 0; i < count; i++) {
        threads[i].started = pthread_create(&threads[i].thread, NULL, fn, &threads[i]) == 0;
        started = started && threads[i].started;
    }
    return started;
}

static bool join_all(struct storm_thread *threads, int count)
{
    bool good = true;
    for (int i = 0; i < count; i++) {
        if (threads[i].started)
            pthread_join(threads[i].thread, NULL);
        good = good && threads[i].good;
    }
    return good;
}

/* storm(listeners, publishers, events): whether every listener's every client got every event. */
static int p_storm(lua_State *L)
{
    struct storm_thread listeners[8] = {{NULL}};
    struct storm_thread publishers[8] = {{NULL}};
    int listening = (int)luaL_checkinteger(L, 1);
    struct storm storm = {.publishers = (int)luaL_checkinteger(L, 2),
                          .events = (int)luaL_checkinteger(L, 3)};
    struct tg_topic_options options;
    storm.broker = tg_broker_new();
    if (tg_topic_open(&storm.topic, storm.broker, TG_SLICE("storm")) != TG_OK)
        return luaL_error(L, "no memory");
    tg_topic_options_init(&options);
    options.history = (uint32_t)(storm.events * storm.publishers);
    options.history_bytes = SIZE_MAX;
    bool good = tg_topic_set_options(storm.topic, &options) == TG_OK;
    for (int i = 0; i < 8; i++) {
        listeners[i] = (struct storm_thread){.storm = &storm, .number = i};
        publishers[i] = (struct storm_thread){.storm = &storm, .number = i};
    }
    good = start_all(listeners, listening, hear) && good;
    while (atomic_load(&storm.ready) < listening)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    good = start_all(publishers, storm.publishers, talk) && good;
    good = join_all(publishers, storm.publishers) && good;
    tg_topic_close(storm.topic, NULL);
    good = join_all(listeners, listening) && good;
    tg_topic_release(storm.topic);
    tg_broker_free(storm.broker);
    lua_pushboolean(L, good);
    return 1;
}

/* --- The rest --------------------------------------------------------------------------------- */

static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

/* parse(id, epoch): the number, or nil. */
static int p_parse(lua_State *L)
{
    uint64_t number;
    if (!tg_event_id_parse(slice_at(L, 1), luaL_checkstring(L, 2), &number))
        return 0;
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

static int p_json_valid(lua_State *L)
{
    lua_pushboolean(L, tg_json_valid(slice_at(L, 1)));
    return 1;
}

static void make_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_probe_topic(lua_State *L);

int luaopen_probe_topic(lua_State *L)
{
    static const luaL_Reg world[] = {
        {"turn", w_turn}, {"stop", w_stop}, {"topics", w_topics}, {"topic", w_topic}, {NULL, NULL}};
    static const luaL_Reg topic[] = {{"set", t_set},        {"publish", t_publish},
                                     {"rooms", t_rooms},    {"close", t_close},
                                     {"stats", t_stats},    {"subscribe", t_subscribe},
                                     {"reader", t_reader},  {"unwait", t_unwait},
                                     {"release", topic_gc}, {NULL, NULL}};
    static const luaL_Reg client[] = {{"text", c_text}, {"drain", c_drain}, {"leave", c_leave},
                                      {"stop", c_stop}, {"state", c_state}, {NULL, NULL}};
    static const luaL_Reg reader[] = {{"next", r_next},
                                      {"news", r_news},
                                      {"position", r_position},
                                      {"stop", reader_gc},
                                      {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"new", p_new},     {"storm", p_storm},           {"fail_at", p_fail_at},
        {"parse", p_parse}, {"json_valid", p_json_valid}, {NULL, NULL}};
    make_class(L, WORLD, world, world_gc);
    make_class(L, TOPIC, topic, topic_gc);
    make_class(L, SUBSCRIBER, client, client_gc);
    make_class(L, READER, reader, reader_gc);
    luaL_newlib(L, functions);
    return 1;
}
