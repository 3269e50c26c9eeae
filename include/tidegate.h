/* tidegate.h - the public interface of libtidegate, a Lua-scriptable streaming gateway.
 *
 * Unless a function says otherwise it is to be called on the thread that made the gateway, strings
 * passed in are copied, and strings given out belong to the gateway.
 */
#ifndef TIDEGATE_H
#define TIDEGATE_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#define TIDEGATE_VERSION_MAJOR 0
#define TIDEGATE_VERSION_MINOR 1
#define TIDEGATE_VERSION_PATCH 0

#define TIDEGATE_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

struct event_base; /* libevent's */
struct lua_State;
struct tidegate; /* one gateway: listeners, workers, a script, its exchanges */

enum tidegate_status {
    TIDEGATE_OK = 0,
    TIDEGATE_AGAIN = 1,   /* done, but wait before doing more */
    TIDEGATE_EINVAL = -1, /* a caller's mistake */
    TIDEGATE_ENOMEM = -2,
    TIDEGATE_EIO = -3,     /* the system: address in use, no permission, … */
    TIDEGATE_ESCRIPT = -4, /* the script does not load, or its service table is wrong */
    TIDEGATE_ECLOSED = -5, /* the client is gone */
};

enum tidegate_level { TIDEGATE_DEBUG, TIDEGATE_INFO, TIDEGATE_WARN, TIDEGATE_ERROR };

enum tidegate_access_log {
    TIDEGATE_ACCESS_OFF,
    TIDEGATE_ACCESS_SCRIPT, /* what the script's service table says, else as text: the default */
    TIDEGATE_ACCESS_TEXT,
    TIDEGATE_ACCESS_JSON, /* an object on each line */
};

struct tidegate_options {
    size_t size; /* set by tidegate_options_init(): lets the struct grow */

    const char *script;      /* path of the Lua file that returns the service table */
    const char *script_text; /* its text instead; script is then its name in messages */

    /* "host:port", "[v6]:port", "unix:/path", or "fd:N" for a socket that listens already: N is the
     * host's, and may be closed after the last tidegate_start(); replaces the script's */
    const char *listen; /* NULL, and no addresses: what the script says, else 127.0.0.1:8080 */
    const char *const *addresses; /* more of them, after that; may be NULL */
    size_t address_count;

    /* "NAME=VALUE" with the names of a service table's limits, sizes in bytes and times in seconds;
     * they win over the script's.  A bad one: TIDEGATE_EINVAL, and tidegate_error() says which. */
    const char *const *limits;
    size_t limit_count;

    /* PEM files: a certificate with its chain, and its key; they replace the script's tls.  Read anew at
     * each reload.  NULL: what the script says. */
    const char *tls_cert;
    const char *tls_key;

    struct event_base *base; /* borrowed: the host's loop, one worker; NULL: a loop of its own */
    unsigned workers;        /* loops of its own, each with a thread; 0: what the script says, else
                              * one for each processor that the process may use */

    int watch; /* not 0: tidegate_reload() by itself when the script, or a Lua module that it has
                * required, was saved */
    int access_log; /* enum tidegate_access_log: a line at TIDEGATE_INFO for each exchange */
    int dev;        /* not 0: unhandled errors are shown to the client */

    /* A signal that the gateway may send to its own threads, SIGVTALRM say, and whose handler the host
     * has set: see tidegate_on_alarm().  With it limits.slice and limits.script hold; it comes only to
     * threads that run scripts, and only while those compute.  0: none, and a script may compute for
     * ever. */
    int alarm_signal;

    /* Called, protected, for each new Lua state before the script is loaded: adds C functions.
     * Not 0: the load fails.  It may raise.  On the thread that loads: that of tidegate_new() at
     * first; for a reload one of the gateway's own, or the host's where base is set. */
    int (*setup)(struct lua_State *L, void *arg);
    void *setup_arg; /* borrowed */

    /* Called on the thread of the worker concerned, or the one that loads: with several workers, by
     * several threads at a time.  line has no line break.  NULL: silence. */
    void (*log)(void *arg, enum tidegate_level level, const char *line);
    void *log_arg;                 /* borrowed */
    enum tidegate_level log_level; /* lines below it are not made; TIDEGATE_INFO by default */

