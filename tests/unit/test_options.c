/* tests/unit/test_options.c - the command line: what is understood, and that nothing of it is
 * lost or leaks. */
#include "tests/unit/options_try.h"

/* What is understood. */

/* A jail of the command line, whose strings are gone when this returns. */
static struct jail_config jail_of(const char *first, const char *second, const char *third)
{
    ACCEPT(first, second, third);
    struct jail_config j = cfg.jail;
    options_free(&cfg);
    return j;
}

Test(options, jail)
{
    cr_assert_null(jail_of("--kernel=k", NULL, NULL).dir);
    ACCEPT("--kernel=k", "--jail=d,uid=1000,gid=1001,cgroup=/c,netns=n");
    cr_assert_str_eq(cfg.jail.dir, "d");
    cr_assert_eq(cfg.jail.uid, 1000);
    cr_assert_eq(cfg.jail.gid, 1001);
    cr_assert_str_eq(cfg.jail.cgroup, "/c");
    cr_assert_str_eq(cfg.jail.netns, "n");
    cr_assert_not(cfg.jail.own_net);
    options_free(&cfg);
}

Test(options, network_of_a_jail)
{
    cr_assert(jail_of("--kernel=k", "--jail=d", NULL).own_net);
    cr_assert(jail_of("--api-sock=s", "--kernel=k", "--jail=d").own_net);
    /* An interface needs the host's, and so may one that is named later. */
    cr_assert_not(jail_of("--kernel=k", "--net=user", "--jail=d").own_net);
    cr_assert_not(jail_of("--config-file=c", "--jail=d", NULL).own_net);
    cr_assert_not(jail_of("--api-sock=s", "--jail=d", NULL).own_net);
    struct jail_config j = jail_of("--kernel=k", "--net=user", "--jail=d,netns=new");
    cr_assert(j.own_net);
    cr_assert_null(j.netns);
}

Test(options, a_kernel_is_enough)
{
    ACCEPT("--kernel", "bzImage");
    cr_expect_eq(action, OPTIONS_RUN);
    cr_expect_str_eq(cfg.kernel, "bzImage");
    cr_expect_null(cfg.initrd);
    cr_expect_null(cfg.cmdline);
    cr_expect_null(cfg.dump_dtb);
    cr_expect_eq(cfg.cpus, 1);
    cr_expect_eq(cfg.io_threads, 1);
    cr_expect_eq(cfg.io_poll_us, 0);
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
           "--discovery=cmdline", "--on-reboot", "exit", "--log=debug", "--io-threads", "16",
           "--io-poll-us=50");
    cr_expect_str_eq(cfg.kernel, "k=1");
    cr_expect_str_eq(cfg.initrd, "i");
    cr_expect_str_eq(cfg.cmdline, "a=b,c --d");
    cr_expect_str_eq(cfg.dump_dtb, "t");
    cr_expect_eq(cfg.cpus, 3);
    cr_expect_eq(cfg.io_threads, 16);
    cr_expect_eq(cfg.io_poll_us, 50);
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
