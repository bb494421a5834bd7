/* vmm/options.h - the command line: one table of options, from which the parser, --help and the
 * manual page are made. */
#pragma once

#include <stdio.h>

#include "vmm/config.h"

#ifndef VMM_VERSION
#define VMM_VERSION "0.1.0" /* unless the build says otherwise */
#endif

enum options_action {
    OPTIONS_RUN, /* or, with cfg->dump_dtb, write the tree and end; kernel may be NULL then */
    OPTIONS_HELP,
    OPTIONS_HELP_DEVICES, /* of the class of cfg->devices[0], or of all when there is none */
    OPTIONS_VERSION,
    OPTIONS_CHECK_HOST,
    OPTIONS_MAN,
};

/* Fills *cfg (defaults included) and says what to do. On failure *e holds the sentence. What *cfg
 * points to lives until options_free(). Without --device console and --device rng a console and an
 * entropy device are added, as what every guest wants; `--device console,...` replaces the first.
 */
int CHECKED options_parse(int argc, char *const *argv, struct vm_config *cfg,
                          enum options_action *action, struct err *e);
/* What boots is said later, by the control socket or in a file, and so may devices be: those that
 * every guest has, and checks of devices as a whole, wait for option_finish_devices(). */
bool options_unfinished(const struct vm_config *cfg);
void options_free(struct vm_config *cfg); /* NULL and zeroes are fine */
void options_help(FILE *to);
void options_help_devices(FILE *to, const struct vm_config *cfg);
void options_man(FILE *to); /* the whole manual page, as mdoc(7) */
