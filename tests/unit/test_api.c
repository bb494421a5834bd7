/* tests/unit/test_api.c - JSON and the options that it is: every field of every body leads to an
 * option that exists, arrives there, comes back, and is refused in a sentence that names it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/all_bodies.h"

static struct vm_config base;
static json_t *have;
static struct api_config c;
static struct err err;

static void setup(void)
{
    char *argv[] = {(char *)"vmm", (char *)"--api-sock", (char *)"s", (char *)"--disk",
                    (char *)"first"};
    enum options_action action;
    cr_assert_eq(options_parse(ARRAY_SIZE(argv), argv, &base, &action, &err), 0, "%s", err.msg);
    have = json_object();
}

static void teardown(void)
{
    api_config_drop(&c);
    json_decref(have);
    options_free(&base);
}

TestSuite(api, .init = setup, .fini = teardown);

/* As a PUT, or a PATCH with `merge`, is. */
static int put(const struct api_body *b, const char *id, const char *text, bool merge)
{
    char what[128];
    json_error_t why;
    json_t *body = json_loads(text, 0, &why), *next = NULL;
    struct api_config made = {0};
    cr_assert_not_null(body, "%s: %s", text, why.text);
    (void)snprintf(what, sizeof(what), "%s%s%s", b->section, id ? "/" : "", id ? id : "");
    int rc = api_body_check(b, body, !merge, what, &err);
    if (rc == 0)
        rc = api_config_put(have, b, id, body, merge, &next, &err);
    if (rc == 0)
        rc = api_config_make(&base, next, &made, &err);
    if (rc == 0) {
        api_config_drop(&c);
        c = made;
        json_decref(have);
        have = next;
    } else {
        json_decref(next);
    }
    json_decref(body);
    return rc;
}

#define ACCEPT(b, id, text) cr_assert_eq(put(b, id, text, false), 0, "%s", err.msg)
#define REFUSE(b, id, text, want)                                                                  \
    do {                                                                                           \
        cr_expect_lt(put(b, id, text, false), 0, "%s", text);                                      \
        cr_expect_eq(err.kind, ERR_INPUT);                                                         \
        cr_expect_str_eq(err.msg, want);                                                           \
    } while (0)

/* The option of a device, by its key. */
static const void *option(const char *class, const char *id, const char *key)
{
    int i = api_find_device(&c.cfg, class, id);
    cr_assert_geq(i, 0, "%s %s", class, id ? id : "");
    const struct device_config *d = &c.cfg.devices[i];
    const struct opt_desc *row = option_key(d->class->opts, key);
    cr_assert_not_null(row, "%s", key);
    return (const char *)d->opts + row->offset;
}

/* --- the tables --- */

Test(api, fields_lead_to_options_that_exist)
{
    for (size_t i = 0; i < ARRAY_SIZE(all_bodies); i++) {
        const struct api_body *b = all_bodies[i];
        const struct vdev_class *class =
            b->class ? option_find_class(b->class, strlen(b->class)) : NULL;
        if (b->class && !class) { /* looked for when it is asked for */
            cr_assert_str_eq(b->class, "vsock");
            continue;
        }
        for (const struct api_field *f = b->fields; f->name; f++) {
            cr_assert_eq(f->kind == API_WORD, f->words != NULL, "%s", f->name);
            cr_assert_eq(f->kind == API_OFF, f->why != NULL, "%s", f->name);
            for (const struct api_word *w = f->words; f->option && w && w->json; w++)
                cr_assert_not_null(w->option, "%s", w->json);
            if (!f->option)
                continue;
            bool found = false;
            if (class)
                found = option_key(class->opts, f->option) || !strcmp(f->option, "id");
            cr_expect_eq(f->kind == API_LIMITER, f->ops != NULL, "%s", f->name);
            if (f->ops)
                cr_expect_not_null(option_key(class->opts, f->ops), "%s", f->ops);
            for (const struct option_row *r = option_rows; !class && r->d.key; r++)
                found |= !strcmp(r->d.key, f->option);
            found |= !class && option_key(option_mem_keys, f->option);
            found |= strstr(f->option, "_path") != NULL;
            cr_expect(found, "%s: %s: %s", b->section, f->name, f->option);
        }
        if (b->always.key)
            cr_expect_not_null(option_key(class->opts, b->always.key));
    }
}

