/* snapshot.c - gathers what the workers tell, each from its own thread, and prints it. */
#include "cli/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/text.h"

enum { WAIT_SECONDS = 1, WORKERS_MAX = 1024 };

struct row {
    char *text;
    uint64_t stalled;
    uint64_t age;
};

/* Whoever waits and the workers that answer each hold it: the last frees it. */
struct collection {
    bool json;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool answered;   /* by all */
    bool given_up;   /* nobody wants more of it */
    bool incomplete; /* there was no memory */
    struct row *rows;
    size_t count;
    size_t size;
    uint64_t open; /* exchanges, those without a row too */
    struct tidegate_worker_info workers[WORKERS_MAX];
};

/* --- Rows ------------------------------------------------------------------------------------- */

static double seconds(uint64_t ms)
{
    return (double)ms / 1000;
}

static void add_json_row(struct cli_text *text, const struct tidegate_exchange_info *info)
{
    cli_text_add(text, "{\"worker\":%u,\"generation\":%" PRIu64 ",", info->worker,
                 info->generation);
    cli_text_add_member(text, "id", info->id);
    cli_text_add(text, ",");
    cli_text_add_member(text, "peer", info->peer);
    cli_text_add(text, ",");
    cli_text_add_member(text, "method", info->method);
    cli_text_add(text, ",");
    cli_text_add_member(text, "target", info->target);
    cli_text_add(text, ",");
    cli_text_add_member(text, "route", info->route);
    cli_text_add(text, ",");
    cli_text_add_member(text, "phase", info->phase);
    cli_text_add(text, ",");
    cli_text_add_member(text, "where", info->where);
    cli_text_add(text,
                 ",\"age\":%.3f,\"bytes\":%" PRIu64 ",\"unsent\":%" PRIu64 ",\"stalled\":%.3f}",
                 seconds(info->age), info->bytes, info->unsent, seconds(info->stalled));
}

static void add_table_row(struct cli_text *text, const struct tidegate_exchange_info *info)
{
    cli_text_add(text, "%6u %4" PRIu64 " %9.1f %12" PRIu64 " %10" PRIu64 " %8.1f  %-5s  ",
                 info->worker, info->generation, seconds(info->age), info->bytes, info->unsent,
                 seconds(info->stalled), info->phase);
    cli_text_add_plain(text, *info->route ? info->route : "-");
    cli_text_add(text, "  ");
    cli_text_add_plain(text, *info->where ? info->where : "-");
    cli_text_add(text, "  ");
    cli_text_add_plain(text, info->method);
    cli_text_add(text, " ");
    cli_text_add_plain(text, info->target);
    cli_text_add(text, "\n");
}

static struct row *next_row(struct collection *c)
{
    if (c->count == c->size) {
        size_t size = c->size * 2 + 64;
        struct row *rows = realloc(c->rows, size * sizeof *rows);
        if (!rows)
            return NULL;
        c->rows = rows;
        c->size = size;
    }
    return &c->rows[c->count++];
}

static void on_exchange(void *arg, const struct tidegate_exchange_info *info)
{
    struct collection *c = arg;
    struct cli_text text = {0};
    (c->json ? add_json_row : add_table_row)(&text, info);
    char *shrunk = text.p ? realloc(text.p, text.len + 1) : NULL;
    pthread_mutex_lock(&c->lock);
    struct row *row = shrunk && !text.failed && !c->given_up ? next_row(c) : NULL;
    if (row)
        *row = (struct row){shrunk, info->stalled, info->age};
    else
        c->incomplete = true;
    pthread_mutex_unlock(&c->lock);
    if (!row)
        free(shrunk ? shrunk : text.p);
}

static void on_worker(void *arg, const struct tidegate_worker_info *info)
{
    struct collection *c = arg;
    pthread_mutex_lock(&c->lock);
    if (info->worker <= WORKERS_MAX)
        c->workers[info->worker - 1] = *info;
    c->open += info->exchanges;
    pthread_mutex_unlock(&c->lock);
}

/* --- The collection --------------------------------------------------------------------------- */

static void free_collection(struct collection *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->rows[i].text);
    free(c->rows);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void on_done(void *arg)
{
    struct collection *c = arg;
    pthread_mutex_lock(&c->lock);
    c->answered = true;
    bool mine = c->given_up;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
    if (mine)
        free_collection(c);
}

