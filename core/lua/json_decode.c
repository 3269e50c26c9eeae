/* json_decode.c - tg.json.decode: values from a JSON text (RFC 8259).
 *
 * body/json_check.c has seen that the text is one, so what makes the values looks at no more than it has to.
 * Two things that the grammar allows are no values of ours: half a surrogate pair, and a number beyond
 * the floats.
 */
#include <math.h>
#include <string.h>

#include <lauxlib.h>

#include "body/json_check.h"
#include "lua/bind_json.h"
#include "lua/bind_sequence.h"

enum {
    VALUE_STACK = 4,    /* places that a list or an object needs */
    NUMBER_COPIED = 64, /* bytes of a number that are copied to be ended by a NUL */
    OBJECT_MARK = 2,    /* the metatable's place on the stack */
};

struct builder {
    lua_State *L;
    const char *at;
    const char *bad; /* what is no value of ours; NULL: there is nothing */
    const char *why;
};

static void refuse(struct builder *b, const char *at, const char *why)
{
    if (b->bad)
        return;
    b->bad = at;
    b->why = why;
}

static void skip_space(struct builder *b)
{
    while (*b->at == ' ' || *b->at == '\t' || *b->at == '\n' || *b->at == '\r')
        b->at++;
}

/* --- Strings ---------------------------------------------------------------------------------- */

static unsigned long read_hex(const char *at)
{
    unsigned long code = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)at[i];
        code = code << 4 | (c <= '9' ? c - (unsigned)'0' : (c | 0x20u) - 'a' + 10u);
    }
    return code;
}

/* The code point whose first four digits are next; takes a pair of surrogates together. */
static unsigned long take_code(struct builder *b)
{
    const char *from = b->at;
    unsigned long code = read_hex(from);
    b->at += 4;
    if (code < 0xd800 || code > 0xdfff)
        return code;
    unsigned long low = b->at[0] == '\\' && b->at[1] == 'u' ? read_hex(b->at + 2) : 0;
    if (code > 0xdbff || low < 0xdc00 || low > 0xdfff) {
        refuse(b, from - 2, "the text has half a surrogate pair");
        return 0xfffd;
    }
    b->at += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

static void add_utf8(luaL_Buffer *text, unsigned long code)
{
    if (code < 0x80) {
        luaL_addchar(text, (char)code);
    } else if (code < 0x800) {
        luaL_addchar(text, (char)(0xc0 | code >> 6));
    } else if (code < 0x10000) {
        luaL_addchar(text, (char)(0xe0 | code >> 12));
        luaL_addchar(text, (char)(0x80 | (code >> 6 & 0x3f)));
    } else {
        luaL_addchar(text, (char)(0xf0 | code >> 18));
        luaL_addchar(text, (char)(0x80 | (code >> 12 & 0x3f)));
        luaL_addchar(text, (char)(0x80 | (code >> 6 & 0x3f)));
    }
    if (code >= 0x80)
        luaL_addchar(text, (char)(0x80 | (code & 0x3f)));
}

static void take_escape(struct builder *b, luaL_Buffer *text)
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    char c = *b->at++;
    const char *name = strchr(names, c);
    if (c == 'u')
        add_utf8(text, take_code(b));
    else
        luaL_addchar(text, name ? values[name - names] : c);
}

static const char *find_special(const char *at)
{
    while (*at != '"' && *at != '\\')
        at++;
    return at;
}

/* Pushes the string whose first quote is next. */
static void take_string(struct builder *b)
{
    luaL_Buffer text;
    const char *from = ++b->at;
    b->at = find_special(from);
    if (*b->at == '"') {
        lua_pushlstring(b->L, from, (size_t)(b->at++ - from));
        return;
    }
    luaL_buffinit(b->L, &text);
    for (;;) {
        luaL_addlstring(&text, from, (size_t)(b->at - from));
        if (*b->at++ == '"')
            break;
        take_escape(b, &text);
        from = b->at;
        b->at = find_special(from);
    }
    luaL_pushresult(&text);
}