/* A string would be borrowed from the body of a PATCH, which is gone when it is answered. */
Test(api, what_can_be_changed_is_no_string)
{
    for (size_t i = 0; i < ARRAY_SIZE(all_bodies); i++) {
        const struct vdev_class *class =
            all_bodies[i]->class ? option_find_class(all_bodies[i]->class,
                                                     strlen(all_bodies[i]->class))
                                 : NULL;
        for (const struct api_field *f = all_bodies[i]->fields; class && f->name; f++) {
            const struct opt_desc *row = f->option ? option_key(class->opts, f->option) : NULL;
            if (row && row->live)
                cr_expect(row->type != OPT_STR && row->type != OPT_STRS, "%s: %s",
                          all_bodies[i]->section, f->name);
        }
    }
}

Test(api, fields_are_told_apart)
{
    for (size_t i = 0; i < ARRAY_SIZE(all_bodies); i++) {
        for (const struct api_field *f = all_bodies[i]->fields; f->name; f++) {
            for (const struct api_field *g = f + 1; g->name; g++)
                cr_expect_str_neq(f->name, g->name);
        }
    }
}

/* --- to options and back --- */

Test(api, machine)
{
    ACCEPT(&api_machine, NULL,
           "{\"vcpu_count\": 3, \"mem_size_mib\": 130, \"huge_pages\": \"2M\", \"smt\": false, "
           "\"cpu_template\": \"None\", \"track_dirty_pages\": null}");
    cr_expect_eq(c.cfg.cpus, 3);
    cr_expect_eq(c.cfg.mem_size, MIB(130));
    cr_expect_eq(c.cfg.mem.backing, GMEM_HUGE_2M);
    cr_assert_eq(put(&api_machine, NULL, "{\"vcpu_count\": 4}", true), 0, "%s", err.msg);
    cr_expect_eq(c.cfg.cpus, 4);
    cr_expect_eq(c.cfg.mem_size, MIB(130));
    json_t *shown = api_config_show_section(&c, &api_machine);
    cr_expect_eq(json_integer_value(json_object_get(shown, "vcpu_count")), 4);
    cr_expect_eq(json_integer_value(json_object_get(shown, "mem_size_mib")), 130);
    cr_expect_str_eq(json_string_value(json_object_get(shown, "huge_pages")), "2M");
    json_decref(shown);
    ACCEPT(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": 129}");
    cr_expect_eq(c.cfg.mem.backing, GMEM_4K, "what is not said is as it was");
}

Test(api, what_is_wrong_with_a_machine)
{
    REFUSE(&api_machine, NULL, "{}", "machine-config: vcpu_count is missing");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": null}",
           "machine-config: mem_size_mib is missing");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 5000, \"mem_size_mib\": 128}",
           "machine-config: vcpu_count: 5000 is out of range (1 to 4096)");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 9223372036854775807, \"mem_size_mib\": 128}",
           "machine-config: vcpu_count: 9223372036854775807 is out of range (1 to 4096)");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": -1, \"mem_size_mib\": 128}",
           "machine-config: vcpu_count: it is negative");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1.0, \"mem_size_mib\": 128}",
           "machine-config: vcpu_count: it must be an integer");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": 9223372036854775807}",
           "machine-config: mem_size_mib: 9223372036854775807M is out of range (16M to 64T)");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": 129, \"huge_pages\": \"2M\"}",
           "machine-config: mem_size_mib: 129 MiB: the size is not a multiple of 2M");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": 129, \"huge_pages\": \"1G\"}",
           "machine-config: huge_pages: unknown value \"1G\"; it is one of None, Transparent, 2M");
    REFUSE(&api_machine, NULL, "{\"vcpu_count\": 1, \"mem_size_mib\": 129, \"smt\": true}",
           "machine-config: smt: each vCPU is a core of its own");
    REFUSE(&api_machine, NULL, "{\"vcpus\": 1}", "machine-config: unknown field \"vcpus\"");
    REFUSE(&api_machine, NULL, "[]", "machine-config: it must be an object");
    cr_expect_eq(json_object_size(have), 0, "nothing of it is kept");
}