    /* Called for a line of the access log that is JSON, on its worker's thread.  NULL: log is. */
    void (*access)(void *arg, const char *line);
    void *access_arg; /* borrowed */

    /* Called when the script begins to be loaded anew (TIDEGATE_AGAIN), and when that has ended: with
     * TIDEGATE_OK, or why the last good script serves on.  On the thread that loads.  May be NULL. */
    void (*on_reload)(void *arg, enum tidegate_status status);
    void *on_reload_arg; /* borrowed */

    /* Called, from base, when a stop is over: nothing of the gateway goes on.  It may start the gateway
     * again, or free it.  Where base is NULL the end of tidegate_run() says it.  May be NULL. */
    void (*on_stopped)(void *arg);
    void *on_stopped_arg; /* borrowed */
};

/* Fills *options with the defaults; size is sizeof *options in the caller. */
TIDEGATE_API void tidegate_options_init(struct tidegate_options *options, size_t size);

/* Loads the script and checks its service table; listens to nothing yet.  *out is the caller's, for
 * tidegate_free(), on TIDEGATE_ESCRIPT too (tidegate_error() has all problems, a line each), and on
 * TIDEGATE_EINVAL for what an option says (tidegate_error() says which); on other failures it is NULL. */
TIDEGATE_API enum tidegate_status tidegate_new(struct tidegate **out,
                                               const struct tidegate_options *options);

/* Listens.  TIDEGATE_EIO: tidegate_error() says what and why, and it may be tried again.
 *
 * A gateway that was stopped may be started again, once tidegate_run() has returned or, on a host's loop,
 * the stop is over: options.on_stopped.  Its script is then loaded anew, for as many workers as before;
 * routes and interceptors of the host, stores and topics are as they were.  TIDEGATE_ESCRIPT: it does not
 * load, and may be tried again when it does, as may one whose tidegate_new() has said so.
 * TIDEGATE_EINVAL: it runs, or drains. */
TIDEGATE_API enum tidegate_status tidegate_start(struct tidegate *g);

/* Serves until tidegate_stop(), the first worker on this thread, each other on one of its own, with
 * this one's signal mask, and SIGPIPE blocked where it would end the process.  Only for a gateway with
 * loops of its own.  TIDEGATE_EIO: a thread could not be started, or a worker's loop has ended by
 * itself. */
TIDEGATE_API enum tidegate_status tidegate_run(struct tidegate *g);

/* The handler of options.alarm_signal, for the host to set before tidegate_start():
 *
 *     struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
 *     action.sa_sigaction = tidegate_on_alarm;
 *     sigaction(SIGVTALRM, &action, NULL);
 *
 * One is enough for all gateways of a process.  A signal that no gateway has sent does nothing. */
#ifdef SA_SIGINFO /* POSIX; not with -std=c11 alone */
TIDEGATE_API void tidegate_on_alarm(int number, siginfo_t *info, void *context);
#endif

/* Any thread, any number of times: the first call stops accepting and lets what is in flight finish,
 * up to limits.drain; the second ends it at once.  tidegate_run() then returns. */
TIDEGATE_API void tidegate_stop(struct tidegate *g);

/* Any thread: asks for the script to be loaded anew, aside, on a thread of its own (on the host's loop,
 * where base is set).  When it loads for every worker, requests that come from then on go to it, all at
 * once; exchanges that are in flight end with the script that they began with.  When it does not, the
 * last good one serves on.  What came of it is logged.  Requests made while one is under way are
 * answered by one more.  TIDEGATE_EIO: there is no thread for it. */
TIDEGATE_API enum tidegate_status tidegate_reload(struct tidegate *g);

/* Any thread: how many times the script was loaded and switched to; 1 after tidegate_new(). */
TIDEGATE_API uint64_t tidegate_generation(const struct tidegate *g);

/* --- Handlers in C ------------------------------------------------------------------------------ */

/* One request and its response.  It and all that it gives are used on its worker's thread only, from
 * what the gateway calls: that is the thread of tidegate_run() or of options.base where there is one
 * worker.  It is gone when the last on_close function has returned. */
