/* probe_encode.c - opens content codings to specs: coders, the sink that codes, and decoders to judge them. */
#include <stdlib.h>

#include <brotli/decode.h>
#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>
#include <zlib.h>
#include <zstd.h>

#include "body/encode_sink.h"
#include "body/encoder.h"
#include "body/writer.h"
#include "http/coding.h"
#include "io/loop.h"
#include "util/mem.h"

#define ENCODER "probe.Encoder"
#define DECODER "probe.Decoder"
#define STREAM  "probe.CodedStream"

static enum tg_coding coding_at(lua_State *L, int index)
{
    static const char *const names[] = {"identity", "gzip", "br", "zstd", NULL};
    return (enum tg_coding)luaL_checkoption(L, index, NULL, names);
}

static int push_status(lua_State *L, enum tg_status status)
{
    static const char *const names[] = {"limit",  "invalid", "io",   "memory",
                                        "closed", "ok",      "again"};
    lua_pushstring(L, names[status - TG_ELIMIT]);
    return 1;
}

/* --- Coders ----------------------------------------------------------------------------------- */

struct coder {
    struct tg_encoder *encoder;
};

static int coder_gc(lua_State *L)
{
    struct coder *c = luaL_checkudata(L, 1, ENCODER);
    tg_encoder_free(c->encoder);
    c->encoder = NULL;
    return 0;
}

/* encoder(coding, level); nil without memory */
static int p_encoder(lua_State *L)
{
    enum tg_coding coding = coding_at(L, 1);
    int level = (int)luaL_optinteger(L, 2, tg_coding_levels(coding).usual);
    struct coder *c = lua_newuserdatauv(L, sizeof *c, 0);
    c->encoder = NULL;
    luaL_setmetatable(L, ENCODER);
    c->encoder = tg_encoder_new(coding, level);
    if (!c->encoder)
        lua_pushnil(L);
    return 1;
}

/* run(how, text, room): what comes out, through a space of so many bytes at a time */
static int c_run(lua_State *L)
{
    static const char *const ways[] = {"go on", "flush", "finish", NULL};
    struct coder *c = luaL_checkudata(L, 1, ENCODER);
    enum tg_encode how = (enum tg_encode)luaL_checkoption(L, 2, NULL, ways);
    struct tg_encode_step step = {.done = false};
    step.in.p = luaL_checklstring(L, 3, &step.in.len);
    size_t room = (size_t)luaL_checkinteger(L, 4);
    luaL_Buffer made;
    luaL_buffinit(L, &made);
    while (!step.done) {
        char *out = luaL_prepbuffsize(&made, room);
        step.out = out;
        step.room = room;
        enum tg_status status = tg_encoder_run(c->encoder, how, &step);
        if (status != TG_OK)
            return push_status(L, status);
        luaL_addsize(&made, room - step.room);
    }
    luaL_pushresult(&made);
    return 1;
}

/* --- Decoders --------------------------------------------------------------------------------- */

struct decoder {
    enum tg_coding coding;
    bool ended;
    z_stream gzip;
    BrotliDecoderState *br;
    ZSTD_DCtx *zstd;
};

static int decoder_gc(lua_State *L)
{
    struct decoder *d = luaL_checkudata(L, 1, DECODER);
    if (d->coding == TG_CODING_GZIP)
        inflateEnd(&d->gzip);
    if (d->br)
        BrotliDecoderDestroyInstance(d->br);
    ZSTD_freeDCtx(d->zstd);
    *d = (struct decoder){TG_CODING_IDENTITY, false, {0}, NULL, NULL};
    return 0;
}

