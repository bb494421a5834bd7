/* vmm/options_table.c - every option that vmm has, one row each, and how the values are read that
 * no type of base/opts.h covers. Order here is order in --help and in the manual page. */
#include "vmm/options_table.h"

/* --mem */

#define MEM_MIN  MIB(16) /* a kernel does not even unpack itself in less */
#define MEM_MAX  (GIB(1024) * 64)
#define CPUS_MAX 4096 /* KVM's own limit is smaller, and asked for later */

static const char *const backing_names[] = {
    [GMEM_4K] = "off", [GMEM_THP] = "thp", [GMEM_HUGE_2M] = "2M", [GMEM_HUGE_1G] = "1G", NULL};

const struct opt_desc option_mem_keys[] = {
    {.key = "size",
     .type = OPT_SIZE,
     .offset = offsetof(struct mem_opts, size),
     .metavar = "SIZE",
     .help = "bytes of RAM: 512M, 4G; a bare number is MiB",
     .min = MEM_MIN,
     .max = MEM_MAX,
     .positional = true,
     .required = true},
    {.key = "hugepages",
     .type = OPT_ENUM,
     .offset = offsetof(struct mem_opts, hugepages),
     .help = "back it with transparent huge pages, or from the host's pool of 2M or 1G pages",
     .names = backing_names},
    {.key = "prefault",
     .type = OPT_FLAG,
     .offset = offsetof(struct mem_opts, prefault),
     .help = "take all of it from the host now, so that no page is missing later"},
    {.key = "shared",
     .type = OPT_FLAG,
     .offset = offsetof(struct mem_opts, shared),
     .help = "keep it in a memory file that other processes can map"},
    {.type = OPT_END},
};

struct mem_opts option_mem_get(const struct vm_config *cfg)
{
    return (struct mem_opts){.size = cfg->mem_size,
                             .hugepages = (int)cfg->mem.backing,
                             .prefault = cfg->mem.prefault,
                             .shared = cfg->mem.shared};
}

int option_mem_set(struct vm_config *cfg, const struct mem_opts *o, const char *what,
                   const char *value, struct err *e)
{
    static const struct {
        uint64_t bytes;
        const char *name;
    } units[] = {[GMEM_4K] = {KIB(4), "4K"},
                 [GMEM_THP] = {KIB(4), "4K"},
                 [GMEM_HUGE_2M] = {MIB(2), "2M"},
                 [GMEM_HUGE_1G] = {GIB(1), "1G"}};
    if (o->size % units[o->hugepages].bytes)
        return err_input(e, 0, "%s: %s: the size is not a multiple of %s", what, value,
                         units[o->hugepages].name);
    cfg->mem_size = o->size;
    cfg->mem = (struct gmem_options){
        .backing = (enum gmem_backing)o->hugepages, .prefault = o->prefault, .shared = o->shared};
    return 0;
}

static int parse_mem(const struct option_row *row, const char *value, struct option_parse *p,
                     struct err *e)
{
    struct mem_opts o = {.hugepages = GMEM_4K};
    int rc = opts_parse(row->keys, "--mem", value, &o, e);
    return rc < 0 ? rc : option_mem_set(&p->cfg, &o, "--mem", value, e);
}

/* --cmdline: unlike OPT_STR it may be empty, which is a kernel's right. */
static int parse_cmdline(const struct option_row *row, const char *value, struct option_parse *p,
                         struct err *e)
{
    (void)row, (void)e;
    p->cfg.cmdline = value;
    return 0;
}

/* --on-reboot */

static const char *const on_reboot_names[] = {"restart", "exit", NULL};

static int parse_on_reboot(const struct option_row *row, const char *value, struct option_parse *p,
                           struct err *e)
{
    struct opt_desc d = row->d;
    int index;

    d.offset = 0;
    int rc = opt_parse_value(&d, "--on-reboot", value, &index, e);
    if (rc < 0)
        return rc;
    p->cfg.restart = index == 0;
    return 0;
}

/* --watchdog */

static const char *const watchdog_names[] = {
    [WATCHDOG_NONE] = "none", [WATCHDOG_RESET] = "reset", [WATCHDOG_POWER_OFF] = "poweroff", NULL};

/* --disk and --device */

/* The class's first key comes first, without its name. */
static int parse_short(const struct option_row *row, const char *value, struct option_parse *p,
                       struct err *e)
{
    const struct vdev_class *c = option_find_class(row->class, strlen(row->class));
    AUTO_FREE char *text = NULL, *what = NULL;
    AUTO_FREE char *option = NULL;
    size_t key = strlen(c->opts[0].key), first = strcspn(value, ",");

