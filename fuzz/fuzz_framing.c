/* fuzz_framing.c - bodies: fed whole or byte by byte, the same data and the same end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/framing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    size_t used;
    size_t data_len;
    uint64_t sum; /* of the data, in order */
    enum tg_framing_state state;
};

static void must(bool what)
{
    if (!what)
        abort();
}

/* Feeds bytes in pieces of at most step bytes, each in memory of its own size. */
static struct outcome feed(const uint8_t *bytes, size_t size, size_t step,
                           enum tg_framing_kind kind, uint64_t length)
{
    struct outcome out = {0};
    struct tg_framing framing;
    tg_framing_init(&framing, kind, length);
    while (out.used < size && tg_framing_state(&framing) == TG_FRAMING_MORE) {
        size_t n = size - out.used < step ? size - out.used : step;
        char *piece = malloc(n);
        if (!piece)
            abort();
        memcpy(piece, bytes + out.used, n);
        struct tg_slice data;
        size_t used = tg_framing_next(&framing, piece, n, &data);
        must(used <= n && used > 0);
        must(!data.len || (data.p >= piece && data.p + data.len <= piece + used));
        for (size_t i = 0; i < data.len; i++)
            out.sum = out.sum * 31 + (unsigned char)data.p[i];
        out.data_len += data.len;
        out.used += used;
        free(piece);
    }
    out.state = tg_framing_state(&framing);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    enum tg_framing_kind kind = data[0] & 1 ? TG_FRAMING_CHUNKED : TG_FRAMING_LENGTH;
    uint64_t length = data[0] >> 1;
    struct outcome whole = feed(data + 1, size - 1, SIZE_MAX, kind, length);
    struct outcome bytewise = feed(data + 1, size - 1, 1, kind, length);
    must(whole.state == bytewise.state);
    if (whole.state != TG_FRAMING_BROKEN)
        must(whole.used == bytewise.used);
    must(whole.data_len == bytewise.data_len && whole.sum == bytewise.sum);
    return 0;
}
