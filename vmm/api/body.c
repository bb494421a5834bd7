/* vmm/api/body.c - see body.h. */
#include "vmm/api/body.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>

enum { LABEL = 192, VALUE = 80 };

static const struct opt_desc setting_rows[] = {
    {.key = "log_path",
     .type = OPT_STR,
     .offset = offsetof(struct api_settings, log_path),
     .metavar = "a file's name"},
    {.key = "metrics_path",
     .type = OPT_STR,
     .offset = offsetof(struct api_settings, metrics_path),
     .metavar = "a file's name"},
    {.type = OPT_END},
};

/* --- checks --- */

static const struct api_word *find_word(const struct api_field *f, const char *word)
{
    for (const struct api_word *w = f->words; w->json; w++) {
        if (!strcasecmp(w->json, word))
            return w;
    }
    return NULL;
}

static int unknown_word(const struct api_field *f, const char *label, const char *word,
                        struct err *e)
{
    char all[128];
    size_t used = 0;
    for (const struct api_word *w = f->words; w->json && used < sizeof(all); w++)
        used += (size_t)snprintf(all + used, sizeof(all) - used, "%s%s", used ? ", " : "", w->json);
    return err_input(e, 0, "%s: unknown value \"%.64s\"; it is one of %s", label, word, all);
}

static int unknown_field(const struct api_body *b, const char *what, const char *name,
                         struct err *e)
{
    const char *names[32];
    size_t n = 0;
    for (const struct api_field *f = b->fields; f->name && n + 1 < ARRAY_SIZE(names); f++)
        names[n++] = f->name;
    names[n] = NULL;
    const char *near = opts_nearest(name, names);
    if (near)
        return err_input(e, 0, "%s: unknown field \"%.64s\"; did you mean \"%s\"?", what, name,
                         near);
    return err_input(e, 0, "%s: unknown field \"%.64s\"", what, name);
}

static const struct api_field *find_field(const struct api_body *b, const char *name)
{
    for (const struct api_field *f = b->fields; f->name; f++) {
        if (!strcmp(f->name, name))
            return f;
    }
    return NULL;
}

static bool only_strings(json_t *map)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v)
    {
        if (!json_is_string(v))
            return false;
    }
    return true;
}

/* One of "bandwidth" and "ops" in a limiter. */
static int check_bucket(const json_t *limiter, const char *name, const char *label, struct err *e)
{
    static const char *const fields[] = {"size", "refill_time", "one_time_burst"};
    json_t *bucket = json_object_get(limiter, name);
    size_t known = 0;
    if (!bucket || json_is_null(bucket))
        return 0;
    if (!json_is_object(bucket))
        return err_input(e, 0, "%s: %s: it must be an object", label, name);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        json_t *v = json_object_get(bucket, fields[i]);
        bool optional = i == 2;
        known += v != NULL;
        if (optional && (!v || json_is_null(v)))
            continue;
        if (!v)
            return err_input(e, 0, "%s: %s: %s is missing", label, name, fields[i]);
        if (!json_is_integer(v))
            return err_input(e, 0, "%s: %s: %s: it must be an integer", label, name, fields[i]);
        if (json_integer_value(v) < 0)
            return err_input(e, 0, "%s: %s: %s: it is negative", label, name, fields[i]);
    }
    if (known != json_object_size(bucket))
        return err_input(e, 0, "%s: %s: it has size, refill_time and one_time_burst only", label,
                         name);
    return 0;
}

static int check_limiter(const json_t *v, const char *label, struct err *e)
{
    if (!json_is_object(v))
        return err_input(e, 0, "%s: it must be an object", label);
    size_t known = !!json_object_get(v, "bandwidth") + !!json_object_get(v, "ops");
    if (known != json_object_size(v))
        return err_input(e, 0, "%s: it has bandwidth and ops only", label);
    int rc = check_bucket(v, "bandwidth", label, e);
    return rc < 0 ? rc : check_bucket(v, "ops", label, e);
}