struct tidegate_exchange;

/* Answers by tidegate_respond(), or fails by tidegate_fail(), or suspends; must not block.  An exchange
 * that was not answered goes on along its chain. */
typedef void (*tidegate_handler)(struct tidegate_exchange *x, void *arg);

/* A route beside the script's, in every generation of it, inside the script's own interceptors: method
 * ("GET"; "" for any) and path ("/c/:id", "/files/" and a final "*rest").  Between tidegate_new() and
 * tidegate_start().  arg is borrowed until tidegate_free().  TIDEGATE_EINVAL: the path or method is
 * malformed, or the script has the route; tidegate_error() says which.  A script that has it after a
 * reload does not load. */
TIDEGATE_API enum tidegate_status tidegate_route(struct tidegate *g, const char *method,
                                                 const char *path, tidegate_handler handler,
                                                 void *arg);

/* Around every request, outside of the script's interceptors and in the order of the calls: enter on
 * the way in, leave on the way out, error instead of leave after a failure; each may be NULL.  A response
 * that enter gives is the answer.  As for tidegate_route(). */
struct tidegate_interceptor {
    const char *name; /* for messages */
    tidegate_handler enter;
    tidegate_handler leave;
    tidegate_handler error;
    void *arg; /* borrowed until tidegate_free() */
};
TIDEGATE_API enum tidegate_status tidegate_intercept(struct tidegate *g,
                                                     const struct tidegate_interceptor *i);

/* --- The request.  Strings are good until the exchange ends; NULL: no such thing, or no memory, or the
 * head of the response has gone out long ago and the request was let go of. */

TIDEGATE_API const char *tidegate_method(struct tidegate_exchange *x);
TIDEGATE_API const char *tidegate_target(struct tidegate_exchange *x); /* as sent */
TIDEGATE_API const char *tidegate_path(struct tidegate_exchange *x);   /* as sent, no query */
TIDEGATE_API const char *tidegate_query(struct tidegate_exchange *x);  /* as sent; "" without one */
TIDEGATE_API const char *tidegate_scheme(struct tidegate_exchange *x); /* "http" or "https" */
TIDEGATE_API const char *tidegate_peer(struct tidegate_exchange *x,
                                       uint16_t *port); /* port may be NULL */
/* A parameter of the route, decoded; NULL, too, where that holds a NUL (%00).  A handler does not meet
 * one: such a request is answered by 400 before it. */
TIDEGATE_API const char *tidegate_param(struct tidegate_exchange *x, const char *name);

/* The value of a header, in any case; several are joined with ", " (RFC 9110, 5.3). */
TIDEGATE_API const char *tidegate_header(struct tidegate_exchange *x, const char *name);

/* The nth header, as sent; 0 past the last. */
TIDEGATE_API int tidegate_header_at(struct tidegate_exchange *x, size_t n, const char **name,
                                    const char **value);

/* The next bytes of the request's body, at most size: TIDEGATE_OK with *len bytes, and 0 of them at its
 * end; TIDEGATE_AGAIN: none just now, tidegate_on_readable() tells.  A client that sends faster is held
 * back.  TIDEGATE_EINVAL: bad framing, or more than limits.body_bytes. */
TIDEGATE_API enum tidegate_status tidegate_read(struct tidegate_exchange *x, void *buf, size_t size,
                                                size_t *len);

/* Calls fn(x, arg) once, from the loop, when tidegate_read() has something new to say.  For an exchange
 * that is suspended. */
TIDEGATE_API void tidegate_on_readable(struct tidegate_exchange *x, tidegate_handler fn, void *arg);

/* --- The response. */

struct tidegate_writer;

/* A body that is produced as fast as the client reads. */
struct tidegate_body {
    const char *content_type; /* borrowed until the call returns; NULL: none */
    int64_t length;           /* in bytes; -1: not known */

