/* tests/fuzz/fuzz.c - see fuzz.h: the list of targets, one input in a new world, and what libFuzzer
 * calls. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/opts.h"
#include "devices/virtio/vdev.h"
#include "tests/fuzz/clock.h"

static const struct fuzz_target fixed[] = {
    {"rings", fuzz_rings, NULL},
    {"registers-mmio", fuzz_registers, "mmio"},
    {"registers-mmio-legacy", fuzz_registers, "mmio-legacy"},
    {"registers-pci", fuzz_registers, "pci"},
    {"registers-pci-transitional", fuzz_registers, "pci-transitional"},
    {"registers-pci-legacy", fuzz_registers, "pci-legacy"},
    {"platform", fuzz_platform, NULL},
    {"state", fuzz_state, NULL},
    {"boot", fuzz_boot, NULL},
    {"options", fuzz_options, NULL},
    {"api", fuzz_api, NULL},
};
enum { DEVICES_MAX = 64, NAME_MAX_LEN = 32, DESCRIPTORS = 512 };

/* Nothing runs beside the loop, so that an input does the same each time: what may block does. */
struct loop;
struct loop_pool;
int __real_loop_pool_new(struct loop *l, const char *name, unsigned n,
                         const struct sandbox_list *calls, struct loop_pool **out);
int __wrap_loop_pool_new(struct loop *l, const char *name, unsigned n,
                         const struct sandbox_list *calls, struct loop_pool **out);
int __wrap_loop_pool_new(struct loop *l, const char *name, unsigned n,
                         const struct sandbox_list *calls, struct loop_pool **out)
{
    (void)n;
    return __real_loop_pool_new(l, name, 0, calls, out);
}

/* Whatever the registry has is a target. */
static const struct fuzz_target *devices(void)
{
    static struct fuzz_target t[DEVICES_MAX + 1];
    static char names[DEVICES_MAX][NAME_MAX_LEN];
    for (unsigned i = 0; !t[0].name && vdev_classes[i] && i < DEVICES_MAX; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "device-%s", vdev_classes[i]->name);
        t[i].run = fuzz_device;
        t[i].which = vdev_classes[i]->name;
    }
    for (unsigned i = 0; t[i].run; i++)
        t[i].name = names[i];
    return t;
}

static const struct fuzz_target *target_at(unsigned i)
{
    return i < ARRAY_SIZE(fixed) ? &fixed[i] : &devices()[i - ARRAY_SIZE(fixed)];
}

const struct fuzz_target *fuzz_find(const char *name)
{
    for (unsigned i = 0; target_at(i)->name; i++) {
        if (strcmp(target_at(i)->name, name) == 0)
            return target_at(i);
    }
    return NULL;
}

void fuzz_list(void)
{
    for (unsigned i = 0; target_at(i)->name; i++)
        (void)puts(target_at(i)->name);
}

/* --- scripts --- */

void take_bytes(struct script *s, void *to, size_t len)
{
    size_t there = MIN(len, s->len);
    memset(to, 0, len);
    if (there == 0)
        return;
    memcpy(to, s->p, there);
    s->p += there;
    s->len -= there;
}

uint64_t take(struct script *s, unsigned bytes)
{
    uint8_t b[8] = {0};
    take_bytes(s, b, bytes);
    return get_bytes(b, sizeof(b));
}

char *take_text(struct script *s, char end)
{
    const uint8_t *stop = s->len ? memchr(s->p, end, s->len) : NULL;
    size_t len = stop ? (size_t)(stop - s->p) : s->len;
    char *text = calloc(1, len + 1);
    EXPECT(text);
    take_bytes(s, text, len);
    if (stop)
        (void)take8(s);
    return text;
}

/* --- one input --- */

void fuzz_finding(const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list ap;
    (void)fprintf(stderr, "%s:%d: %s:", file, line, what);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputc('\n', stderr);
    abort();
}

/* The lowest number that no descriptor has: another one afterwards is one that was left open. */
static int lowest_fd(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    EXPECT(fd >= 0, "%m");
    (void)close(fd);
    return fd;
}

/* As in main(), but that what is logged is made and goes nowhere, and that descriptors are few:
 * what is as big as their limit is small, and the limit is near. */
static void begin(void)
{
    static bool done;
    const struct rlimit few = {DESCRIPTORS, DESCRIPTORS};
    if (done)
        return;
    AUTO_FD null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    EXPECT(null >= 0 && log_to(null) == 0);
    log_set_level(LOG_INFO);
    (void)signal(SIGPIPE, SIG_IGN);
    EXPECT(setrlimit(RLIMIT_NOFILE, &few) == 0);
    done = true;
}

void fuzz_one(const struct fuzz_target *t, const uint8_t *data, size_t len)
{
    struct script s = {data, len};
    begin();
    clock_begin();
    int fd = lowest_fd();
    t->run(&s, t->which);
    opts_free_all();
    EXPECT(lowest_fd() == fd, "%s left descriptor %d open", t->name, fd);
}

/* --- libFuzzer --- */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct fuzz_target *chosen;

/* libFuzzer's counters, one for each edge of the product's, cleared before each input; AFL++ has
 * its own. With FUZZ_EDGES in the environment that file has the numbers of those that were reached,
 * a line each, so that what several targets reach can be put together. */
extern const uint8_t __start___sancov_cntrs[] __attribute__((weak));
extern const uint8_t __stop___sancov_cntrs[] __attribute__((weak));
static uint8_t *reached; /* NULL: nobody asks */

static size_t edges(void)
{
    return (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs);
}

static void look_at_edges(void)
{
    for (size_t i = 0; reached && i < edges(); i++)
        reached[i] |= __start___sancov_cntrs[i];
}

static void write_edges(void)
{
    FILE *f = fopen(getenv("FUZZ_EDGES"), "we");
    EXPECT(f, "%m");
    for (size_t i = 0; i < edges(); i++) {
        if (reached[i])
            (void)fprintf(f, "%zu\n", i);
    }
    EXPECT(fclose(f) == 0, "%m");
    free(reached);
}

/* The target is the first argument. libFuzzer starts this program anew for some of its work, and
 * knows only what it has seen: hence the environment. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc > 1 && fuzz_find((*argv)[1])) {
        EXPECT(setenv("FUZZ_TARGET", (*argv)[1], 1) == 0);
        (*argv)[1] = (*argv)[0];
        (*argv)++;
        (*argc)--;
    } else if (*argc > 1 && strcmp((*argv)[1], "--list") == 0) {
        fuzz_list();
        exit(0);
    }
    const char *name = getenv("FUZZ_TARGET");
    chosen = name ? fuzz_find(name) : NULL;
    if (!chosen) {
        (void)fprintf(stderr, "usage: fuzz TARGET [ARGUMENT OF LIBFUZZER...], or --list\n");
        exit(2);
    }
    if (getenv("FUZZ_EDGES") && edges() > 0) {
        reached = calloc(edges(), 1);
        EXPECT(reached && atexit(write_edges) == 0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fuzz_one(chosen, data, len);
    look_at_edges();
    return 0;
}