Test(api, drives_and_the_root)
{
    ACCEPT(&api_drive, "a",
           "{\"drive_id\": \"a\", \"path_on_host\": \"x,y=z\", \"is_root_device\": false, "
           "\"io_engine\": \"Async\", \"cache_type\": \"Writeback\"}");
    cr_expect_str_eq(*(const char *const *)option("blk", "a", "path"), "x,y=z", "as it is");
    cr_expect_not(*(const bool *)option("blk", "a", "ro"));
    ACCEPT(&api_boot_source, NULL, "{\"kernel_image_path\": \"k\", \"boot_args\": \"quiet\"}");
    cr_expect_str_eq(c.cfg.cmdline, "quiet");
    ACCEPT(&api_drive, "r",
           "{\"drive_id\": \"r\", \"path_on_host\": \"root\", \"is_root_device\": true, "
           "\"is_read_only\": true}");
    cr_expect_str_eq(c.cfg.devices[0].id, "r", "it is /dev/vda");
    cr_expect_str_eq(c.cfg.cmdline, "quiet root=/dev/vda ro");
    cr_expect(*(const bool *)option("blk", "r", "ro"));
    cr_expect_str_eq(*(const char *const *)option("blk", "blk2", "path"), "first",
                     "those of the command line are behind");
    REFUSE(&api_drive, "s",
           "{\"drive_id\": \"s\", \"path_on_host\": \"x\", \"is_root_device\": true}",
           "2 devices are each to be the root device");
    ACCEPT(&api_drive, "r",
           "{\"drive_id\": \"r\", \"path_on_host\": \"root\", \"is_root_device\": true, "
           "\"partuuid\": \"1-2\"}");
    cr_expect_str_eq(c.cfg.cmdline, "quiet root=PARTUUID=1-2 rw");
    cr_expect_eq(json_array_size(json_object_get(have, "drives")), 2, "it has been replaced");
}

Test(api, names_that_two_would_have)
{
    ACCEPT(&api_drive, "blk0",
           "{\"drive_id\": \"blk0\", \"path_on_host\": \"x\", \"is_root_device\": false}");
    ACCEPT(&api_drive, "a",
           "{\"drive_id\": \"a\", \"path_on_host\": \"y\", \"is_root_device\": false}");
    REFUSE(&api_drive, "blk3",
           "{\"drive_id\": \"blk3\", \"path_on_host\": \"z\", \"is_root_device\": true}",
           "--disk first: its name is blk3, as that of drives/blk3");
    ACCEPT(&api_net, "blk0", "{\"iface_id\": \"blk0\", \"host_dev_name\": \"tap7\"}");
}

/* Or a client could make us keep, and go through, as many as it likes. */
Test(api, more_devices_than_any_machine_has)
{
    char id[16], text[128];
    unsigned n = 0;
    do {
        (void)snprintf(id, sizeof(id), "d%u", n++);
        (void)snprintf(text, sizeof(text),
                       "{\"drive_id\": \"%s\", \"path_on_host\": \"x\", \"is_root_device\": false}",
                       id);
    } while (put(&api_drive, id, text, false) == 0 && n < 1000);
    cr_expect_eq(n, 64, "%u", n);
    cr_expect_str_eq(err.msg, "65 devices are asked for, and there is room for fewer than 64");
    cr_expect_eq(json_array_size(json_object_get(have, "drives")), n - 1);
}

