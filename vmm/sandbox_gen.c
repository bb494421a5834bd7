/* vmm/sandbox_gen.c - a program of the build: makes filters of all lists of system calls, with
 * libseccomp, as C; or says what is in them.
 *
 * usage: sandbox-gen           the C file
 *        sandbox-gen --lists   KIND, LIST, CALL, its condition, and why it stays unseen, by tabs; a
 *                              pool's own list is of the kind "pool NAME"
 *        sandbox-gen --counts  for each kind of thread, how many calls it has in a machine without
 *                              and with all devices; fails if these are more than are to be */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vmm/sandbox_lists.h"

enum {
    CALLS_MAX = 1024,
    VCPU_MOST = 25, /* calls that a vCPU's thread may have, whatever the machine */
    MOST = 40,      /* any other */
};

static const char *const kinds[SANDBOX_THREADS] = {"main", "vcpu", "loop", "slirp", "pool"};

static void fail(const char *what, int rc)
{
    (void)fprintf(stderr, "sandbox-gen: %s: %s\n", what, strerror(-rc));
    exit(EXIT_FAILURE);
}

static const char *name_of(int nr)
{
    static char name[64]; /* until the next call */
    AUTO_FREE char *found = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);
    (void)snprintf(name, sizeof(name), "%s", found ? found : "unknown"); /* there is a gap */
    return name;
}

static void add(scmp_filter_ctx f, const struct sandbox_call *c)
{
    const struct scmp_arg_cmp cmp[] = {
        {.arg = c->arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = c->mask, .datum_b = c->value},
        {.arg = c->arg2, .op = SCMP_CMP_MASKED_EQ, .datum_a = c->mask2, .datum_b = c->value2}};
    unsigned n = c->mask2 ? 2 : c->mask ? 1 : 0;
    int rc = seccomp_rule_add_array(f, SCMP_ACT_ALLOW, c->nr, n, cmp);
    if (rc < 0)
        fail(name_of(c->nr), rc);
}

/* The calls of a list on one kind of thread; 0: there are none. */
static unsigned fill(scmp_filter_ctx f, const struct sandbox_list *l, unsigned on)
{
    unsigned n = 0;
    for (const struct sandbox_call *c = l->calls; c->on; c++) {
        if (!(c->on & on))
            continue;
        add(f, c);
        n++;
    }
    return n;
}

/* libseccomp begins with a look at the architecture, and reads the call's number again after it. */
enum { BEGINNING = 5 };

static void print_insns(scmp_filter_ctx f, unsigned number)
{
    struct sock_filter insns[BPF_MAXINSNS];
    int fd = memfd_create("filter", MFD_CLOEXEC), rc = seccomp_export_bpf(f, fd);
    if (rc < 0)
        fail("filter", rc);
    size_t n = (size_t)pread(fd, insns, sizeof(insns), 0) / sizeof(insns[0]);
    (void)close(fd);
    const struct sock_filter *reads = &insns[BEGINNING];
    if (n <= BEGINNING || reads->code != (BPF_LD | BPF_W | BPF_ABS) || reads->k != 0)
        fail("this libseccomp's filters begin differently", -EPROTO);
    (void)printf("static const struct sock_filter p%u[] = {\n", number);
    for (size_t i = BEGINNING; i < n; i++)
        (void)printf("    {%#x, %u, %u, %#x},\n", insns[i].code, insns[i].jt, insns[i].jf,
                     insns[i].k);
    (void)printf("};\n");
}

static scmp_filter_ctx new_filter(void)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(SANDBOX_NEXT));
    if (!f || seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) < 0 ||
        seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)
        fail("libseccomp", -ENOMEM);
    return f;
}

/* One list; or, with NULL, all that are always needed. */
static unsigned fill_all(scmp_filter_ctx f, const struct sandbox_list *only, unsigned on)
{
    unsigned n = 0;
    const struct sandbox_list *l;
    for (unsigned i = 0; (l = sandbox_lists(i)) != NULL; i++) {
        if (only ? l == only : l->always)
            n += fill(f, l, on);
    }
    return n;
}

/* The programs of a list: their arrays; or, with `table`, their rows. They count on from `n`. */
static unsigned print_list(const struct sandbox_list *l, bool table, unsigned n)
{
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        unsigned on = 1u << k;
        scmp_filter_ctx f = new_filter();
        if (fill_all(f, l, on) > 0) {
            if (!table)
                print_insns(f, n);
            else
                (void)printf("    {%s%s%s, %#x, p%u, sizeof(p%u) / sizeof(p%u[0])},\n",
                             l ? "\"" : "", l ? l->name : "NULL", l ? "\"" : "", on, n, n, n);
            n++;
        }
        seccomp_release(f);
    }
    return n;
}

