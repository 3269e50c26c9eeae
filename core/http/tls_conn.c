/* tls_conn.c - TLS of one connection.
 *
 * Only the bytes pass through here: cipher text comes from the socket and goes to it as plain text does
 * on other connections, so who may read, write or close, and when, is decided where it is for those.
 */
#include "http/tls_impl.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "util/mem.h"

enum {
    FLUSH_FROM = 65536, /* bytes of cipher text for one write */
    LEND_FROM = 4096,
};

struct tg_tls {
    SSL *ssl;
    struct tg_tls_context *context;
    struct tg_tls_space *space;
    struct evbuffer *plain; /* taken, for later; NULL: nothing */
};

enum tg_status tg_tls_open(struct tg_conn *conn, struct tg_tls_context *context,
                           struct tg_tls_space *space)
{
    struct tg_tls *tls = tg_calloc(1, sizeof *tls);
    SSL *ssl = tls ? tg_tls_context_open(context, space) : NULL;
    if (!ssl) {
        tg_free(tls);
        return TG_ENOMEM;
    }
    *tls = (struct tg_tls){.ssl = ssl, .context = tg_tls_context_hold(context), .space = space};
    conn->tls = tls;
    conn->secure = true;
    return TG_OK;
}

void tg_tls_close(struct tg_conn *conn)
{
    struct tg_tls *tls = conn->tls;
    if (!tls)
        return;
    conn->tls = NULL;
    if (tls->plain)
        evbuffer_free(tls->plain);
    SSL_free(tls->ssl);
    tg_tls_context_release(tls->context);
    tg_free(tls);
}

size_t tg_tls_waiting(const struct tg_conn *conn)
{
    return conn->tls && conn->tls->plain ? evbuffer_get_length(conn->tls->plain) : 0;
}

/* --- To the client ---------------------------------------------------------------------------- */

static enum tg_status flush(struct tg_conn *conn)
{
    struct tg_buf *out = &conn->tls->space->out;
    struct iovec run = {out->p, out->len};
    enum tg_status status = out->len ? tg_conn_write_raw(conn, &run, 1) : TG_OK;
    tg_buf_clear(out);
    return status;
}

static bool is_full(const struct tg_conn *conn)
{
    return tg_tls_waiting(conn) || conn->unsent >= TG_TLS_WINDOW;
}

static enum tg_status seal(struct tg_conn *conn, const char *data, size_t len)
{
    struct tg_tls *tls = conn->tls;
    ERR_clear_error();
    while (len) {
        int n = SSL_write(tls->ssl, data, (int)(len < TG_TLS_RECORD ? len : TG_TLS_RECORD));
        if (n <= 0)
            return tg_conn_broken(conn);
        data += n;
        len -= (size_t)n;
    }
    return tls->space->out.len < FLUSH_FROM ? TG_OK : flush(conn);
}

static enum tg_status keep(struct tg_conn *conn, const void *data, size_t len, struct tg_lent *lent)
{
    struct tg_tls *tls = conn->tls;
    if (!tls->plain)
        tls->plain = evbuffer_new();
    if (!tls->plain)
        return tg_conn_broken(conn);
    if (lent && len >= LEND_FROM) {
        if (evbuffer_add_reference(tls->plain, data, len, lent->release, lent->arg) != 0)
            return tg_conn_broken(conn);
        lent->release = NULL;
        return TG_OK;
    }
    return evbuffer_add(tls->plain, data, len) == 0 ? TG_OK : tg_conn_broken(conn);
}

/* Short runs share a record: what is held of one is at the front of space->plain. */
static enum tg_status write_held(struct tg_conn *conn, size_t *held)
{
    size_t len = *held;
    *held = 0;
    if (!len)
        return TG_OK;
    if (is_full(conn))
        return keep(conn, conn->tls->space->plain, len, NULL);
    return seal(conn, conn->tls->space->plain, len);
}

static enum tg_status write_run(struct tg_conn *conn, struct iovec run, size_t *held,
                                struct tg_lent *lent)
{
    enum tg_status status = TG_OK;
    const char *data = run.iov_base;
    size_t len = run.iov_len;
    while (len && status == TG_OK) {
        size_t n = len < TG_TLS_RECORD - *held ? len : TG_TLS_RECORD - *held;
        if (is_full(conn)) {
            status = write_held(conn, held);
            return status == TG_OK ? keep(conn, data, len, lent) : status;
        }
        if (n == TG_TLS_RECORD) {
            status = seal(conn, data, n);
        } else {
            memcpy(conn->tls->space->plain + *held, data, n);
            *held += n;
            if (*held == TG_TLS_RECORD)
                status = write_held(conn, held);
        }
        data += n;
        len -= n;
    }
    return status;
}

