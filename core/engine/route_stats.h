/* route_stats.h - how often each route of a worker was answered, and how.
 *
 * A route is counted by its name, so that it goes on counting when the script is loaded anew.  One
 * thread writes; any may read, while the table is there.  Names and statuses are capped: what is
 * beyond is counted together.
 */
#ifndef TG_ENGINE_ROUTE_STATS_H
#define TG_ENGINE_ROUTE_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "util/map.h"
#include "util/status.h"

enum {
    TG_ROUTE_NAMES_MAX = 1000,
    TG_ROUTE_NAME_MAX = 200,   /* bytes */
    TG_ROUTE_STATUSES_MAX = 15 /* different ones of a route */
};

struct tg_route_answers {
    atomic_int status; /* 0: nothing was sent; -1: others */
    atomic_uint_fast64_t count;
};

struct tg_route_stats {
    struct tg_map_node node;
    char *name;
    struct tg_route_stats *next; /* made before it; never changes */
    atomic_uint_fast64_t us;     /* microseconds of all its exchanges */
    atomic_uint_fast64_t bytes;  /* of bodies */
    atomic_size_t statuses;      /* how many of answers are in use */
    struct tg_route_answers answers[TG_ROUTE_STATUSES_MAX + 1];
};

struct tg_route_figures {
    struct tg_map by_name;
    _Atomic(struct tg_route_stats *) last; /* made; the others follow */
    struct tg_route_stats *others;         /* of names past the cap; NULL until then */
};

void tg_route_figures_init(struct tg_route_figures *table); /* allocates nothing */
void tg_route_figures_fini(struct tg_route_figures *table);

/* The place of a name, made at its first use; the table's.  NULL: no memory, and it is not counted. */
struct tg_route_stats *tg_route_stats_of(struct tg_route_figures *table, const char *name);

/* An exchange is over.  stats may be NULL. */
void tg_route_count(struct tg_route_stats *stats, int status, uint64_t us, uint64_t bytes);

#endif