/* --- Numbers ---------------------------------------------------------------------------------- */

/* An integer where it is written as one and fits, else a float. */
static void take_number(struct builder *b)
{
    char copy[NUMBER_COPIED];
    const char *from = b->at;
    size_t len = strspn(from, "+-.0123456789eE");
    bool fits = len < sizeof copy;
    b->at += len;
    if (fits) {
        memcpy(copy, from, len);
        copy[len] = '\0';
    } else {
        lua_pushlstring(b->L, from, len);
    }
    if (!lua_stringtonumber(b->L, fits ? copy : lua_tostring(b->L, -1)))
        lua_pushnumber(b->L, HUGE_VAL);
    if (!fits)
        lua_remove(b->L, -2);
    if (isinf(lua_tonumber(b->L, -1)))
        refuse(b, from, "the text has a number that is too large");
}

/* --- Values ----------------------------------------------------------------------------------- */

static void take_value(struct builder *b); /* as deep as the check allows */

static void take_list(struct builder *b)
{
    lua_Integer n = 0;
    lua_newtable(b->L);
    for (skip_space(b); *b->at != ']'; skip_space(b)) {
        if (*b->at == ',')
            b->at++;
        take_value(b);
        lua_rawseti(b->L, -2, ++n);
    }
    b->at++;
}

/* Marked as an object: it stays one when it is empty, or becomes so. */
static void take_object(struct builder *b)
{
    lua_newtable(b->L);
    lua_pushvalue(b->L, OBJECT_MARK);
    lua_setmetatable(b->L, -2);
    for (skip_space(b); *b->at != '}'; skip_space(b)) {
        if (*b->at == ',')
            b->at++;
        skip_space(b);
        take_string(b);
        skip_space(b);
        b->at++; /* the colon */
        take_value(b);
        lua_rawset(b->L, -3);
    }
    b->at++;
}

static void take_value(struct builder *b)
{
    luaL_checkstack(b->L, VALUE_STACK + LUA_MINSTACK, "the JSON text is nested too deeply");
    skip_space(b);
    switch (*b->at) {
    case '{':
        b->at++;
        take_object(b);
        break;
    case '[':
        b->at++;
        take_list(b);
        break;
    case '"':
        take_string(b);
        break;
    case 't':
        lua_pushboolean(b->L, true);
        b->at += 4;
        break;
    case 'f':
        lua_pushboolean(b->L, false);
        b->at += 5;
        break;
    case 'n':
        lua_pushlightuserdata(b->L, NULL);
        b->at += 4;
        break;
    default:
        take_number(b);
    }
}

/* --- tg.json.decode(text) ----------------------------------------------------------------------- */

/* nil, and what is wrong with which byte. */
static int fail(lua_State *L, struct tg_slice text, size_t at, const char *why)
{
    lua_pushnil(L);
    if (at == text.len)
        lua_pushfstring(L, "%s: it ends too early", why);
    else
        lua_pushfstring(L, "%s, at byte %I", why, (lua_Integer)at + 1);
    return 2;
}

int tg_json_decode(lua_State *L)
{
    static const char *const reasons[] = {
        [TG_JSON_NOT_UTF8] = "the text is not UTF-8",
        [TG_JSON_TOO_DEEP] = "the text is nested too deeply",
        [TG_JSON_UNEXPECTED] = "the text is no JSON",
    };
    struct tg_slice text;
    size_t at;
    luaL_checktype(L, 1, LUA_TSTRING);
    lua_settop(L, 1);
    text.p = lua_tolstring(L, 1, &text.len);
    enum tg_json_fault fault = tg_json_check(text, &at);
    if (fault != TG_JSON_FINE)
        return fail(L, text, at, reasons[fault]);
    tg_json_push_object(L);
    struct builder b = {.L = L, .at = text.p};
    take_value(&b);
    return b.bad ? fail(L, text, (size_t)(b.bad - text.p), b.why) : 1;
}
