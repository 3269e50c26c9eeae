/* trace.h - the context of a distributed trace that a request may come with (W3C Trace Context). */
#ifndef TG_ENGINE_TRACE_H
#define TG_ENGINE_TRACE_H

#include <stdbool.h>

#include "http/conn.h"
#include "util/slice.h"

enum { TG_TRACE_ID_LENGTH = 32 };

/* Whether value is a traceparent: a version (not ff), a trace's and a parent's id (neither all zeros)
 * and flags, in lower-case hex; a later version than 00 may have more behind a dash. */
bool tg_trace_is_parent(struct tg_slice value);

/* The request's traceparent when it has exactly one field of it, and that is valid; else nothing (p is
 * NULL), and its tracestate counts for nothing, too. */
struct tg_slice tg_trace_of(const struct tg_conn *conn);

/* The trace's id in a valid one. */
struct tg_slice tg_trace_id(struct tg_slice parent);

/* Whether a field is a part of the context: its name is traceparent or tracestate. */
bool tg_trace_is_field(struct tg_slice name);

#endif
