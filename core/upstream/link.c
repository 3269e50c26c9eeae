/* link.c - opens, keeps and closes links; counts them by the host that they lead to. */
#include "upstream/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "http/tls.h"
#include "upstream/client_impl.h"
#include "util/mem.h"

/* What links must have in common to stand for each other. */
struct tg_host {
    char *origin;
    char *unix_path;
    char *ca_file;
    bool insecure;
    struct tg_host *next; /* in its list */
    struct tg_host **link;
    size_t users;             /* links, and who is looking for one */
    struct tg_link_list idle; /* the last one used first */
};

enum state { OPENING, IN_USE, IDLE };

struct tg_link {
    struct tg_upstream *upstream;
    struct tg_host *host;
    enum state state;
    bool kept;
    int fd;     /* once it is open; -1: libcurl has closed it */
    bool ours;  /* and not libcurl's to close */
    CURL *easy; /* while it is being opened, and for TLS */
    bool tls;
    struct event readable;
    struct event writable;
    bool reads; /* which of the two are added */
    bool writes;
    struct tg_deadline idle;
    const struct tg_link_owner *owner;
    void *arg;
    TAILQ_ENTRY(tg_link) by_host; /* while it is idle */
    TAILQ_ENTRY(tg_link) by_age;
    char message[CURL_ERROR_SIZE];
};

/* --- Hosts ------------------------------------------------------------------------------------ */

static struct tg_host **list_of(struct tg_upstream *upstream, const char *origin)
{
    size_t hash = 5381;
    for (; *origin; origin++)
        hash = hash * 33 ^ (unsigned char)*origin;
    return &upstream->hosts[hash % TG_UPSTREAM_HOSTS];
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static char *copy(const char *s)
{
    return s ? tg_strdup(s) : NULL;
}

static void free_host(struct tg_host *host)
{
    tg_free(host->origin);
    tg_free(host->unix_path);
    tg_free(host->ca_file);
    tg_free(host);
}

static struct tg_host *add_host(struct tg_host **list, const struct tg_link_to *to)
{
    struct tg_host *host = tg_calloc(1, sizeof *host);
    if (!host)
        return NULL;
    host->origin = copy(to->origin);
    host->unix_path = copy(to->unix_path);
    host->ca_file = copy(to->ca_file);
    host->insecure = to->insecure;
    if (!host->origin || (to->unix_path && !host->unix_path) || (to->ca_file && !host->ca_file)) {
        free_host(host);
        return NULL;
    }
    TAILQ_INIT(&host->idle);
    host->next = *list;
    host->link = list;
    if (host->next)
        host->next->link = &host->next;
    *list = host;
    return host;
}

/* A host that nobody uses is forgotten. */
static void leave_host(struct tg_host *host)
{
    if (--host->users)
        return;
    *host->link = host->next;
    if (host->next)
        host->next->link = host->link;
    free_host(host);
}

/* The caller is one of its users from here on. */
static struct tg_host *enter_host(struct tg_upstream *upstream, const struct tg_link_to *to)
{
    struct tg_host **list = list_of(upstream, to->origin);
    struct tg_host *host = *list;
    while (host && !(host->insecure == to->insecure && same(host->origin, to->origin) &&
                     same(host->unix_path, to->unix_path) && same(host->ca_file, to->ca_file)))
        host = host->next;
    if (!host)
        host = add_host(list, to);
    if (host)
        host->users++;
    return host;
}

/* --- Events ----------------------------------------------------------------------------------- */

static void set_event(struct event *event, bool *is, bool wanted)
{
    if (*is == wanted)
        return;
    *is = wanted;
    if (wanted)
        event_add(event, NULL);
    else
        event_del(event);
}

void tg_link_want(struct tg_link *link, bool readable, bool writable)
{
    if (link->fd < 0)
        return;
    bool was = link->reads;
    set_event(&link->readable, &link->reads, readable);
    set_event(&link->writable, &link->writes, writable);
    if (readable && !was && link->tls) /* its buffer wakes nobody */
        event_active(&link->readable, EV_READ, 0);
}

/* What comes on an idle link is its end, or nothing that anybody has asked for. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_link *link = arg;
    struct tg_upstream *upstream = link->upstream;
    if (link->state == IDLE)
        tg_link_close(link);
    else
        link->owner->ready(link->arg, true, false);
    tg_upstream_settle(upstream);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    const struct tg_link *link = arg;
    struct tg_upstream *upstream = link->upstream;
    link->owner->ready(link->arg, false, true);
    tg_upstream_settle(upstream);
}

static void on_idle_for_long(void *arg)
{
    tg_link_close(arg);
}

/* --- Opening ---------------------------------------------------------------------------------- */

#define SET(easy, option, value) (curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

/* A socket that we have taken over is not libcurl's to close; one that it does close is no longer ours. */
static int close_socket(void *arg, curl_socket_t fd)
{
    struct tg_link *link = arg;
    if (fd == link->fd && link->ours)
        return 0;
    if (fd == link->fd) {
        tg_link_want(link, false, false);
        link->fd = -1;
    }
    return close(fd);
}

static bool set_options(struct tg_link *link, const struct tg_link_to *to)
{
    CURL *easy = link->easy;
    long verify = to->insecure ? 0L : 1L;
    if (to->unix_path && !SET(easy, CURLOPT_UNIX_SOCKET_PATH, to->unix_path))
        return false;
    if (to->ca_file && !SET(easy, CURLOPT_CAINFO, to->ca_file))
        return false;
    return SET(easy, CURLOPT_URL, to->origin) && SET(easy, CURLOPT_CONNECT_ONLY, 1L) &&
           SET(easy, CURLOPT_PRIVATE, link) && SET(easy, CURLOPT_ERRORBUFFER, link->message) &&
           SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)to->timeout) &&
           SET(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) &&
           SET(easy, CURLOPT_CLOSESOCKETDATA, link) && SET(easy, CURLOPT_SSL_VERIFYPEER, verify) &&
           SET(easy, CURLOPT_SSL_VERIFYHOST, verify * 2) && SET(easy, CURLOPT_NOSIGNAL, 1L) &&
           SET(easy, CURLOPT_PROTOCOLS_STR, "http,https") && SET(easy, CURLOPT_PROXY, "") &&
           SET(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED) &&
           SET(easy, CURLOPT_QUICK_EXIT, 1L) && SET(easy, CURLOPT_MAXAGE_CONN, LONG_MAX / 2) &&
           SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
}

