/* bind_folder.c - what is at a path below a root, and what is in a folder there. */
#include "lua/bind_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "lua/bind_file.h"
#include "lua/file_body.h"

#define LISTING_TYPE "tidegate.Listing"

static const char *path_at(lua_State *L, int index)
{
    size_t len;
    const char *path = luaL_checklstring(L, index, &len);
    luaL_argcheck(L, strlen(path) == len, index, "a path has no NUL");
    return *path ? path : ".";
}

static const char *kind_of(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    return S_ISDIR(mode) ? "folder" : "other";
}

/* _stat_below(root, path, follow) -> "file", "folder" or "other"; or nil and the name of an errno.  A
 * root that is not there is an error. */
static int l_stat_below(lua_State *L)
{
    struct stat info;
    const char *path = path_at(L, 2);
    int fd = tg_file_open_below(L, luaL_checkstring(L, 1), path, lua_toboolean(L, 3), O_PATH);
    int result = fd < 0 ? -1 : fstat(fd, &info);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (result == 0) {
        lua_pushstring(L, kind_of(info.st_mode));
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, strerrorname_np(error));
    return 2;
}

/* --- Listing ---------------------------------------------------------------------------------- */

struct listing {
    DIR *folder; /* NULL once it is closed */
};

static int listing_close(lua_State *L)
{
    struct listing *listing = luaL_checkudata(L, 1, LISTING_TYPE);
    if (listing->folder)
        closedir(listing->folder);
    listing->folder = NULL;
    return 0;
}

/* What is behind a link counts, where it is below the root. */
static bool stat_entry(lua_State *L, DIR *folder, const char *name, struct stat *info)
{
    if (fstatat(dirfd(folder), name, info, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (!S_ISLNK(info->st_mode))
        return true;
    lua_pushfstring(L, "%s/%s", path_at(L, 2), name);
    int fd =
        tg_file_open_below(L, lua_tostring(L, 1), lua_tostring(L, -1), lua_toboolean(L, 3), O_PATH);
    lua_pop(L, 1);
    if (fd < 0)
        return false;
    int result = fstat(fd, info);
    close(fd);
    return result == 0;
}

static void push_entry(lua_State *L, const char *name, const struct stat *info)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kind_of(info->st_mode));
    lua_setfield(L, -2, "kind");
    lua_pushinteger(L, (lua_Integer)info->st_size);
    lua_setfield(L, -2, "size");
    lua_pushinteger(L, (lua_Integer)info->st_mtim.tv_sec);
    lua_setfield(L, -2, "modified");
}

/* Appends the entries to the table on top; true when there are more than are listed. */
static bool read_entries(lua_State *L, DIR *folder)
{
    const struct dirent *entry;
    struct stat info;
    lua_Integer count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else has this DIR */
    while ((entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
            !stat_entry(L, folder, name, &info))
            continue;
        if (count == TG_FOLDER_MAX)
            return true;
        push_entry(L, name, &info);
        lua_rawseti(L, -2, ++count);
    }
    return false;
}

/* _list_below(root, path, follow) -> a list of { name, kind, size, modified } in no order, whether there
 * are more; or nil and the name of an errno. */
static int l_list_below(lua_State *L)
{
    const char *path = path_at(L, 2);
    lua_settop(L, 3);
    struct listing *listing = lua_newuserdatauv(L, sizeof *listing, 0);
    listing->folder = NULL;
    luaL_setmetatable(L, LISTING_TYPE);
    lua_toclose(L, 4);
    int fd = tg_file_open_below(L, luaL_checkstring(L, 1), path, lua_toboolean(L, 3),
                                O_RDONLY | O_DIRECTORY);
    listing->folder = fd < 0 ? NULL : fdopendir(fd);
    if (!listing->folder) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        lua_pushnil(L);
        lua_pushstring(L, strerrorname_np(error));
        return 2;
    }
    lua_newtable(L);
    lua_pushboolean(L, read_entries(L, listing->folder));
    return 2;
}

/* _media_type(path) -> the type of its extension */
static int l_media_type(lua_State *L)
{
    lua_pushstring(L, tg_file_media_type(L, luaL_checkstring(L, 1)));
    return 1;
}

void tg_folder_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"_stat_below", l_stat_below},
                                         {"_list_below", l_list_below},
                                         {"_media_type", l_media_type},
                                         {NULL, NULL}};
    luaL_newmetatable(L, LISTING_TYPE);
    lua_pushcfunction(L, listing_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, listing_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