static int check_value(const struct api_field *f, json_t *v, const char *label, struct err *e)
{
    switch (f->kind) {
    case API_TEXT:
        return json_is_string(v) ? 0 : err_input(e, 0, "%s: it must be a string", label);
    case API_SWITCH:
        return json_is_boolean(v) ? 0 : err_input(e, 0, "%s: it must be true or false", label);
    case API_NUMBER:
    case API_MIB:
        return json_is_integer(v) ? 0 : err_input(e, 0, "%s: it must be an integer", label);
    case API_WORD:
        if (!json_is_string(v))
            return err_input(e, 0, "%s: it must be a string", label);
        return find_word(f, json_string_value(v)) ? 0
                                                  : unknown_word(f, label, json_string_value(v), e);
    case API_OFF:
        if (json_is_false(v) || (json_is_string(v) && !strcmp(json_string_value(v), "None")))
            return 0;
        return err_input(e, 0, "%s: %s", label, f->why);
    case API_LIMITER:
        return check_limiter(v, label, e);
    case API_MAP:
        if (!json_is_object(v) || !only_strings(v))
            return err_input(e, 0, "%s: it must be an object of strings", label);
        return 0;
    }
    return err_input(e, 0, "%s: no such field", label);
}

/* A field that is null is as good as absent, which is how Firecracker's clients write it. */
static json_t *field_value(const json_t *json, const struct api_field *f)
{
    json_t *v = json_object_get(json, f->name);
    return json_is_null(v) ? NULL : v;
}

static const char *label_of(const char *what, const struct api_field *f, char buf[LABEL])
{
    (void)snprintf(buf, LABEL, "%s: %s", what, f->name);
    return buf;
}

int api_body_check(const struct api_body *b, const json_t *json, bool whole, const char *what,
                   struct err *e)
{
    char label[LABEL];
    const char *name;
    json_t *v;
    if (!json_is_object(json))
        return err_input(e, 0, "%s: it must be an object", what);
    json_object_foreach((json_t *)json, name, v)
    {
        const struct api_field *f = find_field(b, name);
        if (!f)
            return unknown_field(b, what, name, e);
        int rc = json_is_null(v) ? 0 : check_value(f, v, label_of(what, f, label), e);
        if (rc < 0)
            return rc;
    }
    for (const struct api_field *f = b->fields; whole && f->name; f++) {
        if (f->required && !field_value(json, f))
            return err_input(e, 0, "%s is missing", label_of(what, f, label));
    }
    return 0;
}

/* --- to options --- */

/* The value as the command line would have it; in buf, or borrowed. */
static const char *as_text(const struct api_field *f, const json_t *v, char buf[VALUE])
{
    switch (f->kind) {
    case API_SWITCH:
        return json_is_true(v) ? "on" : "off";
    case API_NUMBER:
        (void)snprintf(buf, VALUE, "%lld", (long long)json_integer_value(v));
        return buf;
    case API_MIB:
        (void)snprintf(buf, VALUE, "%lldM", (long long)json_integer_value(v));
        return buf;
    case API_WORD:
        return find_word(f, json_string_value(v))->option;
    case API_TEXT:
    case API_OFF:
    case API_LIMITER:
    case API_MAP:
        break;
    }
    return json_string_value(v);
}

/* The one check of its own: an option says "not a number" of what is negative. */
static int set_row(const struct opt_desc *row, const struct api_field *f, const json_t *v,
                   const char *label, void *to, struct err *e)
{
    char buf[VALUE];
    if (json_is_integer(v) && json_integer_value(v) < 0)
        return err_input(e, 0, "%s: it is negative", label);
    return opt_parse_value(row, label, as_text(f, v, buf), to, e);
}

