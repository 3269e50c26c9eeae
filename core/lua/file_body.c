/* file_body.c - files as bodies.
 *
 * describe opens the file and decides what the client is to get of it: all, one range, several, or a
 * status instead.  write sends the runs that were chosen, by sendfile where the sink can and there is
 * enough to send, else by reading them into the writer.
 */
#include "lua/file_body.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "http/conditional.h"
#include "http/date.h"
#include "http/disposition.h"
#include "http/mime.h"
#include "http/range.h"
#include "http/reason.h"
#include "lua/bind_file.h"
#include "lua/bind_writer.h"
#include "lua/call.h"
#include "lua/response.h"
#include "lua/task.h"
#include "util/clock.h"
#include "util/mem.h"

#define SERVING_TYPE "tidegate.Serving"
#define MIME_TYPE    "tidegate.Mime"

enum {
    READ_UP_TO =
        32768, /* bytes of a file that are read: they go out with the head, in one packet */
    BOUNDARY_BYTES = 12,
    PART_MAX = 1 << 17, /* bytes of a part's head: a type is no longer than a response's head */
    NAME_MAX_BYTES = 8192,
};

static const char mime_key = 'm';

/* What is sent of a file. */
struct tg_serving {
    lua_State *L; /* the main one */
    int owner;    /* reference to the tg.file, until it is written */
    int fd;       /* -1: there is only text */
    bool by_reading;
    uint64_t size;
    struct tg_ranges runs;
    size_t next;  /* of the runs */
    off_t offset; /* of what is left of the run in hand */
    uint64_t left;
    const char *text;                      /* to be sent in the place of the file */
    char boundary[2 * BOUNDARY_BYTES + 1]; /* "" unless there are several parts */
    struct tg_buf type;                    /* of each part */
    struct tg_buf part;                    /* the head of one */
    struct tg_call *call;
    struct tg_writer_watch watch;
    enum tg_status sent;
};

static void serving_free(struct tg_serving *s)
{
    if (!s)
        return;
    tg_writer_unwatch(&s->watch);
    luaL_unref(s->L, LUA_REGISTRYINDEX, s->owner);
    if (s->fd >= 0)
        close(s->fd);
    tg_buf_fini(&s->type);
    tg_buf_fini(&s->part);
    tg_free(s);
}

void tg_file_drop(struct tg_out *out)
{
    struct tg_serving *s = out->serving;
    out->serving = NULL;
    serving_free(s);
}

/* Opens the file at index for out. */
static struct tg_serving *serve(lua_State *L, struct tg_out *out, int index, struct stat *info)
{
    const struct tg_file *file = lua_touserdata(L, index);
    tg_file_drop(out);
    struct tg_serving *s = tg_calloc(1, sizeof *s);
    if (!s) {
        luaL_error(L, "not enough memory");
        return NULL; /* it does not come here */
    }
    s->L = tg_lua_main(tg_lua_of(L));
    s->owner = LUA_NOREF;
    s->fd = -1;
    s->by_reading = file->by_reading;
    tg_buf_init(&s->type, PART_MAX);
    tg_buf_init(&s->part, PART_MAX);
    out->serving = s; /* from here on it is freed whatever is raised */
    lua_pushvalue(L, index);
    s->owner = luaL_ref(L, LUA_REGISTRYINDEX);
    s->fd = tg_file_open_fd(L, index, info);
    s->size = (uint64_t)info->st_size;
    if (s->size)
        s->runs = (struct tg_ranges){1, {{0, s->size}}};
    return s;
}

/* --- Types ------------------------------------------------------------------------------------ */

/* The system's types, read when they are first needed. */
struct types {
    bool tried;
    struct tg_mime *mime;
};

static int types_free(lua_State *L)
{
    struct types *types = luaL_checkudata(L, 1, MIME_TYPE);
    tg_mime_free(types->mime);
    types->mime = NULL;
    return 0;
}

const char *tg_file_media_type(lua_State *L, const char *path)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &mime_key);
    struct types *types = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!types->tried)
        types->mime = tg_mime_load(TG_MIME_SYSTEM);
    types->tried = true;
    return tg_mime_type(types->mime, path);
}

