/* channel_body.c - channels as bodies: each item is written as it comes, until the channel is closed.
 *
 * A string stands as it is.  A table, number or boolean is an element: a line of JSON, or whatever the
 * response's Content-Type makes of the elements of a sequence.  What else is a body is written as one.
 */
#include "lua/channel_body.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/bind_channel.h"
#include "lua/bind_format.h"
#include "lua/bind_sequence.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/call.h"
#include "lua/channel.h"
#include "lua/fetch_response.h"
#include "lua/print.h"
#include "lua/response.h"

/* tg_out.choice: what the response says of its type. */
enum { UNKNOWN, SAYS_NOTHING, HAS_FORMAT };

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    (void)index;
    struct tg_slice type = {about->said->content_type, about->said->content_type_len};
    if (!type.p)
        out->choice = SAYS_NOTHING;
    else
        out->choice = tg_formats_find(L, type) ? HAS_FORMAT : UNKNOWN;
}

/* --- The items -------------------------------------------------------------------------------- */

enum {
    OUT = 1,
    CHANNEL = 2,
    YIELD = 3,
    ITEM = 4
}; /* the stack; YIELD is nil where items stand alone */

enum step { GOT, WRITTEN };

static int go_on(lua_State *L, int status, lua_KContext step);

static struct tg_out *out_at(lua_State *L)
{
    return lua_touserdata(L, OUT);
}

static bool is_element(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
        return true;
    case LUA_TLIGHTUSERDATA:
        return tg_json_is_null(L, index);
    case LUA_TTABLE:
        return tg_body_is_printed(L, index);
    default:
        return false;
    }
}

static int waited(lua_State *L, int status, lua_KContext context)
{
    tg_task_resumed(L, context);
    tg_out_check(L, out_at(L)->writer->failed);
    return go_on(L, status, WRITTEN);
}

static int print_element(lua_State *L)
{
    const struct tg_out *out = out_at(L);
    return tg_print_element(L, out, 2);
}

/* Writes the item at ITEM, which is no string; WRITTEN comes next. */
static void write_item(lua_State *L)
{
    bool element = is_element(L, ITEM);
    if (lua_isfunction(L, YIELD) && (element || tg_body_is_printed(L, ITEM))) {
        lua_pushvalue(L, YIELD);
        lua_pushvalue(L, ITEM);
        lua_callk(L, 1, 0, WRITTEN, go_on);
        return;
    }
    if (element)
        lua_pushcfunction(L, print_element);
    else
        tg_body_push_way(L, ITEM);
    lua_pushvalue(L, OUT);
    lua_pushvalue(L, ITEM);
    lua_callk(L, 2, 0, WRITTEN, go_on);
}

static void write_string(lua_State *L, struct tg_writer *w)
{
    size_t len;
    const char *data = lua_tolstring(L, ITEM, &len);
    tg_out_check(L, tg_writer_write(w, data, len));
}

static int go_on(lua_State *L, int status, lua_KContext step)
{
    (void)status;
    struct tg_writer *w = out_at(L)->writer;
    for (;;) {
        if (step == WRITTEN) {
            lua_settop(L, YIELD);
            lua_pushcfunction(L, tg_channel_l_get);
            lua_pushvalue(L, CHANNEL);
            lua_callk(L, 1, 1, GOT, go_on);
        }
        if (lua_isnil(L, ITEM))
            return 0;
        step = WRITTEN;
        tg_fetch_response_unwrap(L, ITEM);
        if (lua_type(L, ITEM) != LUA_TSTRING) {
            write_item(L);
            continue;
        }
        write_string(L, w);
        if (w->must_wait)
            return tg_out_wait(L, w, waited);
    }
}

/* --- The first, by which the others go ---------------------------------------------------------- */

/* The response has no type of its own: the first item says what it is. */
static void choose_type(lua_State *L, struct tg_out *out, int item)
{
    struct tg_exchange *x = out->call->exchange;
    struct tg_slice type = {NULL, 0};
    if (lua_type(L, item) == LUA_TSTRING) {
        type = TG_SLICE("text/plain; charset=utf-8");
    } else if (is_element(L, item)) {
        type = TG_SLICE("application/x-ndjson");
        out->format = tg_format_find(type);
    }
    if (!type.p || x->writer.committed || out != &out->call->out)
        return; /* it is too late, or inside another body */
    if (tg_exchange_add_field(x, TG_SLICE("Content-Type"), type) != TG_OK)
        luaL_error(L, "not enough memory");
    x->head.fields = tg_buf_slice(&x->fields);
}

/* A generator's function.  Upvalues: out, channel, the first item. */
static int produce(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(OUT));
    lua_insert(L, 1);
    lua_pushvalue(L, lua_upvalueindex(CHANNEL));
    lua_insert(L, 2);
    lua_pushvalue(L, lua_upvalueindex(3));
    return go_on(L, LUA_OK, GOT);
}

/* Stack: out, channel, item.  The items are the elements of a sequence. */
static int write_sequence(lua_State *L)
{
    const struct tg_out *out = out_at(L);
    lua_pushcclosure(L, produce, 3);
    lua_newuserdatauv(L, 0, 1);
    lua_insert(L, 1);
    lua_setiuservalue(L, 1, 1);
    luaL_setmetatable(L, TG_GENERATOR_TYPE);
    return tg_print_body(L, out, 1);
}

/* Stack: out, channel, choice, the first item. */
static int first_got(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct tg_out *out = out_at(L);
    lua_Integer choice = lua_tointeger(L, 3);
    if (choice == SAYS_NOTHING)
        choose_type(L, out, 4);
    if (choice == HAS_FORMAT && (lua_isnil(L, 4) || is_element(L, 4) || tg_body_is_printed(L, 4))) {
        lua_remove(L, 3);
        return write_sequence(L);
    }
    lua_pushnil(L);
    lua_replace(L, YIELD);
    return go_on(L, LUA_OK, GOT);
}

/* Stack: out, channel. */
static int write_items(lua_State *L)
{
    struct tg_out *out = out_at(L);
    lua_pushinteger(L, out->choice);
    out->choice = UNKNOWN; /* it is for this body alone */
    lua_pushcfunction(L, tg_channel_l_get);
    lua_pushvalue(L, CHANNEL);
    lua_callk(L, 1, 1, 0, first_got);
    return first_got(L, LUA_OK, 0);
}

static int ended(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

/* A channel that the exchange has made ends with its body, and whoever puts to it hears of that. */
static int write_channel(lua_State *L)
{
    const struct tg_channel *ch = lua_touserdata(L, CHANNEL);
    if (ch->scope && ch->scope == tg_scope_of(L)->number)
        lua_toclose(L, CHANNEL);
    lua_pushcfunction(L, write_items);
    lua_pushvalue(L, OUT);
    lua_pushvalue(L, CHANNEL);
    lua_callk(L, 2, 0, 0, ended);
    return 0;
}

const struct tg_body_kind tg_channel_kind = {
    .describe = describe, .write = write_channel, .next = tg_channel_l_get};
