/* snapshot.h - what is going on in each worker, gathered on its own thread. */
#ifndef TG_API_SNAPSHOT_H
#define TG_API_SNAPSHOT_H

#include "api/worker.h"

/* On the worker's thread: answers whoever has asked since. */
void tg_snapshot_answer(struct tg_worker *w);

/* The worker's loop has ended: it says so to those who have asked, and who will. */
void tg_snapshot_end(struct tg_worker *w);

#endif
