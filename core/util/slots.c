/* slots.c - a growing table whose free places form a list. */
#include "util/slots.h"

#include "util/mem.h"

struct tg_slot {
    void *object; /* NULL: free */
    uint32_t generation;
    uint32_t next; /* of a free slot: index + 1 of the next one */
};

void tg_slots_init(struct tg_slots *slots)
{
    *slots = (struct tg_slots){0};
}

void tg_slots_fini(struct tg_slots *slots)
{
    tg_free(slots->slots);
    tg_slots_init(slots);
}

static int grow(struct tg_slots *slots)
{
    uint32_t count = slots->count ? slots->count * 2 : 16;
    struct tg_slot *larger = tg_realloc(slots->slots, count * sizeof *larger);
    if (!larger)
        return -1;
    for (uint32_t i = slots->count; i < count; i++)
        larger[i] = (struct tg_slot){NULL, 1, i + 1 < count ? i + 2 : 0};
    slots->free = slots->count + 1;
    slots->slots = larger;
    slots->count = count;
    return 0;
}

struct tg_handle tg_slots_add(struct tg_slots *slots, void *object)
{
    if (!slots->free && grow(slots) != 0)
        return (struct tg_handle){0, 0};
    uint32_t index = slots->free - 1;
    struct tg_slot *slot = &slots->slots[index];
    slots->free = slot->next;
    slot->object = object;
    return (struct tg_handle){index, slot->generation};
}

void *tg_slots_find(const struct tg_slots *slots, struct tg_handle handle)
{
    if (handle.index >= slots->count)
        return NULL;
    const struct tg_slot *slot = &slots->slots[handle.index];
    return slot->generation == handle.generation ? slot->object : NULL;
}

void tg_slots_remove(struct tg_slots *slots, struct tg_handle handle)
{
    if (!tg_slots_find(slots, handle))
        return;
    struct tg_slot *slot = &slots->slots[handle.index];
    slot->object = NULL;
    slot->generation++;
    if (!slot->generation)
        slot->generation = 1;
    slot->next = slots->free;
    slots->free = handle.index + 1;
}

static void print_hex(uint32_t n, char out[8])
{
    for (int i = 7; i >= 0; i--, n >>= 4)
        out[i] = "0123456789abcdef"[n & 15];
}

static bool parse_hex(const char *text, uint32_t *out)
{
    uint32_t n = 0;
    for (int i = 0; i < 8; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            n = n << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false; /* the NUL of a short text, too */
    }
    *out = n;
    return true;
}

void tg_handle_print(struct tg_handle handle, char out[TG_HANDLE_TEXT])
{
    out[0] = '/';
    print_hex(handle.index, out + 1);
    out[9] = '.';
    print_hex(handle.generation, out + 10);
}

bool tg_handle_parse(const char *text, struct tg_handle *out)
{
    return text[0] == '/' && parse_hex(text + 1, &out->index) && text[9] == '.' &&
           parse_hex(text + 10, &out->generation) && text[TG_HANDLE_TEXT] == '\0';
}