static int p_decoder(lua_State *L)
{
    enum tg_coding coding = coding_at(L, 1);
    struct decoder *d = lua_newuserdatauv(L, sizeof *d, 0);
    *d = (struct decoder){.coding = coding};
    luaL_setmetatable(L, DECODER);
    if (coding == TG_CODING_GZIP && inflateInit2(&d->gzip, 15 + 16) != Z_OK)
        return luaL_error(L, "no memory");
    if (coding == TG_CODING_BR)
        d->br = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    if (coding == TG_CODING_ZSTD)
        d->zstd = ZSTD_createDCtx();
    return 1;
}

enum { BLOCK = 65536 };

static int feed_gzip(lua_State *L, struct decoder *d, const char *p, size_t len)
{
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    d->gzip.next_in = (Bytef *)(uintptr_t)p;
    d->gzip.avail_in = (unsigned)len;
    do {
        d->gzip.next_out = (Bytef *)luaL_prepbuffsize(&text, BLOCK);
        d->gzip.avail_out = BLOCK;
        int result = inflate(&d->gzip, Z_NO_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return luaL_error(L, "no gzip: %d", result);
        d->ended = d->ended || result == Z_STREAM_END;
        luaL_addsize(&text, BLOCK - d->gzip.avail_out);
    } while (!d->gzip.avail_out);
    luaL_pushresult(&text);
    return 1;
}

static int feed_br(lua_State *L, struct decoder *d, const char *p, size_t len)
{
    luaL_Buffer text;
    const uint8_t *in = (const uint8_t *)p;
    BrotliDecoderResult result;
    luaL_buffinit(L, &text);
    do {
        uint8_t *out = (uint8_t *)luaL_prepbuffsize(&text, BLOCK);
        size_t room = BLOCK;
        result = BrotliDecoderDecompressStream(d->br, &len, &in, &room, &out, NULL);
        if (result == BROTLI_DECODER_RESULT_ERROR)
            return luaL_error(L, "no br");
        luaL_addsize(&text, BLOCK - room);
    } while (result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT);
    d->ended = result == BROTLI_DECODER_RESULT_SUCCESS;
    luaL_pushresult(&text);
    return 1;
}

static int feed_zstd(lua_State *L, struct decoder *d, const char *p, size_t len)
{
    luaL_Buffer text;
    ZSTD_inBuffer in = {p, len, 0};
    ZSTD_outBuffer out;
    luaL_buffinit(L, &text);
    do {
        out = (ZSTD_outBuffer){luaL_prepbuffsize(&text, BLOCK), BLOCK, 0};
        size_t left = ZSTD_decompressStream(d->zstd, &out, &in);
        if (ZSTD_isError(left))
            return luaL_error(L, "no zstd: %s", ZSTD_getErrorName(left));
        d->ended = !left;
        luaL_addsize(&text, out.pos);
    } while (in.pos < in.size || out.pos == out.size);
    luaL_pushresult(&text);
    return 1;
}

/* feed(bytes) -> what can be decoded of all that was fed and was not returned yet */
static int d_feed(lua_State *L)
{
    struct decoder *d = luaL_checkudata(L, 1, DECODER);
    size_t len;
    const char *p = luaL_checklstring(L, 2, &len);
    switch (d->coding) {
    case TG_CODING_GZIP:
        return feed_gzip(L, d, p, len);
    case TG_CODING_BR:
        return feed_br(L, d, p, len);
    case TG_CODING_ZSTD:
        return feed_zstd(L, d, p, len);
    default:
        lua_pushvalue(L, 2);
        return 1;
    }
}

static int d_ended(lua_State *L)
{
    const struct decoder *d = luaL_checkudata(L, 1, DECODER);
    lua_pushboolean(L, d->ended);
    return 1;
}

/* --- The sink --------------------------------------------------------------------------------- */

/* A writer, the sink that codes, and a sink behind it that the spec steers. */
struct stream {
    struct event_base *base;
    struct tg_gather gather;
    struct tg_writer writer;
    struct tg_response_head head;
    struct tg_encode_sink *encode;
    lua_State *L;
    int log; /* reference to a list of what the other sink was asked for */
    size_t pending;
    size_t low_water;
    size_t released;
    unsigned drains;
    unsigned sends;
    void (*drain_fn)(void *arg);
    void *drain_arg;
    enum tg_status answer;
    enum tg_status end;
    bool full; /* what is sent stays pending */
    bool told; /* of the end */
    bool live;
};

static void note(struct stream *s)
{
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->log);
    lua_insert(s->L, -2);
    lua_rawseti(s->L, -2, (lua_Integer)lua_rawlen(s->L, -2) + 1);
    lua_pop(s->L, 1);
}

