/* hop.c - fields of a connection. */
#include "upstream/hop.h"

#include "http/chars.h"

bool tg_hop_by_hop(struct tg_slice name)
{
    static const struct tg_slice names[] = {
        {"connection", 10},
        {"keep-alive", 10},
        {"proxy-connection", 16},
        {"proxy-authenticate", 18},
        {"proxy-authorization", 19},
        {"proxy-authentication-info", 25},
        {"te", 2},
        {"trailer", 7},
        {"transfer-encoding", 17},
        {"upgrade", 7},
        {"http2-settings", 14},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tg_slice_equal_nocase(names[i], name))
            return true;
    return false;
}

bool tg_hop_names(struct tg_slice connection, struct tg_slice name)
{
    const char *at = connection.p;
    const char *end = at + connection.len;
    while (at < end) {
        const char *option = at;
        while (at < end && tg_char_is(*at, TG_CHAR_TOKEN))
            at++;
        if (tg_slice_equal_nocase((struct tg_slice){option, (size_t)(at - option)}, name))
            return true;
        while (at < end && !tg_char_is(*at, TG_CHAR_TOKEN))
            at++;
    }
    return false;
}
