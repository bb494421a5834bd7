/* vmm/options.c - reads the command line by the table in options_table.c, and refuses what makes
 * no sense as a whole. Nothing is opened here: names of files stay names. */
#include "vmm/options_table.h"

#include <assert.h>

enum { ROWS_MAX = 64 }; /* options given are the bits of a word */

/* Words. */

/* One option as it was written. */
struct given {
    const struct option_row *row;
    const char *value; /* NULL: none */
};

/* The row of "--name" or "--name=value". */
static const struct option_row *find_row(const char *word)
{
    size_t len;

    if (strncmp(word, "--", 2))
        return NULL;
    word += 2;
    len = strcspn(word, "=");
    for (const struct option_row *row = option_rows; row->d.key; row++) {
        if (strlen(row->d.key) == len && !memcmp(row->d.key, word, len))
            return row;
    }
    return NULL;
}

static int unknown_option(const char *word, struct err *e)
{
    const char *names[ROWS_MAX + 1], *near;
    size_t len = strcspn(word, "="), dashes = strspn(word, "-"), n = 0;

    for (; option_rows[n].d.key; n++)
        names[n] = option_rows[n].d.key;
    names[n] = NULL;
    AUTO_FREE char *name = strndup(word + MIN(dashes, len), len - MIN(dashes, len));
    if (!name)
        return err_host(e, -ENOMEM, "command line");
    near = opts_nearest(name, names);
    if (near)
        return err_input(e, 0, "unknown option %.*s; did you mean --%s?", (int)len, word, near);
    return err_input(e, 0, "unknown option %.*s (see vmm --help)", (int)len, word);
}

/* Takes one option, and its value if that is a word of its own, off argv from *i on. */
static int next_option(int argc, char *const *argv, int *i, struct given *out, struct err *e)
{
    const char *word = argv[*i], *equals = strchr(word, '=');
    const struct option_row *row = find_row(word);
    struct given g = {.row = row, .value = equals ? equals + 1 : NULL};
    char buf[OPTION_META];

    if (word[0] != '-')
        return err_input(e, 0, "\"%s\" is not an option; a kernel is named by --kernel FILE", word);
    if (!row)
        return unknown_option(word, e);
    ++*i;
    if (row->d.type == OPT_FLAG && g.value && !row->value_too)
        return err_input(e, 0, "--%s: takes no value", row->d.key);
    if (row->d.type != OPT_FLAG && !g.value) {
        /* A forgotten value must not swallow the next option. */
        if (*i == argc || find_row(argv[*i]))
            return err_input(e, 0, "--%s: %s is missing", row->d.key, option_metavar(&row->d, buf));
        g.value = argv[(*i)++];
    }
    *out = g;
    return 0;
}

static int take_option(struct option_parse *p, const struct given *g, struct err *e)
{
    char what[64];

    if (g->row->parse)
        return g->row->parse(g->row, g->value, p, e);
    (void)snprintf(what, sizeof(what), "--%s", g->row->d.key);
    return opt_parse_value(&g->row->d, what, g->value, &p->cfg, e);
}

/* The command line as a whole; `given` has a bit for each row. */

static int check_host_alone(uint64_t given, struct err *e)
{
    for (size_t i = 0; option_rows[i].d.key; i++) {
        if (given >> i & 1 && option_rows[i].group != GROUP_TOOLS)
            return err_input(e, 0, "--check-host and --%s contradict: it runs no guest",
                             option_rows[i].d.key);
    }
    return 0;
}

static int check_whole(const struct option_parse *p, uint64_t given, struct err *e)
{
    const struct vm_config *cfg = &p->cfg;

    if (p->action == OPTIONS_CHECK_HOST)
        return check_host_alone(given, e);
    if (cfg->initrd && !cfg->kernel)
        return err_input(e, 0, "--initrd without --kernel: nothing would unpack it");
    if (cfg->config_file && cfg->kernel)
        return err_input(e, 0, "--config-file and --kernel contradict: both say what to boot");
    if (cfg->dump_dtb && (cfg->api_sock || cfg->config_file))
        return err_input(e, 0, "--dump-dtb and --%s contradict: it runs no guest",
                         cfg->api_sock ? "api-sock" : "config-file");
    if (cfg->dump_dtb && cfg->jail.dir)
        return err_input(e, 0, "--dump-dtb and --jail contradict: it runs no guest");
    if (!cfg->kernel && !cfg->dump_dtb && !cfg->api_sock && !cfg->config_file)
        return err_input(e, 0, "no kernel: --kernel FILE is needed (see vmm --help)");
    return 0;
}

static int parse_all(int argc, char *const *argv, struct option_parse *p, struct err *e)
{
    uint64_t given = 0;
    int rc;

    for (int i = 1; i < argc;) {
        struct given g = {0};
        rc = next_option(argc, argv, &i, &g, e);
        if (rc < 0)
            return rc;
        assert(g.row);
        uint64_t bit = (uint64_t)1 << (g.row - option_rows);
        if (given & bit && !g.row->repeatable)
            return err_input(e, 0, "--%s is given twice", g.row->d.key);
        given |= bit;
        rc = take_option(p, &g, e);
        if (rc < 0)
            return rc;
        if (p->action != OPTIONS_RUN && p->action != OPTIONS_CHECK_HOST)
            return 0; /* a question: answered, whatever else is on the line */
    }
    rc = check_whole(p, given, e);
    option_finish_jail(&p->cfg);
    if (rc < 0 || p->action == OPTIONS_CHECK_HOST || options_unfinished(&p->cfg))
        return rc;
    return option_finish_devices(&p->cfg, e);
}

bool options_unfinished(const struct vm_config *cfg)
{
    return !cfg->kernel && (cfg->api_sock || cfg->config_file);
}

int options_parse(int argc, char *const *argv, struct vm_config *cfg, enum options_action *action,
                  struct err *e)
{
    struct option_parse p = {
        .action = OPTIONS_RUN,
        .cfg = {.cpus = 1,
                .io_threads = 1,
                .mem_size = MIB(512),
                .mem = {.backing = GMEM_4K},
                .console = {.kind = CHARDEV_STDIO},
                .transport = TRANSPORT_PCI,
                .discovery = DISCOVERY_ACPI,
                .restart = true,
                .log = LOG_WARN},
    };
    int rc = parse_all(argc, argv, &p, e);

    if (rc < 0) {
        options_free(&p.cfg);
        return rc;
    }
    *cfg = p.cfg;
    *action = p.action;
    return 0;
}

void options_free(struct vm_config *cfg)
{
    if (!cfg)
        return;
    option_drop_devices(cfg);
    *cfg = (struct vm_config){0};
    opts_free_all();
}
