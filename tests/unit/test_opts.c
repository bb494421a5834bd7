/* tests/unit/test_opts.c - options from tables: every type, every complaint. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/opts.h"

static const char *const modes[] = {"writeback", "writethrough", "none", NULL};
struct disk {
    const char *path, *id;
    bool ro;
    uint32_t queues;
    uint64_t size, serial;
    int mode;
    struct opt_strs tags;
    struct bucket_limit rate;
};
static const struct opt_desc table[] = {
    {.key = "path",
     .type = OPT_STR,
     .offset = offsetof(struct disk, path),
     .metavar = "FILE",
     .positional = true,
     .required = true},
    {.key = "ro", .type = OPT_FLAG, .offset = offsetof(struct disk, ro)},
    {.key = "queues",
     .type = OPT_U32,
     .offset = offsetof(struct disk, queues),
     .metavar = "N",
     .min = 1,
     .max = 16},
    {.key = "size",
     .type = OPT_SIZE,
     .offset = offsetof(struct disk, size),
     .metavar = "SIZE",
     .min = 1 << 20,
     .max = 1ull << 40},
    {.key = "serial", .type = OPT_U64, .offset = offsetof(struct disk, serial), .metavar = "N"},
    {.key = "mode",
     .type = OPT_ENUM,
     .offset = offsetof(struct disk, mode),
     .names = modes,
     .metavar = "MODE"},
    {.key = "id", .type = OPT_STR, .offset = offsetof(struct disk, id), .metavar = "NAME"},
    {.key = "tag", .type = OPT_STRS, .offset = offsetof(struct disk, tags), .metavar = "TAG"},
    {.key = "rate", .type = OPT_RATE, .offset = offsetof(struct disk, rate), .metavar = "RATE"},
    {.type = OPT_END},
};
static const struct disk defaults = {.id = "default", .queues = 1};

TestSuite(opts, .fini = opts_free_all);

static struct disk good(const char *text)
{
    struct disk d = defaults;
    struct err e = {0};
    cr_assert_eq(opts_parse(table, "--disk", text, &d, &e), 0, "%s", e.msg);
    return d;
}

static void bad(const char *text, const char *msg)
{
    struct disk d = defaults;
    struct err e = {0};
    cr_assert_lt(opts_parse(table, "--disk", text, &d, &e), 0, "accepted: %s", text);
    cr_assert_str_eq(e.msg, msg);
    cr_assert_eq((int)e.kind, ERR_INPUT);
    cr_assert_eq(memcmp(&d, &defaults, sizeof(d)), 0, "defaults changed by: %s", text);
}

Test(opts, defaults_stay)
{
    struct disk d = good("a.img");
    cr_assert_str_eq(d.path, "a.img");
    cr_assert_str_eq(d.id, "default");
    cr_assert_not(d.ro);
    cr_assert_eq(d.queues, 1u);
}

Test(opts, every_type)
{
    struct disk d = good("path=b.img,ro,queues=0x10,size=2G,serial=18446744073709551615,"
                         "mode=none,id=x=y");
    cr_assert_str_eq(d.path, "b.img");
    cr_assert(d.ro);
    cr_assert_eq(d.queues, 16u);
    cr_assert_eq(d.size, 2ull << 30);
    cr_assert_eq(d.serial, UINT64_MAX);
    cr_assert_eq(d.mode, 2);
    cr_assert_str_eq(d.id, "x=y");
    cr_assert(good("a,ro=on").ro);
    cr_assert_not(good("a,ro=off").ro);
}

Test(opts, commas)
{
    cr_assert_str_eq(good("a,,b,ro").path, "a,b");
    cr_assert_str_eq(good("a,,").path, "a,");
    cr_assert_str_eq(good(",,,,a").path, ",,a");
    struct disk d = good("a,,,id=,,");
    cr_assert_str_eq(d.path, "a,");
    cr_assert_str_eq(d.id, ",");
}

Test(opts, lists)
{
    struct disk d = good("a,tag=1,ro,tag=2");
    cr_assert_eq(d.tags.n, 2u);
    cr_assert_str_eq(d.tags.v[0], "1");
    cr_assert_str_eq(d.tags.v[1], "2");
    cr_assert_eq(good("a,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1").tags.n, 8u);
    bad("a,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1,tag=1",
        "--disk: tag is given more than 8 times");
    bad("a,tag=1,tag=", "--disk: tag: TAG is missing");

    struct err e;
    for (unsigned n = d.tags.n; n < OPT_STRS_MAX; n++)
        cr_assert_eq(opt_parse_value(&table[7], "--tag", "x", &d, &e), 0);
    cr_assert_lt(opt_parse_value(&table[7], "--tag", "x", &d, &e), 0);
    cr_assert_lt(opts_parse(table, "--disk", "a,tag=1", &d, &e), 0); /* full already */
    cr_assert_eq(d.tags.n, 8u);
}

