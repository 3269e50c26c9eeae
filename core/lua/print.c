/* print.c - values to text: tables by explicit frames, sequences as they come.
 *
 * run() goes on with the innermost frame until all is printed or something waits; all that it knows
 * is in the printer and on the stack of the function that it runs in, so that it can be called
 * again after any wait.  Only a generator nests: its elements are printed where they are yielded.
 */
#include "lua/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "body/json.h"
#include "lua/bind_coroutine.h"
#include "lua/bind_format.h"
#include "lua/bind_sequence.h"
#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/print_impl.h"
#include "lua/state.h"
#include "lua/state_impl.h"
#include "lua/task.h"

#define PRINTER_TYPE "tidegate.Printer"
#define GUARD_TYPE   "tidegate.CoroutineGuard"
#define PART_TYPE    "tidegate.Part"

enum {
    PATH_SHOWN = 300, /* bytes of a message */
    STEP_STACK = 12,  /* places that a step needs above its value */
};

/* --- Errors ----------------------------------------------------------------------------------- */

static void add_path(luaL_Buffer *path, const struct tg_printer *p)
{
    char text[TG_NAME_SHOWN + 8];
    if (p->parent)
        add_path(path, p->parent);
    if (p->yields && p->count) {
        snprintf(text, sizeof text, "[%lld]", (long long)p->count);
        luaL_addstring(path, text);
    }
    for (int i = 0; i < p->depth; i++) {
        const struct tg_frame *f = &p->frames[i];
        bool map = f->kind == TG_FRAME_MAP || f->kind == TG_FRAME_LARGE_MAP;
        if (!f->count)
            continue;
        if (map || f->shown_len)
            snprintf(text, sizeof text, ".%.*s", (int)f->shown_len, f->shown);
        else
            snprintf(text, sizeof text, "[%lld]", (long long)f->count);
        luaL_addstring(path, text);
    }
}

int tg_print_fail(lua_State *L, const struct tg_printer *p, const char *format, ...)
{
    char message[160];
    luaL_Buffer path;
    size_t len;
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    luaL_buffinit(L, &path);
    luaL_addstring(&path, "$");
    add_path(&path, p);
    luaL_pushresult(&path);
    const char *text = lua_tolstring(L, -1, &len);
    if (len > PATH_SHOWN) {
        lua_pushlstring(L, text, PATH_SHOWN / 2);
        lua_pushfstring(L, "%s…%s", lua_tostring(L, -1), text + len - PATH_SHOWN / 2);
        text = lua_tostring(L, -1);
    }
    return luaL_error(L, "%s: %s", text, message);
}

int tg_print_refuse(lua_State *L, const struct tg_printer *p, int index)
{
    if (lua_type(L, index) == LUA_TNUMBER)
        return tg_print_fail(L, p, "NaN and the infinities cannot be printed");
    const char *name = luaL_typename(L, index);
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
        name = lua_tostring(L, -1);
    return tg_print_fail(L, p, "a %.40s cannot be printed", name);
}

/* --- Scalars ---------------------------------------------------------------------------------- */

static void print_tostring(lua_State *L, struct tg_writer *w, int index)
{
    size_t len;
    lua_pushvalue(L, index); /* which becomes a string */
    const char *text = lua_tolstring(L, -1, &len);
    tg_writer_write(w, text, len);
    lua_pop(L, 1);
}

bool tg_print_scalar(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index)
{
    struct tg_slice s;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        s.p = lua_tolstring(L, index, &s.len);
        if (s.len > TG_TEXT_WHOLE)
            return false;
        if (format->raw)
            tg_writer_write(w, s.p, s.len);
        else
            tg_json_string(w, s.p, s.len);
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            tg_json_integer(w, lua_tointeger(L, index));
        else if (format->raw)
            print_tostring(L, w, index);
        else
            return tg_json_number(w, lua_tonumber(L, index)) != TG_EINVAL;
        return true;
    case LUA_TBOOLEAN:
        tg_print_put(w, lua_toboolean(L, index) ? TG_SLICE("true") : TG_SLICE("false"));
        return true;
    case LUA_TNIL:
        tg_print_put(w, tg_print_null(format));
        return true;
    case LUA_TLIGHTUSERDATA:
        if (!tg_json_is_null(L, index))
            return false;
        tg_print_put(w, tg_print_null(format));
        return true;
    default:
        return false;
    }
}

static bool is_special(const struct tg_format *format)
{
    return format->dialect > TG_DIALECT_EDN;
}