enum tg_status tg_tls_write_lent(struct tg_conn *conn, const struct iovec *runs, int n,
                                 struct tg_lent *lent)
{
    size_t held = 0;
    enum tg_status status = conn->broken ? TG_ECLOSED : TG_OK;
    for (int i = 0; i < n && status == TG_OK; i++)
        status = write_run(conn, runs[i], &held, lent && i == lent->run ? lent : NULL);
    if (status == TG_OK)
        status = write_held(conn, &held);
    enum tg_status flushed = flush(conn);
    if (lent && lent->release)
        lent->release(runs[lent->run].iov_base, runs[lent->run].iov_len, lent->arg);
    return status == TG_OK ? flushed : status;
}

enum tg_status tg_tls_write(struct tg_conn *conn, const struct iovec *runs, int n)
{
    return tg_tls_write_lent(conn, runs, n, NULL);
}

void tg_tls_go_on(struct tg_conn *conn)
{
    struct evbuffer *plain = conn->tls->plain;
    struct evbuffer_iovec front;
    enum tg_status status = TG_OK;
    while (status == TG_OK && conn->unsent < TG_TLS_WINDOW &&
           evbuffer_peek(plain, TG_TLS_RECORD, NULL, &front, 1) > 0 && front.iov_len) {
        size_t n = front.iov_len < TG_TLS_RECORD ? front.iov_len : TG_TLS_RECORD;
        status = seal(conn, front.iov_base, n);
        evbuffer_drain(plain, n);
    }
    if (flush(conn) != TG_OK || status != TG_OK)
        evbuffer_drain(plain, evbuffer_get_length(plain));
}

void tg_tls_say_goodbye(struct tg_conn *conn)
{
    struct tg_tls *tls = conn->tls;
    if (!tls || conn->broken || tg_tls_waiting(conn) || !SSL_is_init_finished(tls->ssl) ||
        SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN)
        return;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    (void)!flush(conn); /* it is the last, and no more than good manners */
}

/* --- From the client -------------------------------------------------------------------------- */

static bool is_plain_http(void)
{
    unsigned long error = ERR_peek_error();
    return ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;
}

static enum tg_tls_outcome outcome_of(SSL *ssl, int n)
{
    switch (SSL_get_error(ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return TG_TLS_FINE;
    case SSL_ERROR_ZERO_RETURN:
        return TG_TLS_ENDED;
    default:
        return is_plain_http() ? TG_TLS_NO_TLS : TG_TLS_BROKEN;
    }
}

/* Straight into the input, as a body that comes fast is read without TLS.  What SSL_read() said; positive:
 * there may be more. */
static int read_in_place(struct tg_conn *conn, size_t len)
{
    struct evbuffer *in = tg_conn_input(conn);
    struct evbuffer_iovec room;
    size_t had = 0;
    int n = 1;
    evbuffer_unfreeze(in, 0);
    if (evbuffer_reserve_space(in, (ev_ssize_t)len, &room, 1) == 1) {
        while (had < len &&
               (n = SSL_read(conn->tls->ssl, (char *)room.iov_base + had, (int)(len - had))) > 0)
            had += (size_t)n;
        room.iov_len = had;
        if (evbuffer_commit_space(in, &room, 1) != 0)
            n = -1;
    }
    evbuffer_freeze(in, 0);
    return n;
}

enum tg_tls_outcome tg_tls_receive(struct tg_conn *conn, const void *bytes, size_t len,
                                   bool in_place)
{
    struct tg_tls_space *space = conn->tls->space;
    struct evbuffer *in = tg_conn_input(conn);
    SSL *ssl = conn->tls->ssl;
    bool kept = true;
    int n = 1;
    space->in = bytes;
    space->in_len = len;
    space->refused = false;
    ERR_clear_error();
    if (in_place)
        n = read_in_place(conn, len);
    while (n > 0 && kept && (n = SSL_read(ssl, space->plain, TG_TLS_RECORD)) > 0) {
        evbuffer_unfreeze(in, 0);
        kept = evbuffer_add(in, space->plain, (size_t)n) == 0;
        evbuffer_freeze(in, 0);
    }
    enum tg_tls_outcome outcome = kept && !space->refused ? outcome_of(ssl, n) : TG_TLS_BROKEN;
    space->in = NULL;
    space->in_len = 0;
    ERR_clear_error();
    if (outcome == TG_TLS_NO_TLS)
        tg_buf_clear(&space->out); /* an alert, that nobody would understand */
    return flush(conn) == TG_OK ? outcome : TG_TLS_BROKEN;
}
