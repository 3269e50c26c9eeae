/* bind_format.c - keeps the script's formats in a list. */
#include "lua/bind_format.h"

#include <string.h>

#include <lauxlib.h>

#include "body/writer.h"
#include "http/head.h"
#include "lua/options.h"
#include "util/mem.h"

#define FORMAT_TYPE "tidegate.Format"

static const char list_key = 'l'; /* its address is the key, in the registry */

/* A userdata; its user value is the table that the script gave, which holds the texts. */
struct script_format {
    struct tg_format base;
    int element; /* references */
    int finish;  /* LUA_NOREF: it is a text */
};

static void push_list(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
}

const struct tg_format *tg_formats_at(lua_State *L, size_t n)
{
    const struct tg_format *format = tg_format_at(n);
    size_t own = 0;
    if (format)
        return format;
    while (tg_format_at(own))
        own++;
    push_list(L);
    lua_rawgeti(L, -1, (lua_Integer)(n - own) + 1);
    format = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return format;
}

const struct tg_format *tg_formats_find(lua_State *L, struct tg_slice content_type)
{
    struct tg_slice media_type = tg_media_type(content_type);
    const struct tg_format *found = tg_format_find(content_type);
    const struct tg_format *format;
    int best = found ? tg_format_closeness(found, media_type) : 0;
    for (size_t n = 0; best < 2 && (format = tg_formats_at(L, n)) != NULL; n++) {
        int closeness = tg_format_closeness(format, media_type);
        if (closeness > best)
            found = format;
        best = closeness > best ? closeness : best;
    }
    return found;
}

static const struct script_format *script(const struct tg_format *format)
{
    return (const struct script_format *)(const void *)format;
}

void tg_format_push_function(lua_State *L, const struct tg_format *format, bool finish)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, finish ? script(format)->finish : script(format)->element);
}

bool tg_format_finishes(const struct tg_format *format)
{
    return script(format)->finish != LUA_NOREF;
}

/* --- tg.format(media_type, options) ------------------------------------------------------------- */

static bool is_media_type(struct tg_slice s)
{
    const char *slash = memchr(s.p, '/', s.len);
    size_t before = slash ? (size_t)(slash - s.p) : 0;
    return before && tg_is_token(s.p, before) && tg_is_token(slash + 1, s.len - before - 1);
}

/* The text of a field of the options at 2; the table keeps it alive. */
static struct tg_slice text_option(lua_State *L, const char *name)
{
    struct tg_slice text = {"", 0};
    int type = lua_getfield(L, 2, name);
    if (type == LUA_TSTRING)
        text.p = lua_tolstring(L, -1, &text.len);
    else if (type != LUA_TNIL)
        luaL_error(L, "tg.format: %s is a string%s, this is a %s", name,
                   strcmp(name, "content_type") == 0 ? "" : " or a function", luaL_typename(L, -1));
    if (text.len > TG_WRITER_ROOM_MAX)
        luaL_error(L, "tg.format: %s is longer than %d bytes", name, TG_WRITER_ROOM_MAX);
    lua_pop(L, 1);
    return text;
}

static void check_options(lua_State *L)
{
    static const char *const names[] = {"element", "begin",        "between", "after",
                                        "finish",  "content_type", NULL};
    tg_options_check_names(L, 2, "tg.format", names);
}

/* Copies the options, that a script may change later, into a table of our own, at 2. */
static void keep_options(lua_State *L)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 3);
    }
    lua_replace(L, 2);
}

/* A reference to the function that finish is; the options have no finish then. */
static int take_finish(lua_State *L)
{
    if (lua_getfield(L, 2, "finish") != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return LUA_NOREF;
    }
    lua_pushnil(L);
    lua_setfield(L, 2, "finish");
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int l_format(lua_State *L)
{
    struct tg_slice media_type;
    media_type.p = luaL_checklstring(L, 1, &media_type.len);
    luaL_argcheck(L, is_media_type(media_type), 1, "expected a media type, without parameters");
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    check_options(L);
    keep_options(L);
    const struct tg_format *same = tg_formats_find(L, media_type);
    if (same && tg_format_closeness(same, media_type) == 2)
        return luaL_error(L, "tg.format: %s is there already", media_type.p);
    push_list(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 3);
    if (count == TG_SCRIPT_FORMATS_MAX)
        return luaL_error(L, "tg.format: there are %d already", TG_SCRIPT_FORMATS_MAX);
    if (lua_getfield(L, 2, "element") != LUA_TFUNCTION)
        return luaL_error(L, "tg.format: element is a function, this is a %s",
                          luaL_typename(L, -1));
    struct script_format *made = lua_newuserdatauv(L, sizeof *made, 2);
    made->finish = take_finish(L);
    struct tg_slice content_type = text_option(L, "content_type");
    if (!tg_is_field_value(content_type.p, content_type.len))
        return luaL_error(L, "tg.format: content_type is no field value");
    made->base = (struct tg_format){
        .media_type = media_type,
        .content_type = content_type.len ? content_type.p : media_type.p,
        .begin = text_option(L, "begin"),
        .between = text_option(L, "between"),
        .after = text_option(L, "after"),
        .end = text_option(L, "finish"),
        .lines = true,
        .dialect = TG_DIALECT_SCRIPT,
        .inner = &tg_format_json,
    };
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 2);
    lua_pushvalue(L, 4);
    made->element = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawseti(L, 3, count + 1);
    return 0;
}

void tg_formats_open(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
    lua_pushcfunction(L, l_format);
    lua_setfield(L, -2, "format");
}