    /* Writes some, and returns TIDEGATE_AGAIN to be called again: when the client has taken enough, or,
     * where nothing could be written, when a ticket of tidegate_body_suspend() is resumed.  TIDEGATE_OK:
     * that was all.  Anything below 0: it has failed, and the client sees a body that is broken off.
     * Must not block. */
    enum tidegate_status (*produce)(void *arg, struct tidegate_writer *w);
    void (*close)(void *arg); /* called once, however it ends, the unused too; may be NULL */
    void *arg;
};

/* Sets the response, in place of one that was set before: status is in 200..999, body NULL for none.  It
 * goes out when all interceptors have left.  From any stage, but from none once the head has gone out:
 * TIDEGATE_EINVAL.  body->close is called on failures, too. */
TIDEGATE_API enum tidegate_status tidegate_respond(struct tidegate_exchange *x, int status,
                                                   const struct tidegate_body *body);

/* The same with len bytes at data, which are copied: at most 64 KiB. */
TIDEGATE_API enum tidegate_status tidegate_respond_bytes(struct tidegate_exchange *x, int status,
                                                         const char *content_type, const void *data,
                                                         size_t len);

/* For the response that is set next; and where the host sets none, for the one that goes out: that of a
 * script, of the router, or one that was set before, in leave say, which keeps its Content-Type.  A
 * failure drops what its stage has set.  TIDEGATE_EINVAL: name or value cannot be in a header (RFC 9110,
 * 5); or they would be about framing, which is the gateway's: Content-Length, Transfer-Encoding,
 * Connection (but for "close"). */
TIDEGATE_API enum tidegate_status tidegate_set_header(struct tidegate_exchange *x, const char *name,
                                                      const char *value);

/* The stage has failed: errors go outwards, to the interceptors' error stages, and are answered with
 * status (4xx or 5xx) and nothing of message, which is logged.  An error stage that returns has handled the
 * failure; with a message of NULL it lets that go on outwards as it is, status and all. */
TIDEGATE_API void tidegate_fail(struct tidegate_exchange *x, int status, const char *message);

/* What error stages have: the message of what has failed; "" when nothing has. */
TIDEGATE_API const char *tidegate_failure(struct tidegate_exchange *x);

/* All of data is taken, or none.  TIDEGATE_AGAIN: taken, but the client is slow: return TIDEGATE_AGAIN from
 * produce soon.  TIDEGATE_ECLOSED: the client is gone.  TIDEGATE_EINVAL: more than the body's length. */
TIDEGATE_API enum tidegate_status tidegate_write(struct tidegate_writer *w, const void *data,
                                                 size_t len);
TIDEGATE_API enum tidegate_status tidegate_flush(struct tidegate_writer *w); /* as of a write */

/* Calls fn(arg) once, from the loop, when a writer that has said TIDEGATE_AGAIN may be written to again,
 * before produce is. */
TIDEGATE_API void tidegate_on_drain(struct tidegate_writer *w, void (*fn)(void *arg), void *arg);

/* --- Waiting.  A ticket is resumed once, on any thread, at any time: also when the exchange, or the
 * gateway, is over by then. */

struct tidegate_ticket;

/* The chain stops here until the ticket is resumed; resumed(x, arg) is then called on the worker's
 * thread, as a handler: it answers, fails or suspends again.  From a handler or a stage, once in each.
 * NULL: no memory, and the stage has failed. */
TIDEGATE_API struct tidegate_ticket *tidegate_suspend(struct tidegate_exchange *x,
                                                      tidegate_handler resumed, void *arg);

/* From produce, which then returns TIDEGATE_AGAIN: it is called when the ticket is resumed.  NULL: no
 * memory; return TIDEGATE_ENOMEM. */
TIDEGATE_API struct tidegate_ticket *tidegate_body_suspend(struct tidegate_writer *w);

TIDEGATE_API void tidegate_resume(struct tidegate_ticket *ticket); /* any thread */

/* Calls fn once when the exchange is over, with why: "done", "client_closed", "timeout", "error",
 * "shutdown" or "cancelled"; those that were set first come first.  TIDEGATE_ENOMEM. */
TIDEGATE_API enum tidegate_status tidegate_on_close(struct tidegate_exchange *x,
                                                    void (*fn)(void *arg, const char *reason),
                                                    void *arg);

