/* tests/unit/test_options.c - the command line: what is understood, what is refused in which
 * words, and that help and manual page tell every option. The device classes are made up, so that
 * no device is needed to test the line that names one. */
#include <criterion/criterion.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <unistd.h>

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

static size_t allocated(void)
{
#ifdef __SANITIZE_ADDRESS__
    return __sanitizer_get_current_allocated_bytes();
#else
    return 0;
#endif
}

static int parse(const char *const *words)
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
static void refuse(const char *sentence, const char *const *words)
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

/* What is understood. */

Test(options, a_kernel_is_enough)
{
    ACCEPT("--kernel", "bzImage");
    cr_expect_eq(action, OPTIONS_RUN);
    cr_expect_str_eq(cfg.kernel, "bzImage");
    cr_expect_null(cfg.initrd);
    cr_expect_null(cfg.cmdline);
    cr_expect_null(cfg.dump_dtb);
    cr_expect_eq(cfg.cpus, 1);
    cr_expect_eq(cfg.mem_size, MIB(512));
    cr_expect_eq(cfg.mem.backing, GMEM_4K);
    cr_expect_not(cfg.mem.prefault);
    cr_expect_not(cfg.mem.shared);
    cr_expect_eq((int)cfg.console.kind, CHARDEV_STDIO);
    cr_expect_eq(cfg.discovery, DISCOVERY_ACPI);
    cr_expect(cfg.restart);
    cr_expect_eq(cfg.log, LOG_WARN);
    options_free(&cfg);
}

Test(options, both_ways_to_write_a_value)
{
    ACCEPT("--kernel=k=1", "--initrd=i", "--cmdline", "a=b,c --d", "--cpus=3", "--dump-dtb", "t",
           "--discovery=cmdline", "--on-reboot", "exit", "--log=debug");
    cr_expect_str_eq(cfg.kernel, "k=1");
    cr_expect_str_eq(cfg.initrd, "i");
    cr_expect_str_eq(cfg.cmdline, "a=b,c --d");
    cr_expect_str_eq(cfg.dump_dtb, "t");
    cr_expect_eq(cfg.cpus, 3);
    cr_expect_eq(cfg.discovery, DISCOVERY_CMDLINE);
    cr_expect_not(cfg.restart);
    cr_expect_eq(cfg.log, LOG_DEBUG);
    options_free(&cfg);
}

Test(options, names_are_in_the_order_of_their_enums)
{
    static const char *const discovery[] = {"acpi", "fdt", "cmdline"};
    static const char *const log[] = {"off", "error", "warn", "info", "debug"};

    for (int i = 0; i < (int)ARRAY_SIZE(discovery); i++) {
        ACCEPT("--kernel=k", "--discovery", discovery[i]);
        cr_expect_eq((int)cfg.discovery, i);
        options_free(&cfg);
    }
    for (int i = 0; i < (int)ARRAY_SIZE(log); i++) {
        enum log_level level = LOG_OFF;
        ACCEPT("--kernel=k", "--log", log[i]);
        cr_expect_eq(log_level_parse(log[i], &level), 0);
        cr_expect_eq(cfg.log, level);
        options_free(&cfg);
    }
    ACCEPT("--kernel=k", "--on-reboot=restart");
    cr_expect(cfg.restart);
    options_free(&cfg);
}

Test(options, a_value_may_be_empty_or_look_like_an_option)
{
    ACCEPT("--kernel", "k", "--cmdline", "");
    cr_expect_str_eq(cfg.cmdline, "");
    options_free(&cfg);
    ACCEPT("--kernel=k", "--cmdline", "-- single");
    cr_expect_str_eq(cfg.cmdline, "-- single");
    options_free(&cfg);
    ACCEPT("--kernel=--initrd");
    cr_expect_str_eq(cfg.kernel, "--initrd");
    options_free(&cfg);
}

