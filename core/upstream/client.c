/* client.c - libcurl's multi handle on the worker's loop: its sockets, its timer, and who has news. */
#include "upstream/client.h"

#include <pthread.h>

#include <event2/event.h>

#include "upstream/client_impl.h"
#include "util/mem.h"

/* One that libcurl waits for: while a link is being opened. */
struct tg_socket {
    struct tg_upstream *upstream;
    struct event event;
    short what;
};

/* --- libcurl, once in a process --------------------------------------------------------------- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT); /* a failure shows when handles are made */
}

/* --- SIGPIPE ---------------------------------------------------------------------------------- */

/* OpenSSL writes without MSG_NOSIGNAL, and libcurl would change what the signal does in all threads. */
void tg_upstream_hold(const struct tg_upstream *upstream, struct tg_sigpipe *hold)
{
    if (upstream->o.host_loop)
        tg_sigpipe_hold(hold);
}

void tg_upstream_let_go(const struct tg_upstream *upstream, const struct tg_sigpipe *hold)
{
    if (upstream->o.host_loop)
        tg_sigpipe_let_go(hold, true);
}

/* --- News ------------------------------------------------------------------------------------- */

void tg_upstream_settle(struct tg_upstream *upstream)
{
    tg_fetch_use_room(upstream);
    tg_fetch_tell_news(upstream);
}

void tg_upstream_settle_soon(struct tg_upstream *upstream)
{
    static const struct timeval at_once = {0, 0};
    if (TAILQ_EMPTY(&upstream->news) && TAILQ_EMPTY(&upstream->waiting))
        return;
    if (event_add(&upstream->settle, &at_once) < 0)
        event_active(&upstream->settle, EV_TIMEOUT, 0);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tg_upstream_settle(arg);
}

/* --- Sockets and the timer -------------------------------------------------------------------- */

static void collect(struct tg_upstream *upstream)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(upstream->multi, &left)) != NULL) {
        char *link = NULL;
        CURLcode result = message->data.result; /* message goes with the handle */
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &link);
        tg_link_opened((struct tg_link *)(void *)link, result);
    }
}

static void act(struct tg_upstream *upstream, curl_socket_t fd, int bits)
{
    int running;
    struct tg_sigpipe hold;
    tg_upstream_hold(upstream, &hold);
    curl_multi_socket_action(upstream->multi, fd, bits, &running);
    tg_upstream_let_go(upstream, &hold);
    collect(upstream);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct tg_upstream *upstream = ((struct tg_socket *)arg)->upstream;
    act(upstream, fd,
        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
    tg_upstream_settle(upstream);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    act(arg, CURL_SOCKET_TIMEOUT, 0);
    tg_upstream_settle(arg);
}

static void forget_socket(struct tg_upstream *upstream, curl_socket_t fd, struct tg_socket *socket)
{
    if (!socket)
        return;
    event_del(&socket->event);
    tg_free(socket);
    curl_multi_assign(upstream->multi, fd, NULL);
}

/* Never says that it has failed: libcurl would do nothing more for anybody.  What is not watched for want
 * of memory is too late, in time. */
static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct tg_upstream *upstream = arg;
    struct tg_socket *socket = known;
    if (what == CURL_POLL_REMOVE) {
        forget_socket(upstream, fd, socket);
        return 0;
    }
    short wanted = (short)((what & CURL_POLL_IN ? EV_READ : 0) |
                           (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
    if (!socket) {
        socket = tg_calloc(1, sizeof *socket);
        if (!socket || curl_multi_assign(upstream->multi, fd, socket) != CURLM_OK) {
            tg_free(socket);
            return 0;
        }
        socket->upstream = upstream;
    } else if (socket->what == wanted) {
        return 0;
    } else {
        event_del(&socket->event);
    }
    socket->what = wanted;
    event_assign(&socket->event, upstream->o.base, fd, wanted, on_socket, socket);
    event_add(&socket->event, NULL);
    return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct tg_upstream *upstream = arg;
    struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    if (ms < 0)
        event_del(&upstream->timer);
    else
        event_add(&upstream->timer, &tv);
    return 0;
}

enum tg_status tg_upstream_add(struct tg_upstream *upstream, CURL *easy)
{
    return curl_multi_add_handle(upstream->multi, easy) == CURLM_OK ? TG_OK : TG_ENOMEM;
}

/* --- Life ------------------------------------------------------------------------------------- */

static bool set_up_multi(struct tg_upstream *upstream)
{
    CURLM *multi = upstream->multi;
    return curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, upstream) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer) == CURLM_OK &&
           curl_multi_setopt(multi, CURLMOPT_TIMERDATA, upstream) == CURLM_OK;
}

enum tg_status tg_upstream_ready(struct tg_upstream *upstream)
{
    if (!upstream->buffer)
        upstream->buffer = tg_malloc(TG_UPSTREAM_READ_SIZE);
    if (!upstream->buffer)
        return TG_ENOMEM;
    if (upstream->multi)
        return TG_OK;
    pthread_once(&curl_once, init_curl);
    upstream->multi = curl_multi_init();
    if (upstream->multi && set_up_multi(upstream))
        return TG_OK;
    curl_multi_cleanup(upstream->multi);
    upstream->multi = NULL;
    return TG_ENOMEM;
}

const struct tg_upstream_stats *tg_upstream_stats(const struct tg_upstream *upstream)
{
    return &upstream->stats;
}

struct tg_upstream *tg_upstream_new(const struct tg_upstream_options *options)
{
    struct tg_upstream *upstream = tg_calloc(1, sizeof *upstream);
    if (!upstream)
        return NULL;
    upstream->o = *options;
    TAILQ_INIT(&upstream->idle);
    TAILQ_INIT(&upstream->waiting);
    TAILQ_INIT(&upstream->news);
    event_assign(&upstream->timer, options->base, -1, 0, on_timer, upstream);
    event_assign(&upstream->settle, options->base, -1, 0, on_settle, upstream);
    tg_deadlines_init(&upstream->deadlines, options->base);
    return upstream;
}

struct tg_deadlines *tg_upstream_deadlines(struct tg_upstream *upstream)
{
    return &upstream->deadlines;
}

void tg_upstream_free(struct tg_upstream *upstream)
{
    if (!upstream)
        return;
    while (!TAILQ_EMPTY(&upstream->idle))
        tg_link_close(TAILQ_FIRST(&upstream->idle));
    struct tg_sigpipe hold;
    tg_sigpipe_hold(&hold); /* on a host's thread, whoever's loop it was */
    curl_multi_cleanup(upstream->multi);
    tg_sigpipe_let_go(&hold, true);
    event_del(&upstream->timer);
    event_del(&upstream->settle);
    tg_deadlines_fini(&upstream->deadlines);
    tg_free(upstream->buffer);
    tg_free(upstream);
}
