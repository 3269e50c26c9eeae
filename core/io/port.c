/* port.c - a list of jobs under a lock, and a wake. */
#include "io/port.h"

#include <pthread.h>
#include <stdatomic.h>

#include "io/loop.h"
#include "util/mem.h"

STAILQ_HEAD(jobs, tg_job);

struct tg_port {
    atomic_uint references;
    pthread_mutex_t lock;
    struct tg_wake *wake; /* under lock: NULL once it is closed */
    struct jobs jobs;     /* under lock */
};

/* NOLINTNEXTLINE(readability-function-size): STAILQ_CONCAT counts as it is written out */
static void take_all(struct tg_port *port, struct jobs *out)
{
    STAILQ_INIT(out);
    pthread_mutex_lock(&port->lock);
    STAILQ_CONCAT(out, &port->jobs);
    pthread_mutex_unlock(&port->lock);
}

static void run_all(struct jobs *jobs, bool closed)
{
    struct tg_job *job;
    while ((job = STAILQ_FIRST(jobs)) != NULL) {
        STAILQ_REMOVE_HEAD(jobs, link);
        job->fn(job, closed);
    }
}

void tg_port_run(struct tg_port *port)
{
    struct jobs jobs;
    tg_port_hold(port);
    take_all(port, &jobs);
    run_all(&jobs, false);
    tg_port_release(port);
}

static void on_wake(void *arg)
{
    tg_port_run(arg);
}

struct tg_port *tg_port_new(struct event_base *base)
{
    struct tg_port *port = tg_calloc(1, sizeof *port);
    if (!port)
        return NULL;
    atomic_init(&port->references, 1);
    STAILQ_INIT(&port->jobs);
    port->wake = tg_wake_new(base, on_wake, port);
    if (port->wake && pthread_mutex_init(&port->lock, NULL) == 0)
        return port;
    tg_wake_free(port->wake);
    tg_free(port);
    return NULL;
}

struct tg_port *tg_port_hold(struct tg_port *port)
{
    atomic_fetch_add_explicit(&port->references, 1, memory_order_relaxed);
    return port;
}

void tg_port_release(struct tg_port *port)
{
    if (!port || atomic_fetch_sub(&port->references, 1) != 1)
        return;
    pthread_mutex_destroy(&port->lock);
    tg_free(port);
}

bool tg_port_post(struct tg_port *port, struct tg_job *job)
{
    pthread_mutex_lock(&port->lock);
    bool open = port->wake != NULL;
    if (open) {
        STAILQ_INSERT_TAIL(&port->jobs, job, link);
        tg_wake(port->wake); /* under the lock: it is there until the port is closed */
    }
    pthread_mutex_unlock(&port->lock);
    return open;
}

/* --- Tickets ---------------------------------------------------------------------------------- */

struct tidegate_ticket {
    struct tg_job job;
    struct tg_port *port;
    void (*resumed)(void *target);
    void *target; /* the loop's; NULL: it has left */
};

void tg_ticket_free(struct tidegate_ticket *ticket)
{
    tg_port_release(ticket->port);
    tg_free(ticket);
}

static void on_resumed(struct tg_job *job, bool closed)
{
    struct tidegate_ticket *ticket = (struct tidegate_ticket *)(void *)job; /* its first member */
    void (*resumed)(void *) = ticket->resumed;
    void *target = closed ? NULL : ticket->target;
    tg_ticket_free(ticket);
    if (target)
        resumed(target);
}

struct tidegate_ticket *tg_ticket_new(struct tg_port *port, void (*resumed)(void *target),
                                      void *target)
{
    struct tidegate_ticket *ticket = tg_malloc(sizeof *ticket);
    if (!ticket)
        return NULL;
    *ticket = (struct tidegate_ticket){.job = {.fn = on_resumed},
                                       .port = tg_port_hold(port),
                                       .resumed = resumed,
                                       .target = target};
    return ticket;
}

void tg_ticket_leave(struct tidegate_ticket *ticket)
{
    ticket->target = NULL;
}

void tg_ticket_resume(struct tidegate_ticket *ticket)
{
    if (!tg_port_post(ticket->port, &ticket->job))
        tg_ticket_free(ticket);
}

void tg_port_close(struct tg_port *port)
{
    struct jobs jobs;
    if (!port)
        return;
    pthread_mutex_lock(&port->lock);
    struct tg_wake *wake = port->wake;
    port->wake = NULL;
    pthread_mutex_unlock(&port->lock);
    take_all(port, &jobs);
    run_all(&jobs, true);
    tg_wake_free(wake);
}
