/* encoder.c - zlib, libbrotlienc and libzstd behind one interface. */
#include "body/encoder.h"

#include <setjmp.h>
#include <stdint.h>

#include <brotli/encode.h>
#include <zlib.h>
#include <zstd.h>

#include "util/mem.h"

enum {
    GZIP_WINDOW = 15 + 16, /* zlib's way to say: gzip's frame around 32 KiB of window */
    GZIP_MEMORY = 8,
    BR_WINDOW = 17, /* log2 of bytes: larger ones cost each stream several times the memory */
    ZSTD_WINDOW = 17,
};

struct tg_encoder_ops {
    const char *name;
    struct tg_coding_levels levels;
    enum tg_status (*open)(struct tg_encoder *encoder, int level);
    void (*close)(struct tg_encoder *encoder);
    enum tg_status (*run)(struct tg_encoder *encoder, enum tg_encode how,
                          struct tg_encode_step *step);
};

struct br {
    BrotliEncoderState *state; /* NULL after a failure */
    struct br_block *blocks;   /* all that the library has */
    jmp_buf no_memory;
};

struct tg_encoder {
    const struct tg_encoder_ops *ops;
    union {
        z_stream gzip;
        struct br br;
        ZSTD_CCtx *zstd;
    } u;
};

/* --- gzip ------------------------------------------------------------------------------------- */

static void *gzip_alloc(void *opaque, unsigned count, unsigned size)
{
    (void)opaque;
    return tg_calloc(count, size);
}

static void gzip_release(void *opaque, void *p)
{
    (void)opaque;
    tg_free(p);
}

static enum tg_status gzip_open(struct tg_encoder *encoder, int level)
{
    z_stream *z = &encoder->u.gzip;
    *z = (z_stream){.zalloc = gzip_alloc, .zfree = gzip_release};
    int made = deflateInit2(z, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY);
    return made == Z_OK ? TG_OK : TG_ENOMEM;
}

static void gzip_close(struct tg_encoder *encoder)
{
    deflateEnd(&encoder->u.gzip);
}

/* zlib counts in unsigned ints. */
static unsigned part_of(size_t len)
{
    return len > 1U << 30 ? 1U << 30 : (unsigned)len;
}

static enum tg_status gzip_run(struct tg_encoder *encoder, enum tg_encode how,
                               struct tg_encode_step *step)
{
    static const int ways[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    z_stream *z = &encoder->u.gzip;
    unsigned in = part_of(step->in.len);
    unsigned room = part_of(step->room);
    bool all = in == step->in.len;
    z->next_in = (z_const Bytef *)(uintptr_t)step->in.p;
    z->avail_in = in;
    z->next_out = (Bytef *)step->out;
    z->avail_out = room;
    int result = deflate(z, all ? ways[how] : Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return TG_EINVAL;
    step->in.p += in - z->avail_in;
    step->in.len -= in - z->avail_in;
    step->out += room - z->avail_out;
    step->room -= room - z->avail_out;
    step->done = all && !z->avail_in &&
                 (how == TG_ENCODE_FINISH ? result == Z_STREAM_END : z->avail_out > 0);
    return TG_OK;
}

/* --- br --------------------------------------------------------------------------------------- */

/* Debian's library ends the process where its allocator fails.  So it never gets to see that: the
 * allocator jumps out of it, and what the library had is freed without it. */
struct br_block {
    struct br_block *next;
    struct br_block **link;
};

static void *br_alloc(void *opaque, size_t size)
{
    struct br *br = opaque;
    struct br_block *block =
        size < SIZE_MAX - sizeof *block ? tg_malloc(sizeof *block + size) : NULL;
    if (!block)
        longjmp(br->no_memory, 1);
    *block = (struct br_block){br->blocks, &br->blocks};
    if (block->next)
        block->next->link = &block->next;
    br->blocks = block;
    return block + 1;
}

static void br_release(void *opaque, void *p)
{
    (void)opaque;
    if (!p)
        return;
    struct br_block *block = (struct br_block *)p - 1;
    *block->link = block->next;
    if (block->next)
        block->next->link = block->link;
    tg_free(block);
}

static void br_close(struct tg_encoder *encoder)
{
    struct br *br = &encoder->u.br;
    while (br->blocks)
        br_release(NULL, br->blocks + 1);
    br->state = NULL;
}

static enum tg_status br_open(struct tg_encoder *encoder, int level)
{
    struct br *br = &encoder->u.br;
    *br = (struct br){.state = NULL};
    if (setjmp(br->no_memory)) {
        br_close(encoder);
        return TG_ENOMEM;
    }
    br->state = BrotliEncoderCreateInstance(br_alloc, br_release, br);
    if (!br->state ||
        !BrotliEncoderSetParameter(br->state, BROTLI_PARAM_QUALITY, (uint32_t)level) ||
        !BrotliEncoderSetParameter(br->state, BROTLI_PARAM_LGWIN, BR_WINDOW))
        return TG_ENOMEM;
    return TG_OK;
}

static enum tg_status br_run(struct tg_encoder *encoder, enum tg_encode how,
                             struct tg_encode_step *step)
{
    static const BrotliEncoderOperation ways[] = {BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH,
                                                  BROTLI_OPERATION_FINISH};
    BrotliEncoderState *br = encoder->u.br.state;
    if (!br)
        return TG_ENOMEM;
    if (setjmp(encoder->u.br.no_memory)) {
        br_close(encoder);
        return TG_ENOMEM;
    }
    const uint8_t *in = (const uint8_t *)step->in.p;
    uint8_t *out = (uint8_t *)step->out;
    size_t len = step->in.len;
    do {
        /* Its only failures are those of memory, and calls that make no sense. */
        if (!BrotliEncoderCompressStream(br, ways[how], &len, &in, &step->room, &out, NULL))
            return TG_ENOMEM;
        step->done = !len && !BrotliEncoderHasMoreOutput(br) &&
                     (how != TG_ENCODE_FINISH || BrotliEncoderIsFinished(br));
    } while (!step->done && step->room);
    step->in = (struct tg_slice){(const char *)in, len};
    step->out = (char *)out;
    return TG_OK;
}

/* --- zstd ------------------------------------------------------------------------------------- */

/* Its allocator can be chosen only where the library is linked statically. */
static enum tg_status zstd_open(struct tg_encoder *encoder, int level)
{
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    encoder->u.zstd = zstd;
    if (!zstd || ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, ZSTD_WINDOW)))
        return TG_ENOMEM;
    return TG_OK;
}

