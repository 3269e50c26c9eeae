/* limits.c - the table behind limits.h. */
#include "util/limits.h"

#include <stddef.h>
#include <string.h>

#define KIB(n)     ((uint64_t)(n) << 10)
#define MIB(n)     ((uint64_t)(n) << 20)
#define SECONDS(n) ((uint64_t)(n)*1000U)

enum kind { SIZE, TIME };

static const struct {
    const char *name;
    size_t offset;
    enum kind kind;
    uint64_t value;
} table[] = {
    {"head_bytes", offsetof(struct tg_limits, head_bytes), SIZE, KIB(16)},
    {"target_bytes", offsetof(struct tg_limits, target_bytes), SIZE, KIB(8)},
    {"head_fields", offsetof(struct tg_limits, head_fields), SIZE, 100},
    {"head_timeout", offsetof(struct tg_limits, head_timeout), TIME, SECONDS(10)},
    {"idle_timeout", offsetof(struct tg_limits, idle_timeout), TIME, SECONDS(60)},
    {"body_bytes", offsetof(struct tg_limits, body_bytes), SIZE, MIB(1024)},
    {"body_buffer", offsetof(struct tg_limits, body_buffer), SIZE, MIB(1)},
    {"body_drain", offsetof(struct tg_limits, body_drain), SIZE, KIB(256)},
    {"gather", offsetof(struct tg_limits, gather), SIZE, KIB(64)},
    {"high_water", offsetof(struct tg_limits, high_water), SIZE, KIB(256)},
    {"low_water", offsetof(struct tg_limits, low_water), SIZE, KIB(64)},
    {"write_timeout", offsetof(struct tg_limits, write_timeout), TIME, SECONDS(60)},
    {"response_timeout", offsetof(struct tg_limits, response_timeout), TIME, SECONDS(60)},
    {"drain", offsetof(struct tg_limits, drain), TIME, SECONDS(10)},
    {"connections", offsetof(struct tg_limits, connections), SIZE, 10000},
    {"connections_per_address", offsetof(struct tg_limits, connections_per_address), SIZE, 0},
    {"upstream_connections", offsetof(struct tg_limits, upstream_connections), SIZE, 1024},
    {"upstream_connections_per_host", offsetof(struct tg_limits, upstream_connections_per_host),
     SIZE, 0},
    {"upstream_head_bytes", offsetof(struct tg_limits, upstream_head_bytes), SIZE, KIB(64)},
    {"upstream_buffer", offsetof(struct tg_limits, upstream_buffer), SIZE, KIB(64)},
    {"lua_memory", offsetof(struct tg_limits, lua_memory), SIZE, MIB(256)},
    {"slice", offsetof(struct tg_limits, slice), TIME, 5},
    {"script", offsetof(struct tg_limits, script), TIME, SECONDS(2)},
};

enum { COUNT = sizeof table / sizeof *table };

static uint64_t *field(struct tg_limits *limits, size_t n)
{
    return (uint64_t *)(void *)((char *)limits + table[n].offset);
}

void tg_limits_init(struct tg_limits *limits)
{
    for (size_t n = 0; n < COUNT; n++)
        *field(limits, n) = table[n].value;
}

const char *tg_limits_set(struct tg_limits *limits, const char *name, double value)
{
    if (!(value >= 0 && value <= 9007199254740992.0 / 1000)) /* NaN fails it too */
        return "must be a number of zero or more";
    for (size_t n = 0; n < COUNT; n++) {
        if (strcmp(table[n].name, name) != 0)
            continue;
        double scaled = table[n].kind == TIME ? value * 1000 : value;
        *field(limits, n) = value > 0 && scaled < 1 ? 1 : (uint64_t)scaled;
        return NULL;
    }
    return "is not a limit";
}

const char *tg_limits_name(size_t n)
{
    return n < COUNT ? table[n].name : NULL;
}
