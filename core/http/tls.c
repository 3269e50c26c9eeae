/* tls.c - loads certificates and chooses among them. */
#include "http/tls.h"

#include <stdatomic.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http/tls_impl.h"
#include "util/mem.h"

struct tg_tls_context {
    atomic_uint references;
    size_t count;
    SSL_CTX *contexts[];
};

bool tg_tls_make_key(unsigned char key[TG_TLS_TICKET_KEY])
{
    return RAND_bytes(key, TG_TLS_TICKET_KEY) == 1;
}

bool tg_tls_has_goodbye(const void *ssl)
{
    return SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN;
}

/* --- What a client asks for ------------------------------------------------------------------- */

/* NOLINTNEXTLINE(readability-non-const-parameter): its type is that of the callback */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const struct tg_tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (size_t i = 0; name && i < context->count; i++) {
        X509 *cert = SSL_CTX_get0_certificate(context->contexts[i]);
        if (X509_check_host(cert, name, 0, 0, NULL) != 1)
            continue;
        return SSL_set_SSL_CTX(ssl, context->contexts[i]) ? SSL_TLSEXT_ERR_OK
                                                          : SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    return SSL_TLSEXT_ERR_OK; /* the first one's */
}

/* A client that speaks HTTP/2 alone is better told now than when it does not understand us. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    (void)ssl;
    (void)arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Each attempt to renegotiate is answered, and who does not read the answers could make them wait
 * without an end: the first is the last, as in TLS 1.3. */
static void on_info(const SSL *ssl, int where, int alert)
{
    if (where == SSL_CB_WRITE_ALERT && (alert & 0xff) == SSL_AD_NO_RENEGOTIATION) {
        struct tg_tls_space *space = BIO_get_data(SSL_get_rbio(ssl));
        space->refused = true;
    }
}

/* --- Loading ---------------------------------------------------------------------------------- */

/* Keys that are locked cannot be opened: nobody is there to ask. */
/* NOLINTNEXTLINE(readability-non-const-parameter): its type is that of the callback */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static void add_problem(struct tg_buf *problems, const char *file, const char *what)
{
    unsigned long error = ERR_peek_error();
    const char *why = ERR_reason_error_string(error);
    if (ERR_SYSTEM_ERROR(error))
        why = strerrordesc_np(ERR_GET_REASON(error));
    (void)!tg_buf_addf(problems, "%stls: %s: %s%s%s", problems->len ? "\n" : "", file, what,
                       why ? ": " : "", why ? why : "");
    ERR_clear_error();
}

static bool read_pair(SSL_CTX *ctx, const struct tg_tls_pair *pair, struct tg_buf *problems)
{
    bool locked = false;
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &locked);
    ERR_clear_error();
    bool cert = SSL_CTX_use_certificate_chain_file(ctx, pair->cert) == 1;
    if (!cert)
        add_problem(problems, pair->cert, "cannot read the certificate");
    bool key = SSL_CTX_use_PrivateKey_file(ctx, pair->key, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb(ctx, NULL);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (locked)
        ERR_clear_error();
    bool other = !key && ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;
    if (other)
        ERR_clear_error();
    if (!key)
        add_problem(problems, pair->key,
                    locked  ? "the key is locked by a password"
                    : other ? "is not the key of the certificate"
                            : "cannot read the key");
    return cert && key;
}

static bool set_ticket_key(SSL_CTX *ctx, const unsigned char *ticket_key)
{
    unsigned char key[TG_TLS_TICKET_KEY];
    if (!ticket_key)
        return true;
    memcpy(key, ticket_key, sizeof key);
    bool set = SSL_CTX_set_tlsext_ticket_keys(ctx, key, sizeof key) == 1;
    OPENSSL_cleanse(key, sizeof key);
    return set;
}

static SSL_CTX *make_ctx(struct tg_tls_context *context, const unsigned char *ticket_key)
{
    static const unsigned char id[] = "tidegate";
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_info_callback(ctx, on_info);
    bool set = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
               SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
               SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) == 1 &&
               set_ticket_key(ctx, ticket_key);
    if (set)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

enum tg_status tg_tls_context_new(struct tg_tls_context **out, const struct tg_tls_pair *pairs,
                                  size_t count, const unsigned char *ticket_key,
                                  struct tg_buf *problems)
{
    bool fine = true;
    *out = NULL;
    struct tg_tls_context *context = tg_calloc(1, sizeof *context + count * sizeof(SSL_CTX *));
    if (!context)
        return TG_ENOMEM;
    atomic_init(&context->references, 1);
    for (size_t i = 0; i < count; i++) {
        SSL_CTX *ctx = make_ctx(context, ticket_key);
        if (!ctx) {
            tg_tls_context_release(context);
            return TG_ENOMEM;
        }
        context->contexts[context->count++] = ctx;
        fine = read_pair(ctx, &pairs[i], problems) && fine;
    }
    if (fine) {
        *out = context;
        return TG_OK;
    }
    tg_tls_context_release(context);
    return TG_EINVAL;
}

struct tg_tls_context *tg_tls_context_hold(struct tg_tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tg_tls_context_release(struct tg_tls_context *context)
{
    if (!context || atomic_fetch_sub(&context->references, 1) != 1)
        return;
    for (size_t i = 0; i < context->count; i++)
        SSL_CTX_free(context->contexts[i]);
    tg_free(context);
}

/* --- Cipher text, from and to the space ----------------------------------------------------------- */

static int bio_read(BIO *bio, char *to, int size)
{
    struct tg_tls_space *space = BIO_get_data(bio);
    size_t len = space->in_len < (size_t)size ? space->in_len : (size_t)size;
    BIO_clear_retry_flags(bio);
    if (!len) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, space->in, len);
    space->in += len;
    space->in_len -= len;
    return (int)len;
}

static int bio_write(BIO *bio, const char *from, int len)
{
    struct tg_tls_space *space = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return tg_buf_add(&space->out, from, (size_t)len) == TG_OK ? len : -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *p)
{
    (void)bio;
    (void)number;
    (void)p;
    return command == BIO_CTRL_FLUSH;
}

enum tg_status tg_tls_space_init(struct tg_tls_space *space)
{
    *space = (struct tg_tls_space){.method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "tidegate")};
    tg_buf_init(&space->out, (size_t)2 * TG_TLS_WINDOW);
    space->plain = tg_malloc(TG_TLS_RECORD);
    if (!space->method || !space->plain)
        return TG_ENOMEM;
    BIO_meth_set_read(space->method, bio_read);
    BIO_meth_set_write(space->method, bio_write);
    BIO_meth_set_ctrl(space->method, bio_ctrl);
    return TG_OK;
}

void tg_tls_space_fini(struct tg_tls_space *space)
{
    BIO_meth_free(space->method);
    tg_free(space->plain);
    tg_buf_fini(&space->out);
    *space = (struct tg_tls_space){0};
}

SSL *tg_tls_context_open(struct tg_tls_context *context, struct tg_tls_space *space)
{
    SSL *ssl = SSL_new(context->contexts[0]);
    BIO *bio = ssl ? BIO_new(space->method) : NULL;
    if (!bio) {
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_data(bio, space);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    return ssl;
}
