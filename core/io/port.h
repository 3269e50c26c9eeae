/* port.h - jobs for a loop from other threads, and what becomes of them when it is gone. */
#ifndef TG_IO_PORT_H
#define TG_IO_PORT_H

#include <stdbool.h>
#include <sys/queue.h>

struct event_base;
struct tg_port;

/* Inside of what it is for.  fn is called once: from the loop, or from tg_port_close() with closed, when
 * nothing of the loop's is to be touched.  It frees the job. */
struct tg_job {
    STAILQ_ENTRY(tg_job) link;
    void (*fn)(struct tg_job *job, bool closed);
};

struct tg_port *tg_port_new(struct event_base *base); /* NULL: no memory, or no descriptor */
struct tg_port *tg_port_hold(struct tg_port *port);   /* any thread */
void tg_port_release(struct tg_port *port);           /* any thread; NULL is fine */

/* Any thread that holds the port.  False: the loop is gone, and fn is not called. */
bool tg_port_post(struct tg_port *port, struct tg_job *job);

/* On the loop's thread: runs now what it would run in a later turn. */
void tg_port_run(struct tg_port *port);

/* --- Waits that any thread may end ---------------------------------------------------------------- */

/* What is to be resumed, once; gone after that.  Hosts have it, too, and know no more of it than its name. */
struct tidegate_ticket;

/* NULL: no memory.  resumed(target) is called from the loop, unless the target has left before. */
struct tidegate_ticket *tg_ticket_new(struct tg_port *port, void (*resumed)(void *target),
                                      void *target);
void tg_ticket_leave(
    struct tidegate_ticket *ticket); /* on the loop's thread: nobody waits any more */
void tg_ticket_free(
    struct tidegate_ticket *ticket); /* instead of resuming it: nobody was given it */
void tg_ticket_resume(struct tidegate_ticket *ticket); /* any thread */

/* On the loop's thread, for its owner, who releases it after that.  NULL is fine. */
void tg_port_close(struct tg_port *port);

#endif
