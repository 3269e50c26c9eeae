/* route_tree.c - hashed children, so that a hundred thousand siblings cost no more than one. */
#include "engine/route_tree.h"

#include "util/mem.h"
#include "util/percent.h"

static unsigned char next_byte(const char **p, const char *end, enum tg_route_spelling spelling)
{
    if (spelling == TG_SPELT_ESCAPED)
        return tg_percent_next(p, end);
    unsigned char c = (unsigned char)*(*p)++;
    return spelling == TG_SPELT_NOCASE && c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

/* FNV-1a.  Keys come from the script alone, so nobody outside can make them collide. */
static uint32_t hash_of(struct tg_slice key, enum tg_route_spelling spelling)
{
    uint32_t hash = 2166136261U;
    const char *end = key.p + key.len;
    for (const char *p = key.p; p < end;)
        hash = (hash ^ next_byte(&p, end, spelling)) * 16777619U;
    return hash ^ hash >> 15;
}

static bool has_key(const struct tg_route_node *node, struct tg_slice key,
                    enum tg_route_spelling spelling)
{
    const char *p = key.p;
    const char *end = key.p + key.len;
    for (size_t i = 0; i < node->key_len; i++)
        if (p == end || next_byte(&p, end, spelling) != (unsigned char)node->key[i])
            return false;
    return p == end;
}

static struct tg_route_node *find(const struct tg_route_table *table, struct tg_slice key,
                                  enum tg_route_spelling spelling, uint32_t hash)
{
    if (!table->count)
        return NULL;
    size_t mask = table->size - 1;
    for (size_t i = hash & mask; table->slots[i].node; i = (i + 1) & mask)
        if (table->slots[i].hash == hash && has_key(table->slots[i].node, key, spelling))
            return table->slots[i].node;
    return NULL;
}

struct tg_route_node *tg_route_table_find(const struct tg_route_table *table, struct tg_slice key,
                                          enum tg_route_spelling spelling)
{
    return table->count ? find(table, key, spelling, hash_of(key, spelling)) : NULL;
}

static void place(struct tg_route_slot *slots, size_t size, struct tg_route_slot slot)
{
    size_t i = slot.hash & (size - 1);
    while (slots[i].node)
        i = (i + 1) & (size - 1);
    slots[i] = slot;
}

/* Keeps at least a quarter of the slots free, which is what ends a search. */
static enum tg_status make_room(struct tg_route_table *table)
{
    if ((table->count + 1) * 4 <= table->size * 3)
        return TG_OK;
    size_t size = table->size ? table->size * 2 : 4;
    struct tg_route_slot *slots = tg_calloc(size, sizeof *slots);
    if (!slots)
        return TG_ENOMEM;
    for (size_t i = 0; i < table->size; i++)
        if (table->slots[i].node)
            place(slots, size, table->slots[i]);
    tg_free(table->slots);
    table->slots = slots;
    table->size = size;
    return TG_OK;
}

struct tg_route_node *tg_route_table_make(struct tg_route_table *table, struct tg_slice key,
                                          enum tg_route_spelling spelling)
{
    uint32_t hash = hash_of(key, spelling);
    struct tg_route_node *node = find(table, key, spelling, hash);
    if (node)
        return node;
    if (make_room(table) != TG_OK)
        return NULL;
    node = tg_calloc(1, sizeof *node);
    char *copy = tg_malloc(key.len + 1);
    if (!node || !copy) {
        tg_free(node);
        tg_free(copy);
        return NULL;
    }
    const char *end = key.p + key.len;
    for (const char *p = key.p; p < end;)
        copy[node->key_len++] = (char)next_byte(&p, end, spelling);
    node->key = copy;
    place(table->slots, table->size, (struct tg_route_slot){node, hash});
    table->count++;
    return node;
}

static void node_free(struct tg_route_node *node)
{
    if (!node)
        return;
    tg_route_node_fini(node);
    tg_free(node);
}

void tg_route_table_fini(struct tg_route_table *table)
{
    for (size_t i = 0; i < table->size; i++)
        node_free(table->slots[i].node);
    tg_free(table->slots);
    *table = (struct tg_route_table){0};
}

void tg_route_node_fini(struct tg_route_node *node)
{
    tg_route_table_fini(&node->literals);
    node_free(node->param);
    node_free(node->splat);
    while (node->endpoints) {
        struct tg_endpoint *next = node->endpoints->next;
        tg_endpoint_free(node->endpoints);
        node->endpoints = next;
    }
    tg_free(node->key);
    *node = (struct tg_route_node){0};
}

bool tg_route_next(struct tg_route_steps *steps, struct tg_slice *segment)
{
    if (!steps->at)
        return false;
    size_t left = (size_t)(steps->end - steps->at);
    const char *slash = left ? memchr(steps->at, '/', left) : NULL;
    *segment = (struct tg_slice){steps->at, slash ? (size_t)(slash - steps->at) : left};
    steps->at = slash ? slash + 1 : NULL;
    return true;
}

static struct tg_route_node *make_child(struct tg_route_node **child)
{
    if (!*child)
        *child = tg_calloc(1, sizeof **child);
    return *child;
}

struct tg_route_node *tg_route_node_make(struct tg_route_node *root, struct tg_slice path)
{
    struct tg_route_node *node = root;
    struct tg_route_steps steps = {path.p + 1, path.p + path.len};
    struct tg_slice segment;
    while (node && tg_route_next(&steps, &segment)) {
        if (segment.len && segment.p[0] == ':')
            node = make_child(&node->param);
        else if (segment.len && segment.p[0] == '*')
            node = make_child(&node->splat);
        else
            node = tg_route_table_make(&node->literals, segment, TG_SPELT_PLAIN);
    }
    return node;
}

static bool same_shape(const struct tg_endpoint *a, const struct tg_endpoint *b)
{
    if (a->method != b->method || a->check_count != b->check_count)
        return false;
    for (size_t i = 0; i < a->check_count; i++)
        if (a->checks[i].param != b->checks[i].param ||
            a->checks[i].constraint != b->checks[i].constraint)
            return false;
    return true;
}

struct tg_endpoint *tg_route_node_add(struct tg_route_node *node, struct tg_endpoint *endpoint)
{
    struct tg_endpoint **at = NULL;
    struct tg_endpoint **p = &node->endpoints;
    for (; *p; p = &(*p)->next) {
        if (same_shape(*p, endpoint))
            return *p;
        if (!at && endpoint->check_count && !(*p)->check_count)
            at = p;
    }
    if (!at)
        at = p;
    endpoint->next = *at;
    *at = endpoint;
    return NULL;
}
