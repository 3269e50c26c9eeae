/* print_leaf.c - bodies of other types inside a table or sequence: they write themselves, where they stand. */
#include <string.h>

#include <lauxlib.h>

#include "body/filter.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/body_kind.h"
#include "lua/call.h"
#include "lua/fetch_response.h"
#include "lua/print_impl.h"

#define LEAF_TYPE "tidegate.Leaf"

struct leaf {
    struct tg_filter filter;
    struct tg_out out;
    bool filtered;
    bool quoted;
    uint64_t before; /* the writer's bytes, where there is no filter */
};

bool tg_print_is_leaf(lua_State *L, int index)
{
    return lua_isfunction(L, index) || tg_body_is_leaf(L, index);
}

/* --- What stands as it is ----------------------------------------------------------------------- */

/* Whether the body at index is text of the format that it stands in, which is out's. */
static bool is_same(lua_State *L, const struct tg_out *out, int index)
{
    const char *content_type = tg_body_media_type(L, out, index);
    struct tg_slice type = {content_type, content_type ? strlen(content_type) : 0};
    return tg_format_closeness(out->format, tg_media_type(type)) > 0;
}

/* Whether an element ends with its line. */
static bool has_lines(const struct tg_printer *p)
{
    while (p->parent)
        p = p->parent;
    return p->format->lines;
}

static enum tg_filter_mode choose_mode(lua_State *L, const struct tg_printer *p,
                                       const struct tg_format *format, const struct tg_out *out,
                                       int index)
{
    switch (format->dialect) {
    case TG_DIALECT_CSV:
        return TG_FILTER_CSV;
    case TG_DIALECT_EVENT:
        return TG_FILTER_EVENT;
    case TG_DIALECT_SCRIPT:
        return TG_FILTER_AS_IS;
    case TG_DIALECT_JSON:
    case TG_DIALECT_EDN:
        break;
    }
    if (format->raw)
        return TG_FILTER_AS_IS;
    if (!is_same(L, out, index))
        return TG_FILTER_JSON;
    return has_lines(p) ? TG_FILTER_ONE_LINE : TG_FILTER_AS_IS;
}

/* --- Leaves ------------------------------------------------------------------------------------- */

/* The user value is the body. */
static int leaf_close(lua_State *L)
{
    struct leaf *leaf = lua_touserdata(L, 1);
    bool begun = leaf->out.writer != NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, leaf->out.ref);
    leaf->out.ref = LUA_NOREF;
    leaf->out.writer = NULL;
    if (begun && leaf->filtered)
        tg_filter_fini(&leaf->filter);
    lua_getiuservalue(L, 1, 1);
    const struct tg_body_kind *kind = tg_body_kind_of(L, -1);
    if (kind && kind->drop)
        kind->drop(L, &leaf->out, lua_gettop(L));
    return 0;
}

/* What is written in C goes straight to the writer, by sendfile if it can; a script may keep what it
 * writes through, which has to know when the writer has gone. */
static void begin(lua_State *L, const struct tg_printer *p, struct leaf *leaf,
                  enum tg_filter_mode mode)
{
    struct tg_writer *w = p->watch.w;
    bool in_c = tg_body_kind_of(L, -2) != NULL;
    leaf->quoted = mode == TG_FILTER_JSON || mode == TG_FILTER_CSV;
    leaf->filtered = mode != TG_FILTER_AS_IS || !in_c;
    if (leaf->quoted)
        tg_print_put(w, TG_SLICE("\""));
    leaf->before = w->bytes;
    if (leaf->filtered && tg_filter_init(&leaf->filter, w, mode) != TG_OK)
        luaL_error(L, "not enough memory");
    leaf->out.writer = leaf->filtered ? &leaf->filter.writer : w;
}

/* Stack: value, leaf. */
void tg_print_open_leaf(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    if (!p->call || !p->call->exchange) {
        tg_print_refuse(L, p, -1); /* other bodies are written for an exchange */
        return;
    }
    tg_fetch_response_unwrap(L, -1);
    const struct tg_frame *f = tg_print_push(L, p, TG_FRAME_LEAF, format);
    struct leaf *leaf = lua_newuserdatauv(L, sizeof *leaf, 1);
    leaf->out = (struct tg_out){.ref = LUA_NOREF, .call = p->call};
    leaf->out.format = format->dialect <= TG_DIALECT_EDN ? format : format->inner;
    enum tg_filter_mode mode = choose_mode(L, p, format, &leaf->out, f->base);
    lua_pushvalue(L, f->base);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, LEAF_TYPE)) {
        lua_pushcfunction(L, leaf_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    lua_pushvalue(L, -1);
    leaf->out.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    begin(L, p, leaf, mode);
}

static void end(lua_State *L, const struct tg_printer *p, const struct tg_frame *f)
{
    struct leaf *leaf = lua_touserdata(L, f->base + 1);
    struct tg_writer *w = p->watch.w;
    const struct tg_format *format = f->format;
    uint64_t written = leaf->filtered ? leaf->filter.writer.bytes : w->bytes - leaf->before;
    if (leaf->filtered)
        tg_out_check(L, tg_filter_end(&leaf->filter));
    if (leaf->quoted)
        tg_print_put(w, TG_SLICE("\""));
    else if (!written && !format->raw && format->dialect <= TG_DIALECT_EDN)
        tg_print_put(w, tg_print_null(format)); /* nothing would be no text of the format */
}

bool tg_print_step_leaf(lua_State *L, struct tg_printer *p, struct tg_frame *f, lua_KFunction k)
{
    struct leaf *leaf = lua_touserdata(L, f->base + 1);
    if (f->called) {
        end(L, p, f);
        return true;
    }
    f->called = true;
    tg_body_push_way(L, f->base);
    lua_pushlightuserdata(L, &leaf->out);
    lua_pushvalue(L, f->base);
    lua_callk(L, 2, 0, 0, k);
    return false;
}