/* A bucket that is not there is as it was. */
static int set_bucket(const json_t *bucket, const struct opt_desc *row, const char *label,
                      const char *name, void *opts, struct err *e)
{
    char text[VALUE], inner[LABEL + 16];
    if (!json_is_object(bucket))
        return 0;
    (void)snprintf(text, sizeof(text), "%lld/%lldms+%lld",
                   (long long)json_integer_value(json_object_get(bucket, "size")),
                   (long long)json_integer_value(json_object_get(bucket, "refill_time")),
                   (long long)json_integer_value(json_object_get(bucket, "one_time_burst")));
    (void)snprintf(inner, sizeof(inner), "%s: %s", label, name);
    return opt_parse_value(row, inner, text, opts, e);
}

static int set_limiter(const struct api_field *f, const json_t *v, const struct opt_desc *keys,
                       const char *label, void *opts, struct err *e)
{
    int rc = set_bucket(json_object_get(v, "bandwidth"), option_key(keys, f->option), label,
                        "bandwidth", opts, e);
    return rc < 0 ? rc
                  : set_bucket(json_object_get(v, "ops"), option_key(keys, f->ops), label, "ops",
                               opts, e);
}

int api_body_to_device(const struct api_body *b, const json_t *json, const char *what,
                       const struct opt_desc *keys, bool live, void *opts, struct err *e)
{
    char label[LABEL];
    for (const struct api_field *f = b->fields; f->name; f++) {
        json_t *v = field_value(json, f);
        const struct opt_desc *row = f->option ? option_key(keys, f->option) : NULL;
        if (!v || !f->option)
            continue;
        (void)label_of(what, f, label);
        if (!row || (live && !row->live))
            return err_input(e, 0, "%s: this cannot be %s", label, live ? "changed" : "set");
        int rc = f->kind == API_LIMITER ? set_limiter(f, v, keys, label, opts, e)
                                        : set_row(row, f, v, label, opts, e);
        if (rc < 0)
            return rc;
    }
    const struct opt_desc *row = b->always.key && !live ? option_key(keys, b->always.key) : NULL;
    return row ? opt_parse_value(row, what, b->always.value, opts, e) : 0;
}

static const struct option_row *find_option(const char *name)
{
    for (const struct option_row *row = option_rows; row->d.key; row++) {
        if (!strcmp(row->d.key, name))
            return row;
    }
    return NULL;
}

/* The console's end and the kernel's words are no plain values. */
static int set_option(const struct api_field *f, const json_t *v, const char *label,
                      struct vm_config *cfg, struct err *e)
{
    const struct option_row *row = find_option(f->option);
    assert(row);
    if (!strcmp(f->option, "cmdline")) {
        cfg->cmdline = json_string_value(v);
        return 0;
    }
    if (!strcmp(f->option, "console")) {
        if (!*json_string_value(v))
            return err_input(e, 0, "%s: a file's name is missing", label);
        cfg->console.kind = CHARDEV_FILE;
        cfg->console.path = json_string_value(v);
        return 0;
    }
    assert(!row->parse);
    return set_row(&row->d, f, v, label, cfg, e);
}

int api_body_to_config(const struct api_body *b, const json_t *json, const char *what,
                       struct vm_config *cfg, struct api_settings *s, struct err *e)
{
    char label[LABEL], size[VALUE];
    struct mem_opts mem = option_mem_get(cfg);
    bool has_mem = false;
    int rc = 0;
    for (const struct api_field *f = b->fields; rc == 0 && f->name; f++) {
        json_t *v = field_value(json, f);
        if (!v || !f->option)
            continue;
        const struct opt_desc *setting = option_key(setting_rows, f->option);
        const struct opt_desc *of_mem = option_key(option_mem_keys, f->option);
        (void)label_of(what, f, label);
        has_mem |= of_mem != NULL;
        if (setting)
            rc = set_row(setting, f, v, label, s, e);
        else if (of_mem)
            rc = set_row(of_mem, f, v, label, &mem, e);
        else
            rc = set_option(f, v, label, cfg, e);
    }
    if (rc < 0 || !has_mem)
        return rc;
    (void)snprintf(size, sizeof(size), "%llu MiB", (unsigned long long)(mem.size >> 20));
    (void)snprintf(label, sizeof(label), "%s: mem_size_mib", what);
    return option_mem_set(cfg, &mem, label, size, e);
}

