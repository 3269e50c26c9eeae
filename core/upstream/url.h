/* url.h - http and https URLs: what to connect to, and what to ask for there. */
#ifndef TG_UPSTREAM_URL_H
#define TG_UPSTREAM_URL_H

#include <stdbool.h>

#include "util/slice.h"

/* All of it within the text. */
struct tg_url {
    struct tg_slice origin;    /* "http://host:port" */
    struct tg_slice authority; /* "host:port" */
    struct tg_slice
        target; /* path and query; where it has no path it begins with '?', or is empty */
};

/* Visible ASCII only, no user and password; the fragment is left out.  False for what is no such URL.
 * Whether the host is one is for whoever connects to find out. */
bool tg_url_split(const char *text, struct tg_url *url);

/* What a Location means that came from url (RFC 3986, 5): the caller's, or NULL. */
char *tg_url_resolve(const char *url, const char *location);

#endif