static const char *type_of(lua_State *L, int index)
{
    struct tg_slice given = tg_file_text(L, index, TG_FILE_CONTENT_TYPE);
    return given.p ? given.p : tg_file_media_type(L, tg_file_text(L, index, TG_FILE_PATH).p);
}

/* --- The head --------------------------------------------------------------------------------- */

static void add_field(lua_State *L, struct tg_exchange *x, struct tg_slice name, const char *value)
{
    struct tg_slice text = {value, strlen(value)};
    if (tg_exchange_add_field(x, name, text) != TG_OK)
        luaL_error(L, "cannot set %s", name.p);
}

static void set_field(lua_State *L, struct tg_exchange *x, struct tg_slice name, const char *value)
{
    tg_exchange_remove_field(x, name);
    add_field(L, x, name, value);
}

static char *put_hex(char *out, uint64_t n)
{
    int shift = 60;
    while (shift > 0 && !(n >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *out++ = "0123456789abcdef"[n >> shift & 15];
    return out;
}

/* inode-size-mtime: another file, or this one after a write, has another. */
static void add_etag(lua_State *L, struct tg_exchange *x, int index, const struct stat *info)
{
    char tag[80];
    struct tg_slice given = tg_file_text(L, index, TG_FILE_ETAG);
    uint64_t modified =
        (uint64_t)info->st_mtim.tv_sec * 1000000000U + (uint64_t)info->st_mtim.tv_nsec;
    char *end = tag;
    *end++ = '"';
    end = put_hex(end, (uint64_t)info->st_ino);
    *end++ = '-';
    end = put_hex(end, (uint64_t)info->st_size);
    *end++ = '-';
    end = put_hex(end, modified);
    *end++ = '"';
    *end = '\0';
    add_field(L, x, TG_SLICE("ETag"), given.p ? given.p : tag);
}

/* A date that is still to come would be a promise: RFC 9110, 8.8.2.1. */
static void add_last_modified(lua_State *L, struct tg_exchange *x, const struct tg_file *file,
                              const struct stat *info, struct tg_validators *v)
{
    char date[TG_HTTP_DATE_SIZE];
    time_t modified = file->date_given ? file->modified : info->st_mtim.tv_sec;
    if (modified < 0)
        return;
    v->dated = true;
    v->modified = modified < v->now ? modified : v->now;
    tg_http_date(date, v->modified);
    add_field(L, x, TG_SLICE("Last-Modified"), date);
}

/* Adds what the script has not set itself, and reads what then stands there. */
static struct tg_validators validators(lua_State *L, struct tg_exchange *x, int index,
                                       const struct stat *info)
{
    const struct tg_file *file = lua_touserdata(L, index);
    struct tg_validators v = {.now = time(NULL)};
    struct tg_slice date;
    if (file->tagged && !tg_exchange_find_field(x, TG_SLICE("ETag"), &v.etag))
        add_etag(L, x, index, info);
    if (tg_exchange_find_field(x, TG_SLICE("Last-Modified"), &date))
        v.dated = tg_http_date_parse(date, v.now, &v.modified);
    else if (file->dated)
        add_last_modified(L, x, file, info, &v);
    if (!tg_exchange_find_field(x, TG_SLICE("ETag"), &v.etag) || !tg_is_etag(v.etag))
        v.etag = (struct tg_slice){NULL, 0};
    return v;
}

static void add_disposition(lua_State *L, struct tg_exchange *x, int index)
{
    const struct tg_file *file = lua_touserdata(L, index);
    struct tg_slice name = tg_file_text(L, index, TG_FILE_NAME);
    struct tg_slice already;
    struct tg_buf value;
    if (!file->download || tg_exchange_find_field(x, TG_SLICE("Content-Disposition"), &already))
        return;
    if (!name.p)
        name = tg_file_text(L, index, TG_FILE_PATH);
    tg_buf_init(&value, NAME_MAX_BYTES);
    enum tg_status status = tg_disposition_add(&value, name);
    if (status == TG_OK)
        status = tg_exchange_add_field(x, TG_SLICE("Content-Disposition"), tg_buf_slice(&value));
    tg_buf_fini(&value);
    if (status != TG_OK)
        luaL_error(L, "cannot set Content-Disposition: %s", tg_status_text(status));
}

/* --- Ranges ----------------------------------------------------------------------------------- */

/* No part may hold it; at 96 random bits none does. */
static bool make_boundary(struct tg_serving *s)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[BOUNDARY_BYTES];
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++) {
        s->boundary[2 * i] = digits[bytes[i] >> 4];
        s->boundary[2 * i + 1] = digits[bytes[i] & 15];
    }
    return true;
}

