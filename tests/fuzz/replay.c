/* tests/fuzz/replay.c - main() of a build without libFuzzer: runs the inputs it is given, files or
 * folders of them, and ends with 0 if each of them ended well. An input is named before it runs, so
 * that the last name is the one to look at. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

enum { HANG_SECONDS = 60 }; /* under a sanitizer, on a busy machine */

static void run(const struct fuzz_target *t, const uint8_t *data, size_t len)
{
    (void)alarm(HANG_SECONDS);
    fuzz_one(t, data, len);
    (void)alarm(0);
}

static unsigned replay(const struct fuzz_target *t, const char *path)
{
    struct stat st;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0 && fstat(fd, &st) == 0, "%s: %m", path);
    if (S_ISDIR(st.st_mode)) {
        DIR *d = opendir(path);
        unsigned n = 0;
        EXPECT(d, "%s: %m", path);
        for (const struct dirent *e; (e = readdir(d)) != NULL;) {
            char *name = NULL;
            if (e->d_name[0] == '.')
                continue;
            EXPECT(asprintf(&name, "%s/%s", path, e->d_name) > 0);
            n += replay(t, name);
            free(name);
        }
        (void)closedir(d);
        return n;
    }
    /* Exactly as long as it is, so that a sanitizer sees a read past its end. */
    uint8_t *data = malloc((size_t)st.st_size + (st.st_size == 0));
    EXPECT(data && read(fd, data, (size_t)st.st_size) == st.st_size, "%s: %m", path);
    (void)fprintf(stderr, "%s\n", path);
    run(t, data, (size_t)st.st_size);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    const struct fuzz_target *t = argc > 1 ? fuzz_find(argv[1]) : NULL;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        fuzz_list();
        return 0;
    }
    if (!t) {
        (void)fprintf(stderr, "usage: fuzz TARGET [FILE|FOLDER...], or --list\n");
        return 2;
    }
    unsigned n = 0;
    run(t, NULL, 0); /* also for a device that has no corpus yet */
    for (int i = 2; i < argc; i++)
        n += replay(t, argv[i]);
    (void)printf("%s: %u inputs\n", t->name, n);
    return 0;
}
