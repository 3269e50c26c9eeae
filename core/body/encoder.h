/* encoder.h - content codings as streams: gzip (RFC 1952), br (RFC 7932), zstd (RFC 8878).
 *
 * What one takes for as long as its stream lasts, at the default levels: gzip 260 KiB, br 1.2 MiB, zstd
 * 0.9 MiB.
 */
#ifndef TG_BODY_ENCODER_H
#define TG_BODY_ENCODER_H

#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"
#include "util/status.h"

enum tg_coding { TG_CODING_IDENTITY, TG_CODING_GZIP, TG_CODING_BR, TG_CODING_ZSTD, TG_CODINGS };

struct tg_slice tg_coding_name(enum tg_coding coding);

/* The lowest, the default and the highest level. */
struct tg_coding_levels {
    int least;
    int usual;
    int most;
};
struct tg_coding_levels tg_coding_levels(enum tg_coding coding);

struct tg_encoder;

/* coding is not TG_CODING_IDENTITY.  NULL when out of memory. */
struct tg_encoder *tg_encoder_new(enum tg_coding coding, int level);
void tg_encoder_free(struct tg_encoder *encoder); /* NULL is fine */

enum tg_encode {
    TG_ENCODE_GO_ON,  /* more follows: bytes may stay in the encoder */
    TG_ENCODE_FLUSH,  /* all that was taken comes out, so that it can be decoded by itself */
    TG_ENCODE_FINISH, /* and the coding's end */
};

enum { TG_ENCODE_ROOM_MIN = 64 }; /* with less, zlib would say the same again and again */

struct tg_encode_step {
    struct tg_slice in; /* what was taken is taken off it */
    char *out;          /* room for what comes out; what was made is taken off it */
    size_t room;        /* TG_ENCODE_ROOM_MIN or more at each call */
    bool done;          /* no more comes out for this way and these bytes, which were all taken */
};

/* Goes on until it is done or there is no more room: then the same again, with more of that.
 * TG_ENOMEM, TG_EINVAL. */
TG_MUST_CHECK enum tg_status tg_encoder_run(struct tg_encoder *encoder, enum tg_encode how,
                                            struct tg_encode_step *step);

#endif
