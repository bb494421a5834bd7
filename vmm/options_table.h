/* vmm/options_table.h - the table behind the command line. One row is all that the parser, --help
 * and the manual page know about an option, so they cannot disagree. */
#pragma once

#include "base/opts.h"
#include "vmm/options.h"

enum option_group {
    GROUP_BOOT,
    GROUP_MACHINE,
    GROUP_DEVICES,
    GROUP_CONTROL,
    GROUP_CONFINEMENT,
    GROUP_TOOLS,
    GROUP_COUNT
};

/* What is being filled in; options.c owns it. */
struct option_parse {
    struct vm_config cfg;
    enum options_action action;
};

struct option_row {
    struct opt_desc d; /* key: the name; offset: in struct vm_config; OPT_FLAG: takes no value */
    enum option_group group;
    bool repeatable;
    bool value_too;              /* a flag that has values, which --help does not tell */
    const char *default_text;    /* NULL: nothing to say */
    const struct opt_desc *keys; /* what the value is made of, if it has keys, */
    const char *class;           /* or the device class whose keys it has */
    /* NULL: opt_parse_value(). `value` is NULL for a flag without one, else it lives in argv. */
    int (*parse)(const struct option_row *row, const char *value, struct option_parse *p,
                 struct err *e);
    const char *man; /* mdoc, behind the help line; NULL: that says it all */
};
extern const struct option_row option_rows[]; /* the last one's d.key is NULL */
extern const char *const option_group_names[GROUP_COUNT];

/* --mem, or what says the same; starts with option_mem_get(). */
struct mem_opts {
    uint64_t size;
    int hugepages; /* enum gmem_backing */
    bool prefault, shared;
};
extern const struct opt_desc option_mem_keys[];
struct mem_opts option_mem_get(const struct vm_config *cfg);
/* `what` and `value` are for the message. */
int CHECKED option_mem_set(struct vm_config *cfg, const struct mem_opts *o, const char *what,
                           const char *value, struct err *e);

/* options_jail.c */
extern const struct opt_desc option_jail_keys[];
int option_parse_jail(const struct option_row *row, const char *value, struct option_parse *p,
                      struct err *e);
/* When all is read. */
void option_finish_jail(struct vm_config *cfg);

/* A device in the making: `opts` holds the defaults, and what is set by a row of `keys`, which are
 * the class's and those that all devices have. */
struct option_device {
    const struct vdev_class *class;
    struct opt_desc *keys;
    uint8_t *opts;
    size_t common_at; /* in `opts`: struct device_common */
};
int CHECKED option_device_begin(struct option_device *d, const struct vdev_class *c, struct err *e);
/* Appends it to the configuration; `what` names it in later messages. */
int CHECKED option_device_end(struct option_device *d, struct vm_config *cfg, const char *what,
                              struct err *e);
void option_device_drop(struct option_device *d); /* after any of these; zeroes are fine */
/* *to gets copies of from's devices behind its own; strings are shared. */
int CHECKED option_copy_devices(const struct vm_config *from, struct vm_config *to, struct err *e);
/* The row with this key, or NULL. */
const struct opt_desc *option_key(const struct opt_desc *rows, const char *key);

/* Adds a device; `text` is all behind the class, `what` names the device in later messages. */
int CHECKED option_add_device(struct vm_config *cfg, const struct vdev_class *c, const char *option,
                              const char *text, const char *what, struct err *e);
void option_drop_devices(struct vm_config *cfg);
const struct vdev_class *option_find_class(const char *name, size_t len); /* NULL: none */

/* options_device.c: what every device has in common, besides vdev_option_keys. */
struct device_common {
    const char *id;
    int transport;
    struct vdev_options virtio;
};
extern const struct opt_desc device_common_keys[];
/* When all is read: adds what every guest wants, gives each device its transport, and refuses what
 * that cannot do. */
int CHECKED option_finish_devices(struct vm_config *cfg, struct err *e);

/* The keys that a row's value is made of, the device class's too; NULL: a plain value. */
const struct opt_desc *option_keys(const struct option_row *row);
/* The placeholder of one value: "FILE", or "acpi|fdt|cmdline" of the names of an OPT_ENUM; in buf
 * if it has to be made. */
enum { OPTION_META = 128 };
const char *option_metavar(const struct opt_desc *d, char buf[OPTION_META]);