    /* A file's name may well have a "=" in it. */
    bool keyed = !strncmp(value, c->opts[0].key, key) && value[key] == '=';
    if (asprintf(&text, "%s%s%s", keyed ? "" : c->opts[0].key, keyed ? "" : "=", value) < 0)
        text = NULL;
    if (!text || asprintf(&option, "--%s", row->d.key) < 0)
        option = NULL;
    if (!option || asprintf(&what, "%s %.*s", option, (int)first, value) < 0) {
        what = NULL;
        return err_host(e, -ENOMEM, "--%s", row->d.key);
    }
    return option_add_device(&p->cfg, c, option, text, what, e);
}

static int unknown_class(const char *name, struct err *e)
{
    const char *names[64], *near;
    size_t n = 0;

    for (; vdev_classes[n] && n + 1 < ARRAY_SIZE(names); n++)
        names[n] = vdev_classes[n]->name;
    names[n] = NULL;
    near = opts_nearest(name, names);
    if (near)
        return err_input(e, 0, "--device: unknown class \"%s\"; did you mean \"%s\"?", name, near);
    return err_input(e, 0, "--device: unknown class \"%s\" (--device help lists them)", name);
}

static int parse_device(const struct option_row *row, const char *value, struct option_parse *p,
                        struct err *e)
{
    size_t len = strcspn(value, ",");
    const char *text = value[len] ? value + len + 1 : "";
    const struct vdev_class *c = option_find_class(value, len);
    AUTO_FREE char *name = strndup(value, len), *option = NULL, *what = NULL;

    if (!name || asprintf(&option, "--device %s", name) < 0) {
        option = NULL;
        return err_host(e, -ENOMEM, "--device");
    }
    if (!len)
        return err_input(e, 0, "--device: %s is missing", row->d.metavar);
    if (!strcmp(value, "help") || (c && !strcmp(text, "help"))) {
        option_drop_devices(&p->cfg);
        p->action = OPTIONS_HELP_DEVICES;
        p->cfg.devices = c ? calloc(1, sizeof(*p->cfg.devices)) : NULL;
        if (c && !p->cfg.devices)
            return err_host(e, -ENOMEM, "--device");
        if (c)
            p->cfg.devices[p->cfg.n_devices++].class = c;
        return 0;
    }
    if (!c)
        return unknown_class(name, e);
    if (asprintf(&what, "--device %s", value) < 0) {
        what = NULL;
        return err_host(e, -ENOMEM, "--device");
    }
    return option_add_device(&p->cfg, c, option, text, what, e);
}

/* --console: not a table of keys, for just one of its values has more to say. */
static int parse_console(const struct option_row *row, const char *value, struct option_parse *p,
                         struct err *e)
{
    static const struct {
        const char *name;
        int kind;
    } ends[] = {{"stdio", CHARDEV_STDIO}, {"pty", CHARDEV_PTY}, {"none", CHARDEV_NONE}};
    static const char *const names[] = {"stdio", "pty", "file", "none", NULL};
    size_t len = strcspn(value, "=");
    AUTO_FREE char *name = strndup(value, len);

    if (!name)
        return err_host(e, -ENOMEM, "--console");
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        if (strcmp(ends[i].name, name))
            continue;
        if (value[len])
            return err_input(e, 0, "--console: %s takes no value", name);
        p->cfg.console.kind = ends[i].kind;
        p->cfg.console.path = NULL;
        return 0;
    }
    if (strcmp(name, "file")) {
        const char *near = opts_nearest(name, names);
        if (near)
            return err_input(e, 0, "--console: unknown value \"%s\"; did you mean \"%s\"?", value,
                             near);
        return err_input(e, 0, "--console: unknown value \"%s\"; it is one of %s", value,
                         row->d.metavar);
    }
    if (!value[len] || !value[len + 1])
        return err_input(e, 0, "--console: the PATH of file=PATH is missing");
    p->cfg.console.kind = CHARDEV_FILE;
    p->cfg.console.path = value + len + 1;
    return 0;
}

/* What is done instead of running a guest. */

static int parse_check_host(const struct option_row *row, const char *value, struct option_parse *p,
                            struct err *e)
{
    (void)row, (void)value, (void)e;
    p->action = OPTIONS_CHECK_HOST;
    return 0;
}

