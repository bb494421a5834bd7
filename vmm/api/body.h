/* vmm/api/body.h - what a JSON body may hold. One row says which option of the command line a field
 * is, so that both are read by the same checks and refused in the same words; names, types and
 * nesting are those of Firecracker's published API. */
#pragma once

#include <jansson.h>

#include "vmm/options_table.h"

enum api_kind {
    API_TEXT,    /* a string */
    API_SWITCH,  /* true or false */
    API_NUMBER,  /* an integer */
    API_MIB,     /* an integer: of MiB, where the option has bytes */
    API_WORD,    /* one of `words` */
    API_OFF,     /* false, "None" or null: what there is none of here */
    API_LIMITER, /* an object of two buckets, "bandwidth" and "ops", each an OPT_RATE */
    API_MAP,     /* an object of strings */
};
struct api_word {
    const char *json, *option; /* what the option calls it */
};
struct api_field {
    const char *name;
    enum api_kind kind;
    bool required; /* of PUT, and in a file */
    /* Of a device: a key of its class. Else an option of the command line, or a setting below.
     * NULL: it is checked, and who wants it looks it up. */
    const char *option;
    const char *ops;              /* API_LIMITER: that of "ops", besides that of "bandwidth" */
    const struct api_word *words; /* API_WORD; the last one's `json` is NULL */
    const char *why;              /* API_OFF: why there is none */
};

/* One resource: what is PUT as a whole. */
struct api_body {
    const char *section; /* its name in a file */
    const char *id;      /* the field that tells several apart; NULL: there is one */
    const char *class;   /* of the device that it makes; NULL: none */
    struct {             /* of that device, an OPT_ENUM besides the fields; may be NULL */
        const char *key, *value;
    } always;
    const struct api_field *fields; /* the last one's name is NULL */
};
extern const struct api_body *const api_bodies[]; /* what a file may have; NULL-terminated */
/* Those named _patch are what can be changed of one that is there. */
extern const struct api_body api_boot_source, api_machine, api_drive, api_drive_patch, api_net,
    api_net_patch, api_vsock, api_entropy, api_balloon, api_balloon_patch, api_balloon_stats_patch,
    api_hotplug, api_hotplug_patch, api_pmem, api_pmem_patch, api_serial, api_logger, api_metrics,
    api_vm, api_action, api_hinting_start;

/* What is no option of the command line. */
struct api_settings {
    const char *log_path, *metrics_path; /* NULL: none */
};

/* Names, types and, if `whole`, whether all required fields are there. `what` begins the sentence:
 * "drives/rootfs". Always ERR_INPUT. */
int CHECKED api_body_check(const struct api_body *b, const json_t *json, bool whole,
                           const char *what, struct err *e);
/* Sets the options of a device that the fields name. `live`: only rows that are. Strings are
 * borrowed from `json`. */
int CHECKED api_body_to_device(const struct api_body *b, const json_t *json, const char *what,
                               const struct opt_desc *keys, bool live, void *opts, struct err *e);
/* The same for a body without a class. */
int CHECKED api_body_to_config(const struct api_body *b, const json_t *json, const char *what,
                               struct vm_config *cfg, struct api_settings *s, struct err *e);
/* Whether the device is one that such a body makes. */
bool api_body_can_show(const struct api_body *b, const void *opts, const struct opt_desc *keys);
/* And back: puts what the options are into `json`. */
void api_body_from_device(const struct api_body *b, const void *opts, const struct opt_desc *keys,
                          json_t *json);
void api_body_from_config(const struct api_body *b, const struct vm_config *cfg, json_t *json);