static struct collection *new_collection(bool json)
{
    pthread_condattr_t monotonic;
    struct collection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->json = json;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return c;
}

/* --- The whole -------------------------------------------------------------------------------- */

/* Those that have been stalled for longest first, then the oldest. */
static int compare(const void *a, const void *b)
{
    const struct row *x = a;
    const struct row *y = b;
    if (x->stalled != y->stalled)
        return x->stalled < y->stalled ? 1 : -1;
    return x->age < y->age ? 1 : x->age > y->age ? -1 : 0;
}

static void add_json_worker(struct cli_text *text, const struct tidegate_worker_info *w,
                            unsigned number)
{
    cli_text_add(text, "%s{\"worker\":%u,", number > 1 ? "," : "", number);
    if (!w->worker)
        cli_text_add(text, "\"state\":\"stuck\"}");
    else if (w->ended)
        cli_text_add(text, "\"state\":\"ended\"}");
    else
        cli_text_add(text,
                     "\"state\":\"serving\",\"generation\":%" PRIu64 ",\"generations\":%" PRIu64
                     ",\"connections\":%" PRIu64 ",\"exchanges\":%" PRIu64
                     ",\"lua_memory\":%" PRIu64 "}",
                     w->generation, w->generations, w->connections, w->exchanges, w->lua_memory);
}

static void print_json(struct cli_text *text, const struct collection *c, unsigned workers)
{
    cli_text_add(text, "{\"workers\":[");
    for (unsigned i = 0; i < workers; i++)
        add_json_worker(text, &c->workers[i], i + 1);
    cli_text_add(text, "],\"open\":%" PRIu64 ",\"exchanges\":[", c->open);
    for (size_t i = 0; i < c->count; i++)
        cli_text_add(text, "%s%s", i ? "," : "", c->rows[i].text);
    cli_text_add(text, "]}\n");
}

static void print_table(struct cli_text *text, const struct collection *c, unsigned workers)
{
    for (unsigned i = 0; i < workers; i++) {
        const struct tidegate_worker_info *w = &c->workers[i];
        if (!w->worker || w->ended)
            cli_text_add(text, "worker %u: %s\n", i + 1,
                         w->ended ? "has ended" : "stuck: does not answer");
        else
            cli_text_add(text,
                         "worker %u: generation %" PRIu64 ", %" PRIu64 " connections, %" PRIu64
                         " exchanges, %.1f MiB of Lua\n",
                         i + 1, w->generation, w->connections, w->exchanges,
                         (double)w->lua_memory / 1048576);
    }
    cli_text_add(text, "\n%6s %4s %9s %12s %10s %8s  %-5s  %s\n", "WORKER", "GEN", "AGE", "BYTES",
                 "UNSENT", "STALLED", "PHASE", "ROUTE  WAITS AT  REQUEST");
    for (size_t i = 0; i < c->count; i++)
        cli_text_add(text, "%s", c->rows[i].text);
    if (c->open > c->count)
        cli_text_add(text, "and %" PRIu64 " more\n", c->open - c->count);
}

static bool wait_for_answers(struct collection *c)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_SECONDS;
    while (!c->answered && pthread_cond_timedwait(&c->changed, &c->lock, &until) != ETIMEDOUT)
        continue;
    return c->answered;
}

char *cli_snapshot(struct tidegate *g, size_t most, bool json, size_t *len)
{
    struct cli_text text = {0};
    unsigned workers = tidegate_workers(g);
    struct collection *c = new_collection(json);
    if (!c)
        return NULL;
    if (tidegate_snapshot(g, most, on_exchange, on_worker, on_done, c) != TIDEGATE_OK) {
        free_collection(c);
        return NULL;
    }
    pthread_mutex_lock(&c->lock);
    bool mine = wait_for_answers(c);
    if (c->count)
        qsort(c->rows, c->count, sizeof *c->rows, compare);
    (json ? print_json : print_table)(&text, c, workers < WORKERS_MAX ? workers : WORKERS_MAX);
    c->given_up = true;
    pthread_mutex_unlock(&c->lock);
    if (mine)
        free_collection(c);
    if (text.failed) {
        free(text.p);
        return NULL;
    }
    *len = text.len;
    return text.p;
}
