/* coding.c - reads Accept-Encoding. */
#include "http/coding.h"

#include <stdbool.h>

#include "http/list.h"

enum { UNSAID = -1 };

/* By enum tg_coding, in thousandths. */
struct weights {
    int of[TG_CODINGS];
    int others; /* "*" */
};

static void weigh(struct weights *weights, struct tg_slice name, int weight)
{
    if (tg_slice_equal(name, TG_SLICE("*")))
        weights->others = weight;
    if (tg_slice_equal_nocase(name, TG_SLICE("x-gzip"))) /* RFC 9110, 8.4.1.3 */
        name = TG_SLICE("gzip");
    for (int i = 0; i < TG_CODINGS; i++)
        if (tg_slice_equal_nocase(name, tg_coding_name((enum tg_coding)i)))
            weights->of[i] = weight;
}

static void read_list(struct weights *weights, struct tg_slice list)
{
    while (list.len) {
        struct tg_slice parameters = tg_list_take(&list, ',');
        struct tg_slice name = tg_list_take(&parameters, ';');
        weigh(weights, name, tg_list_weight(parameters));
    }
}

static int weight_of(const struct weights *weights, enum tg_coding coding)
{
    int weight = weights->of[coding] == UNSAID ? weights->others : weights->of[coding];
    return weight == UNSAID ? 0 : weight;
}

enum tg_coding tg_coding_choose(const char *bytes, const struct tg_field *fields, size_t count,
                                const enum tg_coding *offered, size_t offered_count)
{
    struct weights weights = {.others = UNSAID};
    for (int i = 0; i < TG_CODINGS; i++)
        weights.of[i] = UNSAID;
    for (size_t i = 0; i < count; i++) {
        struct tg_slice name = {bytes + fields[i].name, fields[i].name_len};
        struct tg_slice value = {bytes + fields[i].value, fields[i].value_len};
        if (tg_slice_equal_nocase(name, TG_SLICE("accept-encoding")))
            read_list(&weights, value);
    }
    enum tg_coding best = TG_CODING_IDENTITY;
    int most = weights.of[TG_CODING_IDENTITY] - 1; /* as good is good enough */
    for (size_t i = 0; i < offered_count; i++) {
        int weight = weight_of(&weights, offered[i]);
        if (weight > 0 && weight > most) {
            best = offered[i];
            most = weight;
        }
    }
    return best;
}
