/* base/opts.h - options from tables: one row gives a key its type, place, default, help text and
 * section of the manual, so that parser, --help and man page cannot disagree.
 *
 * "a,b=1,c" is parsed into a plain struct. The first element may go without its key when the table
 * begins with a row marked positional. A comma inside a value is written twice. */
#pragma once

#include "base/bucket.h"

enum opt_type {
    OPT_END,  /* the table's last row */
    OPT_FLAG, /* bool: "ro", "ro=on", "ro=off" */
    OPT_U32,  /* uint32_t: decimal or 0x; within [min, max] */
    OPT_U64,
    OPT_SIZE, /* uint64_t bytes: 512M, 4G, 2048K; a bare number is MiB */
    OPT_RATE, /* struct bucket_limit: 50M, 5M/100ms, 50M/1s+1G; of 0, or in 0 ms: no limit */
    OPT_STR,  /* const char *, never empty; borrowed, see below */
    OPT_ENUM, /* int: index into `names` */
    OPT_STRS, /* struct opt_strs: a key that may be repeated */
};
enum { OPT_STRS_MAX = 8 };
struct opt_strs {
    const char *v[OPT_STRS_MAX];
    unsigned n;
};
struct opt_desc {
    const char *key;
    enum opt_type type;
    size_t offset;
    const char *metavar;      /* FILE, N; NULL for flags */
    const char *help;         /* one line without a full stop */
    const char *const *names; /* OPT_ENUM, NULL-terminated */
    uint64_t min, max;        /* numbers; max 0: the type's own */
    bool positional;          /* the table's first row only */
    bool required;
    bool live; /* may be changed while the guest runs */
};

/* Parses into `dst`, which the caller has filled with defaults and which stays as it is on failure.
 * `what` names the option in messages ("--disk"). Strings point into a copy of the text that lives
 * until opts_free_all(). Unknown keys are refused, naming the nearest known one, and so are keys
 * given twice, except OPT_STRS, which are appended. Always ERR_INPUT, but for memory. Set-up only:
 * one thread. */
int CHECKED opts_parse(const struct opt_desc *table, const char *what, const char *text, void *dst,
                       struct err *e);
/* One value, as a row's type has it, stored at the row's offset in `dst`. NULL is a flag without a
 * value. An OPT_STR borrows `value` itself. */
int CHECKED opt_parse_value(const struct opt_desc *row, const char *what, const char *value,
                            void *dst, struct err *e);
int CHECKED opts_parse_size(const char *text, uint64_t *out); /* -EINVAL, -ERANGE */
/* The name in the list nearest to `word`: at most a third of it mistyped, or one abbreviates the
 * other ("readonly", "ro"). NULL when none is near. */
const char *opts_nearest(const char *word, const char *const *names);
/* At exit, when nothing uses the parsed strings any more. */
void opts_free_all(void);