Test(api, root_in_persistent_memory)
{
    ACCEPT(&api_pmem, "p",
           "{\"id\": \"p\", \"path_on_host\": \"f\", \"root_device\": true, \"read_only\": true}");
    cr_expect_str_eq(c.cfg.cmdline, "console=ttyS0 panic=-1 root=/dev/pmem0 ro");
    cr_expect_str_eq(*(const char *const *)option("pmem", "p", "file"), "f");
    cr_expect(*(const bool *)option("pmem", "p", "ro"));
}

Test(api, other_devices)
{
    ACCEPT(&api_net, "e",
           "{\"iface_id\": \"e\", \"host_dev_name\": \"tap7\", \"guest_mac\": "
           "\"02:00:00:00:00:01\", \"mtu\": 9000}");
    cr_expect_str_eq(*(const char *const *)option("net", "e", "ifname"), "tap7");
    cr_expect_eq(*(const uint32_t *)option("net", "e", "mtu"), 9000);
    ACCEPT(&api_balloon, NULL,
           "{\"amount_mib\": 5, \"deflate_on_oom\": true, \"stats_polling_interval_s\": 3, "
           "\"free_page_hinting\": true, \"free_page_reporting\": true}");
    cr_expect_eq(*(const uint64_t *)option("balloon", NULL, "size"), MIB(5));
    cr_expect_eq(*(const uint32_t *)option("balloon", NULL, "stats"), 3);
    cr_expect(*(const bool *)option("balloon", NULL, "deflate_on_oom"));
    cr_expect(*(const bool *)option("balloon", NULL, "hinting"));
    cr_expect(*(const bool *)option("balloon", NULL, "reporting"));
    ACCEPT(&api_hotplug, NULL, "{\"total_size_mib\": 256, \"block_size_mib\": 4}");
    cr_expect_eq(*(const uint64_t *)option("mem", NULL, "size"), MIB(256));
    cr_expect_eq(*(const uint64_t *)option("mem", NULL, "block"), MIB(4));
    ACCEPT(&api_entropy, NULL, "{\"rate_limiter\": null}");
    ACCEPT(&api_serial, NULL, "{\"serial_out_path\": \"out\"}");
    cr_expect_eq(c.cfg.console.kind, CHARDEV_FILE);
    cr_expect_str_eq(c.cfg.console.path, "out");
    ACCEPT(&api_logger, NULL, "{\"level\": \"Warning\", \"show_level\": true}");
    cr_expect_eq(c.cfg.log, LOG_WARN);
    REFUSE(&api_serial, NULL, "{\"serial_out_path\": \"\"}",
           "serial: serial_out_path: a file's name is missing");
    REFUSE(&api_entropy, NULL, "{\"rate_limiter\": {}}",
           "entropy: rate_limiter: rate limits are not supported here");
    REFUSE(&api_metrics, NULL, "{\"metrics_path\": \"m\", \"properties\": {\"a\": 1}}",
           "metrics: properties: it must be an object of strings");
}

static struct bucket_limit rate(const char *class, const char *id, const char *key)
{
    return *(const struct bucket_limit *)option(class, id, key);
}

static void same_rate(struct bucket_limit l, uint64_t size, uint64_t once, uint64_t refill_ms)
{
    cr_expect_eq(l.size, size);
    cr_expect_eq(l.once, once);
    cr_expect_eq(l.refill_ms, refill_ms);
}

#define DRIVE(limiter)                                                                             \
    "{\"drive_id\": \"a\", \"path_on_host\": \"x\", \"is_root_device\": false, "                   \
    "\"rate_limiter\": " limiter "}"

