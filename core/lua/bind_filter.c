/* bind_filter.c - reads one body, and writes what a function makes of it. */
#include "lua/bind_filter.h"

#include <lauxlib.h>

#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/body_kind.h"
#include "lua/body_reader.h"
#include "lua/fetch_response.h"
#include "lua/task.h"

#define FILTER_TYPE "tidegate.Filter"

/* The userdata holds nothing. */
enum { FILTER_BODY = 1, FILTER_MAP, FILTER_FINISH, FILTER_READER, FILTER_VALUES = FILTER_READER };

/* --- What is known of it ---------------------------------------------------------------------- */

/* The reader that the last description has made, if it was not used. */
static struct tg_body_reader *take_reader(lua_State *L, int filter)
{
    lua_getiuservalue(L, filter, FILTER_READER);
    struct tg_body_reader *reader = luaL_testudata(L, -1, TG_BODY_READER_TYPE);
    lua_pushnil(L);
    lua_setiuservalue(L, filter, FILTER_READER);
    if (!reader)
        lua_pop(L, 1);
    return reader;
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)out;
    if (take_reader(L, index))
        tg_body_reader_close_at(L, -1);
}

/* Its type is that of the body behind it; of its length nothing is known. */
static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    int top = lua_gettop(L);
    drop(L, out, index);
    lua_getiuservalue(L, index, FILTER_BODY);
    int body = lua_gettop(L);
    struct tg_body_reader *reader = tg_body_reader_new(L, body);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, FILTER_READER);
    about->media_type = tg_body_describe_inner(L, tg_body_reader_out(reader), body, about->said);
    lua_settop(L, top);
}

static const char *media_type(lua_State *L, const struct tg_out *out, int index)
{
    lua_getiuservalue(L, index, FILTER_BODY);
    const char *type = tg_body_media_type(L, out, lua_gettop(L));
    lua_pop(L, 1);
    return type;
}

/* --- As a body -------------------------------------------------------------------------------- */

enum { OUT = 1, FILTER, READER, RESULT };

/* Where write_filtered() is, for its continuations. */
enum { READ, MAPPED, FINISHED };

static int go_on(lua_State *L, int status, lua_KContext at);

static int went_on(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    const struct tg_out *out = lua_touserdata(L, OUT);
    tg_out_check(L, out->writer->failed);
    return go_on(L, LUA_OK, MAPPED);
}

static int call_next(lua_State *L)
{
    lua_pushcfunction(L, tg_body_reader_read);
    lua_pushvalue(L, READER);
    lua_callk(L, 1, 1, READ, go_on);
    return READ;
}

/* The chunk, or nil at the end, is on top. */
static int call_function(lua_State *L)
{
    bool ended = lua_isnil(L, RESULT);
    lua_getiuservalue(L, FILTER, ended ? FILTER_FINISH : FILTER_MAP);
    if (lua_isnil(L, -1))
        return FINISHED;
    if (ended) {
        lua_callk(L, 0, 1, FINISHED, go_on);
        return FINISHED;
    }
    lua_rotate(L, RESULT, 1);
    lua_callk(L, 1, 1, MAPPED, go_on);
    return MAPPED;
}

/* What the function has returned is on top. */
static void write_result(lua_State *L, struct tg_writer *w)
{
    size_t len;
    int type = lua_type(L, -1);
    if (type == LUA_TNIL)
        return;
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "tg.map_body: the function returned a %s, expected a string or nil",
                   luaL_typename(L, -1));
    const char *data = lua_tolstring(L, -1, &len);
    tg_out_check(L, tg_writer_write(w, data, len));
}

static int go_on(lua_State *L, int status, lua_KContext at)
{
    struct tg_writer *w = ((const struct tg_out *)lua_touserdata(L, OUT))->writer;
    (void)status;
    for (;;) {
        if (at == READ) {
            at = call_function(L);
            continue;
        }
        if (lua_gettop(L) >= RESULT)
            write_result(L, w);
        if (at == FINISHED)
            break;
        lua_settop(L, READER);
        if (w->must_wait)
            return tg_out_wait(L, w, went_on);
        at = call_next(L);
    }
    lua_settop(L, READER);
    lua_closeslot(L, READER);
    return 0;
}

static int write_filtered(lua_State *L)
{
    const struct tg_out *out = lua_touserdata(L, OUT);
    if (!take_reader(L, FILTER)) {
        lua_getiuservalue(L, FILTER, FILTER_BODY);
        struct tg_body_reader *reader = tg_body_reader_new(L, -1);
        tg_body_reader_out(reader)->format = out->format;
        lua_remove(L, -2);
    }
    lua_toclose(L, READER);
    return go_on(L, LUA_OK, MAPPED);
}

/* --- tg.map_body -------------------------------------------------------------------------------- */

/* map_body(body, fn[, finish]) */
static int l_map_body(lua_State *L)
{
    luaL_checkany(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 3);
    tg_fetch_response_unwrap(L, 1);
    if (!tg_body_is_one(L, 1))
        return luaL_error(L, "tg.map_body: a %s cannot be streamed as a body", luaL_typename(L, 1));
    lua_newuserdatauv(L, 0, FILTER_VALUES);
    for (int i = FILTER_BODY; i <= FILTER_FINISH; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, i);
    }
    luaL_setmetatable(L, FILTER_TYPE);
    return 1;
}

void tg_filters_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"map_body", l_map_body}, {NULL, NULL}};
    static const struct tg_body_kind kind = {
        .describe = describe, .media_type = media_type, .write = write_filtered, .drop = drop};
    luaL_newmetatable(L, FILTER_TYPE);
    tg_body_kind_set(L, &kind);
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