static int parse_version(const struct option_row *row, const char *value, struct option_parse *p,
                         struct err *e)
{
    (void)row, (void)value, (void)e;
    p->action = OPTIONS_VERSION;
    return 0;
}

/* --help=man is for the build, which makes the manual page with it. */
static int parse_help(const struct option_row *row, const char *value, struct option_parse *p,
                      struct err *e)
{
    (void)row;
    if (value && strcmp(value, "man"))
        return err_input(e, 0, "--help: takes no value");
    p->action = value ? OPTIONS_MAN : OPTIONS_HELP;
    return 0;
}

/* The table. */

static const char *const discovery_names[] = {
    [DISCOVERY_ACPI] = "acpi", [DISCOVERY_FDT] = "fdt", [DISCOVERY_CMDLINE] = "cmdline", NULL};
static const char *const sandbox_names[] = {[SANDBOX_ON] = "on", [SANDBOX_OFF] = "off", NULL};
static const char *const log_names[] = {
    [LOG_OFF] = "off",   [LOG_ERROR] = "error", [LOG_WARN] = "warn",
    [LOG_INFO] = "info", [LOG_DEBUG] = "debug", NULL};

const char *const option_group_names[GROUP_COUNT] = {
    [GROUP_BOOT] = "What to boot",       [GROUP_MACHINE] = "The machine",
    [GROUP_DEVICES] = "Its devices",     [GROUP_CONTROL] = "Control from outside",
    [GROUP_CONFINEMENT] = "Confinement", [GROUP_TOOLS] = "Help and diagnosis",
};

