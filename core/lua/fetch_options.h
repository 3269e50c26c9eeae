/* fetch_options.h - what a script says of a request to another server. */
#ifndef TG_LUA_FETCH_OPTIONS_H
#define TG_LUA_FETCH_OPTIONS_H

#include <stdbool.h>

#include <lua.h>

#include "upstream/fetch.h"

struct tg_body_reader;
struct tg_call;
struct tg_fetch_load;

struct tg_fetch_options {
    struct tg_fetch_request request;
    struct tg_fetch_field fields[TG_FETCH_REQUEST_FIELDS_MAX];
    size_t text; /* bytes in fields */
    int scratch; /* index of a table that keeps what was converted */
    int body;    /* index of the option body; 0: none */
    struct tg_fetch_load *load;
    struct tg_call *streams;       /* whose request's body is the body; else NULL */
    struct tg_body_reader *reader; /* of the body, where it is produced; else NULL */
    bool passes_on;
    bool has_headers;
    bool untraced;        /* the client's trace is not the request's */
    bool has_type;        /* a Content-Type */
    struct tg_call *call; /* of a client's request that is part of it; else NULL */
};

/* Reads url and options, at indices 1 and 2, into o; at index 3 is a reader of the body, or nil.  What it points to is on the
 * stack, in the options, or in what it pushes.  Raises what is wrong with them. */
void tg_fetch_options_read(lua_State *L, struct tg_fetch_options *o);

#endif
