/* replay.c - runs a fuzz target over every file of the folders it is given: a corpus without clang. */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE_MAX_BYTES = 1 << 20 };

static int replay(const char *folder, const char *name, uint8_t *data)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, SIZE_MAX_BYTES, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    return 0;
}

static int replay_folder(const char *folder, uint8_t *data)
{
    int failed = 0;
    int count = 0;
    const struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir) {
        perror(folder);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        failed |= replay(folder, entry->d_name, data);
        count++;
    }
    closedir(dir);
    printf("%s: %d inputs\n", folder, count);
    return failed || !count; /* a corpus that is not there proves nothing */
}

int main(int argc, char **argv)
{
    uint8_t *data = malloc(SIZE_MAX_BYTES);
    int failed = !data || argc < 2;
    for (int i = 1; i < argc && data; i++)
        failed |= replay_folder(argv[i], data);
    free(data);
    return failed;
}