/* host has counted the link. */
static enum tg_status open_link(struct tg_link **out, struct tg_upstream *upstream,
                                struct tg_host *host, const struct tg_link_to *to)
{
    struct tg_link *link = tg_calloc(1, sizeof *link);
    if (!link) {
        leave_host(host);
        return TG_ENOMEM;
    }
    link->upstream = upstream;
    link->host = host;
    link->fd = -1;
    link->tls = strncasecmp(to->origin, "https", 5) == 0;
    upstream->links++;
    tg_upstream_count(&upstream->stats.links, 1);
    enum tg_status status =
        tg_deadline_init(&link->idle, &upstream->deadlines, on_idle_for_long, link);
    link->easy = status == TG_OK ? curl_easy_init() : NULL;
    if (!link->easy || !set_options(link, to) || tg_upstream_add(upstream, link->easy) != TG_OK) {
        tg_link_close(link);
        return TG_ENOMEM;
    }
    *out = link;
    return TG_AGAIN;
}

static enum tg_fetch_failure failure_of(CURLcode result)
{
    switch (result) {
    case CURLE_URL_MALFORMAT:
        return TG_FETCH_URL;
    case CURLE_COULDNT_RESOLVE_HOST:
        return TG_FETCH_RESOLVE;
    case CURLE_OPERATION_TIMEDOUT:
        return TG_FETCH_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return TG_FETCH_MEMORY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
        return TG_FETCH_TLS;
    default:
        return TG_FETCH_CONNECT;
    }
}

static void drop_easy(struct tg_link *link)
{
    CURL *easy = link->easy;
    if (!easy)
        return;
    link->easy = NULL;
    struct tg_sigpipe hold;
    tg_sigpipe_hold(&hold); /* it says goodbye; on a host's thread, when all is freed */
    curl_multi_remove_handle(link->upstream->multi, easy);
    curl_easy_cleanup(easy);
    tg_sigpipe_let_go(&hold, true);
}

