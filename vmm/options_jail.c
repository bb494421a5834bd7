/* vmm/options_jail.c - --jail: what its value is made of, and what follows from the rest of the
 * command line. */
#include "vmm/options_table.h"

#define ID_MAX (UINT32_MAX - 1) /* the last one means "none" */

const struct opt_desc option_jail_keys[] = {
    {.key = "dir",
     .type = OPT_STR,
     .offset = offsetof(struct jail_config, dir),
     .metavar = "DIR",
     .help = "the folder that becomes the root; there need not be anything in it",
     .positional = true,
     .required = true},
    {.key = "uid",
     .type = OPT_U32,
     .offset = offsetof(struct jail_config, uid),
     .metavar = "N",
     .help = "the user to become",
     .min = 1,
     .max = ID_MAX},
    {.key = "gid",
     .type = OPT_U32,
     .offset = offsetof(struct jail_config, gid),
     .metavar = "N",
     .help = "the group to become, and no others",
     .min = 1,
     .max = ID_MAX},
    {.key = "cgroup",
     .type = OPT_STR,
     .offset = offsetof(struct jail_config, cgroup),
     .metavar = "DIR",
     .help = "the control group to be in"},
    {.key = "netns",
     .type = OPT_STR,
     .offset = offsetof(struct jail_config, netns),
     .metavar = "FILE|new",
     .help = "the network to be in, or a new one"},
    {.type = OPT_END},
};

int option_parse_jail(const struct option_row *row, const char *value, struct option_parse *p,
                      struct err *e)
{
    return opts_parse(row->keys, "--jail", value, &p->cfg.jail, e);
}

/* Devices that are still to be named may be interfaces. */
static bool may_have_network(const struct vm_config *cfg)
{
    if (cfg->config_file || options_unfinished(cfg))
        return true;
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        if (!strcmp(cfg->devices[i].class->name, "net"))
            return true;
    }
    return false;
}

void option_finish_jail(struct vm_config *cfg)
{
    struct jail_config *j = &cfg->jail;
    if (j->netns && !strcmp(j->netns, "new")) {
        j->netns = NULL;
        j->own_net = true;
    } else if (!j->netns) {
        j->own_net = !may_have_network(cfg);
    }
}
