/* loader.c - the thread that loads scripts anew, and meanwhile watches over the workers; on a host's
 * loop that loop loads, and nobody watches.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "api/gateway.h"
#include "io/loop.h"

/* --- Watching ----------------------------------------------------------------------------------- */

enum { LOOK_SECONDS = 1 };

/* Scripts are stopped by a hook, but a function in C that does not come back is not: it can only be
 * told of (B65). */
static void look_at(struct tidegate *g, struct tg_worker *w)
{
    uint64_t turn = atomic_load_explicit(&w->slices.turn, memory_order_relaxed);
    if (turn && turn == w->watched_turn) {
        if (++w->stuck_for == g->stuck_after)
            tg_log(&g->log, TG_LOG_ERROR,
                   "worker %u: stuck: one call has run for %u s; a function in C cannot be stopped",
                   w->index + 1, w->stuck_for);
        return;
    }
    if (w->stuck_for >= g->stuck_after)
        tg_log(&g->log, TG_LOG_WARN, "worker %u: goes on after %u s", w->index + 1, w->stuck_for);
    w->watched_turn = turn;
    w->stuck_for = 0;
}

static void wait_and_look(struct tidegate *g)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_SECONDS;
    if (pthread_cond_timedwait(&g->loader.asked, &g->loader.lock, &until) != ETIMEDOUT)
        return;
    for (unsigned i = 0; i < g->worker_count; i++)
        look_at(g, &g->workers[i]);
}

/* --- Loading ------------------------------------------------------------------------------------ */

static void *load(void *arg)
{
    struct tidegate *g = arg;
    struct tg_loader *loader = &g->loader;
    pthread_mutex_lock(&loader->lock);
    while (!loader->quit) {
        if (!loader->wanted) {
            wait_and_look(g);
            continue;
        }
        loader->wanted = 0; /* one reload answers all that asked before it began */
        pthread_mutex_unlock(&loader->lock);
        tg_gateway_reload(g); /* it has logged what came of it */
        pthread_mutex_lock(&loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

static void load_here(void *arg)
{
    tg_gateway_reload(arg);
}

enum tg_status tg_loader_open(struct tidegate *g)
{
    struct tg_loader *loader = &g->loader;
    if (g->base) {
        g->reload = tg_wake_new(g->base, load_here, g);
        return g->reload ? TG_OK : TG_EIO;
    }
    if (pthread_mutex_init(&loader->lock, NULL) != 0)
        return TG_ENOMEM;
    if (pthread_mutex_init(&loader->loading, NULL) != 0) {
        pthread_mutex_destroy(&loader->lock);
        return TG_ENOMEM;
    }
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    loader->made = pthread_cond_init(&loader->asked, &clock) == 0;
    pthread_condattr_destroy(&clock);
    if (loader->made)
        return TG_OK;
    pthread_mutex_destroy(&loader->loading);
    pthread_mutex_destroy(&loader->lock);
    return TG_ENOMEM;
}

static enum tg_status start(struct tidegate *g)
{
    int error = pthread_create(&g->loader.thread, NULL, load, g);
    g->loader.running = !error;
    return error ? TG_EIO : TG_OK;
}

enum tg_status tg_loader_start(struct tidegate *g)
{
    pthread_mutex_lock(&g->loader.lock);
    enum tg_status status = g->loader.running ? TG_OK : start(g);
    pthread_mutex_unlock(&g->loader.lock);
    return status;
}

enum tg_status tg_loader_ask(struct tidegate *g)
{
    struct tg_loader *loader = &g->loader;
    if (g->base) {
        tg_wake(g->reload);
        return TG_OK;
    }
    pthread_mutex_lock(&loader->lock);
    loader->wanted++;
    enum tg_status status = loader->running || loader->quit ? TG_OK : start(g);
    pthread_cond_signal(&loader->asked);
    pthread_mutex_unlock(&loader->lock);
    return status;
}

void tg_loader_close(struct tidegate *g)
{
    struct tg_loader *loader = &g->loader;
    tg_wake_free(g->reload);
    g->reload = NULL;
    if (!loader->made)
        return;
    atomic_store(&loader->give_up, true);
    pthread_mutex_lock(&loader->lock);
    loader->quit = true;
    bool running = loader->running;
    pthread_cond_signal(&loader->asked);
    pthread_mutex_unlock(&loader->lock);
    if (running)
        pthread_join(loader->thread, NULL);
    pthread_cond_destroy(&loader->asked);
    pthread_mutex_destroy(&loader->loading);
    pthread_mutex_destroy(&loader->lock);
    memset(loader, 0, sizeof *loader);
}

void tg_loader_begin(struct tidegate *g)
{
    if (g->loader.made)
        pthread_mutex_lock(&g->loader.loading);
}

void tg_loader_end(struct tidegate *g)
{
    if (g->loader.made)
        pthread_mutex_unlock(&g->loader.loading);
}
