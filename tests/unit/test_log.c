/* tests/unit/test_log.c - what the log lets through and how it says it, and the one sentence of a
 * struct err: always one line, never longer than its room. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/log.h"

enum { TEXT = 1 << 20, LINE_MAX = 1024 };

static int log_fd, saved_fd;
static char text[TEXT];

static void up(void)
{
    log_fd = memfd_create("log", MFD_CLOEXEC);
    cr_assert_eq(fcntl(log_fd, F_SETFL, O_APPEND), 0); /* writers share no offset */
    fflush(stderr);
    saved_fd = dup(STDERR_FILENO);
    cr_assert_geq(dup2(log_fd, STDERR_FILENO), 0);
}

static void down(void)
{
    dup2(saved_fd, STDERR_FILENO);
    close(saved_fd);
    close(log_fd);
}

TestSuite(log, .init = up, .fini = down, .timeout = 60);
TestSuite(err, .timeout = 60);

/* All that was logged since the last call. */
static const char *logged(void)
{
    ssize_t n = pread(log_fd, text, TEXT - 1, 0);
    cr_assert_geq(n, 0);
    text[n] = '\0';
    cr_assert_eq(ftruncate(log_fd, 0), 0);
    return text;
}

static unsigned lines(const char *s)
{
    unsigned n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n;
}

/* --- levels --- */

Test(log, warns_before_it_is_told_anything)
{
    log_error("e");
    log_warn("w");
    log_info("i");
    log_debug("d");
    cr_assert_str_eq(logged(), "vmm: error: e\nvmm: warn: w\n");
}

Test(log, levels)
{
    static const char *const all[] = {"vmm: error: 1\n", "vmm: warn: 2\n", "vmm: info: 3\n",
                                      "vmm: debug: 4\n"};
    for (int level = LOG_OFF; level <= LOG_DEBUG; level++) {
        char want[128] = "";
        log_set_level((enum log_level)level);
        log_error("%d", 1);
        log_warn("%d", 2);
        log_info("%d", 3);
        log_debug("%d", 4);
        for (int i = 0; i < level; i++)
            strcat(want, all[i]);
        cr_assert_str_eq(logged(), want);
    }
}

Test(log, goes_where_it_is_told)
{
    AUTO_FD other = memfd_create("other", MFD_CLOEXEC);
    char got[64] = "";
    cr_assert_eq(log_to(other), 0);
    log_warn("there");
    cr_assert_eq(log_to(STDERR_FILENO), 0);
    log_warn("here");
    cr_expect_str_eq(logged(), "vmm: warn: here\n");
    cr_assert_gt(pread(other, got, sizeof(got) - 1, 0), 0);
    cr_expect_str_eq(got, "vmm: warn: there\n");
}

/* A thread that was about to write when its file was replaced writes to the new one, and never to
 * what the number of a closed descriptor is by then. */
Test(log, keeps_a_descriptor_of_its_own)
{
    char got[64] = "";
    int there = memfd_create("there", MFD_CLOEXEC), next = memfd_create("next", MFD_CLOEXEC);
    cr_assert_eq(log_to(there), 0);
    cr_assert_eq(close(there), 0);
    AUTO_FD disk = memfd_create("disk", MFD_CLOEXEC);
    cr_assert_eq(disk, there, "the number is not used again");
    log_warn("lost?");
    cr_expect_eq(lseek(disk, 0, SEEK_END), 0, "a line in a file that is nobody's log");
    cr_assert_eq(log_to(next), 0);
    cr_assert_eq(close(next), 0);
    log_warn("after");
    cr_assert_eq(log_to(disk), 0);
    log_warn("at last");
    cr_assert_eq(pread(disk, got, sizeof(got) - 1, 0), (ssize_t)strlen("vmm: warn: at last\n"));
    cr_expect_str_eq(got, "vmm: warn: at last\n");
    cr_assert_lt(log_to(-1), 0);
    log_warn("still");
    cr_expect_eq(lseek(disk, 0, SEEK_END), (off_t)strlen("vmm: warn: at last\nvmm: warn: still\n"));
}

Test(log, names_of_levels)
{
    static const char *const names[] = {"off", "error", "warn", "info", "debug"};
    static const char *const none[] = {"", "warning", "WARN", "of", "errors", " info", "4"};
    enum log_level level;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cr_assert_eq(log_level_parse(names[i], &level), 0);
        cr_assert_eq(level, i);
    }
    level = LOG_INFO;
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        cr_assert_eq(log_level_parse(none[i], &level), -EINVAL, "\"%s\"", none[i]);
    cr_assert_eq(level, LOG_INFO);
}

/* --- lines --- */