Test(api, rate_limiters)
{
    ACCEPT(&api_drive, "a",
           DRIVE("{\"bandwidth\": {\"size\": 1000, \"refill_time\": 100}, \"ops\": {\"size\": 7, "
                 "\"one_time_burst\": 3, \"refill_time\": 1000}}"));
    same_rate(rate("blk", "a", "bps"), 1000, 0, 100);
    same_rate(rate("blk", "a", "iops"), 7, 3, 1000);
    json_t *shown = api_config_show_section(&c, &api_drive);
    json_t *limiter = json_object_get(json_array_get(shown, 0), "rate_limiter");
    json_t *want = json_pack("{s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i}}", "bandwidth", "size", 1000,
                             "one_time_burst", 0, "refill_time", 100, "ops", "size", 7,
                             "one_time_burst", 3, "refill_time", 1000);
    cr_expect(json_equal(limiter, want));
    cr_expect_null(json_object_get(json_array_get(shown, 1), "rate_limiter"), "it has none");
    json_decref(want);
    json_decref(shown);
    ACCEPT(&api_drive, "a",
           DRIVE("{\"bandwidth\": null, \"ops\": {\"size\": 9223372036854775807, "
                 "\"one_time_burst\": 9223372036854775807, \"refill_time\": 86400000}}"));
    same_rate(rate("blk", "a", "bps"), 0, 0, 0);
    same_rate(rate("blk", "a", "iops"), INT64_MAX, INT64_MAX, 86400000);
    ACCEPT(&api_drive, "a", DRIVE("{\"ops\": {\"size\": 0, \"refill_time\": 100}}"));
    same_rate(rate("blk", "a", "iops"), 0, 0, 0);
    shown = api_config_show_section(&c, &api_drive);
    cr_expect_null(json_object_get(json_array_get(shown, 0), "rate_limiter"), "it is none");
    json_decref(shown);
    ACCEPT(&api_drive, "a", DRIVE("{}"));
    ACCEPT(&api_net, "e",
           "{\"iface_id\": \"e\", \"host_dev_name\": \"tap7\", \"rx_rate_limiter\": {\"ops\": "
           "{\"size\": 1, \"refill_time\": 2}}, \"tx_rate_limiter\": {\"bandwidth\": {\"size\": 3, "
           "\"refill_time\": 4, \"one_time_burst\": null}}}");
    same_rate(rate("net", "e", "rx_bps"), 0, 0, 0);
    same_rate(rate("net", "e", "rx_pps"), 1, 0, 2);
    same_rate(rate("net", "e", "tx_bps"), 3, 0, 4);
    same_rate(rate("net", "e", "tx_pps"), 0, 0, 0);
}

/* Of a machine that runs: only buckets that are there change, and all of them are live. */
Test(api, rate_limiters_that_change)
{
    static const char *const bodies[] = {"{\"rx_rate_limiter\": {\"ops\": {\"size\": 5, "
                                         "\"refill_time\": 6}}, \"tx_rate_limiter\": null}",
                                         "{\"rx_rate_limiter\": {\"ops\": {\"size\": 0, "
                                         "\"refill_time\": 0}}}"};
    const struct vdev_class *class = option_find_class("net", 3);
    AUTO_FREE void *opts = calloc(1, class->opts_size);
    for (unsigned i = 0; i < 2; i++) {
        const char *const rows[] = {"rx_bps", "rx_pps", "tx_bps", "tx_pps"};
        for (unsigned k = 0; k < ARRAY_SIZE(rows); k++)
            cr_assert_eq(opt_parse_value(option_key(class->opts, rows[k]), "", "1", opts, &err), 0);
        json_t *json = json_loads(bodies[i], 0, NULL);
        cr_assert_eq(api_body_check(&api_net_patch, json, false, "net", &err), 0, "%s", err.msg);
        cr_assert_eq(api_body_to_device(&api_net_patch, json, "net", class->opts, true, opts, &err),
                     0, "%s", err.msg);
        for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
            const char *at = (const char *)opts + option_key(class->opts, rows[k])->offset;
            struct bucket_limit has = *(const struct bucket_limit *)(const void *)at;
            if (k != 1)
                same_rate(has, 1, 0, 1000);
            else if (i == 0)
                same_rate(has, 5, 0, 6);
            else
                same_rate(has, 0, 0, 0);
        }
        json_decref(json);
    }
}

