/* vmm/api/config.h - what has been PUT so far, and the machine that it describes. It is kept as one
 * JSON object in the layout of a configuration file, so that a file and requests are the same
 * thing, and is made into a struct vm_config as a whole whenever it changes: a body that does not
 * fit is refused at once, and what was there before stays. Main thread. */
#pragma once

#include "vmm/api/body.h"

/* A configuration made of the command line's and of JSON. */
struct api_config {
    struct vm_config cfg;  /* devices owned; strings are `base`'s, `from`'s, or `cmdline` */
    const char *boot_args; /* the kernel's words without its root device; may be NULL */
    char *cmdline;         /* and with it; NULL: nobody has named one */
    json_t *from;
};

/* `base` outlives *out. */
int CHECKED api_config_make(const struct vm_config *base, json_t *from, struct api_config *out,
                            struct err *e);
void api_config_drop(struct api_config *c); /* zeroes are fine */

/* *to becomes a new object: `from` with `value` as the section, or as one with that id of it; or,
 * with `merge`, with its fields in what is there. */
int CHECKED api_config_put(const json_t *from, const struct api_body *b, const char *id,
                           json_t *value, bool merge, json_t **to, struct err *e);
/* Reads a whole file, which is put section by section. `name` is for messages. */
int CHECKED api_config_load(const char *path, json_t **to, struct err *e);
/* The whole, as a file would have it; NULL when there is no memory. */
json_t *api_config_show(const struct api_config *c);
json_t *api_config_show_section(const struct api_config *c, const struct api_body *b);

/* By its id, or as class and number when it has none: "blk0". */
enum { API_DEVICE_NAME = 80 };
const char *api_device_name(const struct vm_config *cfg, unsigned i, char buf[API_DEVICE_NAME]);
/* The device that a body is about; -1: there is none. `id` NULL: the first of its class. */
int api_find_device(const struct vm_config *cfg, const char *class, const char *id);
/* An id is a name of letters, digits, _ and -. */
int CHECKED api_check_id(const char *id, const char *what, struct err *e);
