/* tests/unit/options_try.h - what the tests of the command line share. The device classes are made
 * up, so that no device is needed to test the line that names one. */
#pragma once

#include <criterion/criterion.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#include "vmm/options.h"
#include "vmm/options_table.h"

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* gcc 12 ships no header for it */
#endif

struct disk_opts {
    const char *path, *serial;
    bool ro;
    int cache;
};
static const struct disk_opts disk_default = {.serial = "none", .cache = 1};
static const char *const cache_names[] = {"off", "on", "auto", NULL};
static const struct opt_desc disk_keys[] = {
    {.key = "path",
     .type = OPT_STR,
     .offset = offsetof(struct disk_opts, path),
     .metavar = "FILE",
     .help = ".raw\\image",
     .positional = true,
     .required = true},
    {.key = "ro", .type = OPT_FLAG, .offset = offsetof(struct disk_opts, ro), .help = "no writes"},
    {.key = "serial",
     .type = OPT_STR,
     .offset = offsetof(struct disk_opts, serial),
     .metavar = "TEXT",
     .help = "'serial number"},
    {.key = "cache",
     .type = OPT_ENUM,
     .offset = offsetof(struct disk_opts, cache),
     .names = cache_names,
     .help = "what is cached"},
    {.type = OPT_END},
};
struct console_opts {
    struct opt_strs ports;
};
static const struct opt_desc console_keys[] = {
    {.key = "port",
     .type = OPT_STRS,
     .offset = offsetof(struct console_opts, ports),
     .metavar = "NAME=PATH",
     .help = "one more port"},
    {.type = OPT_END},
};
static const struct opt_desc no_keys[] = {{.type = OPT_END}};

static const struct vdev_class blk = {.name = "blk",
                                      .virtio_id = VIRTIO_ID_BLOCK,
                                      .summary = "a disk for tests",
                                      .opts = disk_keys,
                                      .opts_size = sizeof(struct disk_opts),
                                      .opts_default = &disk_default};
static const struct vdev_class console = {.name = "console",
                                          .virtio_id = VIRTIO_ID_CONSOLE,
                                          .summary = "a console for tests",
                                          .opts = console_keys,
                                          .opts_size = sizeof(struct console_opts)};
static const struct vdev_class rng = {
    .name = "rng", .summary = "dice", .virtio_id = VIRTIO_ID_RNG, .opts = no_keys};
static const struct vdev_class plain = {
    .name = "plain", .summary = "new", .virtio_id = VIRTIO_ID_FS, .opts = no_keys};
struct net_opts {
    const char *backend;
    uint32_t n;
};
static const struct opt_desc net_keys[] = {
    {.key = "backend",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, backend),
     .metavar = "BACKEND",
     .help = "what it is connected to",
     .positional = true,
     .required = true},
    {.key = "n",
     .type = OPT_U32,
     .offset = offsetof(struct net_opts, n),
     .metavar = "N",
     .help = "a number"},
    {.type = OPT_END},
};
static const struct vdev_class net = {.name = "net",
                                      .summary = "a network for tests",
                                      .opts = net_keys,
                                      .opts_size = sizeof(struct net_opts)};
const struct vdev_class *const vdev_classes[] = {&blk, &console, &net, &rng, &plain, NULL};

static struct vm_config cfg;
static enum options_action action;
static struct err err;

enum { WORDS_MAX = 16 };

static inline size_t allocated(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#else
    return 0;
#endif
}

static inline int parse(const char *const *words)
{
    char *argv[WORDS_MAX + 2] = {(char *)"vmm"};
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)words[argc - 1];
    return options_parse(argc, argv, &cfg, &action, &err);
}
#define PARSE(...)  parse((const char *const[WORDS_MAX + 1]){__VA_ARGS__})
#define ACCEPT(...) cr_assert_eq(PARSE(__VA_ARGS__), 0, "refused: %s", err.msg)

/* One sentence, of the user's fault, with nothing else touched and nothing left behind. */
static inline void refuse(const char *sentence, const char *const *words)
{
    size_t before = allocated();
    int rc;

    memset(&cfg, 0xa5, sizeof(cfg));
    memset(&err, 0, sizeof(err));
    action = (enum options_action)99;
    struct vm_config untouched = cfg;
    rc = parse(words);
    cr_expect_eq(allocated(), before, "leak: %s", sentence);
    cr_expect_lt(rc, 0, "accepted: %s", sentence);
    cr_expect_eq(err.kind, ERR_INPUT, "%s", sentence);
    cr_expect_str_eq(err.msg, sentence);
    cr_expect_eq(memcmp(&cfg, &untouched, sizeof(cfg)), 0, "cfg: %s", sentence);
    cr_expect_eq((int)action, 99, "action: %s", sentence);
}
#define REFUSE(sentence, ...) refuse((sentence), (const char *const[WORDS_MAX + 1]){__VA_ARGS__})

static inline char *text_of(void (*print)(FILE *to))
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    cr_assert_not_null(to);
    print(to);
    cr_assert_eq(fclose(to), 0);
    return text;
}