/* What stands before the nth part, and after the last one, in s->part. */
static enum tg_status print_part(struct tg_serving *s, size_t n)
{
    const char *line = n ? "\r\n" : "";
    tg_buf_clear(&s->part);
    if (n == s->runs.count)
        return tg_buf_addf(&s->part, "%s--%s--\r\n", line, s->boundary);
    const struct tg_range *run = &s->runs.items[n];
    return tg_buf_addf(&s->part,
                       "%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64
                       "/%" PRIu64 "\r\n\r\n",
                       line, s->boundary, s->type.p, run->first, run->first + run->len - 1,
                       s->size);
}

static void check(lua_State *L, enum tg_status status)
{
    if (status < 0)
        luaL_error(L, "cannot send the parts of a file: %s", tg_status_text(status));
}

/* The length of all that is to be sent. */
static uint64_t length_of(lua_State *L, struct tg_serving *s)
{
    uint64_t length = 0;
    for (size_t i = 0; i < s->runs.count; i++)
        length += s->runs.items[i].len;
    for (size_t i = 0; *s->boundary && i <= s->runs.count; i++) {
        check(L, print_part(s, i));
        length += s->part.len;
    }
    return length;
}

static void describe_parts(lua_State *L, struct tg_exchange *x, struct tg_serving *s,
                           const char *type)
{
    char value[64];
    struct tg_slice own;
    if (s->runs.count == 1) {
        const struct tg_range *run = &s->runs.items[0];
        snprintf(value, sizeof value, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, run->first,
                 run->first + run->len - 1, s->size);
        add_field(L, x, TG_SLICE("Content-Range"), value);
        return;
    }
    if (!make_boundary(s))
        luaL_error(L, "no random bytes: %s", strerrordesc_np(errno));
    if (!tg_exchange_find_field(x, TG_SLICE("Content-Type"), &own))
        own = (struct tg_slice){type, strlen(type)};
    check(L, tg_buf_add(&s->type, own.p, own.len));
    snprintf(value, sizeof value, "multipart/byteranges; boundary=%s", s->boundary);
    set_field(L, x, TG_SLICE("Content-Type"), value);
}

/* A text in the place of the file: for statuses that say that it is not to be had. */
static void refuse(lua_State *L, struct tg_exchange *x, struct tg_serving *s, int status)
{
    x->head.status = status;
    close(s->fd);
    s->fd = -1;
    s->runs.count = 0;
    s->text = status == 304 ? "" : tg_reason(status);
    tg_exchange_remove_field(x, TG_SLICE("Content-Type"));
    tg_exchange_remove_field(x, TG_SLICE("Content-Encoding"));
    if (status == 304)
        return;
    tg_exchange_remove_field(x, TG_SLICE("Cache-Control")); /* said of the file, not of this */
    add_field(L, x, TG_SLICE("Content-Type"), "text/plain; charset=utf-8");
}

static bool wants_ranges(const struct tg_exchange *x, const struct tg_file *file)
{
    struct tg_slice accepted;
    return file->ranges && !tg_exchange_is_head(x) && /* RFC 9110, 14.2: of GET alone */
           !(tg_exchange_find_field(x, TG_SLICE("Accept-Ranges"), &accepted) &&
             tg_slice_equal_nocase(accepted, TG_SLICE("none")));
}

