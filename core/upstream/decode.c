/* decode.c - zlib's inflate, a block of output at a time. */
#include "upstream/decode.h"

#include "util/mem.h"

enum { WINDOW_ANY = 15 + 32, WINDOW_RAW = -15 }; /* zlib's ways to say: gzip or zlib; neither */

bool tg_decode_knows(struct tg_slice coding)
{
    return tg_slice_equal_nocase(coding, TG_SLICE("gzip")) ||
           tg_slice_equal_nocase(coding, TG_SLICE("x-gzip")) ||
           tg_slice_equal_nocase(coding, TG_SLICE("deflate"));
}

static void *allocate(void *opaque, unsigned count, unsigned size)
{
    (void)opaque;
    return tg_calloc(count, size);
}

static void release(void *opaque, void *p)
{
    (void)opaque;
    tg_free(p);
}

struct tg_decode *tg_decode_new(uint64_t max)
{
    struct tg_decode *decode = tg_calloc(1, sizeof *decode);
    if (!decode)
        return NULL;
    decode->left = max;
    decode->stream.zalloc = allocate;
    decode->stream.zfree = release;
    if (inflateInit2(&decode->stream, WINDOW_ANY) == Z_OK)
        return decode;
    tg_free(decode);
    return NULL;
}

void tg_decode_free(struct tg_decode *decode)
{
    if (!decode)
        return;
    inflateEnd(&decode->stream);
    tg_free(decode);
}

void tg_decode_feed(struct tg_decode *decode, const void *data, size_t len)
{
    memcpy(decode->in, data, len);
    decode->stream.next_in = decode->in;
    decode->stream.avail_in = (unsigned)len;
    decode->began = decode->began || len;
}

/* What failed with the first bytes may be deflate by itself: once more, from the start. */
static bool try_raw(struct tg_decode *decode)
{
    z_stream *stream = &decode->stream;
    size_t seen = (size_t)(stream->next_in - decode->in);
    if (decode->raw || stream->total_out || seen > 2 || stream->total_in != seen)
        return false;
    decode->raw = true;
    stream->avail_in += (unsigned)seen;
    stream->next_in = decode->in;
    return inflateReset2(stream, WINDOW_RAW) == Z_OK;
}

/* One call of zlib's.  Z_STREAM_END: gzip may go on with another member. */
static enum tg_status step(struct tg_decode *decode)
{
    z_stream *stream = &decode->stream;
    switch (inflate(stream, Z_NO_FLUSH)) {
    case Z_STREAM_END:
        decode->whole = true;
        return TG_OK;
    case Z_OK:
    case Z_BUF_ERROR: /* no more to do with what there is */
        return TG_OK;
    case Z_MEM_ERROR:
        return TG_ENOMEM;
    default:
        return try_raw(decode) ? step(decode) : TG_EINVAL;
    }
}

enum tg_status tg_decode_next(struct tg_decode *decode, struct tg_slice *block)
{
    z_stream *stream = &decode->stream;
    *block = (struct tg_slice){(const char *)decode->out, decode->out_len};
    while (!decode->out_len) {
        if (decode->whole && stream->avail_in) {
            if (inflateReset(stream) != Z_OK)
                return TG_EINVAL;
            decode->whole = false;
        }
        unsigned before = stream->avail_in;
        stream->next_out = decode->out;
        stream->avail_out = TG_DECODE_OUT_MAX;
        enum tg_status status = decode->whole ? TG_OK : step(decode);
        if (status != TG_OK)
            return status;
        size_t made = TG_DECODE_OUT_MAX - stream->avail_out;
        decode->full = !stream->avail_out; /* there may be more in it */
        if (made > decode->left)
            return TG_ELIMIT;
        decode->left -= made;
        decode->out_len = made;
        block->len = made;
        if (!made && stream->avail_in == before)
            break;
    }
    return TG_OK;
}

void tg_decode_taken(struct tg_decode *decode)
{
    decode->out_len = 0;
}

bool tg_decode_idle(const struct tg_decode *decode)
{
    return !decode->out_len && !decode->full && !decode->stream.avail_in;
}

bool tg_decode_complete(const struct tg_decode *decode)
{
    return decode->whole || !decode->began;
}
