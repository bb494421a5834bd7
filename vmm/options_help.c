/* vmm/options_help.c - what --help prints, made from the tables of options and device classes. */
#include <stdarg.h>

#include "vmm/options_table.h"

enum { WIDTH = 100, COLUMN = 38 };

const struct opt_desc *option_keys(const struct option_row *row)
{
    if (!row->class)
        return row->keys;
    const struct vdev_class *c = option_find_class(row->class, strlen(row->class));
    return c ? c->opts : NULL;
}

const char *option_metavar(const struct opt_desc *d, char buf[OPTION_META])
{
    size_t used = 0;

    if (d->metavar)
        return d->metavar;
    if (d->type != OPT_ENUM)
        return "VALUE";
    for (const char *const *n = d->names; *n && used < OPTION_META; n++)
        used += (size_t)snprintf(buf + used, OPTION_META - used, "%s%s", used ? "|" : "", *n);
    return buf;
}

/* Wraps `text` between COLUMN and WIDTH; the line has `cursor` columns already. */
static void print_wrapped(FILE *to, int cursor, const char *text)
{
    while (*text) {
        int len = (int)strcspn(text, " ");
        int gap = cursor < COLUMN ? COLUMN - cursor : 1;
        if (cursor > COLUMN && cursor + gap + len > WIDTH) {
            fputc('\n', to);
            cursor = 0;
            gap = COLUMN;
        }
        fprintf(to, "%*s%.*s", gap, "", len, text);
        cursor += gap + len;
        text += len;
        text += *text == ' ';
    }
    fputc('\n', to);
}

/* A line of two columns, or two lines when `left` is too long for that. */
static void print_pair(FILE *to, int indent, const char *left, const char *right)
{
    int cursor = indent + (int)strlen(left);

    fprintf(to, "%*s%s", indent, "", left);
    if (cursor + 2 > COLUMN) {
        fputc('\n', to);
        cursor = 0;
    }
    print_wrapped(to, cursor, right);
}

static void append(char *buf, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void append(char *buf, size_t size, const char *fmt, ...)
{
    size_t used = strlen(buf);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(buf + used, size - used, fmt, ap);
    va_end(ap);
}

static void print_keys(FILE *to, const struct opt_desc *keys)
{
    char left[256], meta[OPTION_META];

    for (const struct opt_desc *k = keys; k->type != OPT_END; k++) {
        (void)snprintf(left, sizeof(left), "%s", k->key);
        if (k->type != OPT_FLAG)
            append(left, sizeof(left), "=%s%s", option_metavar(k, meta),
                   k->type == OPT_STRS ? "..." : "");
        print_pair(to, 6, left, k->help);
    }
}

static void print_option(FILE *to, const struct option_row *row)
{
    const struct opt_desc *keys = option_keys(row);
    char left[256], right[512], meta[OPTION_META];

    (void)snprintf(left, sizeof(left), "--%s", row->d.key);
    if (row->d.type != OPT_FLAG)
        append(left, sizeof(left), " %s", option_metavar(&row->d, meta));
    if (keys || !strcmp(row->d.key, "device"))
        append(left, sizeof(left), "[,KEY...]");
    (void)snprintf(right, sizeof(right), "%s", row->d.help);
    if (row->repeatable)
        append(right, sizeof(right), "; repeatable");
    if (row->class)
        append(right, sizeof(right), "; for its keys see %s, below", row->class);
    if (row->default_text)
        append(right, sizeof(right), " [%s]", row->default_text);
    print_pair(to, 2, left, right);
    if (row->keys)
        print_keys(to, row->keys + row->keys->positional);
}

static void print_common(FILE *to)
{
    fputs("\nKeys of every device, its disks too\n", to);
    print_keys(to, device_common_keys);
    print_keys(to, vdev_option_keys);
}

static void print_class(FILE *to, const struct vdev_class *c)
{
    print_pair(to, 2, c->name, c->summary);
    print_keys(to, c->opts);
}

static void print_classes(FILE *to)
{
    fputs("Device classes for --device, and their keys\n", to);
    for (const struct vdev_class *const *c = vdev_classes; *c; c++)
        print_class(to, *c);
    print_common(to);
}

void options_help(FILE *to)
{
    fputs(
        "vmm " VMM_VERSION " - runs a Linux guest in a virtual machine on KVM\n\n"
        "Usage: vmm --kernel FILE [OPTION]...\n"
        "       vmm --config-file FILE [OPTION]...\n"
        "       vmm --api-sock PATH [OPTION]...\n\n"
        "An option is written --name VALUE or --name=VALUE. A comma inside the value of a KEY is\n"
        "written twice. What holds without the option is in brackets.\n",
        to);
    for (int g = 0; g < GROUP_COUNT; g++) {
        fprintf(to, "\n%s\n", option_group_names[g]);
        for (const struct option_row *row = option_rows; row->d.key; row++) {
            if ((int)row->group == g)
                print_option(to, row);
        }
    }
    fputc('\n', to);
    print_classes(to);
    fputs(
        "\nIn the console: Ctrl-A x ends the virtual machine, Ctrl-A h helps.\n"
        "Exit status: 0 the guest powered off, 1 the host failed, 2 the command line or a file on "
        "it is\nwrong, 3 the guest crashed.\n",
        to);
}

void options_help_devices(FILE *to, const struct vm_config *cfg)
{
    if (cfg->n_devices) {
        print_class(to, cfg->devices[0].class);
        print_common(to);
    } else {
        print_classes(to);
    }
}