Test(log, a_long_line_is_cut_and_is_one)
{
    char word[3 * LINE_MAX];
    for (size_t len = LINE_MAX - 40; len < LINE_MAX + 40; len++) {
        memset(word, 'a', len);
        word[len] = '\0';
        log_warn("%s", word);
        const char *s = logged();
        cr_assert_eq(lines(s), 1, "%zu", len);
        cr_assert_eq(s[strlen(s) - 1], '\n');
        cr_assert_leq(strlen(s), LINE_MAX);
        cr_assert(memcmp(s, "vmm: warn: aaa", 14) == 0);
        if (len < LINE_MAX - 20)
            cr_assert_eq(strlen(s), strlen("vmm: warn: \n") + len, "nothing is lost");
    }
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    log_warn("%s", word);
    cr_assert_eq(lines(logged()), 1);
}

Test(log, an_empty_line)
{
    log_warn("%s", "");
    cr_assert_str_eq(logged(), "vmm: warn: \n");
}

Test(log, a_file_name_cannot_forge_a_line)
{
    log_warn("%s: failed", "disk\nvmm: error: forged\x1b[2J");
    const char *s = logged();
    cr_assert_eq(lines(s), 1, "%s", s);
    cr_assert_null(strchr(s, '\x1b'));
}

Test(log, a_closed_standard_error_is_no_failure)
{
    close(STDERR_FILENO);
    log_warn("nobody hears it");
    errno = 0;
    dup2(log_fd, STDERR_FILENO);
    log_warn("again");
    cr_assert_str_eq(logged(), "vmm: warn: again\n");
}

/* --- a terminal that nobody reads --- */

static bool foreign; /* it is another user's */
int __real_fd_unblocked(int fd);
int __wrap_fd_unblocked(int fd);
int __wrap_fd_unblocked(int fd)
{
    return foreign ? -EACCES : __real_fd_unblocked(fd);
}

static size_t drain(int master, char *to, size_t size)
{
    size_t n = 0;
    for (ssize_t k; n < size && (k = read(master, to + n, size - n)) > 0;)
        n += (size_t)k;
    return n;
}

/* The terminal does not wait, so neither does who writes; and what is read afterwards is lines. */
static void stalled(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert(slave >= 0 && dup2(slave, STDERR_FILENO) >= 0);
    log_terminal();
    for (unsigned i = 0; i < 5000; i++)
        log_warn("%0*u", (int)(i % 200), i);
    size_t n = drain(master, text, sizeof(text) - 1);
    cr_assert_gt(n, 1000);
    log_warn("and on");
    n += drain(master, text + n, sizeof(text) - 1 - n);
    text[n] = '\0';
    unsigned whole = 0;
    for (char *s = strtok(text, "\r\n"); s; s = strtok(NULL, "\r\n"), whole++) {
        cr_assert_eq(strncmp(s, "vmm: warn: ", MIN(strlen(s), 11ul)), 0, "%s", s);
        cr_assert_null(strstr(s + 1, "vmm: "), "two in one: %s", s);
    }
    cr_assert_gt(whole, 10);
    dup2(log_fd, STDERR_FILENO);
    close(slave);
    close(master);
}

Test(log, a_terminal_that_nobody_reads)
{
    stalled();
}

Test(log, a_terminal_of_another_user_s)
{
    foreign = true;
    stalled();
}

static void *chatter(void *arg)
{
    for (unsigned i = 0; i < 200; i++)
        log_warn("%s%s%s", (char *)arg, (char *)arg, (char *)arg);
    return NULL;
}