void tg_link_opened(struct tg_link *link, CURLcode result)
{
    curl_socket_t fd = -1;
    if (result == CURLE_OK)
        result = curl_easy_getinfo(link->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (result != CURLE_OK) {
        const char *message = *link->message ? link->message : curl_easy_strerror(result);
        link->owner->opened(link->arg, failure_of(result), message); /* and closes it */
        return;
    }
    link->fd = fd;
    event_assign(&link->readable, link->upstream->o.base, fd, EV_READ | EV_PERSIST, on_readable,
                 link);
    event_assign(&link->writable, link->upstream->o.base, fd, EV_WRITE | EV_PERSIST, on_writable,
                 link);
    link->ours = !link->tls;
    if (link->ours)
        drop_easy(link);
    link->state = IN_USE;
    link->owner->opened(link->arg, TG_FETCH_FINE, "");
}

/* --- Getting one ------------------------------------------------------------------------------ */

static void take_idle(struct tg_link *link)
{
    TAILQ_REMOVE(&link->host->idle, link, by_host);
    TAILQ_REMOVE(&link->upstream->idle, link, by_age);
    tg_deadline_set(&link->idle, 0);
    link->state = IN_USE;
    link->kept = true;
}

/* Whether one more may be opened; the idle one that has waited longest makes room. */
static bool make_room(struct tg_upstream *upstream, const struct tg_host *host)
{
    const struct tg_limits *limits = upstream->o.limits;
    uint64_t each = limits->upstream_connections_per_host;
    uint64_t all = limits->upstream_connections;
    if (each && host->users > each) /* its links, and the caller */
        return false;
    if (!all || upstream->links < all)
        return true;
    struct tg_link *oldest = TAILQ_FIRST(&upstream->idle);
    tg_link_close(oldest);
    return oldest != NULL;
}

enum tg_status tg_link_get(struct tg_link **out, struct tg_upstream *upstream,
                           const struct tg_link_to *to, bool fresh,
                           const struct tg_link_owner *owner, void *arg)
{
    enum tg_status status = TG_OK;
    struct tg_host *host = enter_host(upstream, to);
    *out = NULL;
    if (!host)
        return TG_ENOMEM;
    struct tg_link *link = fresh ? NULL : TAILQ_FIRST(&host->idle);
    if (link) {
        take_idle(link);
        leave_host(host); /* the link is there */
        *out = link;
    } else if (make_room(upstream, host)) {
        status = open_link(out, upstream, host, to);
    } else {
        leave_host(host);
        return TG_ELIMIT;
    }
    if (*out) {
        (*out)->owner = owner;
        (*out)->arg = arg;
    }
    return status;
}

bool tg_link_was_kept(const struct tg_link *link)
{
    return link->kept;
}

/* --- Bytes ------------------------------------------------------------------------------------ */

static ssize_t outcome(CURLcode result, size_t n)
{
    if (result == CURLE_OK)
        return (ssize_t)n;
    errno = result == CURLE_AGAIN ? EAGAIN : EIO;
    return -1;
}

/* libcurl takes an end without a close_notify for a good one: whoever cuts the connection could so
 * shorten a body that only its end delimits (RFC 9112, 9.8). */
static bool is_cut(CURL *easy)
{
    const struct curl_tlssessioninfo *session = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_TLS_SSL_PTR, &session) != CURLE_OK || !session ||
        session->backend != CURLSSLBACKEND_OPENSSL || !session->internals)
        return false;
    return !tg_tls_has_goodbye(session->internals);
}

ssize_t tg_link_recv(struct tg_link *link, void *buffer, size_t size)
{
    size_t n = 0;
    if (link->fd < 0) {
        errno = ECONNRESET;
        return -1;
    }
    if (!link->tls)
        return recv(link->fd, buffer, size, MSG_DONTWAIT);
    struct tg_sigpipe hold;
    tg_upstream_hold(link->upstream, &hold);
    CURLcode result = curl_easy_recv(link->easy, buffer, size, &n);
    tg_upstream_let_go(link->upstream, &hold);
    if (result == CURLE_OK && n == 0 && is_cut(link->easy))
        result = CURLE_RECV_ERROR;
    return outcome(result, n);
}

ssize_t tg_link_send(struct tg_link *link, const void *bytes, size_t len)
{
    size_t n = 0;
    if (link->fd < 0) {
        errno = ECONNRESET;
        return -1;
    }
    if (!link->tls)
        return send(link->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    struct tg_sigpipe hold;
    tg_upstream_hold(link->upstream, &hold);
    CURLcode result = curl_easy_send(link->easy, bytes, len, &n);
    tg_upstream_let_go(link->upstream, &hold);
    return outcome(result, n);
}

bool tg_link_may_have_more(const struct tg_link *link)
{
    return link->tls;
}

/* --- The end ---------------------------------------------------------------------------------- */

void tg_link_keep(struct tg_link *link)
{
    link->owner = NULL;
    link->state = IDLE;
    TAILQ_INSERT_HEAD(&link->host->idle, link, by_host);
    TAILQ_INSERT_TAIL(&link->upstream->idle, link, by_age);
    tg_deadline_set(&link->idle, TG_LINK_IDLE_MS);
    tg_link_want(link, true, false);
    link->upstream->has_room = true;
    tg_upstream_settle_soon(link->upstream);
}

void tg_link_close(struct tg_link *link)
{
    if (!link)
        return;
    struct tg_upstream *upstream = link->upstream;
    if (link->state == IDLE) {
        TAILQ_REMOVE(&link->host->idle, link, by_host);
        TAILQ_REMOVE(&upstream->idle, link, by_age);
    }
    tg_link_want(link, false, false);
    if (link->easy)
        drop_easy(link); /* closes the socket */
    else if (link->fd >= 0)
        close(link->fd);
    tg_deadline_fini(&link->idle);
    leave_host(link->host);
    upstream->links--;
    tg_upstream_count(&upstream->stats.links, -1);
    upstream->has_room = true;
    tg_free(link);
    tg_upstream_settle_soon(upstream);
}
