/* url.c - takes URLs apart; libcurl puts relative ones together. */
#include "upstream/url.h"

#include <curl/curl.h>

#include "util/mem.h"

bool tg_url_split(const char *text, struct tg_url *url)
{
    size_t len = strlen(text);
    size_t scheme = strncasecmp(text, "http://", 7) == 0    ? 7
                    : strncasecmp(text, "https://", 8) == 0 ? 8
                                                            : 0;
    if (!scheme)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    size_t authority = strcspn(text + scheme, "/?#");
    const char *target = text + scheme + authority;
    if (!authority || memchr(text + scheme, '@', authority) ||
        memchr(text + scheme, '\\', authority))
        return false;
    url->origin = (struct tg_slice){text, scheme + authority};
    url->authority = (struct tg_slice){text + scheme, authority};
    url->target = (struct tg_slice){target, strcspn(target, "#")};
    return true;
}

char *tg_url_resolve(const char *url, const char *location)
{
    char *resolved = NULL;
    char *copy = NULL;
    CURLU *parts = curl_url();
    if (parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_set(parts, CURLUPART_URL, location, 0) == CURLUE_OK &&
        curl_url_get(parts, CURLUPART_URL, &resolved, 0) == CURLUE_OK)
        copy = tg_strdup(resolved);
    curl_free(resolved);
    curl_url_cleanup(parts);
    return copy;
}
