/* base/opts.c - options from tables: splits "a,b=1,c", converts each value as its row says, and
 * tells in one sentence what is wrong. Everything is converted before anything is stored, so that
 * a refused text leaves the caller's defaults alone. */
#include "base/opts.h"

#include <stdio.h>

/* Copies of parsed texts, which OPT_STR values point into. Set-up is single-threaded. */
struct opt_text {
    struct opt_text *next;
    char s[];
};
static struct opt_text *texts;

union opt_value {
    bool flag;
    uint32_t u32;
    uint64_t u64;
    struct bucket_limit rate;
    const char *str;
    int index;
};

/* One "key=value": the row that it sets, its value before and after conversion. */
struct element {
    const struct opt_desc *row;
    const char *text; /* NULL: the key stood alone */
    union opt_value value;
};

void opts_free_all(void)
{
    while (texts) {
        struct opt_text *next = texts->next;
        free(texts);
        texts = next;
    }
}

static char *keep_text(const char *text)
{
    size_t size = strlen(text) + 1;
    struct opt_text *t = malloc(sizeof(*t) + size);
    if (!t)
        return NULL;
    memcpy(t->s, text, size);
    t->next = texts;
    texts = t;
    return t->s;
}

/* Nearest name. */

enum { NEAR_MAX = 64 }; /* longer words have no near names */

/* Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours
 * cost one each. Three rows of the usual table are enough for the swaps. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][NEAR_MAX + 1];
    size_t *before = rows[0], *prev = rows[1], *cur = rows[2];

    for (size_t j = 0; j <= nb; j++)
        prev[j] = j;
    for (size_t i = 1; i <= na; i++) {
        cur[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = prev[j - 1] + (a[i - 1] != b[j - 1]);
            best = MIN(best, prev[j] + 1);
            best = MIN(best, cur[j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            cur[j] = best;
        }
        size_t *oldest = before;
        before = prev;
        prev = cur;
        cur = oldest;
    }
    return prev[nb];
}

/* "ro" abbreviates "readonly": the same first letter, the others in the same order. */
static bool abbreviates(const char *abbr, const char *word)
{
    if (strlen(abbr) < 2 || abbr[0] != word[0])
        return false;
    for (; *word && *abbr; word++)
        abbr += *abbr == *word;
    return !*abbr;
}

const char *opts_nearest(const char *word, const char *const *names)
{
    size_t len = strlen(word), best = MAX((size_t)1, len / 3) + 1;
    const char *found = NULL;

    if (len > NEAR_MAX)
        return NULL;
    for (const char *const *n = names; *n; n++) {
        size_t n_len = strlen(*n);
        if (n_len > NEAR_MAX)
            continue;
        size_t d = distance(word, len, *n, n_len);
        if (d < best && d < len) { /* d == len: nothing in common */
            best = d;
            found = *n;
        }
    }
    for (const char *const *n = names; !found && *n; n++) {
        if (abbreviates(*n, word) || abbreviates(word, *n))
            found = *n;
    }
    return found;
}

/* Values. */

static int parse_number(const char *text, uint64_t *out)
{
    unsigned base = 10;
    uint64_t v = 0;
    bool too_big = false;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    }
    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        unsigned digit = 99;
        if (*text >= '0' && *text <= '9')
            digit = (unsigned)(*text - '0');
        else if ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'f')
            digit = (unsigned)((*text | 0x20) - 'a') + 10;
        if (digit >= base)
            return -EINVAL;
        too_big |= __builtin_mul_overflow(v, (uint64_t)base, &v);
        too_big |= __builtin_add_overflow(v, (uint64_t)digit, &v);
    }
    if (too_big)
        return -ERANGE;
    *out = v;
    return 0;
}

/* Digits, at *p; false: there are none. */
static bool take_digits(const char **p, uint64_t *v, bool *too_big)
{
    const char *start = *p;
    *v = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        *too_big |= __builtin_mul_overflow(*v, (uint64_t)10, v);
        *too_big |= __builtin_add_overflow(*v, (uint64_t)(**p - '0'), v);
    }
    return *p != start;
}

