/* hash.h - hashes of keys that a stranger may have chosen. */
#ifndef TG_UTIL_HASH_H
#define TG_UTIL_HASH_H

#include <stdint.h>

#include "util/slice.h"

/* Nobody who does not know the seed can tell which keys have the same hash. */
uint64_t tg_hash(const uint64_t seed[2], struct tg_slice key);

#endif