Test(options, mem)
{
    static const struct {
        const char *text;
        uint64_t size;
        enum gmem_backing backing;
        bool prefault, shared;
    } rows[] = {
        {"16M", MIB(16), GMEM_4K, false, false},
        {"4G", GIB(4), GMEM_4K, false, false},
        {"64T", GIB(65536), GMEM_4K, false, false},
        {"1000", MIB(1000), GMEM_4K, false, false},
        {"size=20000K", KIB(20000), GMEM_4K, false, false},
        {"1G,hugepages=off,prefault", GIB(1), GMEM_4K, true, false},
        {"1G,hugepages=thp,shared", GIB(1), GMEM_THP, false, true},
        {"17M,hugepages=thp", MIB(17), GMEM_THP, false, false},
        {"18M,hugepages=2M", MIB(18), GMEM_HUGE_2M, false, false},
        {"3G,hugepages=1G,prefault=off", GIB(3), GMEM_HUGE_1G, false, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ACCEPT("--kernel=k", "--mem", rows[i].text);
        cr_expect_eq(cfg.mem_size, rows[i].size, "%s", rows[i].text);
        cr_expect_eq(cfg.mem.backing, rows[i].backing, "%s", rows[i].text);
        cr_expect_eq(cfg.mem.prefault, rows[i].prefault, "%s", rows[i].text);
        cr_expect_eq(cfg.mem.shared, rows[i].shared, "%s", rows[i].text);
        options_free(&cfg);
    }
}

Test(options, console_ends)
{
    static const struct {
        const char *text;
        int kind;
        const char *path;
    } rows[] = {{"stdio", CHARDEV_STDIO, NULL},
                {"pty", CHARDEV_PTY, NULL},
                {"none", CHARDEV_NONE, NULL},
                {"file=/a=b,c", CHARDEV_FILE, "/a=b,c"}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ACCEPT("--kernel=k", "--console", rows[i].text);
        cr_expect_eq((int)cfg.console.kind, rows[i].kind, "%s", rows[i].text);
        if (rows[i].path)
            cr_expect_str_eq(cfg.console.path, rows[i].path);
        else
            cr_expect_null(cfg.console.path);
        options_free(&cfg);
    }
}

/* Devices. */

static const struct disk_opts *disk(unsigned i)
{
    cr_assert_lt(i, cfg.n_devices);
    cr_assert_eq(cfg.devices[i].class, &blk);
    return cfg.devices[i].opts;
}

Test(options, disks_keep_their_order_and_defaults)
{
    ACCEPT("--disk", "a.img", "--kernel=k", "--disk=b,,c.img,ro,serial=x,cache=auto",
           "--device=blk,path=d.img,ro=off");
    cr_assert_eq(cfg.n_devices, 5);
    cr_expect_str_eq(disk(0)->path, "a.img");
    cr_expect_str_eq(disk(0)->serial, "none");
    cr_expect_not(disk(0)->ro);
    cr_expect_eq(disk(0)->cache, 1);
    cr_expect_str_eq(disk(1)->path, "b,c.img");
    cr_expect_str_eq(disk(1)->serial, "x");
    cr_expect(disk(1)->ro);
    cr_expect_eq(disk(1)->cache, 2);
    cr_expect_str_eq(disk(2)->path, "d.img");
    cr_expect_str_eq(cfg.devices[0].what, "--disk a.img");
    cr_expect_str_eq(cfg.devices[2].what, "--device blk,path=d.img,ro=off");
    options_free(&cfg);
}

Test(options, a_disk_file_may_have_any_name)
{
    ACCEPT("--kernel=k", "--disk", "a=b.img,ro", "--disk", "path=c", "--disk", "ro");
    cr_expect_str_eq(disk(0)->path, "a=b.img");
    cr_expect(disk(0)->ro);
    cr_expect_str_eq(disk(1)->path, "c");
    cr_expect_str_eq(disk(2)->path, "ro");
    cr_expect_not(disk(2)->ro);
    options_free(&cfg);
}

Test(options, console_and_rng_come_by_themselves)
{
    ACCEPT("--kernel=k", "--disk=a");
    cr_assert_eq(cfg.n_devices, 3);
    cr_expect_eq(cfg.devices[0].class, &blk);
    cr_expect_eq(cfg.devices[1].class, &console);
    cr_expect_eq(cfg.devices[2].class, &rng);
    cr_expect_str_eq(cfg.devices[1].what, "--device console");
    cr_expect_str_eq(cfg.devices[2].what, "--device rng");
    cr_expect_eq(((struct console_opts *)cfg.devices[1].opts)->ports.n, 0);
    options_free(&cfg);
}

Test(options, a_console_or_rng_that_is_named_replaces_it)
{
    ACCEPT("--kernel=k", "--device", "rng", "--device", "console,port=a=/b,port=c=/d");
    cr_assert_eq(cfg.n_devices, 2);
    cr_expect_eq(cfg.devices[0].class, &rng);
    cr_assert_eq(cfg.devices[1].class, &console);
    const struct console_opts *o = cfg.devices[1].opts;
    cr_assert_eq(o->ports.n, 2);
    cr_expect_str_eq(o->ports.v[0], "a=/b");
    cr_expect_str_eq(o->ports.v[1], "c=/d");
    options_free(&cfg);
}

/* Questions instead of a guest. */

Test(options, actions)
{
    static const struct {
        const char *word;
        enum options_action action;
    } rows[] = {{"--help", OPTIONS_HELP},
                {"--help=man", OPTIONS_MAN},
                {"--version", OPTIONS_VERSION},
                {"--check-host", OPTIONS_CHECK_HOST}};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ACCEPT(rows[i].word);
        cr_expect_eq(action, rows[i].action, "%s", rows[i].word);
        cr_expect_eq(cfg.n_devices, 0, "%s", rows[i].word);
        options_free(&cfg);
    }
    ACCEPT("--kernel=k", "--disk=a", "--help", "--whatever");
    cr_expect_eq(action, OPTIONS_HELP);
    options_free(&cfg);
    ACCEPT("--check-host", "--log=info");
    cr_expect_eq(action, OPTIONS_CHECK_HOST);
    cr_expect_eq(cfg.log, LOG_INFO);
    options_free(&cfg);
    ACCEPT("--dump-dtb=t");
    cr_expect_eq(action, OPTIONS_RUN);
    cr_expect_null(cfg.kernel);
    cr_expect_eq(cfg.n_devices, 2);
    options_free(&cfg);
}