/* Digits and a unit; without one they count `bare`. */
static bool take_amount(const char **p, unsigned bare, uint64_t *v, bool *too_big)
{
    static const char units[] = "KMGT";
    unsigned shift = bare;
    if (!take_digits(p, v, too_big))
        return false;
    const char *unit = **p ? strchr(units, **p & ~0x20) : NULL;
    if (unit && *unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        ++*p;
    }
    *too_big |= *v > UINT64_MAX >> shift;
    *v <<= shift;
    return true;
}

int opts_parse_size(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    bool too_big = false;

    if (!take_amount(&text, 20, &v, &too_big) || *text)
        return -EINVAL;
    if (too_big)
        return -ERANGE;
    *out = v;
    return 0;
}

/* AMOUNT[/TIME][+ONCE] */
static int parse_rate(const char *text, struct bucket_limit *out)
{
    struct bucket_limit l = {.refill_ms = 1000};
    bool too_big = false;

    if (!take_amount(&text, 0, &l.size, &too_big))
        return -EINVAL;
    if (*text == '/') {
        text++;
        if (!take_digits(&text, &l.refill_ms, &too_big))
            return -EINVAL;
        bool ms = *text == 'm';
        text += ms;
        if (*text++ != 's')
            return -EINVAL;
        too_big |= __builtin_mul_overflow(l.refill_ms, ms ? 1u : 1000u, &l.refill_ms);
    }
    if (*text == '+') {
        text++;
        if (!take_amount(&text, 0, &l.once, &too_big))
            return -EINVAL;
    }
    if (*text)
        return -EINVAL;
    if (too_big || MAX(l.size, l.once) > BUCKET_SIZE_MAX || l.refill_ms > BUCKET_REFILL_MS_MAX)
        return -ERANGE;
    *out = l.size && l.refill_ms ? l : (struct bucket_limit){0};
    return 0;
}