static void zstd_close(struct tg_encoder *encoder)
{
    ZSTD_freeCCtx(encoder->u.zstd);
}

static enum tg_status zstd_run(struct tg_encoder *encoder, enum tg_encode how,
                               struct tg_encode_step *step)
{
    static const ZSTD_EndDirective ways[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
    ZSTD_inBuffer in = {step->in.p, step->in.len, 0};
    ZSTD_outBuffer out = {step->out, step->room, 0};
    size_t left = 0;
    do {
        left = ZSTD_compressStream2(encoder->u.zstd, &out, &in, ways[how]);
        if (ZSTD_isError(left))
            return TG_ENOMEM;
        step->done = in.pos == in.size && (how == TG_ENCODE_GO_ON ? out.pos < out.size : !left);
    } while (!step->done && out.pos < out.size);
    step->in.p += in.pos;
    step->in.len -= in.pos;
    step->out += out.pos;
    step->room -= out.pos;
    return TG_OK;
}

/* --- All of them ------------------------------------------------------------------------------ */

static const struct tg_encoder_ops codings[TG_CODINGS] = {
    [TG_CODING_IDENTITY] = {.name = "identity"},
    [TG_CODING_GZIP] = {"gzip", {1, 4, 9}, gzip_open, gzip_close, gzip_run},
    [TG_CODING_BR] = {"br", {0, 3, 9}, br_open, br_close, br_run},
    [TG_CODING_ZSTD] = {"zstd", {1, 2, 19}, zstd_open, zstd_close, zstd_run},
};

struct tg_slice tg_coding_name(enum tg_coding coding)
{
    return (struct tg_slice){codings[coding].name, strlen(codings[coding].name)};
}

struct tg_coding_levels tg_coding_levels(enum tg_coding coding)
{
    return codings[coding].levels;
}

struct tg_encoder *tg_encoder_new(enum tg_coding coding, int level)
{
    struct tg_encoder *encoder = tg_calloc(1, sizeof *encoder);
    if (!encoder)
        return NULL;
    encoder->ops = &codings[coding];
    if (encoder->ops->open(encoder, level) == TG_OK)
        return encoder;
    tg_encoder_free(encoder);
    return NULL;
}

void tg_encoder_free(struct tg_encoder *encoder)
{
    if (!encoder)
        return;
    encoder->ops->close(encoder);
    tg_free(encoder);
}

enum tg_status tg_encoder_run(struct tg_encoder *encoder, enum tg_encode how,
                              struct tg_encode_step *step)
{
    return encoder->ops->run(encoder, how, step);
}