Test(opts, strings_outlive_the_text)
{
    char text[] = "first.img";
    struct disk d = good(text);
    memset(text, 'X', sizeof(text) - 1);
    (void)good("second.img");
    cr_assert_str_eq(d.path, "first.img");
}

Test(opts, complaints)
{
    bad("", "--disk: FILE is missing");
    bad("ro=on", "--disk: FILE is missing");
    bad("path=", "--disk: FILE is missing");
    bad("a,reedonly", "--disk: unknown key \"reedonly\"; did you mean \"ro\"?");
    bad("a,queue=1", "--disk: unknown key \"queue\"; did you mean \"queues\"?");
    bad("a,zzzz=1", "--disk: unknown key \"zzzz\"; it knows path, ro, queues, size, serial, mode, "
                    "id, tag, rate");
    bad("a,ro,ro", "--disk: ro is given twice");
    bad("a,path=b", "--disk: path is given twice");
    bad("a,id=1,ro,id=2", "--disk: id is given twice");
    bad("a,id", "--disk: id: NAME is missing");
    bad("a,id=", "--disk: id: NAME is missing");
    bad("a,", "--disk: a key is missing after a comma (write \",,\" for one comma)");
    bad("a,=1", "--disk: a key is missing before \"=\"");
    bad("a,ro=yes", "--disk: ro: \"yes\" is neither on nor off");
    bad("a,queues=0", "--disk: queues: 0 is out of range (1 to 16)");
    bad("a,queues=17", "--disk: queues: 17 is out of range (1 to 16)");
    bad("a,queues=4294967297", "--disk: queues: 4294967297 is out of range (1 to 16)");
    bad("a,queues=-1", "--disk: queues: \"-1\" is not a number");
    bad("a,queues= 1", "--disk: queues: \" 1\" is not a number");
    bad("a,queues=0x", "--disk: queues: \"0x\" is not a number");
    bad("a,queues=1f", "--disk: queues: \"1f\" is not a number");
    bad("a,queues=", "--disk: queues: \"\" is not a number");
    bad("a,serial=18446744073709551616",
        "--disk: serial: 18446744073709551616 is out of range (0 to 18446744073709551615)");
    bad("a,size=abc", "--disk: size: \"abc\" is not a size (examples: 512M, 4G)");
    bad("a,size=0", "--disk: size: 0 is out of range (1M to 1T)");
    bad("a,size=2T", "--disk: size: 2T is out of range (1M to 1T)");
    bad("a,mode=nnoe", "--disk: mode: unknown value \"nnoe\"; did you mean \"none\"?");
    bad("a,mode=q",
        "--disk: mode: unknown value \"q\"; it is one of writeback, writethrough, none");
    /* The good ones before a bad one are not stored either. */
    bad("a,ro,queues=4,size=x", "--disk: size: \"x\" is not a size (examples: 512M, 4G)");
}

Test(opts, single_values)
{
    static const struct opt_desc cpus = {.key = "cpus", .type = OPT_U32, .min = 1, .max = 4096};
    static const struct opt_desc mem = {.key = "mem", .type = OPT_SIZE};
    static const struct opt_desc flag = {.key = "quiet", .type = OPT_FLAG};
    static const struct opt_desc any = {.key = "any", .type = OPT_U32};
    struct err e;
    uint32_t n = 7;
    uint64_t bytes = 7;
    bool on = false;

    cr_assert_lt(opt_parse_value(&cpus, "--cpus", "0", &n, &e), 0);
    cr_assert_str_eq(e.msg, "--cpus: 0 is out of range (1 to 4096)");
    cr_assert_eq(n, 7u);
    cr_assert_eq(opt_parse_value(&cpus, "--cpus", "4096", &n, &e), 0);
    cr_assert_eq(n, 4096u);
    cr_assert_lt(opt_parse_value(&any, "--any", "4294967296", &n, &e), 0);
    cr_assert_str_eq(e.msg, "--any: 4294967296 is out of range (0 to 4294967295)");
    cr_assert_lt(opt_parse_value(&mem, "--mem", "abc", &bytes, &e), 0);
    cr_assert_str_eq(e.msg, "--mem: \"abc\" is not a size (examples: 512M, 4G)");
    cr_assert_lt(opt_parse_value(&mem, "--mem", NULL, &bytes, &e), 0);
    cr_assert_str_eq(e.msg, "--mem: a value is missing");
    cr_assert_eq(bytes, 7u);
    cr_assert_eq(opt_parse_value(&flag, "--quiet", NULL, &on, &e), 0);
    cr_assert(on);
}