/* From a C function that a script has called, as what it returns:
 *
 *     return tidegate_lua_wait(L, begin, finish, cancelled, job);
 *
 * The script waits, and the worker does not.  begin(ticket, arg) is called at once, to hand the work to
 * whoever does it; when that has resumed the ticket finish(L, arg) is called in the script's coroutine,
 * pushes the results, says how many, and may raise.  When the script is given up meanwhile (its client
 * has left, a timeout) cancelled(arg) is called instead, and the ticket is still to be resumed.  Raises
 * where a script cannot wait. */
TIDEGATE_API int tidegate_lua_wait(struct lua_State *L,
                                   void (*begin)(struct tidegate_ticket *ticket, void *arg),
                                   int (*finish)(struct lua_State *L, void *arg),
                                   void (*cancelled)(void *arg), void *arg);

/* --- Without a socket --------------------------------------------------------------------------- */

struct tidegate_call_request {
    const char *method;  /* "GET" */
    const char *target;  /* "/a?b=c" */
    const char *headers; /* lines that end in CRLF, or NULL; Host and Content-Length are added */
    const void *body;    /* body_len bytes */
    size_t body_len;
};

struct tidegate_call_response {
    int status;          /* 0: none was sent */
    int whole;           /* not 0: the body is */
    const char *headers; /* lines that end in CRLF, without framing */
    const char *body;    /* body_len bytes, and a NUL behind them */
    size_t body_len;
};

/* Any thread: runs a request, which is copied, through router and chain on the first worker, and calls
 * done on its thread with the response, whose body may have up to 16 MiB (past that it is not whole).
 * done is called once, in tidegate_free() at the latest: a gateway that stops waits for it as for other
 * requests, and where it ends before the response does that is not whole, with a status of 0 when it has
 * not begun.  So is one that comes after tidegate_stop().  TIDEGATE_EINVAL: the request is malformed;
 * TIDEGATE_ENOMEM; TIDEGATE_ECLOSED: the gateway has ended. */
TIDEGATE_API enum tidegate_status tidegate_call(
    struct tidegate *g, const struct tidegate_call_request *request,
    void (*done)(void *arg, const struct tidegate_call_response *response), void *arg);

/* --- What scripts share ------------------------------------------------------------------------- */

/* Any thread: publishes to a topic, as topic:publish() does: data has len bytes, event is its name or
 * NULL.  TIDEGATE_EINVAL: a bad name, or too much. */
TIDEGATE_API enum tidegate_status tidegate_publish(struct tidegate *g, const char *topic,
                                                   const char *event, const void *data, size_t len);

/* Any thread: strings in a store of tg.shared(store); ttl in seconds, 0 for none.  get copies what fits
 * into size bytes, NUL and all, and says how long the value is, or -1 where there is none or it is no
 * string or number.  increment: *sum is the new value; TIDEGATE_EINVAL: a string is there. */
TIDEGATE_API enum tidegate_status tidegate_shared_set(struct tidegate *g, const char *store,
                                                      const char *key, const void *value,
                                                      size_t len, double ttl);
TIDEGATE_API int64_t tidegate_shared_get(struct tidegate *g, const char *store, const char *key,
                                         char *buf, size_t size);
TIDEGATE_API enum tidegate_status tidegate_shared_increment(struct tidegate *g, const char *store,
                                                            const char *key, int64_t by,
                                                            int64_t *sum);

/* --- What is going on --------------------------------------------------------------------------- */

/* Any thread: how many workers there are. */
TIDEGATE_API unsigned tidegate_workers(const struct tidegate *g);

/* An exchange that is open.  The strings are good until the function that was given them returns. */
struct tidegate_exchange_info {
    unsigned worker;     /* from 1 on */
    uint64_t generation; /* of the script that it began with */
    const char *id;      /* as request.id */
    const char *peer;    /* its address; "unix:" for unix sockets */
    const char *method;
    const char *target; /* as sent, perhaps cut */
    const char *route;  /* its name, else its method and path; or "(no route)", "not_found" */
    const char *phase;  /* "enter", "leave", "error", "body"; "sent": all is written */
    const char *where;  /* where the script waits for something: "app.lua:12", or "" */
    uint64_t age;       /* milliseconds */
    uint64_t bytes;     /* of body, written so far */
    uint64_t unsent;    /* bytes that wait for the client */
    uint64_t stalled;   /* milliseconds for which it has taken none of them */
};

