/* slots.h - handles that cannot dangle: an index and a generation instead of a pointer. */
#ifndef TG_UTIL_SLOTS_H
#define TG_UTIL_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tg_handle {
    uint32_t index;
    uint32_t generation; /* never 0 for a handle that was given out */
};

struct tg_slot;

struct tg_slots {
    struct tg_slot *slots;
    uint32_t count;
    uint32_t free; /* index + 1 of the first free slot; 0: none */
};

void tg_slots_init(struct tg_slots *slots);
void tg_slots_fini(struct tg_slots *slots);

/* object is borrowed.  A handle of generation 0 means that there was no memory. */
struct tg_handle tg_slots_add(struct tg_slots *slots, void *object);
void tg_slots_remove(struct tg_slots *slots, struct tg_handle handle);

enum { TG_HANDLE_TEXT = 18 }; /* "/0000001a.00000003": bytes of a handle's text */

/* A handle as text, without a NUL, and back; false for what is no handle's text. */
void tg_handle_print(struct tg_handle handle, char out[TG_HANDLE_TEXT]);
bool tg_handle_parse(const char *text, struct tg_handle *out);

/* NULL when what the handle meant has been removed. */
void *tg_slots_find(const struct tg_slots *slots, struct tg_handle handle);

#endif