/* Compares what the client says with what there is. */
static void apply_conditions(lua_State *L, struct tg_exchange *x, struct tg_serving *s, int index,
                             const struct stat *info)
{
    const struct tg_file *file = lua_touserdata(L, index);
    const char *bytes = tg_conn_bytes(x->conn);
    const struct tg_field *fields = tg_conn_fields(x->conn);
    size_t count = tg_conn_head(x->conn)->field_count;
    struct tg_validators v = validators(L, x, index, info);
    char value[40];

    int status = tg_conditional_status(bytes, fields, count, &v);
    struct tg_slice range = {NULL, 0};
    if (status)
        refuse(L, x, s, status);
    else if (wants_ranges(x, file))
        range = tg_conditional_range(bytes, fields, count, &v);
    if (!range.len)
        return;
    struct tg_ranges whole = s->runs;
    switch (tg_range_parse(range, s->size, &s->runs)) {
    case TG_RANGE_WHOLE:
        s->runs = whole;
        return;
    case TG_RANGE_PARTIAL:
        x->head.status = 206;
        describe_parts(L, x, s, type_of(L, index));
        return;
    case TG_RANGE_UNSATISFIABLE:
        refuse(L, x, s, 416);
        snprintf(value, sizeof value, "bytes */%" PRIu64, s->size);
        add_field(L, x, TG_SLICE("Content-Range"), value);
    }
}

static bool is_get_or_head(const struct tg_exchange *x)
{
    return tg_exchange_is_head(x) ||
           tg_slice_equal(tg_conn_span(x->conn, tg_conn_head(x->conn)->method), TG_SLICE("GET"));
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    struct stat info = {0};
    struct tg_slice already;
    struct tg_exchange *x = out->call->exchange;
    const struct tg_file *file = lua_touserdata(L, index);
    struct tg_serving *s = serve(L, out, index, &info);

    if (!about->part && x->head.status == 200 && is_get_or_head(x)) {
        if (file->ranges && !tg_exchange_find_field(x, TG_SLICE("Accept-Ranges"), &already))
            add_field(L, x, TG_SLICE("Accept-Ranges"), "bytes");
        apply_conditions(L, x, s, index, &info);
    }
    about->length = s->text ? strlen(s->text) + 1 : length_of(L, s);
    if (!s->text && !about->part)
        add_disposition(L, x, index);
    if (!s->text && !*s->boundary) /* else the type stands there */
        about->media_type = type_of(L, index);
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)L;
    (void)index;
    tg_file_drop(out);
}

/* --- The bytes -------------------------------------------------------------------------------- */

/* Holds what is served while it is written. */
struct box {
    struct tg_serving *s;
};

enum { OUT = 1, FILE_AT = 2, BOX = 3 }; /* the stack of write_file() */

static int box_close(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, SERVING_TYPE);
    struct tg_serving *s = box->s;
    box->s = NULL;
    serving_free(s);
    return 0;
}

static int raise_short(lua_State *L)
{
    return luaL_error(L, "the file became shorter, or unreadable, while it was sent");
}

static int write_on(lua_State *L);

/* A socket sends one file at a time: the next of the exchange's tasks may. */
static struct tg_task *let_next_send(struct tg_call *call)
{
    struct tg_task *task = call->sender;
    call->sender = NULL;
    tg_queue_wake(&call->senders);
    return task;
}

static void on_sent(void *arg, enum tg_status status)
{
    struct tg_serving *s = arg;
    s->sent = status;
    if (status < 0 && s->watch.w) /* whoever writes after it would be taken for a part of it */
        tg_writer_stop_file(s->watch.w);
    tg_task_wake(let_next_send(s->call));
}

static void stop_sending(void *arg)
{
    struct tg_serving *s = arg;
    if (s->watch.w)
        tg_writer_stop_file(s->watch.w);
    let_next_send(s->call);
}

static void check_sent(lua_State *L, enum tg_status status)
{
    if (status == TG_EIO)
        raise_short(L);
    tg_out_check(L, status);
}

static int sent(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    const struct box *box = lua_touserdata(L, BOX);
    tg_writer_unwatch(&box->s->watch);
    check_sent(L, box->s->sent);
    return write_on(L);
}

static int went_on(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    const struct tg_out *out = lua_touserdata(L, OUT);
    tg_out_check(L, out->writer->failed);
    return write_on(L);
}

