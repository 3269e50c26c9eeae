/* snapshot.c - gathers what the workers tell, each from its own thread, and prints it. */
#include "cli/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_MAX = 16384, WAIT_SECONDS = 1, WORKERS_MAX = 1024 };

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

/* --- Text ------------------------------------------------------------------------------------- */

struct text {
    char *p;
    size_t len;
    size_t size;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    if (text->failed)
        return;
    if (text->size - text->len < ROW_MAX) {
        size_t size = text->size * 2 + ROW_MAX;
        char *p = realloc(text->p, size);
        text->failed = !p;
        if (!p)
            return;
        text->p = p;
        text->size = size;
    }
    va_start(args, format);
    int len = vsnprintf(text->p + text->len, text->size - text->len, format, args);
    va_end(args);
    if (len > 0)
        text->len +=
            (size_t)len < text->size - text->len ? (size_t)len : text->size - text->len - 1;
}

/* How many bytes of text are a character of UTF-8 (RFC 3629); 0: none. */
static size_t utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char from, to, second_from, second_to, length;
    } kinds[] = {
        {0x20, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (*p < kinds[i].from || *p > kinds[i].to)
            continue;
        if (kinds[i].length > 1 && (p[1] < kinds[i].second_from || p[1] > kinds[i].second_to))
            return 0;
        for (size_t n = 2; n < kinds[i].length; n++)
            if ((p[n] & 0xc0) != 0x80)
                return 0;
        return kinds[i].length;
    }
    return 0;
}

/* A string in JSON's quotes; bytes that are no UTF-8 become U+FFFD. */
static void add_string(struct text *text, const char *name, const char *value)
{
    add(text, "\"%s\":\"", name);
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        size_t len = utf8_length(p);
        if (*p == '"' || *p == '\\')
            add(text, "\\%c", *p);
        else if (*p < 0x20)
            add(text, "\\u%04x", *p);
        else if (!len)
            add(text, "\xEF\xBF\xBD");
        else
            add(text, "%.*s", (int)len, (const char *)p);
        p += len ? len : 1;
    }
    add(text, "\"");
}

/* --- Rows ------------------------------------------------------------------------------------- */

static double seconds(uint64_t ms)
{
    return (double)ms / 1000;
}

static void add_json_row(struct text *text, const struct tidegate_exchange_info *info)
{
    add(text, "{\"worker\":%u,\"generation\":%" PRIu64 ",", info->worker, info->generation);
    add_string(text, "id", info->id);
    add(text, ",");
    add_string(text, "peer", info->peer);
    add(text, ",");
    add_string(text, "method", info->method);
    add(text, ",");
    add_string(text, "target", info->target);
    add(text, ",");
    add_string(text, "route", info->route);
    add(text, ",");
    add_string(text, "phase", info->phase);
    add(text, ",");
    add_string(text, "where", info->where);
    add(text, ",\"age\":%.3f,\"bytes\":%" PRIu64 ",\"unsent\":%" PRIu64 ",\"stalled\":%.3f}",
        seconds(info->age), info->bytes, info->unsent, seconds(info->stalled));
}

/* Nothing that a client or a script has chosen may move a terminal's cursor. */
static void add_plain(struct text *text, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p;) {
        size_t len = utf8_length(p);
        bool control = !len || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0);
        add(text, "%.*s", control ? 1 : (int)len, control ? "?" : (const char *)p);
        p += len ? len : 1;
    }
}

static void add_table_row(struct text *text, const struct tidegate_exchange_info *info)
{
    add(text, "%6u %4" PRIu64 " %9.1f %12" PRIu64 " %10" PRIu64 " %8.1f  %-5s  ", info->worker,
        info->generation, seconds(info->age), info->bytes, info->unsent, seconds(info->stalled),
        info->phase);
    add_plain(text, *info->route ? info->route : "-");
    add(text, "  ");
    add_plain(text, *info->where ? info->where : "-");
    add(text, "  ");
    add_plain(text, info->method);
    add(text, " ");
    add_plain(text, info->target);
    add(text, "\n");
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
    struct text text = {NULL, 0, 0, false};
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

static void add_json_worker(struct text *text, const struct tidegate_worker_info *w,
                            unsigned number)
{
    add(text, "%s{\"worker\":%u,", number > 1 ? "," : "", number);
    if (!w->worker)
        add(text, "\"state\":\"stuck\"}");
    else if (w->ended)
        add(text, "\"state\":\"ended\"}");
    else
        add(text,
            "\"state\":\"serving\",\"generation\":%" PRIu64 ",\"generations\":%" PRIu64
            ",\"connections\":%" PRIu64 ",\"exchanges\":%" PRIu64 ",\"lua_memory\":%" PRIu64 "}",
            w->generation, w->generations, w->connections, w->exchanges, w->lua_memory);
}

static void print_json(struct text *text, const struct collection *c, unsigned workers)
{
    add(text, "{\"workers\":[");
    for (unsigned i = 0; i < workers; i++)
        add_json_worker(text, &c->workers[i], i + 1);
    add(text, "],\"open\":%" PRIu64 ",\"exchanges\":[", c->open);
    for (size_t i = 0; i < c->count; i++)
        add(text, "%s%s", i ? "," : "", c->rows[i].text);
    add(text, "]}\n");
}

static void print_table(struct text *text, const struct collection *c, unsigned workers)
{
    for (unsigned i = 0; i < workers; i++) {
        const struct tidegate_worker_info *w = &c->workers[i];
        if (!w->worker || w->ended)
            add(text, "worker %u: %s\n", i + 1, w->ended ? "has ended" : "stuck: does not answer");
        else
            add(text,
                "worker %u: generation %" PRIu64 ", %" PRIu64 " connections, %" PRIu64
                " exchanges, %.1f MiB of Lua\n",
                i + 1, w->generation, w->connections, w->exchanges,
                (double)w->lua_memory / 1048576);
    }
    add(text, "\n%6s %4s %9s %12s %10s %8s  %-5s  %s\n", "WORKER", "GEN", "AGE", "BYTES", "UNSENT",
        "STALLED", "PHASE", "ROUTE  WAITS AT  REQUEST");
    for (size_t i = 0; i < c->count; i++)
        add(text, "%s", c->rows[i].text);
    if (c->open > c->count)
        add(text, "and %" PRIu64 " more\n", c->open - c->count);
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
    struct text text = {NULL, 0, 0, false};
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
