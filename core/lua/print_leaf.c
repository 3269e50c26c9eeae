/* print_leaf.c - other bodies inside a table or sequence: they are written where they stand. */
#include <string.h>

#include <lauxlib.h>

#include "body/filter.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/body_kind.h"
#include "lua/call.h"
#include "lua/print_impl.h"
#include "lua/response.h"

#define LEAF_TYPE "tidegate.Leaf"

struct leaf {
    struct tg_filter filter;
    struct tg_out out;
    bool open;
};

static int leaf_close(lua_State *L)
{
    struct leaf *leaf = lua_touserdata(L, 1);
    if (!leaf->open)
        return 0;
    leaf->open = false;
    lua_getiuservalue(L, 1, 1);
    const struct tg_body_kind *kind = tg_body_kind_of(L, -1);
    if (kind && kind->drop)
        kind->drop(L, &leaf->out, lua_gettop(L));
    leaf->out.writer = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, leaf->out.ref);
    tg_filter_fini(&leaf->filter);
    return 0;
}

static bool ends_with(struct tg_slice s, const char *end)
{
    size_t len = strlen(end);
    return s.len >= len && strncasecmp(s.p + s.len - len, end, len) == 0;
}

static bool is_json(const char *content_type)
{
    if (!content_type)
        return false;
    struct tg_slice type = tg_media_type((struct tg_slice){content_type, strlen(content_type)});
    return tg_slice_equal_nocase(type, TG_SLICE("application/json")) || ends_with(type, "+json");
}

static bool has_lines(const struct tg_printer *p)
{
    while (p->parent)
        p = p->parent;
    return p->format->lines;
}

/* Whether the body at index is itself of the text that it stands in; a function is taken to know. */
static bool stands_as_it_is(lua_State *L, struct leaf *leaf, int index, bool json)
{
    bool same = true;
    const struct tg_body_kind *kind = tg_body_kind_of(L, index);
    if (kind) {
        struct tg_response_info said = {NULL, 0, TG_LENGTH_UNKNOWN};
        struct tg_body_about about = {&said, true, TG_LENGTH_UNKNOWN, NULL};
        if (kind->describe)
            kind->describe(L, &leaf->out, index, &about);
        return json && is_json(about.media_type);
    }
    if (luaL_getmetafield(L, index, "__content_type") != LUA_TNIL) {
        same = json && is_json(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return same;
}

static void begin(lua_State *L, struct tg_printer *p, struct leaf *leaf, int value,
                  const struct tg_format *format)
{
    struct tg_writer *w = p->watch.w;
    bool json = format->dialect == TG_DIALECT_JSON;
    if (tg_filter_init(&leaf->filter, w, TG_FILTER_AS_IS) != TG_OK)
        luaL_error(L, "not enough memory");
    leaf->open = true;
    leaf->out.writer = &leaf->filter.writer;
    if (!stands_as_it_is(L, leaf, value, json)) {
        leaf->filter.mode = TG_FILTER_JSON;
        tg_print_put(w, TG_SLICE("\""));
    } else if (has_lines(p)) {
        leaf->filter.mode = TG_FILTER_ONE_LINE;
    }
}

/* Stack: value, leaf. */
void tg_print_open_leaf(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    struct tg_frame *f = tg_print_push(L, p, TG_FRAME_LEAF, format);
    struct leaf *leaf = lua_newuserdatauv(L, sizeof *leaf, 1);
    *leaf = (struct leaf){.out = {.ref = LUA_NOREF, .format = format}};
    lua_pushvalue(L, f->base);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, LEAF_TYPE)) {
        lua_pushcfunction(L, leaf_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    leaf->out.call = tg_call_current(L);
    lua_pushvalue(L, -1);
    leaf->out.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    begin(L, p, leaf, f->base, format);
}

void tg_print_call_leaf(lua_State *L, const struct tg_printer *p, const struct tg_frame *f,
                        lua_KFunction k)
{
    struct leaf *leaf = lua_touserdata(L, f->base + 1);
    (void)p;
    tg_body_push_way(L, f->base);
    lua_pushlightuserdata(L, &leaf->out);
    lua_pushvalue(L, f->base);
    lua_callk(L, 2, 0, 0, k);
}

void tg_print_end_leaf(lua_State *L, const struct tg_printer *p, const struct tg_frame *f)
{
    struct leaf *leaf = lua_touserdata(L, f->base + 1);
    tg_out_check(L, tg_filter_end(&leaf->filter));
    if (leaf->filter.mode == TG_FILTER_JSON && p->watch.w)
        tg_print_put(p->watch.w, TG_SLICE("\""));
}