/* Sends the run in hand; true when on_sent is to come. */
static bool send_run(lua_State *L, struct tg_writer *w, struct tg_serving *s)
{
    uint64_t len = s->left;
    struct tg_task *task = tg_task_check(L);
    s->left = 0;
    enum tg_status status = tg_writer_send_file(w, s->fd, s->offset, len, on_sent, s);
    check_sent(L, status);
    if (status == TG_AGAIN)
        s->call->sender = task;
    return status == TG_AGAIN;
}

/* Reads as much of the run in hand as the writer takes at a time. */
static void read_some(lua_State *L, struct tg_writer *w, struct tg_serving *s)
{
    size_t size = 0;
    char *space = tg_writer_space(w, &size);
    if (!space)
        tg_out_check(L, w->failed);
    if (size > s->left)
        size = (size_t)s->left;
    ssize_t n = pread(s->fd, space, size, s->offset);
    tg_writer_advance(w, n > 0 ? (size_t)n : 0);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        raise_short(L);
    s->offset += n;
    s->left -= (uint64_t)n;
}

/* Takes the next run in hand, with what stands before it; false at the end. */
static bool next_run(lua_State *L, struct tg_writer *w, struct tg_serving *s)
{
    if (s->next > s->runs.count || (s->next == s->runs.count && !*s->boundary))
        return false;
    if (*s->boundary) {
        check(L, print_part(s, s->next));
        tg_out_check(L, tg_writer_write(w, s->part.p, s->part.len));
    }
    if (s->next < s->runs.count) {
        s->offset = (off_t)s->runs.items[s->next].first;
        s->left = s->runs.items[s->next].len;
    }
    s->next++;
    return true;
}

static int write_on(lua_State *L)
{
    struct tg_writer *w = ((const struct tg_out *)lua_touserdata(L, OUT))->writer;
    struct tg_serving *s = ((const struct box *)lua_touserdata(L, BOX))->s;
    struct tg_task_wait wait = {stop_sending, s};
    struct tg_task_wait turn = {NULL, NULL};
    for (;;) {
        if (w->must_wait)
            return tg_out_wait(L, w, went_on);
        if (s->call->sender && tg_writer_sends_files(w)) {
            tg_task_check(L);
            return tg_queue_wait(L, &s->call->senders, &turn, went_on);
        }
        if (!s->left && !next_run(L, w, s))
            break;
        bool read = s->by_reading || s->left <= READ_UP_TO || !tg_writer_sends_files(w);
        if (s->left && read) {
            read_some(L, w, s);
        } else if (s->left && send_run(L, w, s)) {
            tg_writer_watch(w, &s->watch);
            return tg_task_wait(L, &wait, sent);
        }
    }
    if (s->text) {
        tg_out_check(L, tg_writer_write(w, s->text, strlen(s->text)));
        tg_out_check(L, tg_writer_write(w, "\n", 1));
    }
    lua_closeslot(L, BOX);
    return 0;
}

/* The file that was described for this body; one that is part of another body was not. */
static struct tg_serving *take(lua_State *L, struct tg_out *out)
{
    struct stat info = {0};
    bool described = false;
    if (out->serving) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, out->serving->owner);
        described = lua_rawequal(L, -1, FILE_AT);
        lua_pop(L, 1);
    }
    struct tg_serving *s = described ? out->serving : serve(L, out, FILE_AT, &info);
    out->serving = NULL;
    return s;
}

static int write_file(lua_State *L)
{
    struct tg_out *out = lua_touserdata(L, OUT);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->s = NULL;
    luaL_setmetatable(L, SERVING_TYPE);
    lua_toclose(L, BOX);
    box->s = take(L, out);
    box->s->call = out->call;
    return write_on(L);
}

static const char *media_type(lua_State *L, const struct tg_out *out, int index)
{
    (void)out;
    return type_of(L, index);
}

const struct tg_body_kind tg_file_kind = {
    .describe = describe, .media_type = media_type, .write = write_file, .drop = drop};

void tg_file_body_open(lua_State *L)
{
    luaL_newmetatable(L, SERVING_TYPE);
    lua_pushcfunction(L, box_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, box_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);

    struct types *types = lua_newuserdatauv(L, sizeof *types, 0);
    *types = (struct types){false, NULL};
    if (luaL_newmetatable(L, MIME_TYPE)) {
        lua_pushcfunction(L, types_free);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &mime_key);
}