Test(api, what_is_wrong_with_a_rate_limiter)
{
    static const char *const bad[][2] = {
        {"7", "it must be an object"},
        {"{\"bytes\": {}}", "it has bandwidth and ops only"},
        {"{\"ops\": 7}", "ops: it must be an object"},
        {"{\"ops\": {}}", "ops: size is missing"},
        {"{\"ops\": {\"size\": 1}}", "ops: refill_time is missing"},
        {"{\"ops\": {\"size\": 1, \"refill_time\": null}}",
         "ops: refill_time: it must be an integer"},
        {"{\"bandwidth\": {\"size\": \"1M\", \"refill_time\": 1}}",
         "bandwidth: size: it must be an integer"},
        {"{\"bandwidth\": {\"size\": -1, \"refill_time\": 1}}", "bandwidth: size: it is negative"},
        {"{\"ops\": {\"size\": 1, \"refill_time\": 1, \"one_time_burst\": -1}}",
         "ops: one_time_burst: it is negative"},
        {"{\"ops\": {\"size\": 1, \"refill_time\": 1, \"burst\": 1}}",
         "ops: it has size, refill_time and one_time_burst only"},
        {"{\"ops\": {\"size\": 5, \"refill_time\": 86400001}}",
         "ops: 5/86400001ms+0 is out of range (less than 2^63, within 24 hours)"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[256], want[256];
        (void)snprintf(text, sizeof(text), DRIVE("%s"), bad[i][0]);
        (void)snprintf(want, sizeof(want), "drives/a: rate_limiter: %s", bad[i][1]);
        REFUSE(&api_drive, "a", text, want);
    }
}

/* What no body could say is not shown as one that it could. */
Test(api, network_that_is_no_tap)
{
    cr_assert_eq(option_add_device(&base, option_find_class("net", 3), "--net", "backend=user",
                                   "--net user", &err),
                 0, "%s", err.msg);
    ACCEPT(&api_net, "e", "{\"iface_id\": \"e\", \"host_dev_name\": \"tap7\"}");
    json_t *shown = api_config_show_section(&c, &api_net);
    cr_expect_eq(json_array_size(shown), 1);
    json_t *tap = json_pack("{s:s, s:s}", "iface_id", "e", "host_dev_name", "tap7");
    cr_expect(json_equal(json_array_get(shown, 0), tap));
    json_decref(shown);
    json_decref(tap);
}

/* The class may come later than these lines. */
Test(api, vsock)
{
    const char *text = "{\"guest_cid\": 3, \"uds_path\": \"v\"}";
    if (option_find_class("vsock", 5))
        ACCEPT(&api_vsock, NULL, text);
    else
        REFUSE(&api_vsock, NULL, text, "vsock: this vmm has no vsock device");
}

Test(api, only_what_is_live_is_changed)
{
    struct {
        uint64_t align[64];
    } opts = {0};
    const struct vdev_class *class = option_find_class("balloon", 7);
    json_t *json = json_pack("{s:i}", "amount_mib", 7);
    cr_assert_eq(
        api_body_to_device(&api_balloon_patch, json, "balloon", class->opts, true, &opts, &err), 0);
    cr_expect_eq(*(uint64_t *)((char *)&opts + option_key(class->opts, "size")->offset), MIB(7));
    json_decref(json);
    json = json_pack("{s:b}", "free_page_hinting", 1);
    cr_assert_lt(api_body_to_device(&api_balloon, json, "balloon", class->opts, true, &opts, &err),
                 0);
    cr_expect_str_eq(err.msg, "balloon: free_page_hinting: this cannot be changed");
    json_decref(json);
}

/* --- names --- */

Test(api, ids)
{
    char longest[66];
    memset(longest, 'x', 65);
    longest[65] = '\0';
    cr_expect_lt(api_check_id(longest, "drives", &err), 0);
    longest[64] = '\0';
    cr_expect_eq(api_check_id(longest, "drives", &err), 0);
    cr_expect_eq(api_check_id("a_B-9", "drives", &err), 0);
    const char *const bad[] = {"", "a b", "a/b", "a%20", "\xc3\xa4", "a\n"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_lt(api_check_id(bad[i], "drives", &err), 0, "%s", bad[i]);
}

/* --- files --- */

static const char *file_of(const char *text)
{
    static char path[] = "/tmp/vmm-test-api.XXXXXX";
    memset(path + strlen(path) - 6, 'X', 6);
    AUTO_FD fd = mkstemp(path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return path;
}

static int load(const char *text, json_t **out)
{
    const char *path = file_of(text);
    int rc = api_config_load(path, out, &err);
    cr_expect_eq(unlink(path), 0);
    return rc;
}

Test(api, a_file_is_what_is_shown)
{
    json_t *file, *again, *shown, *twice;
    cr_assert_eq(
        load("{\"boot-source\": {\"kernel_image_path\": \"k\"}, \"drives\": [{\"drive_id\":"
             " \"d\", \"path_on_host\": \"p\", \"is_root_device\": true}], "
             "\"vsock\": null, \"network-interfaces\": [{\"iface_id\": \"n\", "
             "\"host_dev_name\": \"tap0\"}], \"memory-hotplug\": {\"total_size_mib\": 128}, "
             "\"balloon\": {\"amount_mib\": "
             "1, \"deflate_on_oom\": false}}",
             &file),
        0, "%s", err.msg);
    cr_assert_eq(api_config_make(&base, file, &c, &err), 0, "%s", err.msg);
    cr_expect_str_eq(c.cfg.kernel, "k");
    cr_expect_str_eq(c.cfg.cmdline, "console=ttyS0 panic=-1 root=/dev/vda rw");
    shown = api_config_show(&c);
    AUTO_FREE char *text = json_dumps(shown, 0);
    cr_assert_eq(load(text, &again), 0, "%s: %s", err.msg, text);
    base.n_devices = 0; /* the command line's disk is in the file now */
    struct api_config other;
    cr_assert_eq(api_config_make(&base, again, &other, &err), 0, "%s", err.msg);
    base.n_devices = 1;
    twice = api_config_show(&other);
    cr_expect(json_equal(shown, twice));
    api_config_drop(&other);
    json_decref(shown);
    json_decref(twice);
    json_decref(file);
    json_decref(again);
}

Test(api, files_that_are_wrong)
{
    static const struct {
        const char *text, *want;
    } bad[] = {
        {"", "'[' or '{' expected"},
        {"[]", "it must be an object"},
        {"{}", "boot-source is missing"},
        {"{\"boot-source\": {}}", "boot-source: kernel_image_path is missing"},
        {"{\"a\": 1}", "section \"a\" is not supported"},
        {"{\"cpu-config\": {}}", "section \"cpu-config\" is not supported"},
        {"{\"drives\": {}}", "drives: it must be an array"},
        {"{\"drives\": [1]}", "drives: it must be an object"},
        {"{\"drives\": [{\"drive_id\": \"a b\", \"path_on_host\": \"p\", \"is_root_device\": "
         "true}]}",
         "an id is 1 to 64"},
        {"{\"drives\": [{\"drive_id\": \"a\", \"path_on_host\": \"p\", \"is_root_device\": false}, "
         "{\"drive_id\": \"a\", \"path_on_host\": \"p\", \"is_root_device\": false}]}",
         "drives/a is there twice"},
    };
    json_t *file;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cr_assert_lt(load(bad[i].text, &file), 0, "%s", bad[i].text);
        cr_expect_eq(err.kind, ERR_INPUT);
        cr_expect_not_null(strstr(err.msg, bad[i].want), "%s", err.msg);
        cr_expect_not_null(strstr(err.msg, "--config-file /tmp/vmm-test-api."), "%s", err.msg);
    }
    cr_assert_lt(api_config_load("/nowhere", &file, &err), 0);
    cr_assert_lt(api_config_load("/tmp", &file, &err), 0);
    cr_expect_str_eq(err.msg, "--config-file /tmp: is not a regular file");
}