/* The largest unit that divides v. */
static const char *size_name(uint64_t v, char buf[24])
{
    static const char *const units[] = {" bytes", "K", "M", "G", "T"};
    size_t u = 0;
    while (v && v % 1024 == 0 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    snprintf(buf, 24, "%llu%s", (unsigned long long)v, units[u]);
    return buf;
}

/* A row's bounds, or its type's where the row has none. */
static void row_bounds(const struct opt_desc *row, uint64_t *min, uint64_t *max)
{
    *min = row->min;
    *max = row->max ? row->max : row->type == OPT_U32 ? UINT32_MAX : UINT64_MAX;
}

static int out_of_range(const struct opt_desc *row, const char *what, const char *text,
                        struct err *e)
{
    uint64_t min, max;
    char from[24], to[24];

    row_bounds(row, &min, &max);
    if (row->type == OPT_SIZE && max == UINT64_MAX)
        err_input(e, 0, "%s: %s is out of range (at least %s)", what, text, size_name(min, from));
    else if (row->type == OPT_SIZE)
        err_input(e, 0, "%s: %s is out of range (%s to %s)", what, text, size_name(min, from),
                  size_name(max, to));
    else
        err_input(e, 0, "%s: %s is out of range (%llu to %llu)", what, text,
                  (unsigned long long)min, (unsigned long long)max);
    return -ERANGE;
}

static int convert_rate(const char *what, const char *text, struct bucket_limit *out, struct err *e)
{
    int r = parse_rate(text, out);
    if (r == -ERANGE)
        return err_input(e, 0, "%s: %s is out of range (less than 2^63, within 24 hours)", what,
                         text);
    if (r < 0)
        return err_input(e, 0, "%s: \"%s\" is not a rate (examples: 50M, 5M/100ms, 50M/1s+1G)",
                         what, text);
    return 0;
}

static int convert_number(const struct opt_desc *row, const char *what, const char *text,
                          union opt_value *out, struct err *e)
{
    bool size = row->type == OPT_SIZE;
    uint64_t v, min, max;
    int r = size ? opts_parse_size(text, &v) : parse_number(text, &v);

    if (r == -EINVAL)
        return err_input(e, 0, "%s: \"%s\" is not a %s", what, text,
                         size ? "size (examples: 512M, 4G)" : "number");
    row_bounds(row, &min, &max);
    if (r < 0 || v < min || v > max)
        return out_of_range(row, what, text, e);
    if (row->type == OPT_U32)
        out->u32 = (uint32_t)v;
    else
        out->u64 = v;
    return 0;
}

/* "a, b, c" */
static void join(const char *const *names, char *buf, size_t size)
{
    size_t used = 0;
    buf[0] = '\0';
    for (; *names && used < size; names++) {
        int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", *names);
        used += (size_t)n;
    }
}

static int convert_enum(const struct opt_desc *row, const char *what, const char *text,
                        union opt_value *out, struct err *e)
{
    for (int i = 0; row->names[i]; i++) {
        if (!strcmp(row->names[i], text)) {
            out->index = i;
            return 0;
        }
    }
    const char *near = opts_nearest(text, row->names);
    if (near)
        return err_input(e, 0, "%s: unknown value \"%s\"; did you mean \"%s\"?", what, text, near);
    char all[256];
    join(row->names, all, sizeof(all));
    return err_input(e, 0, "%s: unknown value \"%s\"; it is one of %s", what, text, all);
}

static int convert(const struct opt_desc *row, const char *what, const char *text,
                   union opt_value *out, struct err *e)
{
    if (!text && row->type != OPT_FLAG)
        return err_input(e, 0, "%s: %s is missing", what, row->metavar ? row->metavar : "a value");
    switch (row->type) {
    case OPT_FLAG:
        out->flag = !text || !strcmp(text, "on");
        if (!out->flag && strcmp(text, "off"))
            return err_input(e, 0, "%s: \"%s\" is neither on nor off", what, text);
        return 0;
    case OPT_U32:
    case OPT_U64:
    case OPT_SIZE:
        return convert_number(row, what, text, out, e);
    case OPT_RATE:
        return convert_rate(what, text, &out->rate, e);
    case OPT_ENUM:
        return convert_enum(row, what, text, out, e);
    case OPT_STR:
    case OPT_STRS:
        if (!*text)
            return err_input(e, 0, "%s: %s is missing", what,
                             row->metavar ? row->metavar : "a value");
        out->str = text;
        return 0;
    case OPT_END:
        break;
    }
    return err_input(e, 0, "%s: no such option", what);
}

static struct opt_strs *list_of(const struct opt_desc *row, void *dst)
{
    return (struct opt_strs *)((char *)dst + row->offset);
}

static int too_many(const struct opt_desc *row, const char *what, struct err *e)
{
    return err_input(e, 0, "%s: %s is given more than %d times", what, row->key, OPT_STRS_MAX);
}

static void store(const struct opt_desc *row, const union opt_value *v, void *dst)
{
    static const size_t sizes[] = {
        [OPT_FLAG] = sizeof(bool),     [OPT_U32] = sizeof(uint32_t), [OPT_U64] = sizeof(uint64_t),
        [OPT_SIZE] = sizeof(uint64_t), [OPT_RATE] = sizeof(v->rate), [OPT_STR] = sizeof(char *),
        [OPT_ENUM] = sizeof(int),
    };
    if (row->type == OPT_STRS) {
        struct opt_strs *list = list_of(row, dst);
        list->v[list->n++] = v->str;
        return;
    }
    memcpy((char *)dst + row->offset, v, sizes[row->type]);
}

int opt_parse_value(const struct opt_desc *row, const char *what, const char *value, void *dst,
                    struct err *e)
{
    union opt_value v;
    int r = convert(row, what, value, &v, e);
    if (r < 0)
        return r;
    if (row->type == OPT_STRS && list_of(row, dst)->n >= OPT_STRS_MAX)
        return too_many(row, what, e);
    store(row, &v, dst);
    return 0;
}

/* Whole texts. */

/* Cuts the next element off *rest in place, undoubling commas; *rest is NULL after the last. */
static char *next_element(char **rest)
{
    char *start = *rest, *to = start;

    for (char *from = start;; from++) {
        if (*from == ',' && from[1] == ',')
            from++;
        else if (*from == ',' || !*from) {
            *rest = *from ? from + 1 : NULL;
            *to = '\0';
            return start;
        }
        *to++ = *from;
    }
}

static int unknown_key(const struct opt_desc *table, const char *what, const char *key,
                       struct err *e)
{
    const char *keys[64], *near;
    char all[256];
    size_t n = 0;

    for (const struct opt_desc *row = table; row->type != OPT_END; row++) {
        if (n + 1 < ARRAY_SIZE(keys))
            keys[n++] = row->key;
    }
    keys[n] = NULL;
    near = opts_nearest(key, keys);
    if (near)
        return err_input(e, 0, "%s: unknown key \"%s\"; did you mean \"%s\"?", what, key, near);
    join(keys, all, sizeof(all));
    return err_input(e, 0, "%s: unknown key \"%s\"; it knows %s", what, key, all);
}

/* Finds the row of "key=value", "key" or, for the first element, "value". */
static int find_row(const struct opt_desc *table, const char *what, char *text, bool first,
                    struct element *out, struct err *e)
{
    char *equals = strchr(text, '=');

    if (first && !equals && table->positional) {
        *out = (struct element){.row = table, .text = text};
        return 0;
    }
    if (equals)
        *equals = '\0';
    if (!*text)
        return err_input(e, 0, "%s: a key is missing %s", what,
                         equals ? "before \"=\"" : "after a comma (write \",,\" for one comma)");
    for (const struct opt_desc *row = table; row->type != OPT_END; row++) {
        if (!strcmp(row->key, text)) {
            *out = (struct element){.row = row, .text = equals ? equals + 1 : NULL};
            return 0;
        }
    }
    return unknown_key(table, what, text, e);
}

/* Whether the row may be set once more, after `n` elements. */
static int check_repeated(const struct opt_desc *row, const char *what, const struct element *elems,
                          size_t n, void *dst, struct err *e)
{
    bool list = row->type == OPT_STRS;
    size_t times = list ? list_of(row, dst)->n : 0;

    for (size_t i = 0; i < n; i++)
        times += elems[i].row == row;
    if (list && times >= OPT_STRS_MAX)
        return too_many(row, what, e);
    if (!list && times)
        return err_input(e, 0, "%s: %s is given twice", what, row->key);
    return 0;
}

static int parse_element(const struct opt_desc *table, const char *what, char *text,
                         struct element *elems, size_t n, void *dst, struct err *e)
{
    char label[128];
    int r = find_row(table, what, text, n == 0, &elems[n], e);
    if (r < 0)
        return r;
    const struct opt_desc *row = elems[n].row;
    r = check_repeated(row, what, elems, n, dst, e);
    if (r < 0)
        return r;
    snprintf(label, sizeof(label), "%s: %s", what, row->key);
    return convert(row, row->positional ? what : label, elems[n].text, &elems[n].value, e);
}

static int check_required(const struct opt_desc *table, const char *what,
                          const struct element *elems, size_t n, struct err *e)
{
    for (const struct opt_desc *row = table; row->type != OPT_END; row++) {
        bool given = !row->required;
        for (size_t i = 0; i < n && !given; i++)
            given = elems[i].row == row;
        if (given)
            continue;
        const char *metavar = row->metavar ? row->metavar : "on|off";
        if (row->positional)
            return err_input(e, 0, "%s: %s is missing", what, metavar);
        return err_input(e, 0, "%s: %s=%s is missing", what, row->key, metavar);
    }
    return 0;
}

int opts_parse(const struct opt_desc *table, const char *what, const char *text, void *dst,
               struct err *e)
{
    size_t most = 1, n = 0;
    int r;

    for (const char *p = text; *p; p++)
        most += *p == ',';
    AUTO_FREE struct element *elems = calloc(most, sizeof(*elems));
    char *rest = keep_text(text);
    if (!elems || !rest)
        return err_host(e, -ENOMEM, "%s", what);

    while (rest && *text) {
        r = parse_element(table, what, next_element(&rest), elems, n, dst, e);
        if (r < 0)
            return r;
        n++;
    }
    r = check_required(table, what, elems, n, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        store(elems[i].row, &elems[i].value, dst);
    return 0;
}
