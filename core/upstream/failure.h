/* failure.h - why there is no response of another server, or not all of it. */
#ifndef TG_UPSTREAM_FAILURE_H
#define TG_UPSTREAM_FAILURE_H

enum tg_fetch_failure {
    TG_FETCH_FINE,
    TG_FETCH_URL,       /* the caller's mistake: no URL that could be asked for */
    TG_FETCH_RESOLVE,   /* no such host */
    TG_FETCH_CONNECT,   /* refused, unreachable */
    TG_FETCH_TLS,       /* no handshake, or a certificate that is not trusted */
    TG_FETCH_TIMEOUT,   /* in whichever phase */
    TG_FETCH_CLOSED,    /* the connection ended too early */
    TG_FETCH_PROTOCOL,  /* not HTTP, or ambiguous: two framings, bad chunks, a bad field */
    TG_FETCH_LIMIT,     /* larger than a cap */
    TG_FETCH_REDIRECTS, /* more than were allowed, or to nowhere */
    TG_FETCH_BODY,      /* the request's body broke off */
    TG_FETCH_MEMORY,
};

const char *tg_fetch_failure_name(enum tg_fetch_failure failure); /* "connect"; static */
int tg_fetch_failure_status(enum tg_fetch_failure failure);       /* of a gateway's answer: 502 */

#endif