/* --- and back --- */

static json_t *word_of(const struct api_field *f, const char *option)
{
    for (const struct api_word *w = f->words; w->json; w++) {
        if (w->option && !strcmp(w->option, option))
            return json_string(w->json);
    }
    return NULL;
}

static json_t *from_row(const struct opt_desc *row, const struct api_field *f, const void *from)
{
    const void *at = (const char *)from + row->offset;
    const char *text = NULL;
    uint64_t n = 0;
    switch (row->type) {
    case OPT_FLAG:
        return json_boolean(*(const bool *)at);
    case OPT_U32:
    case OPT_U64:
    case OPT_SIZE:
        memcpy(&n, at, row->type == OPT_U32 ? sizeof(uint32_t) : sizeof(n));
        if (n < row->min || (n == 0 && f->kind == API_MIB && !f->required)) /* nobody has set it */
            return NULL;
        return json_integer((json_int_t)(f->kind == API_MIB ? n >> 20 : n));
    case OPT_STR:
        memcpy(&text, at, sizeof(text));
        return text ? json_string(text) : NULL;
    case OPT_ENUM:
        return word_of(f, row->names[*(const int *)at]);
    case OPT_RATE: /* one of two: limiter_of() */
    case OPT_STRS:
    case OPT_END:
        break;
    }
    return NULL;
}

static json_t *bucket_of(const struct opt_desc *row, const void *opts)
{
    struct bucket_limit l;
    memcpy(&l, (const char *)opts + row->offset, sizeof(l));
    return l.size ? json_pack("{s:I, s:I, s:I}", "size", (json_int_t)l.size, "one_time_burst",
                              (json_int_t)l.once, "refill_time", (json_int_t)l.refill_ms)
                  : json_null();
}

static json_t *limiter_of(const struct api_field *f, const void *opts, const struct opt_desc *keys)
{
    json_t *bandwidth = bucket_of(option_key(keys, f->option), opts);
    json_t *ops = bucket_of(option_key(keys, f->ops), opts);
    if (!json_is_null(bandwidth) || !json_is_null(ops))
        return json_pack("{s:o, s:o}", "bandwidth", bandwidth, "ops", ops);
    return json_null();
}

bool api_body_can_show(const struct api_body *b, const void *opts, const struct opt_desc *keys)
{
    const struct opt_desc *row = b->always.key ? option_key(keys, b->always.key) : NULL;
    return !row ||
           !strcmp(row->names[*(const int *)((const char *)opts + row->offset)], b->always.value);
}

void api_body_from_device(const struct api_body *b, const void *opts, const struct opt_desc *keys,
                          json_t *json)
{
    for (const struct api_field *f = b->fields; f->name; f++) {
        const struct opt_desc *row = f->option ? option_key(keys, f->option) : NULL;
        json_t *v = NULL;
        if (row)
            v = f->kind == API_LIMITER ? limiter_of(f, opts, keys) : from_row(row, f, opts);
        if (json_is_null(v)) /* and what has been PUT is no more */
            (void)json_object_del(json, f->name);
        else if (v)
            (void)json_object_set_new(json, f->name, v);
    }
}

void api_body_from_config(const struct api_body *b, const struct vm_config *cfg, json_t *json)
{
    const struct mem_opts mem = option_mem_get(cfg);
    for (const struct api_field *f = b->fields; f->name; f++) {
        const struct opt_desc *of_mem = f->option ? option_key(option_mem_keys, f->option) : NULL;
        const struct option_row *row = f->option ? find_option(f->option) : NULL;
        json_t *v = NULL;
        if (of_mem)
            v = from_row(of_mem, f, &mem);
        else if (row && !row->parse)
            v = from_row(&row->d, f, cfg);
        else if (row && !strcmp(f->option, "cmdline") && cfg->cmdline)
            v = json_string(cfg->cmdline);
        if (v)
            (void)json_object_set_new(json, f->name, v);
    }
}
