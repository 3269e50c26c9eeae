/* loader.c - the thread on which reloads are loaded; on a host's loop, that loop. */
#include "api/gateway.h"
#include "io/loop.h"

static void *load(void *arg)
{
    struct tidegate *g = arg;
    struct tg_loader *loader = &g->loader;
    pthread_mutex_lock(&loader->lock);
    while (!loader->quit) {
        if (!loader->wanted) {
            pthread_cond_wait(&loader->asked, &loader->lock);
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
    if (pthread_cond_init(&loader->asked, NULL) != 0) {
        pthread_mutex_destroy(&loader->lock);
        return TG_ENOMEM;
    }
    loader->made = true;
    return TG_OK;
}

static enum tg_status start(struct tidegate *g)
{
    int error = pthread_create(&g->loader.thread, NULL, load, g);
    g->loader.running = !error;
    return error ? TG_EIO : TG_OK;
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
    pthread_mutex_destroy(&loader->lock);
}