static char *text_of(void (*print)(FILE *to))
{
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);

    cr_assert_not_null(to);
    print(to);
    cr_assert_eq(fclose(to), 0);
    return text;
}

static void device_help(FILE *to)
{
    options_help_devices(to, &cfg);
}

Test(options, device_help)
{
    ACCEPT("--disk=a", "--device", "help");
    cr_expect_eq(action, OPTIONS_HELP_DEVICES);
    cr_expect_eq(cfg.n_devices, 0);
    AUTO_FREE char *all = text_of(device_help);
    cr_expect_not_null(strstr(all, "dice"));
    cr_expect_not_null(strstr(all, "cache=off|on|auto"));
    cr_expect_not_null(strstr(all, "port=NAME=PATH..."));
    options_free(&cfg);

    ACCEPT("--disk=a", "--device", "blk,help");
    cr_expect_eq(action, OPTIONS_HELP_DEVICES);
    cr_assert_eq(cfg.n_devices, 1);
    AUTO_FREE char *one = text_of(device_help);
    cr_expect_not_null(strstr(one, "path=FILE"));
    cr_expect_null(strstr(one, "dice"));
    options_free(&cfg);
}

Test(options, a_device_has_its_own_transport_or_that_of_all)
{
    ACCEPT("--kernel", "k", "--disk", "a", "--disk", "b,transport=mmio", "--transport",
           "pci-transitional");
    cr_assert_eq(cfg.n_devices, 4);
    cr_expect_eq(cfg.devices[0].transport, TRANSPORT_PCI_TRANSITIONAL);
    cr_expect_eq(cfg.devices[1].transport, TRANSPORT_MMIO);
    cr_expect_eq(cfg.devices[2].transport, TRANSPORT_PCI_TRANSITIONAL);
    options_free(&cfg);
    ACCEPT("--kernel", "k");
    cr_expect_eq(cfg.devices[0].transport, TRANSPORT_PCI);
    options_free(&cfg);
}

