/* failure.c - names of failures, and what a gateway answers. */
#include "upstream/failure.h"

const char *tg_fetch_failure_name(enum tg_fetch_failure failure)
{
    static const char *const names[] = {
        [TG_FETCH_FINE] = "none",         [TG_FETCH_URL] = "url",
        [TG_FETCH_RESOLVE] = "resolve",   [TG_FETCH_CONNECT] = "connect",
        [TG_FETCH_TLS] = "tls",           [TG_FETCH_TIMEOUT] = "timeout",
        [TG_FETCH_CLOSED] = "closed",     [TG_FETCH_PROTOCOL] = "protocol",
        [TG_FETCH_LIMIT] = "limit",       [TG_FETCH_REDIRECTS] = "redirects",
        [TG_FETCH_BODY] = "request_body", [TG_FETCH_MEMORY] = "memory",
    };
    return names[failure];
}

int tg_fetch_failure_status(enum tg_fetch_failure failure)
{
    switch (failure) {
    case TG_FETCH_TIMEOUT:
        return 504;
    case TG_FETCH_MEMORY:
    case TG_FETCH_URL:
        return 500;
    case TG_FETCH_BODY:
        return 400;
    default:
        return 502;
    }
}