static enum tg_status inner_commit(void *sink, const struct tg_response_head *head)
{
    struct stream *s = sink;
    if (s->answer < 0)
        return s->answer;
    lua_pushfstring(s->L, "head %I ", (lua_Integer)head->length);
    lua_pushlstring(s->L, head->fields.p, head->fields.len);
    lua_concat(s->L, 2);
    note(s);
    return TG_OK;
}

static enum tg_status inner_send(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct stream *s = sink;
    luaL_Buffer text;
    if (s->answer < 0)
        return s->answer;
    luaL_buffinit(s->L, &text);
    luaL_addstring(&text, flags & TG_SEND_LAST   ? "last "
                          : flags & TG_SEND_MORE ? "more "
                                                 : "send ");
    for (int i = 0; i < n; i++) {
        luaL_addlstring(&text, runs[i].iov_base, runs[i].iov_len);
        s->pending += s->full ? runs[i].iov_len : 0;
    }
    s->sends++;
    luaL_pushresult(&text);
    note(s);
    return TG_OK;
}

static enum tg_status inner_send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                      tg_release_fn release, void *arg)
{
    struct iovec run = {(void *)(uintptr_t)data, len};
    enum tg_status status = inner_send(sink, &run, 1, flags);
    release(data, len, arg);
    return status;
}

static size_t inner_pending(void *sink)
{
    return ((const struct stream *)sink)->pending;
}

static void inner_on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct stream *s = sink;
    s->low_water = low_water;
    s->drain_fn = fn;
    s->drain_arg = arg;
}

static const struct tg_sink_ops inner_ops = {
    .commit = inner_commit,
    .send = inner_send,
    .send_lent = inner_send_lent,
    .pending = inner_pending,
    .on_drain = inner_on_drain,
};

static void fini(struct stream *s)
{
    if (!s->live)
        return;
    s->live = false;
    tg_writer_fini(&s->writer);
    tg_encode_sink_free(s->encode);
    s->encode = NULL;
    tg_gather_fini(&s->gather);
}

static int stream_gc(lua_State *L)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM);
    fini(s);
    luaL_unref(L, LUA_REGISTRYINDEX, s->log);
    s->log = LUA_NOREF;
    if (s->base)
        event_base_free(s->base);
    s->base = NULL;
    return 0;
}