Test(options, keys_of_every_device)
{
    ACCEPT("--kernel", "k", "--disk",
           "a,packed=on,indirect=off,in_order,cache=on,queue_size=64,admin_vq");
    const struct disk_opts *o = cfg.devices[0].opts;
    const struct vdev_options *v = &cfg.devices[0].virtio;
    cr_expect_str_eq(o->path, "a");
    cr_expect(v->packed && !v->indirect && v->event_idx && v->in_order && v->admin_vq);
    cr_expect_eq(v->queue_size, 64);
    cr_expect_eq(memcmp(&cfg.devices[1].virtio, &vdev_options_default, sizeof(*v)), 0);
    options_free(&cfg);
}

/* What is refused. */

Test(options, a_transport_cannot_do_everything)
{
    REFUSE("--disk a: packed=on: transport pci-legacy has no such thing", "--kernel", "k", "--disk",
           "a,packed", "--transport", "pci-legacy");
    REFUSE("--disk a: in_order=on: transport mmio-legacy has no such thing", "--kernel", "k",
           "--disk", "a,in_order,transport=mmio-legacy");
    REFUSE("--disk a: admin_vq=on: transport mmio has no such thing", "--kernel", "k", "--disk",
           "a,admin_vq,transport=mmio");
    REFUSE("--disk a: notif_config_data=on: transport mmio has no such thing", "--kernel", "k",
           "--disk", "a,notif_config_data,transport=mmio");
    REFUSE("--disk a: queue_size=3 is not a power of two", "--kernel", "k", "--disk",
           "a,queue_size=3");
    REFUSE("--device plain,transport=mmio-legacy: a plain device has no legacy interface for "
           "transport "
           "mmio-legacy",
           "--kernel", "k", "--device", "plain,transport=mmio-legacy");
    REFUSE("--transport: unknown value \"pcie\"; did you mean \"pci\"?", "--kernel", "k",
           "--transport", "pcie");
}

Test(options, refused_words)
{
    REFUSE("no kernel: --kernel FILE is needed (see vmm --help)", NULL);
    REFUSE("no kernel: --kernel FILE is needed (see vmm --help)", "--mem=1G");
    REFUSE("unknown option --kernal; did you mean --kernel?", "--kernal", "k");
    REFUSE("unknown option --dsik; did you mean --disk?", "--kernel=k", "--dsik=a=b");
    REFUSE("unknown option -kernel; did you mean --kernel?", "-kernel", "k");
    REFUSE("unknown option --frobnicate (see vmm --help)", "--frobnicate");
    REFUSE("unknown option -m (see vmm --help)", "-m", "512");
    REFUSE("unknown option -- (see vmm --help)", "--", "k");
    REFUSE("unknown option -- (see vmm --help)", "--=x");
    REFUSE("\"bzImage\" is not an option; a kernel is named by --kernel FILE", "bzImage");
    REFUSE("\"\" is not an option; a kernel is named by --kernel FILE", "");
    REFUSE("--kernel: FILE is missing", "--kernel");
    REFUSE("--kernel: FILE is missing", "--kernel=");
    REFUSE("--kernel: FILE is missing", "--kernel", "");
    REFUSE("--kernel: FILE is missing", "--kernel", "--initrd", "i");
    REFUSE("--kernel: FILE is missing", "--kernel", "--initrd=i");
    REFUSE("--log: off|error|warn|info|debug is missing", "--kernel=k", "--log");
    REFUSE("--check-host: takes no value", "--check-host=yes");
    REFUSE("--version: takes no value", "--version=1");
    REFUSE("--help: takes no value", "--help=me");
    REFUSE("--kernel is given twice", "--kernel=k", "--kernel=k");
    REFUSE("--mem is given twice", "--kernel=k", "--mem=1G", "--mem", "2G");
    REFUSE("--check-host is given twice", "--check-host", "--check-host");
}

