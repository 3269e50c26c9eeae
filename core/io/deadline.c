/* deadline.c - a binary heap of timers. */
#include "io/deadline.h"

#include "util/clock.h"
#include "util/mem.h"

/* --- The heap: places from 1 on, the next one to come up at 1 ---------------------------------- */

static void put(struct tg_deadlines *all, size_t place, struct tg_deadline *deadline)
{
    all->heap[place - 1] = deadline;
    deadline->place = place;
}

static struct tg_deadline *at(const struct tg_deadlines *all, size_t place)
{
    return all->heap[place - 1];
}

static void rise(struct tg_deadlines *all, struct tg_deadline *deadline)
{
    size_t place = deadline->place;
    while (place > 1 && at(all, place / 2)->up > deadline->up) {
        put(all, place, at(all, place / 2));
        place /= 2;
    }
    put(all, place, deadline);
}

static void sink(struct tg_deadlines *all, struct tg_deadline *deadline)
{
    size_t place = deadline->place;
    while (place * 2 <= all->count) {
        size_t child = place * 2;
        if (child < all->count && at(all, child + 1)->up < at(all, child)->up)
            child++;
        if (at(all, child)->up >= deadline->up)
            break;
        put(all, place, at(all, child));
        place = child;
    }
    put(all, place, deadline);
}

static void insert(struct tg_deadlines *all, struct tg_deadline *deadline, uint64_t up)
{
    deadline->up = up;
    put(all, ++all->count, deadline);
    rise(all, deadline);
}

static void take_out(struct tg_deadline *deadline)
{
    struct tg_deadlines *all = deadline->all;
    struct tg_deadline *last = at(all, all->count--);
    if (last != deadline) {
        put(all, deadline->place, last);
        rise(all, last);
        sink(all, last);
    }
    deadline->place = 0;
}

/* --- The event ---------------------------------------------------------------------------------- */

uint64_t tg_deadlines_now(const struct tg_deadlines *all)
{
    if (all->held)
        return all->time;
    return all->exact ? tg_clock_ns() / 1000U : tg_clock_coarse_ms() * 1000U;
}

static void arm(struct tg_deadlines *all, uint64_t now)
{
    if (!all->count)
        return;
    uint64_t up = at(all, 1)->up;
    if (all->held && up > now)
        return;
    uint64_t us = up > now ? up - now : !all->held; /* 1 is until the loop's clock ticks */
    struct timeval tv = {(time_t)(us / 1000000U), (suseconds_t)(us % 1000000U)};
    event_add(&all->event, &tv);
}

/* The first that is up: moved on if it is early or off, else called. */
static bool fire_one(struct tg_deadlines *all, uint64_t now)
{
    struct tg_deadline *deadline = all->count ? at(all, 1) : NULL;
    if (!deadline || deadline->up > now)
        return false;
    take_out(deadline);
    if (deadline->at > now) {
        insert(all, deadline, deadline->at);
    } else if (deadline->at) {
        deadline->at = 0;
        deadline->fn(deadline->arg);
    }
    return true;
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_deadlines *all = arg;
    uint64_t now = tg_deadlines_now(all);
    while (fire_one(all, now)) {
    }
    arm(all, now);
}

/* --- Time that is told ------------------------------------------------------------------------- */

void tg_deadlines_hold(struct tg_deadlines *all, uint64_t now)
{
    all->time = now;
    all->held = true;
    arm(all, now);
}

bool tg_deadlines_next(const struct tg_deadlines *all, uint64_t *due)
{
    if (all->count)
        *due = at(all, 1)->up;
    return all->count > 0;
}

void tg_deadlines_advance(struct tg_deadlines *all, uint64_t now)
{
    if (!all->held || now <= all->time)
        return;
    all->time = now;
    arm(all, now);
}

void tg_deadlines_let_go(struct tg_deadlines *all)
{
    if (!all->held)
        return;
    all->held = false;
    uint64_t now = tg_deadlines_now(all);
    for (size_t place = 1; place <= all->count; place++) { /* as long again as there was to wait */
        struct tg_deadline *deadline = at(all, place);
        deadline->up = deadline->up - all->time + now;
        if (deadline->at)
            deadline->at = deadline->at - all->time + now;
    }
    arm(all, now);
}

/* --- Life --------------------------------------------------------------------------------------- */

void tg_deadlines_init(struct tg_deadlines *all, struct event_base *base)
{
    *all = (struct tg_deadlines){.heap = NULL};
    event_assign(&all->event, base, -1, 0, on_time, all);
}

void tg_deadlines_init_exact(struct tg_deadlines *all, struct event_base *base)
{
    tg_deadlines_init(all, base);
    all->exact = true;
}

void tg_deadlines_fini(struct tg_deadlines *all)
{
    if (all->heap) /* else the loop, which may be another thread's, was never touched */
        event_del(&all->event);
    tg_free(all->heap);
    all->heap = NULL;
}

enum tg_status tg_deadline_init(struct tg_deadline *deadline, struct tg_deadlines *all,
                                void (*fn)(void *arg), void *arg)
{
    *deadline = (struct tg_deadline){.fn = fn, .arg = arg};
    if (all->reserved == all->size) {
        size_t size = all->size ? all->size * 2 : 16;
        struct tg_deadline **heap = tg_realloc(all->heap, size * sizeof *heap);
        if (!heap)
            return TG_ENOMEM;
        all->heap = heap;
        all->size = size;
    }
    all->reserved++;
    deadline->all = all;
    return TG_OK;
}

void tg_deadline_fini(struct tg_deadline *deadline)
{
    if (!deadline->all)
        return;
    if (deadline->place)
        take_out(deadline);
    deadline->all->reserved--;
    deadline->all = NULL;
}

void tg_deadline_set(struct tg_deadline *deadline, uint64_t ms)
{
    tg_deadline_set_us(deadline, ms * 1000U);
}

void tg_deadline_drop(struct tg_deadline *deadline)
{
    struct tg_deadlines *all = deadline->all;
    deadline->at = 0;
    if (!deadline->place)
        return;
    take_out(deadline);
    if (!all->count)
        event_del(&all->event);
}

void tg_deadline_set_us(struct tg_deadline *deadline, uint64_t us)
{
    struct tg_deadlines *all = deadline->all;
    if (!us) {
        deadline->at = 0;
        return;
    }
    uint64_t now = tg_deadlines_now(all);
    deadline->at = now + us;
    if (deadline->place && deadline->up <= deadline->at)
        return;
    if (deadline->place)
        take_out(deadline);
    insert(all, deadline, deadline->at);
    if (deadline->place == 1)
        arm(all, now);
}