static unsigned print_programs(bool table)
{
    unsigned n = print_list(NULL, table, 0);
    const struct sandbox_list *l;
    for (unsigned i = 0; (l = sandbox_lists(i)) != NULL; i++) {
        if (!l->always)
            n = print_list(l, table, n);
    }
    return n;
}

static void print_c(void)
{
    (void)printf("/* Made by sandbox-gen. */\n#include \"base/sandbox.h\"\n\n");
    (void)print_programs(false);
    (void)printf("\nstatic const struct sandbox_program programs[] = {\n");
    unsigned n = print_programs(true);
    (void)printf("};\n\nconst struct sandbox_programs sandbox_programs = {\n    programs, %u,\n",
                 n);
    for (int nr = 0; nr < CALLS_MAX / 2; nr++)
        (void)printf("    \"%s\\0\"\n", name_of(nr));
    (void)printf("};\n");
}

static void print_lists(void)
{
    const struct sandbox_list *l;
    for (unsigned i = 0; (l = sandbox_lists(i)) != NULL; i++) {
        for (const struct sandbox_call *c = l->calls; c->on; c++) {
            for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
                if (!(c->on & 1u << k))
                    continue;
                bool pool = k == SANDBOX_POOL && l->chosen;
                (void)printf("%s%s%s\t%s\t%s\t", kinds[k], pool ? " " : "", pool ? l->name : "",
                             l->name, name_of(c->nr));
                if (c->mask)
                    (void)printf("%u %#llx %#llx", c->arg, (unsigned long long)c->mask,
                                 (unsigned long long)c->value);
                if (c->mask2)
                    (void)printf(" %u %#llx %#llx", c->arg2, (unsigned long long)c->mask2,
                                 (unsigned long long)c->value2);
                (void)printf("\t%s\n", c->why ? c->why : "");
            }
        }
    }
}

/* How many calls a thread has, with the list that is chosen for it (or NULL) and what every machine
 * needs, or all devices. */
static unsigned count(unsigned kind, const struct sandbox_list *chosen, bool all)
{
    bool counted[CALLS_MAX] = {false};
    unsigned n = 0;
    const struct sandbox_list *l;
    for (unsigned i = 0; (l = sandbox_lists(i)) != NULL; i++) {
        bool has = l == chosen || l->always || (all && !l->chosen);
        for (const struct sandbox_call *c = l->calls; c->on && has; c++) {
            bool counts = c->on & 1u << kind && !counted[c->nr];
            n += counts;
            counted[c->nr] |= counts;
        }
    }
    return n;
}

/* False: it has more calls than its kind is to have. */
static bool print_count(unsigned kind, const struct sandbox_list *chosen)
{
    unsigned always = count(kind, chosen, false), most = count(kind, chosen, true);
    unsigned limit = kind == SANDBOX_VCPU ? VCPU_MOST : MOST;
    (void)printf("%s%s%s: %u, with all devices that there are %u, of %u at most\n", kinds[kind],
                 chosen ? ", " : "", chosen ? chosen->name : "", always, most, limit);
    return most <= limit;
}

static bool has_rows(const struct sandbox_list *l, unsigned kind)
{
    for (const struct sandbox_call *c = l->calls; c->on; c++) {
        if (c->on & 1u << kind)
            return true;
    }
    return false;
}

static bool print_counts(void)
{
    bool fine = true;
    const struct sandbox_list *l;
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        bool chooses = false;
        for (unsigned i = 0; (l = sandbox_lists(i)) != NULL; i++) {
            if (!l->chosen || !has_rows(l, k))
                continue;
            chooses = true;
            fine = print_count(k, l) && fine;
        }
        if (!chooses || k == SANDBOX_POOL) /* a pool may have no list */
            fine = print_count(k, NULL) && fine;
    }
    return fine;
}

int main(int argc, char **argv)
{
    bool fine = true;
    if (argc == 1)
        print_c();
    else if (!strcmp(argv[1], "--lists"))
        print_lists();
    else if (!strcmp(argv[1], "--counts"))
        fine = print_counts();
    else
        return EXIT_FAILURE;
    return fine && fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}