/* --- Printers and frames ---------------------------------------------------------------------- */

static int printer_end(lua_State *L)
{
    struct tg_printer *p = lua_touserdata(L, 1);
    p->ended = true;
    tg_writer_unwatch(&p->watch);
    return 0;
}

/* With so many frames to begin with: a generator's need none while it waits. */
static struct tg_printer *new_printer(lua_State *L, struct tg_writer *w, struct tg_call *call,
                                      const struct tg_format *format, int frames)
{
    size_t size = sizeof(struct tg_printer) + (size_t)frames * sizeof(struct tg_frame);
    struct tg_printer *p = lua_newuserdatauv(L, size, TG_PRINTER_VALUES);
    memset(p, 0, offsetof(struct tg_printer, first));
    p->format = format;
    p->call = call;
    p->frames = p->first;
    p->size = frames;
    p->task = tg_lua_current(tg_lua_of(L));
    if (luaL_newmetatable(L, PRINTER_TYPE)) {
        lua_pushcfunction(L, printer_end);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, printer_end);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    tg_writer_watch(w, &p->watch); /* last: from here on there is something to undo */
    return p;
}

static void grow(lua_State *L, struct tg_printer *p)
{
    int size = p->size ? p->size * 4 : TG_FRAMES_MORE;
    struct tg_frame *frames = lua_newuserdatauv(L, (size_t)size * sizeof *frames, 0);
    memcpy(frames, p->frames, (size_t)p->depth * sizeof *frames);
    lua_setiuservalue(L, 1, TG_PRINTER_FRAMES);
    p->frames = frames;
    p->size = size;
}

struct tg_frame *tg_print_push(lua_State *L, struct tg_printer *p, enum tg_frame_kind kind,
                               const struct tg_format *format)
{
    if (p->above + p->depth >= TG_PRINT_DEPTH_MAX)
        tg_print_fail(L, p, "it is nested deeper than %d", TG_PRINT_DEPTH_MAX);
    if (!lua_checkstack(L, STEP_STACK))
        tg_print_fail(L, p, "it is nested too deeply for the stack");
    if (p->depth == p->size)
        grow(L, p);
    struct tg_frame *f = &p->frames[p->depth++];
    f->kind = kind;
    f->base = lua_gettop(L);
    f->format = format;
    f->count = 0;
    f->n = 0;
    f->table = NULL;
    f->shape = NULL;
    f->shown_len = 0;
    f->open = false;
    f->called = false;
    f->uneven = 0;
    return f;
}

static void begin_item(struct tg_writer *w, struct tg_frame *f)
{
    tg_print_put(w, f->count++ ? f->format->between : f->format->begin);
}

static void end_item(struct tg_writer *w, struct tg_frame *f)
{
    tg_print_put(w, f->format->after);
    f->open = false;
}

static void pop(lua_State *L, struct tg_printer *p, const struct tg_frame *f)
{
    int base = f->base;
    p->depth--;
    lua_settop(L, base - 1); /* closes what a sequence has to close */
}

/* What is behind the last of count items. */
static void finish(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                   lua_Integer count)
{
    struct tg_writer *w = p->watch.w;
    if (!count)
        tg_print_put(w, format->begin);
    if (format->dialect == TG_DIALECT_CSV && !p->headed)
        tg_print_header(L, p, format);
    tg_print_put(w, format->end);
    if (format->dialect == TG_DIALECT_SCRIPT && tg_format_finishes(format)) {
        lua_pushinteger(L, count);
        tg_print_push(L, p, TG_FRAME_FINISH, format);
    }
}

static void end_items(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    const struct tg_format *format = f->format;
    lua_Integer count = f->count;
    pop(L, p, f);
    finish(L, p, format, count);
}

static bool stopped(const struct tg_writer *w)
{
    return w->must_wait || w->failed;
}

/* --- Opening ---------------------------------------------------------------------------------- */

/* Stack: sequence, iterator, state, control, closing. */
static void open_sequence(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    struct tg_frame *f = tg_print_push(L, p, TG_FRAME_SEQUENCE, format);
    for (int i = 1; i <= TG_SEQUENCE_VALUES; i++)
        lua_getiuservalue(L, f->base, i);
    lua_toclose(L, f->base + TG_SEQUENCE_VALUES);
}

/* Closes the coroutine if it is left between two elements.  While it waits, the task does. */
struct guard {
    bool between;
};