Test(opts, sizes)
{
    static const struct {
        const char *text;
        int r;
        uint64_t bytes;
    } cases[] = {
        {"512", 0, 512ull << 20},
        {"512M", 0, 512ull << 20},
        {"4g", 0, 4ull << 30},
        {"2048K", 0, 2ull << 20},
        {"1T", 0, 1ull << 40},
        {"0", 0, 0},
        {"16777215T", 0, 16777215ull << 40},
        {"16777216T", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"17592186044416", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"M", -EINVAL, 0},
        {"1MB", -EINVAL, 0},
        {"1.5G", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1P", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t v = 0;
        cr_assert_eq(opts_parse_size(cases[i].text, &v), cases[i].r, "%s", cases[i].text);
        cr_assert_eq(v, cases[i].bytes, "%s", cases[i].text);
    }
}

Test(opts, rates)
{
    static const struct {
        const char *text;
        struct bucket_limit l;
    } good_ones[] = {
        {"7", {7, 0, 1000}},
        {"50M", {50 << 20, 0, 1000}},
        {"5k/100ms", {5 << 10, 0, 100}},
        {"1G/10s+2G", {1ull << 30, 2ull << 30, 10000}},
        {"3+0", {3, 0, 1000}},
        {"3+1", {3, 1, 1000}},
        {"9223372036854775807/86400s+9223372036854775807", {INT64_MAX, INT64_MAX, 86400000}},
        {"0", {0, 0, 0}},
        {"0/5s+1G", {0, 0, 0}},
        {"5/0ms+1", {0, 0, 0}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good_ones); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "a,rate=%s", good_ones[i].text);
        struct disk d = good(text);
        cr_assert_eq(memcmp(&d.rate, &good_ones[i].l, sizeof(d.rate)), 0, "%s", text);
    }
    static const char *const bad_ones[] = {"",        "M",   "x",     "5X",     "5MM",   "5/",
                                           "5/s",     "5/1", "5/1m",  "5/ms",   "5/1Ms", "5/1h",
                                           "5+",      "5+x", "5M+M",  "5+1/2s", "-5",    "+5",
                                           "5/1s/1s", "5 ",  "5/1s ", "5/1ss",  "1.5M"};
    for (size_t i = 0; i < ARRAY_SIZE(bad_ones); i++) {
        char text[128], msg[128];
        (void)snprintf(text, sizeof(text), "a,rate=%s", bad_ones[i]);
        (void)snprintf(msg, sizeof(msg),
                       "--disk: rate: \"%s\" is not a rate (examples: 50M, 5M/100ms, 50M/1s+1G)",
                       bad_ones[i]);
        bad(text, msg);
    }
    static const char *const big_ones[] = {"9223372036854775808",
                                           "8388608T",
                                           "18446744073709551617",
                                           "16777217T",
                                           "1/86401s",
                                           "1/86400001ms",
                                           "1/18446744073709551617s",
                                           "1/18446744073709552s",
                                           "1+9223372036854775808"};
    for (size_t i = 0; i < ARRAY_SIZE(big_ones); i++) {
        char text[128], msg[128];
        (void)snprintf(text, sizeof(text), "a,rate=%s", big_ones[i]);
        (void)snprintf(msg, sizeof(msg),
                       "--disk: rate: %s is out of range (less than 2^63, within 24 hours)",
                       big_ones[i]);
        bad(text, msg);
    }
}

Test(opts, nearest)
{
    static const char *const names[] = {"block", "net", "console", "rng", "balloon", "b", NULL};
    static const char *const none[] = {NULL};
    cr_assert_str_eq(opts_nearest("blcok", names), "block"); /* a swap costs one */
    cr_assert_str_eq(opts_nearest("consoel", names), "console");
    cr_assert_str_eq(opts_nearest("nets", names), "net");
    cr_assert_str_eq(opts_nearest("baloon", names), "balloon");
    cr_assert_str_eq(opts_nearest("con", names), "console");
    cr_assert_null(opts_nearest("x", names)); /* one of one mistyped is nothing in common */
    cr_assert_null(opts_nearest("gpu", names));
    cr_assert_null(opts_nearest("", names));
    cr_assert_null(opts_nearest("anything", none));
    char longest[200];
    memset(longest, 'b', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    cr_assert_null(opts_nearest(longest, names));
}
