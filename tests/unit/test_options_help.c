/* tests/unit/test_options_help.c - help and manual page tell every option. */
#include <unistd.h>

#include "tests/unit/options_try.h"

/* Spelled out, so that a row that is lost from the table is missed here. */
static const char *const all_options[] = {
    "kernel",   "initrd",      "cmdline",    "cpus",       "mem",       "disk",
    "device",   "console",     "log",        "version",    "help",      "check-host",
    "dump-dtb", "on-reboot",   "watchdog",   "discovery",  "transport", "net",
    "api-sock", "config-file", "io-threads", "io-poll-us", "jail",      "sandbox"};

Test(options, help_tells_every_option_and_key)
{
    AUTO_FREE char *text = text_of(options_help);
    char word[64];

    for (size_t i = 0; i < ARRAY_SIZE(all_options); i++) {
        (void)snprintf(word, sizeof(word), "\n  --%s", all_options[i]);
        const char *at = strstr(text, word);
        cr_assert_not_null(at, "%s", word);
        cr_expect(strchr(" \n", at[strlen(word)]), "%s", word);
    }
    size_t rows = 0;
    for (const struct option_row *row = option_rows; row->d.key; row++, rows++)
        cr_expect_not_null(strstr(text, row->d.metavar ? row->d.metavar : row->d.key));
    cr_expect_eq(rows, ARRAY_SIZE(all_options));
    cr_expect_not_null(strstr(text, "hugepages=off|thp|2M|1G"));
    cr_expect_not_null(strstr(text, "\n      serial=TEXT"));
    cr_expect_not_null(strstr(text, "a console for tests"));
    cr_expect_not_null(strstr(text, "[512M]"));
    cr_expect_not_null(strstr(text, "[" DEFAULT_CMDLINE "]"));
}

Test(options, help_fits_100_columns)
{
    AUTO_FREE char *text = text_of(options_help);

    for (const char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        cr_assert_not_null(end, "no newline at the end");
        cr_expect_leq(end - line, 100, "%.*s", (int)(end - line), line);
        cr_expect(end == line || end[-1] != ' ', "blank at the end: %.*s", (int)(end - line), line);
    }
}

Test(options, manual_tells_every_option_and_section)
{
    static const char *const sections[] = {
        "NAME",    "SYNOPSIS",    "DESCRIPTION",      "OPTIONS",
        "DEVICES", "CONSOLE",     "HOW A GUEST ENDS", "ENVIRONMENT",
        "FILES",   "EXIT STATUS", "EXAMPLES",         "SEE ALSO"};
    AUTO_FREE char *text = text_of(options_man);
    char word[64];

    for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
        (void)snprintf(word, sizeof(word), "\n.Sh %s\n", sections[i]);
        cr_expect_not_null(strstr(text, word), "%s", sections[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(all_options); i++) {
        (void)snprintf(word, sizeof(word), "\n.It Fl -%s", all_options[i]);
        cr_expect_not_null(strstr(text, word), "%s", word);
    }
    cr_expect_not_null(strstr(text, "\n.It Cm serial Ns = Ns Ar TEXT\n"));
    cr_expect_not_null(strstr(text, "\n.It Cm port Ns = Ns Ar NAME=PATH Ns ...\n"));
    cr_expect_not_null(strstr(text, "\n\\&.raw\\eimage.\n"), "a help line is not a request");
    cr_expect_not_null(strstr(text, "\n\\&'serial number.\n"), "nor is one with a quote");
}

Test(options, manual_passes_mandoc)
{
    char path[] = "/tmp/test_options.XXXXXX.1", command[128], line[256];
    int fd = mkstemps(path, 2);

    cr_assert_geq(fd, 0);
    FILE *to = fdopen(fd, "w");
    cr_assert_not_null(to);
    options_man(to);
    cr_assert_eq(fclose(to), 0);
    (void)snprintf(command, sizeof(command), "mandoc -T lint -W warning %s 2>&1", path);
    FILE *lint = popen(command, "r");
    cr_assert_not_null(lint);
    while (fgets(line, sizeof(line), lint))
        fprintf(stderr, "%s", line);
    int status = pclose(lint);
    (void)unlink(path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        fputs("manual_passes_mandoc: skipped, package mandoc is not installed\n", stderr);
        cr_skip_test("package mandoc is not installed");
    }
    cr_expect_eq(status, 0, "mandoc -T lint: status %d", WEXITSTATUS(status));
}