const struct option_row option_rows[] = {
    {.d = {.key = "kernel",
           .type = OPT_STR,
           .offset = offsetof(struct vm_config, kernel),
           .metavar = "FILE",
           .help = "Linux kernel to boot: a bzImage, or an ELF vmlinux"},
     .group = GROUP_BOOT,
     .man =
         "A bzImage needs boot protocol 2.12 or newer.\n"
         "An ELF file is entered where its PVH note says, and by the 64-bit boot protocol if it\n"
         "has none or gets a device tree.\n"},
    {.d = {.key = "initrd",
           .type = OPT_STR,
           .offset = offsetof(struct vm_config, initrd),
           .metavar = "FILE",
           .help = "initial RAM disk that the kernel unpacks"},
     .group = GROUP_BOOT},
    {.d = {.key = "cmdline", .type = OPT_STR, .metavar = "TEXT", .help = "kernel command line"},
     .group = GROUP_BOOT,
     .default_text = DEFAULT_CMDLINE,
     .parse = parse_cmdline,
     .man = "The text replaces the default, it is not appended to it.\n"
            "The first disk is\n"
            ".Pa /dev/vda ,\n"
            "the serial port\n"
            ".Pa ttyS0 ,\n"
            "the virtio console\n"
            ".Pa hvc0 .\n"},
    {.d = {.key = "cpus",
           .type = OPT_U32,
           .offset = offsetof(struct vm_config, cpus),
           .metavar = "N",
           .help = "virtual CPUs, up to KVM's limit",
           .min = 1,
           .max = CPUS_MAX},
     .group = GROUP_MACHINE,
     .default_text = "1",
     .man = "Each of them is one thread of the host.\n"},
    {.d = {.key = "io-threads",
           .type = OPT_U32,
           .offset = offsetof(struct vm_config, io_threads),
           .metavar = "N",
           .help = "threads that the devices are spread over",
           .min = 1,
           .max = IO_THREADS_MAX},
     .group = GROUP_DEVICES,
     .default_text = "1",
     .man = "They are named io0, io1 and so on.\n"
            "Devices are given to them in turn, in the order in which they were asked for; the\n"
            "console is always io0's.\n"
            "The queues of a disk that has several begin at the thread that is the disk's, and go\n"
            "on with the next; so do the pairs of queues of a tap, unless it has rss or pcap.\n"},
    {.d = {.key = "io-poll-us",
           .type = OPT_U32,
           .offset = offsetof(struct vm_config, io_poll_us),
           .metavar = "N",
           .help = "microseconds that such a thread looks for work before it sleeps, at most",
           .max = 1000},
     .group = GROUP_DEVICES,
     .default_text = "0",
     .man = "Requests that follow each other soon find the thread awake, and cost the guest no\n"
            "notification; a CPU of the host's is busy meanwhile.\n"
            "So this is for hosts that have one to spare for each thread.\n"
            "A guest that is idle costs nothing: the time shrinks to none, and grows again.\n"
            "The metrics tell what it cost and what it brought.\n"
            "Where vmm may use one CPU only, nothing is done.\n"},
    {.d = {.key = "mem", .type = OPT_STR, .metavar = "SIZE", .help = "RAM of the guest"},
     .group = GROUP_MACHINE,
     .default_text = "512M",
     .keys = option_mem_keys,
     .parse = parse_mem,
     .man = "The least is 16M.\n"
            "What does not fit below 3 GiB continues at 4 GiB.\n"},
    {.d = {.key = "transport",
           .type = OPT_ENUM,
           .offset = offsetof(struct vm_config, transport),
           .help = "how the guest reaches devices that do not say transport=",
           .names = transport_names},
     .group = GROUP_DEVICES,
     .default_text = "pci",
     .man = ".Cm pci\n"
            "and\n"
            ".Cm mmio\n"
            "are those of virtio 1.\n"
            "The\n"
            ".Cm legacy\n"
            "ones are for guests that know virtio 0.9.5 only, and\n"
            ".Cm pci-transitional\n"
            "serves both kinds.\n"},
    {.d = {.key = "discovery",
           .type = OPT_ENUM,
           .offset = offsetof(struct vm_config, discovery),
           .help = "how the guest finds its devices",
           .names = discovery_names},
     .group = GROUP_MACHINE,
     .default_text = "acpi",
     .man = ".Cm acpi\n"
            "is what every distribution's kernel understands.\n"
            ".Cm fdt\n"
            "is a flattened device tree and needs a kernel with CONFIG_OF.\n"
            ".Cm cmdline\n"
            "puts virtio_mmio.device= in front of the kernel's command line and the CPUs into an\n"
            "MP table.\n"
            "It needs CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES, and such a guest cannot switch itself\n"
            "off; see\n"
            ".Sx HOW A GUEST ENDS .\n"},
    {.d = {.key = "on-reboot",
           .type = OPT_ENUM,
           .help = "what a reboot of the guest does",
           .names = on_reboot_names},
     .group = GROUP_MACHINE,
     .default_text = "restart",
     .parse = parse_on_reboot,
     .man = "Either it begins anew in this process, with RAM cleared and the kernel loaded again,\n"
            "or vmm ends with status 0.\n"},
    {.d = {.key = "watchdog",
           .type = OPT_ENUM,
           .offset = offsetof(struct vm_config, watchdog),
           .help = "a watchdog timer (i6300esb), and what it does to a guest that stops feeding it",
           .names = watchdog_names},
     .group = GROUP_MACHINE,
     .default_text = "none",
     .man = "It is a PCI device that the guest's driver turns on.\n"
            ".Cm reset\n"
            "is a reboot, as\n"
            ".Fl -on-reboot\n"
            "has it;\n"
            ".Cm poweroff\n"
            "ends vmm with status 0.\n"},
    {.d = {.key = "dump-dtb",
           .type = OPT_STR,
           .offset = offsetof(struct vm_config, dump_dtb),
           .metavar = "FILE",
           .help = "write the device tree of this machine to FILE and end, running nothing"},
     .group = GROUP_MACHINE,
     .man = "It goes with every other option of a machine and needs no kernel.\n"
            ".Xr dtc 1\n"
            "shows what is in it.\n"},
    {.d = {.key = "disk", .type = OPT_STR, .metavar = "FILE", .help = "disk image or block device"},
     .group = GROUP_DEVICES,
     .repeatable = true,
     .class = "blk",
     .parse = parse_short,
     .man = "The first is\n"
            ".Pa /dev/vda\n"
            "in the guest, the second\n"
            ".Pa /dev/vdb ,\n"
            "and so on.\n"
            "This is a short way to write\n"
            ".Fl -device Cm blk ;\n"
            "its keys are told under\n"
            ".Sx DEVICES .\n"
            "A\n"
            ".Ar RATE\n"
            "is an amount, with K, M, G or T behind it for powers of 1024; after a slash the\n"
            "time in which it comes back, in ms or s, otherwise a second; after a plus sign what\n"
            "may be used in addition, once.\n"
            "The amount may be used at one go: 500M/10s is on average what 50M is, in longer\n"
            "bursts.\n"
            "What exceeds it waits; what is bigger than the amount passes, and is waited for\n"
            "afterwards.\n"
            "An amount or a time of 0 is no limit.\n"},
    {.d = {.key = "net",
           .type = OPT_STR,
           .metavar = "BACKEND",
           .help = "network interface, and what it is connected to"},
     .group = GROUP_DEVICES,
     .repeatable = true,
     .class = "net",
     .parse = parse_short,
     .man = "With\n"
            ".Cm user\n"
            "the guest is alone in a network behind this process: it gets an address by DHCP, "
            "reaches\n"
            "what the host reaches, and is reached by\n"
            ".Cm hostfwd\n"
            "only; no privilege is needed.\n"
            ".Cm tap\n"
            "and\n"
            ".Cm macvtap\n"
            "are interfaces of the host, which somebody has made before.\n"
            "This is a short way to write\n"
            ".Fl -device Cm net .\n"},
    {.d = {.key = "device",
           .type = OPT_STR,
           .metavar = "CLASS",
           .help = "any device: a class below, and keys of it"},
     .group = GROUP_DEVICES,
     .repeatable = true,
     .parse = parse_device,
     .man = "See\n"
            ".Sx DEVICES .\n"
            ".Cm help\n"
            "in place of a class prints them all,\n"
            ".Cm help\n"
            "in place of keys those of the class.\n"
            "A console and an entropy device are there without being asked for; to name one of\n"
            "them is to replace it.\n"},
    {.d = {.key = "console",
           .type = OPT_STR,
           .metavar = "stdio|pty|file=PATH|none",
           .help = "the host's end of the guest's console"},
     .group = GROUP_DEVICES,
     .default_text = "stdio",
     .parse = parse_console,
     .man = "This terminal, a new pseudo-terminal whose name is printed, a file that is\n"
            "truncated and written, or nothing; see\n"
            ".Sx CONSOLE .\n"},
    {.d = {.key = "api-sock",
           .type = OPT_STR,
           .offset = offsetof(struct vm_config, api_sock),
           .metavar = "PATH",
           .help = "make a Unix socket there on which the guest is configured, watched and "
                   "controlled"},
     .group = GROUP_CONTROL,
     .man = "Without\n"
            ".Fl -kernel\n"
            "and\n"
            ".Fl -config-file\n"
            "the guest is started by it too; see\n"
            ".Sx CONTROL SOCKET .\n"},
    {.d = {.key = "config-file",
           .type = OPT_STR,
           .offset = offsetof(struct vm_config, config_file),
           .metavar = "FILE",
           .help = "read the guest's configuration from FILE, as JSON, and start it"},
     .group = GROUP_CONTROL,
     .man = "It has the bodies that the control socket takes, by the names of its resources.\n"
            "Devices on the command line come behind those in the file.\n"},
    {.d = {.key = "jail",
           .type = OPT_STR,
           .metavar = "DIR",
           .help = "run the guest in a process apart from the host, with DIR for a root"},
     .group = GROUP_CONFINEMENT,
     .keys = option_jail_keys,
     .parse = option_parse_jail,
     .man = "DIR is best an empty folder of root's; see\n"
            ".Sx JAIL .\n"},
    {.d = {.key = "sandbox",
           .type = OPT_ENUM,
           .offset = offsetof(struct vm_config, sandbox),
           .help = "confine each thread to the system calls and files that it needs",
           .names = sandbox_names},
     .group = GROUP_CONFINEMENT,
     .default_text = "on",
     .man = "A thread that asks for anything else ends vmm; see\n"
            ".Sx SANDBOX .\n"
            ".Cm off\n"
            "is for debugging: vmm can then be traced by its own user and leaves a core, and\n"
            "nothing stands between a guest that has taken it over and what its user may do.\n"},
    {.d = {.key = "check-host",
           .type = OPT_FLAG,
           .help = "say which KVM this is and whether it can boot a stock kernel"},
     .group = GROUP_TOOLS,
     .parse = parse_check_host,
     .man = "This is found out by running a few instructions in a virtual machine that is thrown\n"
            "away.\n"},
    {.d = {.key = "log",
           .type = OPT_ENUM,
           .offset = offsetof(struct vm_config, log),
           .help = "least serious of the messages that go to standard error",
           .names = log_names},
     .group = GROUP_TOOLS,
     .default_text = "warn"},
    {.d = {.key = "version", .type = OPT_FLAG, .help = "print the version"},
     .group = GROUP_TOOLS,
     .parse = parse_version},
    {.d = {.key = "help", .type = OPT_FLAG, .help = "print a summary of all this"},
     .group = GROUP_TOOLS,
     .value_too = true,
     .parse = parse_help},
    {.d = {.key = NULL}},
};