static lua_Integer option(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, 2, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

/* stream(coding, { length =, min_length =, high_water =, low_water =, gather =, bodyless = }); nil
 * without memory for the sink */
static int p_stream(lua_State *L)
{
    enum tg_coding coding = coding_at(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct stream *s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (struct stream){.L = L, .log = LUA_NOREF, .base = tg_loop_new()};
    luaL_setmetatable(L, STREAM);
    lua_newtable(L);
    s->log = luaL_ref(L, LUA_REGISTRYINDEX);
    if (!s->base || tg_gather_init(&s->gather, (size_t)option(L, "gather", 65536)) != TG_OK)
        return luaL_error(L, "no loop, or no memory");
    lua_getfield(L, 2, "bodyless");
    struct tg_encode_options options = {
        .ops = &inner_ops,
        .sink = s,
        .base = s->base,
        .coding = coding,
        .level = tg_coding_levels(coding).usual,
        .min_length = (uint64_t)option(L, "min_length", 100),
        .high_water = (size_t)option(L, "high_water", 1 << 20),
        .low_water = (size_t)option(L, "low_water", 1000),
        .bodyless = lua_toboolean(L, -1),
    };
    lua_pop(L, 1);
    s->encode = tg_encode_sink_new(&options, TG_SLICE("coded\r\n"));
    struct tg_writer_options writer = {
        .ops = &tg_encode_sink_ops,
        .sink = s->encode,
        .gather = &s->gather,
        .high_water = options.high_water,
        .low_water = options.low_water,
    };
    tg_writer_init(&s->writer, &writer);
    s->live = true;
    if (!s->encode) {
        lua_pushnil(L);
        return 1;
    }
    s->head = (struct tg_response_head){.status = 200, .fields = TG_SLICE("plain\r\n")};
    s->head.length = (uint64_t)option(L, "length", -1);
    tg_writer_begin(&s->writer, &s->head);
    return 1;
}

static struct stream *check(lua_State *L)
{
    struct stream *s = luaL_checkudata(L, 1, STREAM);
    luaL_argcheck(L, s->live, 1, "it is gone");
    return s;
}

static int s_write(lua_State *L)
{
    size_t len;
    struct stream *s = check(L);
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write(&s->writer, data, len));
}

static void on_release(const void *data, size_t len, void *arg)
{
    (void)data;
    ((struct stream *)arg)->released += len;
}

static int s_lend(lua_State *L)
{
    size_t len;
    struct stream *s = check(L);
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write_lent(&s->writer, data, len, on_release, s));
}

/* What goes to many, as topics send it. */
static int s_pass(lua_State *L)
{
    struct stream *s = check(L);
    struct tg_parcel parcel = {.before = 0};
    parcel.bytes = luaL_checklstring(L, 2, &parcel.len);
    return push_status(L, tg_writer_pass(&s->writer, &parcel, on_release, s));
}

static int s_flush(lua_State *L)
{
    return push_status(L, tg_writer_flush(&check(L)->writer));
}

static int s_finish(lua_State *L)
{
    return push_status(L, tg_writer_end(&check(L)->writer));
}

static int s_finish_bodyless(lua_State *L)
{
    return push_status(L, tg_writer_end_bodyless(&check(L)->writer));
}

static void on_drained(void *arg)
{
    ((struct stream *)arg)->drains++;
}

static int s_on_drain(lua_State *L)
{
    bool wish = lua_isnone(L, 2) || lua_toboolean(L, 2);
    struct stream *s = check(L);
    tg_writer_on_drain(&s->writer, wish ? on_drained : NULL, s);
    return 0;
}

static void on_end(void *arg, enum tg_status status)
{
    struct stream *s = arg;
    s->told = true;
    s->end = status;
}

/* busy() -> whether the end is still to come; it is told from now on */
static int s_busy(lua_State *L)
{
    struct stream *s = check(L);
    bool busy = tg_encode_sink_busy(s->encode);
    if (busy)
        tg_encode_sink_on_end(s->encode, on_end, s);
    lua_pushboolean(L, busy);
    return 1;
}

static int s_turn(lua_State *L)
{
    event_base_loop(check(L)->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return 0;
}

/* fill(full): what is sent from now on stays pending, or what did does not any more */
static int s_fill(lua_State *L)
{
    struct stream *s = check(L);
    s->full = lua_toboolean(L, 2);
    if (s->full)
        return 0;
    void (*fn)(void *) = s->drain_fn;
    s->pending = 0;
    s->drain_fn = NULL;
    if (fn)
        fn(s->drain_arg);
    return 0;
}

static int s_answer(lua_State *L)
{
    static const char *const names[] = {"ok", "closed", "memory", NULL};
    struct stream *s = check(L);
    s->answer = (enum tg_status) - luaL_checkoption(L, 2, NULL, names);
    return 0;
}

static int s_free(lua_State *L)
{
    fini(check(L));
    return 0;
}

static int s_log(lua_State *L)
{
    const struct stream *s = luaL_checkudata(L, 1, STREAM);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->log);
    return 1;
}