Test(options, refused_values)
{
    static const char twice[] = "--mem: hugepages is given twice";

    REFUSE("--cpus: 0 is out of range (1 to 4096)", "--kernel=k", "--cpus=0");
    REFUSE("--cpus: 4097 is out of range (1 to 4096)", "--kernel=k", "--cpus=4097");
    REFUSE("--cpus: 100000 is out of range (1 to 4096)", "--kernel=k", "--cpus", "100000");
    REFUSE("--cpus: \"-1\" is not a number", "--kernel=k", "--cpus", "-1");
    REFUSE("--mem: 0 is out of range (16M to 64T)", "--kernel=k", "--mem=0");
    REFUSE("--mem: 1M is out of range (16M to 64T)", "--kernel=k", "--mem", "1M");
    REFUSE("--mem: 15M is out of range (16M to 64T)", "--kernel=k", "--mem", "15M");
    REFUSE("--mem: 65T is out of range (16M to 64T)", "--kernel=k", "--mem", "65T");
    REFUSE("--mem: 99999999999999999999G is out of range (16M to 64T)", "--kernel=k",
           "--mem=99999999999999999999G");
    REFUSE("--mem: \"abc\" is not a size (examples: 512M, 4G)", "--kernel=k", "--mem=abc");
    REFUSE("--mem: \"-1\" is not a size (examples: 512M, 4G)", "--kernel=k", "--mem=-1");
    REFUSE("--mem: SIZE is missing", "--kernel=k", "--mem=");
    REFUSE("--mem: SIZE is missing", "--kernel=k", "--mem=hugepages=2M");
    REFUSE("--mem: 16385K: the size is not a multiple of 4K", "--kernel=k", "--mem=16385K");
    REFUSE("--mem: 17M,hugepages=2M: the size is not a multiple of 2M", "--kernel=k",
           "--mem=17M,hugepages=2M");
    REFUSE("--mem: 512M,hugepages=1G: the size is not a multiple of 1G", "--kernel=k",
           "--mem=512M,hugepages=1G");
    REFUSE(twice, "--kernel=k", "--mem=1G,hugepages=thp,hugepages=2M");
    REFUSE("--mem: unknown key \"prefalt\"; did you mean \"prefault\"?", "--kernel=k",
           "--mem=1G,prefalt");
    REFUSE("--discovery: unknown value \"apci\"; did you mean \"acpi\"?", "--kernel=k",
           "--discovery=apci");
    REFUSE("--on-reboot: unknown value \"panic\"; it is one of restart, exit", "--kernel=k",
           "--on-reboot=panic");
    REFUSE("--console: unknown value \"stdoi\"; did you mean \"stdio\"?", "--kernel=k",
           "--console=stdoi");
    REFUSE("--console: unknown value \"screen\"; it is one of stdio|pty|file=PATH|none",
           "--kernel=k", "--console", "screen");
    REFUSE("--console: the PATH of file=PATH is missing", "--kernel=k", "--console=file");
    REFUSE("--console: the PATH of file=PATH is missing", "--kernel=k", "--console=file=");
    REFUSE("--console: pty takes no value", "--kernel=k", "--console=pty=x");
}

Test(options, refused_devices)
{
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk");
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk=");
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk", ",ro");
    REFUSE("--disk: unknown key \"readonly\"; did you mean \"ro\"?", "--kernel=k",
           "--disk=a,readonly");
    REFUSE("--disk: ro is given twice", "--kernel=k", "--disk=a,ro,ro");
    REFUSE("--disk: ro: \"x\" is neither on nor off", "--kernel=k", "--disk=b", "--disk=a,ro=x");
    REFUSE("--device: CLASS is missing", "--kernel=k", "--device", "");
    REFUSE("--device: CLASS is missing", "--kernel=k", "--device=,ro");
    REFUSE("--device: unknown class \"consol\"; did you mean \"console\"?", "--kernel=k",
           "--device=consol,port=x");
    REFUSE("--device: unknown class \"gpu\" (--device help lists them)", "--kernel=k", "--disk=a",
           "--device=gpu");
    REFUSE("--device: unknown class \"gpu\" (--device help lists them)", "--device=gpu,help");
    REFUSE("--device blk: FILE is missing", "--kernel=k", "--device=blk");
    REFUSE("--device blk: unknown key \"seriel\"; did you mean \"serial\"?", "--kernel=k",
           "--device=blk,path=a,seriel=x");
}

