/* options.h - tables of options that scripts give to what is in C. */
#ifndef TG_LUA_OPTIONS_H
#define TG_LUA_OPTIONS_H

#include <lua.h>

/* Raises, by the name of what (a function of the script's), for a key of the table at index that is
 * none of names; NULL ends them. */
void tg_options_check_names(lua_State *L, int index, const char *what, const char *const *names);

#endif