Test(log, threads_do_not_mix_lines)
{
    static char words[4][64];
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        memset(words[i], 'a' + (int)i, sizeof(words[i]) - 1);
        cr_assert_eq(pthread_create(&threads[i], NULL, chatter, words[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *s = logged();
    cr_assert_eq(lines(s), 800);
    for (; *s; s = strchr(s, '\n') + 1) {
        char c = s[11];
        cr_assert_eq(memcmp(s, "vmm: warn: ", 11), 0);
        cr_assert_eq(strspn(s + 11, (char[]){c, '\0'}), 3 * 63);
    }
}

/* --- limits --- */

static void next_window(struct log_limit *l)
{
    l->window_start_ns -= 10000000001; /* as if ten seconds had gone by */
}

Test(log, a_burst_and_then_nothing)
{
    struct log_limit l = {0};
    for (unsigned i = 0; i < 1000; i++)
        log_limited(&l, LOG_WARN, "line %u", i);
    const char *s = logged();
    cr_assert_eq(lines(s), LOG_BURST);
    cr_assert(strstr(s, "vmm: warn: line 0\n"));
    cr_assert(strstr(s, "vmm: warn: line 9\n"));
    cr_assert_null(strstr(s, "left out"));
}

Test(log, the_next_window_says_how_many_were_left_out)
{
    struct log_limit l = {0};
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < LOG_BURST + 7; i++)
            log_limited(&l, LOG_WARN, "line %u", i);
        const char *s = logged();
        cr_assert_eq(lines(s), LOG_BURST);
        cr_assert_eq(strstr(s, "vmm: warn: line 0 (7 such lines left out)\n") == s, round > 0);
        cr_assert_null(strstr(strchr(s, '\n'), "left out"), "once");
        next_window(&l);
    }
}

Test(log, a_window_that_left_nothing_out_says_nothing)
{
    struct log_limit l = {0};
    log_limited(&l, LOG_WARN, "a");
    next_window(&l);
    log_limited(&l, LOG_WARN, "b");
    cr_assert_str_eq(logged(), "vmm: warn: a\nvmm: warn: b\n");
}

Test(log, the_window_is_ten_seconds)
{
    struct log_limit l = {0};
    for (unsigned i = 0; i < LOG_BURST + 1; i++)
        log_limited(&l, LOG_WARN, "x");
    (void)logged();
    l.window_start_ns -= 9000000000;
    log_limited(&l, LOG_WARN, "still shut");
    cr_assert_str_eq(logged(), "");
    l.window_start_ns -= 1000000001;
    log_limited(&l, LOG_WARN, "open");
    cr_assert_str_eq(logged(), "vmm: warn: open (2 such lines left out)\n");
}

Test(log, what_the_level_drops_is_not_counted)
{
    struct log_limit l = {0};
    for (unsigned i = 0; i < 100; i++)
        log_limited(&l, LOG_DEBUG, "x");
    cr_assert_eq(l.dropped, 0);
    cr_assert_eq(l.in_window, 0);
    log_limited(&l, LOG_WARN, "x");
    cr_assert_str_eq(logged(), "vmm: warn: x\n");
}

Test(log, sources_have_a_limit_each)
{
    struct log_limit a = {0}, b = {0};
    for (unsigned i = 0; i < 100; i++) {
        log_limited(&a, LOG_WARN, "a");
        log_limited(&b, LOG_WARN, "b");
    }
    cr_assert_eq(lines(logged()), 2 * LOG_BURST);
}

Test(log, the_count_survives_a_line_that_is_cut)
{
    static char word[2 * LINE_MAX];
    struct log_limit l = {0};
    memset(word, 'a', sizeof(word) - 1);
    for (unsigned i = 0; i < LOG_BURST + 3; i++)
        log_limited(&l, LOG_WARN, "x");
    (void)logged();
    next_window(&l);
    log_limited(&l, LOG_WARN, "%s", word);
    const char *s = logged();
    cr_assert_eq(lines(s), 1);
    cr_assert_leq(strlen(s), LINE_MAX);
    cr_assert(strstr(s, " (3 such lines left out)\n"), "%s", s + strlen(s) - 40);
}

static struct log_limit shared_limit;

static void *flood(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++)
        log_limited(&shared_limit, LOG_WARN, "x");
    return NULL;
}

Test(log, a_limit_holds_for_threads_together)
{
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, flood, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(lines(logged()), LOG_BURST);
    cr_assert_eq(shared_limit.dropped, 4000 - LOG_BURST);
}

/* --- struct err --- */

Test(err, sentence_kind_and_reason)
{
    struct err e;
    cr_assert_eq(err_host(&e, -ENOENT, "disk %s", "a.img"), -ENOENT);
    cr_assert_eq(e.kind, ERR_HOST);
    cr_assert_str_eq(e.msg, "disk a.img: No such file or directory");
    cr_assert_eq(err_input(&e, -EACCES, "x"), -EACCES);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert_str_eq(e.msg, "x: Permission denied");
}

Test(err, without_a_reason)
{
    struct err e;
    cr_assert_eq(err_input(&e, 0, "--cpus: %d is too many", 999), -EINVAL);
    cr_assert_str_eq(e.msg, "--cpus: 999 is too many");
}

Test(err, a_new_sentence_replaces_the_old_one)
{
    struct err e;
    (void)err_host(&e, -EIO, "a long sentence about something else entirely");
    (void)err_input(&e, 0, "short");
    cr_assert_str_eq(e.msg, "short");
    cr_assert_eq(e.kind, ERR_INPUT);
}

Test(err, control_characters_become_question_marks)
{
    struct err e;
    for (int c = 1; c < 256; c++) {
        char name[] = {'a', (char)c, 'b', '\0'};
        (void)err_host(&e, 0, "%s", name);
        char want = c < ' ' || c == 0x7f ? '?' : (char)c; /* above: UTF-8 */
        cr_assert_eq(e.msg[1], want, "%#x", c);
        cr_assert_eq(e.msg[0], 'a');
        cr_assert_eq(e.msg[2], 'b');
    }
    (void)err_host(&e, -EIO, "a\nb\x1b[2J\r\tc");
    cr_assert_str_eq(e.msg, "a?b?[2J??c: Input/output error");
}

Test(err, a_long_sentence_is_cut)
{
    struct {
        struct err e;
        char after[8];
    } x;
    static char name[2000];
    for (size_t len = sizeof(x.e.msg) - 60; len < sizeof(x.e.msg) + 60; len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        memset(&x, 0x55, sizeof(x));
        cr_assert_eq(err_host(&x.e, -ENOENT, "%s", name), -ENOENT);
        size_t whole = len + strlen(": No such file or directory");
        cr_assert_eq(strlen(x.e.msg), MIN(whole, sizeof(x.e.msg) - 1));
        cr_assert_eq(x.after[0], 0x55);
        cr_assert_eq(x.e.kind, ERR_HOST);
    }
}