static int guard_close(lua_State *L)
{
    const struct guard *guard = lua_touserdata(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_State *co = lua_tothread(L, -1);
    if (guard->between && lua_status(co) == LUA_YIELD)
        tg_lua_close_level(co, L);
    return 0;
}

/* Stack: coroutine, guard. */
static void open_coroutine(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    const struct tg_frame *f = tg_print_push(L, p, TG_FRAME_COROUTINE, format);
    struct guard *guard = lua_newuserdatauv(L, sizeof *guard, 1);
    guard->between = false;
    lua_pushvalue(L, f->base);
    lua_setiuservalue(L, -2, 1);
    if (luaL_newmetatable(L, GUARD_TYPE)) {
        lua_pushcfunction(L, guard_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
}

/* Stack: generator, the printer of its elements. */
static void open_generator(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    const struct tg_frame *f = tg_print_push(L, p, TG_FRAME_GENERATOR, format);
    int above = p->above + p->depth;
    struct tg_printer *elements = new_printer(L, p->watch.w, p->call, format, 0);
    elements->parent = p;
    elements->above = above;
    elements->yields = true;
    elements->after = format->after;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, f->base + 1, TG_PRINTER_PARENT);
    lua_toclose(L, f->base + 1);
}

static void open_userdata(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    const struct tg_body_kind *kind = tg_body_kind_of(L, -1);
    if (luaL_testudata(L, -1, TG_SEQUENCE_TYPE)) {
        open_sequence(L, p, format);
    } else if (luaL_testudata(L, -1, TG_GENERATOR_TYPE)) {
        open_generator(L, p, format);
    } else if (kind && kind->next) {
        tg_sequence_push(L, kind->next, -1);
        lua_replace(L, -2);
        open_sequence(L, p, format);
    } else if (tg_print_is_leaf(L, -1)) {
        tg_print_open_leaf(L, p, format);
    } else {
        tg_print_refuse(L, p, -1);
    }
}

/* Most tables have no metatable. */
static void open_table(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    enum tg_json_mark mark = TG_JSON_UNMARKED;
    if (lua_getmetatable(L, -1)) {
        lua_pop(L, 1);
        mark = tg_json_mark(L, -1);
        if (p->call && mark == TG_JSON_UNMARKED && tg_print_is_leaf(L, -1)) {
            tg_print_open_leaf(L, p, format);
            return;
        }
    }
    tg_print_open_table(L, p, format, mark);
}

/* A frame for the value on top, which is no short scalar; or none, and it is printed. */
static void open_value(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    switch (lua_type(L, -1)) {
    case LUA_TTABLE:
        open_table(L, p, format);
        return;
    case LUA_TSTRING:
        tg_print_open_text(L, p, format);
        return;
    case LUA_TFUNCTION:
        tg_print_open_leaf(L, p, format);
        return;
    case LUA_TTHREAD:
        open_coroutine(L, p, format);
        return;
    case LUA_TUSERDATA:
        open_userdata(L, p, format);
        return;
    default:
        tg_print_refuse(L, p, -1);
    }
}

/* The element on top, number n, which is no short scalar, or is of a special format. */
static void open_element(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                         lua_Integer n)
{
    switch (format->dialect) {
    case TG_DIALECT_CSV:
        tg_print_open_row(L, p, format);
        return;
    case TG_DIALECT_SCRIPT:
        tg_print_push(L, p, TG_FRAME_MADE, format)->n = n;
        return;
    case TG_DIALECT_EVENT:
        if (tg_print_event(L, p)) {
            lua_pop(L, 1);
            return;
        }
        break;
    case TG_DIALECT_JSON:
    case TG_DIALECT_EDN:
        break;
    }
    if (format->raw && lua_type(L, -1) == LUA_TSTRING)
        tg_print_open_text(L, p, format);
    else if (format->raw && tg_print_is_leaf(L, -1))
        tg_print_open_leaf(L, p, format);
    else
        open_value(L, p, format->inner);
}

/* Prints the item on top, or opens it. */
static void print_item(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    if (is_special(f->format) || !tg_print_scalar(L, p->watch.w, f->format, -1)) {
        f->open = true;
        open_element(L, p, f->format, f->count);
        return;
    }
    lua_pop(L, 1);
    tg_print_put(p->watch.w, f->format->after);
}

/* --- A step of each kind ---------------------------------------------------------------------- */

static int go_on(lua_State *L, int status, lua_KContext context);
static int yield_element(lua_State *L);

static void step_list(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    struct tg_writer *w = p->watch.w;
    const struct tg_format *format = f->format;
    bool special = is_special(format);
    int depth = p->depth;
    while (f->count < f->n) {
        begin_item(w, f);
        lua_rawgeti(L, f->base, f->count);
        if (special || !tg_print_scalar(L, w, format, -1)) {
            f->open = true;
            open_element(L, p, format, f->count);
            if (p->depth != depth)
                return;
            f->open = false;
        } else {
            lua_pop(L, 1);
        }
        tg_print_put(w, format->after);
        if (stopped(w))
            return;
    }
    end_items(L, p, f);
}

void tg_print_show_name(struct tg_frame *f)
{
    size_t len = f->name.len < sizeof f->shown ? f->name.len : sizeof f->shown;
    memcpy(f->shown, f->name.p, len);
    f->shown_len = (unsigned char)len;
}

/* Writes what stands before a map's next value, and returns its stack place. */
static int begin_field(lua_State *L, struct tg_writer *w, struct tg_frame *f)
{
    if (!f->shape)
        return tg_print_map_item(L, w, f);
    const struct tg_shape_field *field = &f->shape->fields[f->count++];
    tg_print_put_name(w, field->text);
    return f->base + 2 + 2 * field->place;
}

static void step_map(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    struct tg_writer *w = p->watch.w;
    const struct tg_format *format = f->format->inner;
    int depth = p->depth;
    while (f->count < f->n) {
        int value = begin_field(L, w, f);
        if (!tg_print_scalar(L, w, format, value)) {
            if (f->shape)
                f->name = f->shape->fields[f->count - 1].name;
            tg_print_show_name(f);
            lua_pushvalue(L, value);
            open_value(L, p, format);
            if (p->depth != depth)
                return;
        }
        if (stopped(w))
            return;
    }
    tg_print_put(w, f->n ? TG_SLICE("}") : TG_SLICE("{}"));
    pop(L, p, f);
}

static void step_sequence(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    int base = f->base;
    if (!f->called) {
        if (tg_sequence_ended(L, base)) {
            end_items(L, p, f);
            return;
        }
        f->called = true;
        lua_pushvalue(L, base + 1);
        lua_pushvalue(L, base + 2);
        lua_pushvalue(L, base + 3);
        lua_callk(L, 2, 1, 0, go_on);
        return;
    }
    f->called = false;
    if (lua_isnil(L, -1)) {
        tg_sequence_end(L, base);
        end_items(L, p, f);
        return;
    }
    lua_copy(L, -1, base + 3);
    begin_item(p->watch.w, f);
    print_item(L, p, f);
}

static bool is_dead(lua_State *co)
{
    lua_Debug ar;
    return lua_status(co) == LUA_OK && lua_gettop(co) == 0 && !lua_getstack(co, 0, &ar);
}

static void step_coroutine(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    lua_State *co = lua_tothread(L, f->base);
    struct guard *guard = lua_touserdata(L, f->base + 1);
    if (!f->called) {
        if (is_dead(co)) {
            end_items(L, p, f);
            return;
        }
        f->called = true;
        guard->between = false;
        lua_pushcfunction(L, tg_coroutine_resume);
        lua_pushvalue(L, f->base);
        lua_callk(L, 1, 2, 0, go_on);
        return;
    }
    f->called = false;
    if (!lua_toboolean(L, -2))
        lua_error(L);
    lua_remove(L, -2);
    if (lua_status(co) != LUA_YIELD) { /* its last results are returned: no element */
        end_items(L, p, f);
        return;
    }
    guard->between = true;
    begin_item(p->watch.w, f);
    print_item(L, p, f);
}

/* A script may have caught the error of an element that is half written. */
static void check_whole(lua_State *L, const struct tg_printer *elements)
{
    if (elements->midway)
        tg_print_fail(L, elements, "the element could not be printed to its end");
}

static void step_generator(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    struct tg_printer *elements = lua_touserdata(L, f->base + 1);
    if (!f->called) {
        f->called = true;
        lua_getiuservalue(L, f->base, 1);
        lua_pushvalue(L, f->base + 1);
        lua_pushcclosure(L, yield_element, 1);
        lua_callk(L, 1, 0, 0, go_on);
        return;
    }
    check_whole(L, elements);
    f->count = elements->count;
    end_items(L, p, f);
}

static void step_text(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    if (tg_print_step_text(L, p, f))
        pop(L, p, f);
}

static void step_leaf(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    if (tg_print_step_leaf(L, p, f, go_on))
        pop(L, p, f);
}

static void step_row(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    if (tg_print_step_row(L, p, f))
        pop(L, p, f);
}

/* A function of the script's writes, and may return a string to be written. */
static void step_made(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    bool finishes = f->kind == TG_FRAME_FINISH;
    if (!f->called) {
        f->called = true;
        tg_format_push_function(L, f->format, finishes);
        lua_pushvalue(L, f->base);
        lua_getiuservalue(L, 1, TG_PRINTER_OUT);
        lua_pushinteger(L, f->n);
        lua_callk(L, 3, 1, 0, go_on);
    } else if (lua_isnil(L, -1)) {
        pop(L, p, f);
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        lua_replace(L, f->base);
        f->kind = TG_FRAME_TEXT;
        f->n = 0;
    } else {
        tg_print_fail(L, p, "%s of the format returned a %s, expected a string or nothing",
                      finishes ? "finish" : "element", luaL_typename(L, -1));
    }
}

/* --- Going on --------------------------------------------------------------------------------- */

static int waited(lua_State *L, int status, lua_KContext context);

/* What run() cannot go on past: the writer has gone, or failed, or is full. */
static int pause_printing(lua_State *L, const struct tg_printer *p)
{
    struct tg_writer *w = p->watch.w;
    tg_out_check(L, w ? w->failed : TG_ECLOSED);
    if (p->task != tg_lua_current(tg_lua_of(L)))
        return luaL_error(L, "a body is printed from a task that is not its own");
    return tg_out_wait(L, w, waited);
}

static int run(lua_State *L, struct tg_printer *p)
{
    static void (*const steps[])(lua_State *, struct tg_printer *, struct tg_frame *) = {
        [TG_FRAME_LIST] = step_list,
        [TG_FRAME_MAP] = step_map,
        [TG_FRAME_LARGE_MAP] = step_map,
        [TG_FRAME_SEQUENCE] = step_sequence,
        [TG_FRAME_COROUTINE] = step_coroutine,
        [TG_FRAME_GENERATOR] = step_generator,
        [TG_FRAME_TEXT] = step_text,
        [TG_FRAME_LEAF] = step_leaf,
        [TG_FRAME_ROW] = step_row,
        [TG_FRAME_MADE] = step_made,
        [TG_FRAME_FINISH] = step_made,
    };
    for (;;) {
        struct tg_writer *w = p->watch.w;
        if (!w || stopped(w))
            return pause_printing(L, p);
        if (p->depth) {
            struct tg_frame *f = &p->frames[p->depth - 1];
            if (f->open)
                end_item(w, f);
            steps[f->kind](L, p, f);
        } else if (p->midway) {
            tg_print_put(w, p->after);
            p->midway = false;
        } else {
            return 0;
        }
    }
}

static int go_on(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return run(L, lua_touserdata(L, 1));
}

static int waited(lua_State *L, int status, lua_KContext context)
{
    tg_task_resumed(L, context);
    return go_on(L, status, context);
}

/* yield(element), inside a generator: its printer is the upvalue. */
static int yield_element(lua_State *L)
{
    struct tg_printer *p = lua_touserdata(L, lua_upvalueindex(1));
    struct tg_writer *w = p->watch.w;
    luaL_checkany(L, 1);
    if (p->ended)
        return luaL_error(L, "yield was called after its generator had ended");
    if (!w || w->failed)
        return pause_printing(L, p); /* which raises */
    if (p->midway)
        return luaL_error(L, "yield: the element before has not been printed to its end");
    p->midway = true;
    tg_print_put(w, p->count++ ? p->format->between : p->format->begin);
    if (!is_special(p->format) && tg_print_scalar(L, w, p->format, 1)) {
        tg_print_put(w, p->after);
        p->midway = false;
        if (!stopped(w))
            return 0;
        lua_settop(L, 0);
        lua_pushvalue(L, lua_upvalueindex(1));
        return pause_printing(L, p);
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    open_element(L, p, p->format, p->count);
    return run(L, p);
}

/* --- For body.c and bind_writer.c ------------------------------------------------------------- */

/* What a format of the script's writes through; it ends with the function that holds it. */
static int part_close(lua_State *L)
{
    struct tg_out *part = lua_touserdata(L, 1);
    part->writer = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, part->ref);
    part->ref = LUA_NOREF;
    return 0;
}

static void add_part(lua_State *L, const struct tg_printer *p)
{
    struct tg_out *part = lua_newuserdatauv(L, sizeof *part, 0);
    *part = (struct tg_out){
        .ref = LUA_NOREF, .call = p->call, .writer = p->watch.w, .format = p->format->inner};
    if (luaL_newmetatable(L, PART_TYPE)) {
        lua_pushcfunction(L, part_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    lua_pushvalue(L, -1);
    part->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    tg_out_push(L, part);
    lua_setiuservalue(L, 1, TG_PRINTER_OUT);
}

/* Stack: a printer, the value that was at index, and a part for formats of the script's. */
static struct tg_printer *take_over(lua_State *L, struct tg_writer *w, struct tg_call *call,
                                    const struct tg_format *format, int index)
{
    lua_pushvalue(L, index);
    int frames = luaL_testudata(L, -1, TG_GENERATOR_TYPE) ? 0 : 1;
    struct tg_printer *p = new_printer(L, w, call, format, frames);
    p->midway = true;
    lua_replace(L, 1);
    if (lua_gettop(L) > 2)
        lua_replace(L, 2);
    lua_settop(L, 2);
    if (format->dialect == TG_DIALECT_SCRIPT)
        add_part(L, p);
    return p;
}

/* Stack: the printer of the elements, generator. */
static int generated(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct tg_printer *p = lua_touserdata(L, 1);
    check_whole(L, p);
    p->ended = true;
    if (p->watch.w)
        finish(L, p, p->format, p->count);
    return run(L, p);
}

/* The most common stream: without a frame around it, as it may be idle for long. */
static int print_generator(lua_State *L, struct tg_printer *p)
{
    p->yields = true;
    p->midway = false;
    p->after = p->format->after;
    lua_pushvalue(L, 1);
    lua_toclose(L, -1);
    lua_getiuservalue(L, 2, 1);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, yield_element, 1);
    lua_callk(L, 1, 0, 0, generated);
    return generated(L, LUA_OK, 0);
}

/* Whether the value on top is an element by itself: no list, and no sequence. */
static bool is_one_element(lua_State *L)
{
    if (lua_istable(L, -1))
        return !tg_print_is_list(L, -1);
    return lua_type(L, -1) != LUA_TTHREAD && !luaL_testudata(L, -1, TG_SEQUENCE_TYPE);
}

/* The whole body at 2. */
static int print_whole(lua_State *L, struct tg_printer *p)
{
    const struct tg_format *format = p->format;
    if (luaL_testudata(L, 2, TG_GENERATOR_TYPE))
        return print_generator(L, p);
    if (!is_special(format) && tg_print_scalar(L, p->watch.w, format, 2)) {
        p->after = format->after;
        return run(L, p);
    }
    lua_pushvalue(L, 2);
    if (is_special(format) && is_one_element(L)) { /* as a list of one */
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    open_value(L, p, format);
    const struct tg_frame *f = p->frames;
    if (f->kind == TG_FRAME_MAP || f->kind == TG_FRAME_LARGE_MAP)
        p->after = format->after; /* one element */
    return run(L, p);
}

int tg_print_body(lua_State *L, const struct tg_out *out, int index)
{
    return print_whole(L, take_over(L, out->writer, out->call, out->format, index));
}

int tg_print_csv(lua_State *L, const struct tg_out *out, int index)
{
    const struct tg_format *format = tg_format_find(TG_SLICE("text/csv"));
    struct tg_printer *p = take_over(L, out->writer, out->call, format, index);
    tg_print_use_csv(L, p, 2);
    lua_getiuservalue(L, 2, TG_CSV_ROWS);
    lua_replace(L, 2);
    return print_whole(L, p);
}

int tg_print_value(lua_State *L, struct tg_writer *w, int index)
{
    return print_whole(L, take_over(L, w, NULL, &tg_format_json, index));
}

static int element_written(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

int tg_print_element(lua_State *L, const struct tg_out *out, int index)
{
    struct tg_writer *w = out->writer;
    const struct tg_format *format = out->format;
    bool made = format->dialect == TG_DIALECT_SCRIPT;
    struct tg_slice after = format->after.len || made ? format->after : TG_SLICE("\n");
    tg_out_check(L, w->failed);
    if (!is_special(format) && tg_print_scalar(L, w, format, index)) {
        tg_print_put(w, after);
        tg_out_check(L, w->failed);
        return w->must_wait ? tg_out_wait(L, w, element_written) : 0;
    }
    struct tg_printer *p = take_over(L, w, out->call, format, index);
    p->after = after;
    p->alone = true;
    lua_pushvalue(L, 2);
    open_element(L, p, format, 0);
    return run(L, p);
}