struct tidegate_worker_info {
    unsigned worker;
    int ended;            /* not 0: it serves no more, and the rest is nothing */
    uint64_t generation;  /* that its new requests go to */
    uint64_t generations; /* scripts that are held: this one, and those whose exchanges go on */
    uint64_t connections;
    uint64_t exchanges;  /* open, those beyond `most` too */
    uint64_t lua_memory; /* bytes, of the newest script's state */
};

/* Any thread: asks every worker for its open exchanges, the oldest connections first, at most so many
 * of each.  exchange is called for each of them, then worker once, on that worker's own thread, between
 * its other work: on several threads at a time, for different workers.  done is called when all have
 * answered, at the latest in tidegate_free().  A worker that computes answers later; one that is stuck,
 * or a gateway that does not run yet, does not.  None of them may wait, or call anything of g's.
 * TIDEGATE_ENOMEM: none is called. */
TIDEGATE_API enum tidegate_status tidegate_snapshot(
    struct tidegate *g, size_t most,
    void (*exchange)(void *arg, const struct tidegate_exchange_info *),
    void (*worker)(void *arg, const struct tidegate_worker_info *), void (*done)(void *arg),
    void *arg);

/* Ends every exchange, then frees.  tidegate_run() has returned.  NULL is fine. */
TIDEGATE_API void tidegate_free(struct tidegate *g);

/* Runs the Lua file options->script (or script_text) as a program, not as a service: it has everything
 * that a script has, tg.test above all, may wait wherever it is, and gets args (arg_count of them, in
 * `arg`, too).  Returns when it ends or calls os.exit(), whose code is in *code then.  Of options it
 * heeds script, script_text, limits, setup and log; base is NULL.  TIDEGATE_ESCRIPT: it has raised an
 * error, which was logged. */
TIDEGATE_API enum tidegate_status tidegate_script_run(const struct tidegate_options *options,
                                                      const char *const *args, size_t arg_count,
                                                      int *code);

/* The last error's message, never NULL; good until the next call on g. */
TIDEGATE_API const char *tidegate_error(const struct tidegate *g);

/* The nth listener as a URL ("http://127.0.0.1:8080", "unix:/run/x"), or NULL past the last; the TCP
 * port of the nth listener, 0 for a unix socket.  After tidegate_start(). */
TIDEGATE_API const char *tidegate_listener(const struct tidegate *g, size_t n);
TIDEGATE_API uint16_t tidegate_port(const struct tidegate *g, size_t n);

/* Calls fn for each route, in the script's order: method ("any" for all), host ("" for every host),
 * path, name ("" without one), and the names of its interceptors in their order. */
struct tidegate_route_info {
    const char *method;
    const char *host;
    const char *path;
    const char *name;
    const char *const *interceptors;
    size_t interceptor_count;
};
TIDEGATE_API void tidegate_each_route(const struct tidegate *g,
                                      void (*fn)(void *arg, const struct tidegate_route_info *),
                                      void *arg);

/* What the router makes of a request, without one: calls fn with the route that it goes to and its
 * parameters (names and decoded values, count of them); they are good until fn returns.  path is as it
 * would be sent, without a query.  TIDEGATE_OK; TIDEGATE_ECLOSED: no route has the path;
 * TIDEGATE_AGAIN: one has, but not for the method; TIDEGATE_EINVAL: the path is not well formed, or holds
 * %00. */
struct tidegate_param_info {
    const char *name;
    const char *value;
};
TIDEGATE_API enum tidegate_status tidegate_explain(
    const struct tidegate *g, const char *method, const char *host, const char *path,
    void (*fn)(void *arg, const struct tidegate_route_info *route,
               const struct tidegate_param_info *params, size_t count),
    void *arg);

TIDEGATE_API const char *tidegate_version(void); /* "0.1.0": of the library, not of this header */

#ifdef __cplusplus
}
#endif

#endif