static int s_state(lua_State *L)
{
    const struct stream *s = luaL_checkudata(L, 1, STREAM);
    lua_createtable(L, 0, 7);
    lua_pushinteger(L, (lua_Integer)s->drains);
    lua_setfield(L, -2, "drains");
    lua_pushinteger(L, (lua_Integer)s->released);
    lua_setfield(L, -2, "released");
    lua_pushboolean(L, s->drain_fn != NULL);
    lua_setfield(L, -2, "asked");
    lua_pushinteger(L, s->encode ? (lua_Integer)tg_encode_sink_ops.pending(s->encode) : 0);
    lua_setfield(L, -2, "pending");
    lua_pushboolean(L, s->told);
    lua_setfield(L, -2, "told");
    push_status(L, s->end);
    lua_setfield(L, -2, "end_status");
    return 1;
}

/* --- Accept-Encoding ---------------------------------------------------------------------------- */

/* choose({ value, … }, { coding, … }) */
static int p_choose(lua_State *L)
{
    enum { LINES_MAX = 8, TEXT_MAX = 1000 };
    static const char name[] = "accept-Encoding";
    char bytes[TEXT_MAX];
    struct tg_field fields[LINES_MAX];
    enum tg_coding offered[TG_CODINGS];
    size_t at = sizeof name - 1;
    size_t count = (size_t)luaL_len(L, 1);
    size_t codings = (size_t)luaL_len(L, 2);
    memcpy(bytes, name, at);
    for (size_t i = 0; i < count && i < LINES_MAX; i++) {
        size_t len;
        lua_geti(L, 1, (lua_Integer)i + 1);
        const char *value = luaL_checklstring(L, -1, &len);
        luaL_argcheck(L, at + len < sizeof bytes, 1, "too much");
        memcpy(bytes + at, value, len);
        fields[i] = (struct tg_field){0, sizeof name - 1, (uint32_t)at, (uint32_t)len};
        at += len;
    }
    for (size_t i = 0; i < codings && i < TG_CODINGS; i++) {
        lua_geti(L, 2, (lua_Integer)i + 1);
        offered[i] = coding_at(L, -1);
    }
    struct tg_slice best = tg_coding_name(tg_coding_choose(bytes, fields, count, offered, codings));
    lua_pushlstring(L, best.p, best.len);
    return 1;
}

static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
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

__attribute__((visibility("default"))) int luaopen_probe_encode(lua_State *L);
int luaopen_probe_encode(lua_State *L)
{
    static const luaL_Reg coder_methods[] = {{"run", c_run}, {NULL, NULL}};
    static const luaL_Reg decoder_methods[] = {{"feed", d_feed}, {"ended", d_ended}, {NULL, NULL}};
    static const luaL_Reg stream_methods[] = {
        {"write", s_write},       {"lend", s_lend},     {"pass", s_pass},
        {"flush", s_flush},       {"finish", s_finish}, {"finish_bodyless", s_finish_bodyless},
        {"on_drain", s_on_drain}, {"busy", s_busy},     {"turn", s_turn},
        {"fill", s_fill},         {"answer", s_answer}, {"free", s_free},
        {"log", s_log},           {"state", s_state},   {NULL, NULL}};
    static const luaL_Reg functions[] = {{"encoder", p_encoder}, {"decoder", p_decoder},
                                         {"stream", p_stream},   {"choose", p_choose},
                                         {"fail_at", p_fail_at}, {NULL, NULL}};
    make_class(L, ENCODER, coder_methods, coder_gc);
    make_class(L, DECODER, decoder_methods, decoder_gc);
    make_class(L, STREAM, stream_methods, stream_gc);
    luaL_newlib(L, functions);
    return 1;
}
