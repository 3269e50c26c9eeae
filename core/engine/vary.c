/* vary.c - keeps Vary's list without repetitions. */
#include "engine/vary.h"

enum tg_status tg_exchange_vary(struct tg_exchange *x, struct tg_slice by)
{
    struct tg_slice vary = TG_SLICE("Vary");
    bool listed = tg_exchange_lists(x, vary, by) || tg_exchange_lists(x, vary, TG_SLICE("*"));
    return listed ? TG_OK : tg_exchange_add_field(x, vary, by);
}