Test(options, refused_together)
{
    REFUSE("--initrd without --kernel: nothing would unpack it", "--initrd=i");
    REFUSE("--initrd without --kernel: nothing would unpack it", "--initrd=i", "--dump-dtb=t");
    REFUSE("--check-host and --kernel contradict: it runs no guest", "--check-host", "--kernel=k");
    REFUSE("--check-host and --disk contradict: it runs no guest", "--disk=a", "--check-host");
    REFUSE("--check-host and --dump-dtb contradict: it runs no guest", "--dump-dtb=t",
           "--check-host");
}

Test(options, a_long_value_is_cut_not_overrun)
{
    char word[5000];

    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    memcpy(word, "--", 2);
    cr_assert_lt(PARSE("--kernel=k", word), 0);
    cr_expect_eq(strlen(err.msg), sizeof(err.msg) - 1);
    cr_assert_lt(PARSE("--kernel=k", "--device", word), 0);
    cr_assert_lt(PARSE("--kernel=k", "--console", word), 0);
}

/* Memory. */

Test(options, nothing_leaks)
{
#ifdef __SANITIZE_ADDRESS__
    static const char *const lines[][WORDS_MAX] = {
        {"--kernel=k", "--disk=a,ro", "--device=blk,path=b", "--device=rng", "--mem=1G,shared"},
        {"--kernel=k", "--disk=a", "--device=blk,help"},
        {"--disk=a", "--help"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        size_t before = __sanitizer_get_current_allocated_bytes();
        int rc = parse(lines[i]);
        size_t during = __sanitizer_get_current_allocated_bytes();
        options_free(&cfg);
        size_t after = __sanitizer_get_current_allocated_bytes();
        cr_assert_eq(rc, 0, "%s", err.msg);
        cr_expect_gt(during, before);
        cr_expect_eq(after, before);
    }
#else
    cr_skip_test("needs -fsanitize=address");
#endif
}

Test(options, free_takes_null_and_zeroes)
{
    options_free(NULL);
    cfg = (struct vm_config){0};
    options_free(&cfg);
    ACCEPT("--kernel=k", "--disk=a");
    options_free(&cfg);
    cr_expect_null(cfg.devices);
    cr_expect_eq(cfg.n_devices, 0);
    options_free(&cfg); /* twice */
}

/* What is printed. */

/* Spelled out, so that a row that is lost from the table is missed here. */
static const char *const all_options[] = {
    "kernel",   "initrd",    "cmdline",   "cpus", "mem",        "disk",       "device",
    "console",  "log",       "version",   "help", "check-host", "dump-dtb",   "on-reboot",
    "watchdog", "discovery", "transport", "net",  "api-sock",   "config-file"};

Test(options, help_tells_every_option_and_key)
{
    AUTO_FREE char *text = text_of(options_help);
    char word[64];

    for (size_t i = 0; i < ARRAY_SIZE(all_options); i++) {
        (void)snprintf(word, sizeof(word), "\n  --%s", all_options[i]);
        const char *at = strstr(text, word);
        cr_assert_not_null(at, "%s", word);
        cr_expect(strchr(" \n", at[strlen(word)]), "%s", word);
    }
    size_t rows = 0;
    for (const struct option_row *row = option_rows; row->d.key; row++, rows++)
        cr_expect_not_null(strstr(text, row->d.metavar ? row->d.metavar : row->d.key));
    cr_expect_eq(rows, ARRAY_SIZE(all_options));
    cr_expect_not_null(strstr(text, "hugepages=off|thp|2M|1G"));
    cr_expect_not_null(strstr(text, "\n      serial=TEXT"));
    cr_expect_not_null(strstr(text, "a console for tests"));
    cr_expect_not_null(strstr(text, "[512M]"));
    cr_expect_not_null(strstr(text, "[" DEFAULT_CMDLINE "]"));
}

Test(options, net_is_short_for_a_device_and_its_first_key)
{
    ACCEPT("--kernel=k", "--net", "user,n=3", "--net=tap");
    cr_assert_geq(cfg.n_devices, 2);
    cr_expect_eq(cfg.devices[0].class, &net);
    cr_expect_str_eq(cfg.devices[0].what, "--net user");
    const struct net_opts *o = cfg.devices[0].opts;
    cr_expect_str_eq(o->backend, "user");
    cr_expect_eq(o->n, 3);
    options_free(&cfg);
    REFUSE("--net: BACKEND is missing", "--kernel=k", "--net");
    REFUSE("--net: unknown key \"m\"; it knows backend, n, id, transport, packed, indirect, "
           "event_idx, "
           "in_order, notification_data, notif_config_data, ring_reset, order_platform, suspend, "
           "admin_vq, queue_size",
           "--kernel=k", "--net=tap,m=1");
}

Test(options, help_fits_100_columns)
{
    AUTO_FREE char *text = text_of(options_help);

    for (const char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        cr_assert_not_null(end, "no newline at the end");
        cr_expect_leq(end - line, 100, "%.*s", (int)(end - line), line);
        cr_expect(end == line || end[-1] != ' ', "blank at the end: %.*s", (int)(end - line), line);
    }
}

Test(options, manual_tells_every_option_and_section)
{
    static const char *const sections[] = {
        "NAME",    "SYNOPSIS",    "DESCRIPTION",      "OPTIONS",
        "DEVICES", "CONSOLE",     "HOW A GUEST ENDS", "ENVIRONMENT",
        "FILES",   "EXIT STATUS", "EXAMPLES",         "SEE ALSO"};
    AUTO_FREE char *text = text_of(options_man);
    char word[64];

    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        (void)snprintf(word, sizeof(word), "\n.Sh %s\n", sections[i]);
        cr_expect_not_null(strstr(text, word), "%s", sections[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(all_options); i++) {
        (void)snprintf(word, sizeof(word), "\n.It Fl -%s", all_options[i]);
        cr_expect_not_null(strstr(text, word), "%s", word);
    }
    cr_expect_not_null(strstr(text, "\n.It Cm serial Ns = Ns Ar TEXT\n"));
    cr_expect_not_null(strstr(text, "\n.It Cm port Ns = Ns Ar NAME=PATH Ns ...\n"));
    cr_expect_not_null(strstr(text, "\n\\&.raw\\eimage.\n"), "a help line is not a request");
    cr_expect_not_null(strstr(text, "\n\\&'serial number.\n"), "nor is one with a quote");
}

Test(options, manual_passes_mandoc)
{
    char path[] = "/tmp/test_options.XXXXXX.1", command[128], line[256];
    int fd = mkstemps(path, 2);

    cr_assert_geq(fd, 0);
    FILE *to = fdopen(fd, "w");
    cr_assert_not_null(to);
    options_man(to);
    cr_assert_eq(fclose(to), 0);
    (void)snprintf(command, sizeof(command), "mandoc -T lint -W warning %s 2>&1", path);
    FILE *lint = popen(command, "r");
    cr_assert_not_null(lint);
    while (fgets(line, sizeof(line), lint))
        fprintf(stderr, "%s", line);
    int status = pclose(lint);
    (void)unlink(path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        fputs("manual_passes_mandoc: skipped, package mandoc is not installed\n", stderr);
        cr_skip_test("package mandoc is not installed");
    }
    cr_expect_eq(status, 0, "mandoc -T lint: status %d", WEXITSTATUS(status));
}
