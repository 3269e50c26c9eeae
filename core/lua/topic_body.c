/* topic_body.c - a topic as a response's body: a stream of events with no coroutine behind it. */
#include <inttypes.h>
#include <stdio.h>

#include <lauxlib.h>

#include "body/format.h"
#include "http/conn.h"
#include "lua/bind_topic.h"
#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/call.h"
#include "lua/negotiate.h"
#include "lua/response.h"
#include "util/percent.h"

/* tg_out.choice; by forms, plus one: 0 is no choice. */
static const struct {
    struct tg_slice media_type;
    const char *content_type;
} forms[TG_FORMS] = {
    [TG_FORM_STREAM] = {{"text/event-stream", 17}, "text/event-stream; charset=utf-8"},
    [TG_FORM_LINES] = {{"application/x-ndjson", 20}, "application/x-ndjson"},
};

/* --- The request ------------------------------------------------------------------------------ */

static bool find_field(struct tg_conn *conn, struct tg_slice name, struct tg_slice *value)
{
    const struct tg_head *head = tg_conn_head(conn);
    const struct tg_field *fields = tg_conn_fields(conn);
    for (size_t i = 0; i < head->field_count; i++)
        if (tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), name)) {
            *value = tg_conn_field_value(conn, &fields[i]);
            return true;
        }
    return false;
}

static bool find_in_query(struct tg_conn *conn, struct tg_slice wanted, struct tg_slice *out)
{
    struct tg_slice query = tg_conn_span(conn, tg_conn_head(conn)->query);
    struct tg_slice name;
    struct tg_slice value;
    while (tg_query_next(&query, &name, &value))
        if (tg_slice_equal(name, wanted)) {
            *out = value;
            return true;
        }
    return false;
}

struct tg_slice tg_topic_push_last_id(lua_State *L, const struct tg_call *call)
{
    struct tg_conn *conn = call->exchange->conn;
    struct tg_slice id = {NULL, 0};
    luaL_Buffer text;
    if (find_field(conn, TG_SLICE("last-event-id"), &id)) {
        lua_pushlstring(L, id.p, id.len);
    } else if (find_in_query(conn, TG_SLICE("after"), &id)) {
        char *room = luaL_buffinitsize(L, &text, id.len);
        luaL_pushresultsize(&text, tg_percent_decode(id.p, id.len, true, room));
    } else {
        lua_pushnil(L);
        return id;
    }
    id.p = lua_tolstring(L, -1, &id.len);
    if (id.len)
        return id;
    lua_pop(L, 1);
    lua_pushnil(L);
    return (struct tg_slice){NULL, 0};
}

/* --- The head --------------------------------------------------------------------------------- */

static enum tg_form said_form(lua_State *L, const struct tg_response_info *said)
{
    struct tg_slice type = {said->content_type, said->content_type_len};
    const char *end = type.len ? memchr(type.p, ';', type.len) : NULL;
    if (end)
        type.len = (size_t)(end - type.p);
    while (type.len && (type.p[type.len - 1] == ' ' || type.p[type.len - 1] == '\t'))
        type.len--;
    for (int i = 0; i < TG_FORMS; i++)
        if (tg_slice_equal_nocase(type, forms[i].media_type))
            return (enum tg_form)i;
    if (!tg_slice_equal_nocase(type, TG_SLICE("application/jsonl")))
        luaL_error(L, "a topic is no %s: text/event-stream, or application/x-ndjson",
                   said->content_type);
    return TG_FORM_LINES;
}

static void add_field(lua_State *L, struct tg_exchange *x, struct tg_slice name,
                      struct tg_slice value)
{
    if (!tg_exchange_has_field(x, name) && tg_exchange_add_field(x, name, value) != TG_OK)
        luaL_error(L, "not enough memory");
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    (void)index;
    struct tg_exchange *x = out->call->exchange;
    struct tg_slice offered[TG_FORMS];
    enum tg_form form;
    for (int i = 0; i < TG_FORMS; i++)
        offered[i] = forms[i].media_type;
    if (about->said->content_type)
        form = said_form(L, about->said);
    else
        form = (enum tg_form)tg_negotiate(x->conn, offered, TG_FORMS);
    out->choice = (int)form + 1;
    about->media_type = forms[form].content_type;
    add_field(L, x, TG_SLICE("Cache-Control"), TG_SLICE("no-cache"));
    add_field(L, x, TG_SLICE("X-Accel-Buffering"), TG_SLICE("no")); /* nginx is not to gather it */
}

/* --- The stream ------------------------------------------------------------------------------- */

static void describe_client(void *arg, char *out, size_t size)
{
    const struct tg_exchange *x = arg;
    uint16_t port;
    const char *peer = tg_conn_peer(x->conn, &port);
    snprintf(out, size, "%s:%u", peer, (unsigned)port);
}

struct tg_source *tg_topic_start(lua_State *L, struct tg_out *out, int index, enum tg_form form,
                                 struct tg_slice after)
{
    struct tg_source *source;
    struct tg_subscribe subscribe = {
        .topic = tg_topic_check(L, index),
        .writer = out->writer,
        .form = form,
        .after = after,
        .describe = describe_client,
        .arg = out->call->exchange,
    };
    enum tg_status status = tg_subscribe(&source, tg_topics_post(L), &subscribe);
    if (status != TG_OK)
        tg_out_check(L, status);
    return source;
}

static struct tg_source *start(lua_State *L, struct tg_out *out, int index)
{
    bool lines =
        out->format && (tg_slice_equal(out->format->media_type, forms[1].media_type) ||
                        tg_slice_equal(out->format->media_type, TG_SLICE("application/jsonl")));
    enum tg_form form = lines ? TG_FORM_LINES : TG_FORM_STREAM;
    if (out->choice)
        form = (enum tg_form)(out->choice - 1);
    return tg_topic_start(L, out, index, form, tg_topic_push_last_id(L, out->call));
}

static const char *media_type(lua_State *L, const struct tg_out *out, int index)
{
    (void)L;
    (void)out;
    (void)index;
    return forms[TG_FORM_STREAM].content_type;
}

const struct tg_body_kind tg_topic_kind = {
    .describe = describe, .media_type = media_type, .start = start};
