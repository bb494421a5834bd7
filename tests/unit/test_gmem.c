/* tests/unit/test_gmem.c - guest RAM: the one way from a guest's address to a pointer at all of its
 * edges, the guards around the mapping, and every kind of memory that the host may have or not. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "gmem_try.h"

/* Must fail with this kind of error and with these words in it, and leave *out alone. */
static void refused(const struct gmem_region *r, unsigned n, struct gmem_options o,
                    enum err_kind kind, const char *words)
{
    struct gmem *m = (struct gmem *)&m;
    struct err e = {0};
    cr_assert_lt(gmem_new(r, n, &o, &m, &e), 0);
    cr_assert_eq(m, (struct gmem *)&m);
    cr_assert(strstr(e.msg, words), "\"%s\" has not \"%s\"", e.msg, words);
    cr_assert_eq(e.kind, kind, "%s", e.msg);
}

/* --- the host, as it is or as a test wants it --- */

static void *reserve_at; /* NULL: anywhere */
static size_t reserved;  /* the last one's bytes */
static bool is_full;     /* nothing more is mapped into it */
static int fails;        /* an madvise() that this host does not know */

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    if (is_full && flags & MAP_FIXED) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (reserve_at && !at && prot == PROT_NONE) {
        at = reserve_at;
        flags |= MAP_FIXED_NOREPLACE;
        reserved = len;
    }
    return __real_mmap(at, len, prot, flags, fd, off);
}

int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice)
{
    if (fails && advice == fails) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(at, len, advice);
}

TestSuite(gmem, .timeout = 60);

Test(gmem, regions_and_size)
{
    struct gmem *m = make(pc, 2, (struct gmem_options){0});
    const struct gmem_region *r;
    cr_assert_eq(gmem_regions(m, &r), 2);
    cr_assert_eq(gmem_fd(m), -1);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(r[i].base.v, pc[i].base.v);
        cr_assert_eq(r[i].len, pc[i].len);
        cr_assert_eq(gmem_at(m, r[i].base, r[i].len), r[i].host);
    }
    cr_assert_eq((uint64_t)r[0].host % MIB(2), 0, "aligned as the guest's addresses are");
    cr_assert_eq(r[1].host, r[0].host + r[0].len, "one mapping");
    gmem_free(m);
    gmem_free(NULL);
}

Test(gmem, at_its_edges)
{
    struct gmem *m = make(pc, 2, (struct gmem_options){0});
    const struct gmem_region *r;
    (void)gmem_regions(m, &r);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t base = r[i].base.v, len = r[i].len, end = base + len;
        cr_assert_eq(gmem_at(m, GPA(base), 1), r[i].host);
        cr_assert_eq(gmem_at(m, GPA(base + 5), len - 5), r[i].host + 5);
        cr_assert_eq(gmem_at(m, GPA(end - 1), 1), r[i].host + len - 1);
        cr_assert_null(gmem_at(m, GPA(base), len + 1));
        cr_assert_null(gmem_at(m, GPA(base + 1), len));
        cr_assert_null(gmem_at(m, GPA(end - 1), 2));
        cr_assert_null(gmem_at(m, GPA(end), 1));
        cr_assert_null(gmem_at(m, GPA(base - 1), 1));
        cr_assert_null(gmem_at(m, GPA(base - 1), 2));
        /* Nothing wraps. */
        cr_assert_null(gmem_at(m, GPA(base), UINT64_MAX));
        cr_assert_null(gmem_at(m, GPA(base + 1), UINT64_MAX));
        cr_assert_null(gmem_at(m, GPA(end - 1), UINT64_MAX));
        cr_assert_null(gmem_at(m, GPA(end - 1), (uint64_t)1 << 63));
        /* A length of 0 is fine where at itself is RAM. */
        cr_assert_eq(gmem_at(m, GPA(base), 0), r[i].host);
        cr_assert_eq(gmem_at(m, GPA(end - 1), 0), r[i].host + len - 1);
        cr_assert_null(gmem_at(m, GPA(end), 0));
    }
    cr_assert_null(gmem_at(m, GPA(0), GIB(4) + 1), "not across the hole");
    cr_assert_null(gmem_at(m, GPA(GIB(2)), 1), "nor in it");
    cr_assert_null(gmem_at(m, GPA(GIB(4) - 1), 2), "nor out of it");
    cr_assert_null(gmem_at(m, GPA(UINT64_MAX), 0));
    cr_assert_null(gmem_at(m, GPA(UINT64_MAX), 1));
    cr_assert_null(gmem_at(m, GPA(UINT64_MAX), 2));
    gmem_free(m);
}

Test(gmem, neighbours_are_two_regions)
{
    const struct gmem_region two[] = {{.base = GPA(PAGE), .len = PAGE},
                                      {.base = GPA(2 * PAGE), .len = PAGE}};
    struct gmem *m = make(two, 2, (struct gmem_options){0});
    cr_assert_null(gmem_at(m, GPA(PAGE), PAGE + 1), "one region, or nothing");
    cr_assert_not_null(gmem_at(m, GPA(2 * PAGE), PAGE));
    cr_assert_null(gmem_at(m, GPA(0), 1));
    gmem_free(m);
}

Test(gmem, layouts_that_are_none)
{
    const struct gmem_options plain = {0};
    const struct gmem_region bad[][2] = {
        {{.base = GPA(0), .len = 0}, {.base = GPA(PAGE), .len = PAGE}},
        {{.base = GPA(0), .len = PAGE + 1}, {.base = GPA(GIB(1)), .len = PAGE}},
        {{.base = GPA(1), .len = PAGE}, {.base = GPA(GIB(1)), .len = PAGE}},
        {{.base = GPA(0), .len = 2 * PAGE}, {.base = GPA(PAGE), .len = PAGE}},
        {{.base = GPA(PAGE), .len = PAGE}, {.base = GPA(0), .len = PAGE}},
        {{.base = GPA(0), .len = PAGE}, {.base = GPA(UINT64_MAX - PAGE + 1), .len = 2 * PAGE}},
    };
    const struct gmem_region many[9] = {{.base = GPA(0), .len = PAGE}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refused(bad[i], 2, plain, ERR_HOST, "is not laid out properly");
    refused(many, 9, plain, ERR_HOST, "9 regions");
    struct gmem_region most[8];
    for (unsigned i = 0; i < ARRAY_SIZE(most); i++)
        most[i] = (struct gmem_region){.base = GPA(2 * PAGE * i), .len = PAGE};
    gmem_free(make(most, ARRAY_SIZE(most), plain));
    refused(many, 0, plain, ERR_HOST, "0 regions");
}

/* --- the guards --- */

static sigjmp_buf faulted;
static void *volatile fault_at;

static void on_fault(int sig, siginfo_t *info, void *uc)
{
    (void)sig, (void)uc;
    fault_at = info->si_addr;
    siglongjmp(faulted, 1);
}

/* Our own handler, so that no sanitizer takes the fault for a bug. */
static bool faults(volatile uint8_t *p, bool write)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
    sigaction(SIGSEGV, &sa, &old);
    fault_at = NULL;
    bool did = sigsetjmp(faulted, 1) != 0;
    if (!did && write)
        *p = 1;
    else if (!did)
        (void)*p;
    sigaction(SIGSEGV, &old, NULL);
    return did && fault_at == p;
}

static void guarded(struct gmem_options o)
{
    struct gmem *m = make(pc, 2, o);
    const struct gmem_region *r;
    (void)gmem_regions(m, &r);
    uint8_t *first = r[0].host, *end = r[1].host + r[1].len;
    for (unsigned write = 0; write < 2; write++) {
        cr_assert_not(faults(first, write));
        cr_assert_not(faults(end - 1, write));
        cr_assert(faults(first - 1, write));
        cr_assert(faults(first - PAGE, write));
        cr_assert(faults(end, write));
        cr_assert(faults(end + PAGE - 1, write));
    }
    gmem_free(m);
    cr_assert(faults(first, false), "it is gone");
}

Test(gmem, guards_around_private_memory)
{
    guarded((struct gmem_options){0});
}

Test(gmem, guards_around_shared_memory)
{
    guarded((struct gmem_options){.shared = true});
}

/* Wherever the reservation lies to a huge page, and although its neighbours can be used. */
Test(gmem, guards_are_its_own)
{
    static const uint64_t offs[] = {0, PAGE, 2 * PAGE, MIB(1), MIB(2) - 2 * PAGE, MIB(2) - PAGE};
    uint8_t *const where = (uint8_t *)(1ull << 45);
    for (unsigned i = 0; i < ARRAY_SIZE(offs); i++) {
        const struct gmem_region *r;
        reserve_at = where + offs[i];
        struct gmem *m = make(pc, 2, (struct gmem_options){0});
        uint8_t *behind = where + offs[i] + reserved;
        cr_assert_eq(mmap(behind, PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                     behind);
        uint8_t *before = where + offs[i] - PAGE;
        cr_assert_eq(mmap(before, PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                     before);
        (void)gmem_regions(m, &r);
        uint8_t *first = r[0].host, *end = r[1].host + r[1].len;
        cr_assert_eq((uint64_t)first % MIB(2), 0);
        cr_assert(!faults(first, true) && faults(first - 1, true) && faults(first - PAGE, true));
        cr_assert(!faults(end - 1, true) && faults(end, true) && faults(end + PAGE - 1, true));
        gmem_free(m);
        munmap(before, PAGE);
        munmap(behind, PAGE);
    }
}

/* --- what it is made of --- */

static size_t resident(const void *p, size_t len)
{
    size_t n = 0;
    unsigned char *v = calloc(1, len / PAGE);
    union {
        const void *c;
        void *m;
    } at = {.c = p};
    cr_assert_eq(mincore(at.m, len, v), 0);
    for (size_t i = 0; i < len / PAGE; i++)
        n += v[i] & 1;
    free(v);
    return n;
}

Test(gmem, shared_memory_is_the_files)
{
    struct gmem *m = make(pc, 2, (struct gmem_options){.shared = true});
    struct stat st;
    int fd = gmem_fd(m);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(st.st_size, 6 << 20);
    uint8_t *other = mmap(NULL, 6 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert_neq(other, MAP_FAILED);

    /* The regions follow each other in the file, without the hole. */
    memcpy(gmem_at(m, GPA(0x1234), 5), "lower", 5);
    memcpy(gmem_at(m, GPA(GIB(4) + 7), 5), "upper", 5);
    cr_assert(memcmp(other + 0x1234, "lower", 5) == 0);
    cr_assert(memcmp(other + (4 << 20) + 7, "upper", 5) == 0);
    other[9] = 0x99;
    cr_assert_eq(*(uint8_t *)gmem_at(m, GPA(9), 1), 0x99);
    munmap(other, 6 << 20);
    gmem_free(m);
    cr_assert_eq(fcntl(fd, F_GETFD), -1, "the memfd is closed");
}

Test(gmem, prefault_touches_every_page)
{
    for (unsigned shared = 0; shared < 2; shared++) {
        struct gmem *lazy = make(pc, 2, (struct gmem_options){.shared = shared});
        struct gmem *eager = make(pc, 2, (struct gmem_options){.shared = shared, .prefault = true});
        cr_assert_eq(resident(gmem_at(lazy, GPA(0), PAGE), 6 << 20), 0);
        cr_assert_eq(resident(gmem_at(eager, GPA(0), PAGE), 6 << 20), (6 << 20) / PAGE);
        gmem_free(lazy);
        gmem_free(eager);
    }
}

Test(gmem, discard_makes_zeroes_and_gives_pages_back)
{
    for (unsigned shared = 0; shared < 2; shared++) {
        struct gmem *m = make(pc, 2, (struct gmem_options){.shared = shared});
        const struct gmem_region *r;
        (void)gmem_regions(m, &r);
        for (unsigned i = 0; i < 2; i++)
            memset(r[i].host, 0xa5, r[i].len);
        gmem_discard(m);
        cr_assert_eq(resident(r[0].host, 6 << 20), 0);
        for (size_t i = 0; i < 6 << 20; i++)
            cr_assert_eq(r[0].host[i], 0);
        r[0].host[0] = 1; /* and it is memory still */
        r[1].host[r[1].len - 1] = 1;
        gmem_free(m);
    }
}

Test(gmem, discard_keeps_what_was_prefaulted)
{
    struct gmem *m = make(pc, 2, (struct gmem_options){.prefault = true});
    const struct gmem_region *r;
    (void)gmem_regions(m, &r);
    memset(r[0].host, 0xa5, r[0].len);
    gmem_discard(m);
    cr_assert_eq(resident(r[0].host, 6 << 20), (6 << 20) / 4096);
    for (size_t i = 0; i < 6 << 20; i++)
        cr_assert_eq(r[0].host[i], 0);
    gmem_free(m);
}

/* Whether the kernel was asked for huge pages there. */
static bool asked_for_huge_pages(const void *at)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    char line[512], flags[512];
    unsigned long from, to;
    bool there = false, asked = false;
    cr_assert(f);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            there = (uintptr_t)at >= from && (uintptr_t)at < to;
        else if (there && sscanf(line, "VmFlags: %511[^\n]", flags) == 1)
            asked = strstr(flags, "hg");
    }
    fclose(f);
    return asked;
}

Test(gmem, transparent_huge_pages)
{
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) < 0)
        cr_skip("this host has no transparent huge pages");
    struct gmem *m = make(pc, 2, (struct gmem_options){.backing = GMEM_THP});
    cr_assert(asked_for_huge_pages(gmem_at(m, GPA(0), 1)));
    memset(gmem_at(m, GPA(0), 4 << 20), 1, 4 << 20);
    gmem_discard(m);
    cr_assert_eq(*(uint8_t *)gmem_at(m, GPA(0), 1), 0);
    gmem_free(m);
    m = make(pc, 2, (struct gmem_options){0});
    cr_assert_not(asked_for_huge_pages(gmem_at(m, GPA(0), 1)), "nobody wanted them");
    gmem_free(m);
}

Test(gmem, what_the_host_does_not_have)
{
    static const struct gmem_region r = {.base = GPA(0), .len = MIB(256)};
    for (unsigned shared = 0; shared < 2; shared++) {
        fails = MADV_HUGEPAGE;
        refused(&r, 1, (struct gmem_options){.shared = shared, .backing = GMEM_THP}, ERR_HOST,
                "no transparent huge pages on this host");
        gmem_free(make(&r, 1, (struct gmem_options){.shared = shared})); /* it did not ask */
        fails = MADV_POPULATE_WRITE;
        refused(&r, 1, (struct gmem_options){.shared = shared, .prefault = true}, ERR_HOST,
                "cannot populate 256 MiB: Invalid argument");
    }
    is_full = true;
    refused(&r, 1, (struct gmem_options){0}, ERR_HOST,
            "guest memory: cannot map 256 MiB: Cannot allocate memory");
}

Test(gmem, size_must_be_of_whole_huge_pages)
{
    const struct gmem_region r = {.base = GPA(0), .len = 3 << 20};
    for (unsigned shared = 0; shared < 2; shared++) {
        refused(&r, 1, (struct gmem_options){.backing = GMEM_HUGE_2M, .shared = shared}, ERR_INPUT,
                "--mem: the size is not a multiple of the huge page size");
        refused(pc, 2, (struct gmem_options){.backing = GMEM_HUGE_1G, .shared = shared}, ERR_INPUT,
                "--mem: the size is not a multiple of the huge page size");
    }
}

static bool host_has_huge_pages(const char *size)
{
    char path[128];
    unsigned long pages = 0, n;
    const char *const counts[] = {"free_hugepages", "nr_overcommit_hugepages"};
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        (void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%s/%s", size,
                       counts[i]);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%lu", &n) == 1)
            pages += n;
        if (f)
            fclose(f);
    }
    return pages > 0;
}

/* --- release --- */

static bool there(const uint8_t *page)
{
    return resident(page, PAGE) == 1;
}

/* Everything is there, and not zero. */
static struct gmem *filled(struct gmem_options o, const struct gmem_region **r)
{
    struct gmem *m = make(pc, 2, o);
    (void)gmem_regions(m, r);
    for (unsigned i = 0; i < 2; i++)
        memset((*r)[i].host, 0x5a, (*r)[i].len);
    return m;
}

Test(gmem, release_gives_whole_pages_back)
{
    for (unsigned shared = 0; shared < 2; shared++) {
        const struct gmem_region *r;
        struct gmem *m = filled((struct gmem_options){.shared = shared}, &r);
        uint8_t *p = r[0].host;
        cr_assert_eq(gmem_release(m, GPA(PAGE), 2 * PAGE), 2 * PAGE);
        cr_assert(there(p) && !there(p + PAGE) && !there(p + 2 * PAGE));
        cr_assert(there(p + 3 * PAGE));
        cr_assert_eq(p[PAGE], 0, "zeroes when it is read again");
        cr_assert_eq(p[PAGE - 1], 0x5a);
        cr_assert_eq(p[3 * PAGE], 0x5a);
        /* A page that is not meant whole stays. */
        cr_assert_eq(gmem_release(m, GPA(8 * PAGE + 1), 2 * PAGE), PAGE);
        cr_assert(p[8 * PAGE] == 0x5a && p[9 * PAGE] == 0 && p[10 * PAGE] == 0x5a);
        cr_assert_eq(gmem_release(m, GPA(8 * PAGE + 1), PAGE), 0);
        cr_assert_eq(gmem_release(m, GPA(8 * PAGE), PAGE - 1), 0);
        cr_assert_eq(gmem_release(m, GPA(8 * PAGE), 0), 0);
        cr_assert_eq(p[8 * PAGE], 0x5a);
        gmem_free(m);
    }
}

Test(gmem, release_at_its_edges)
{
    for (unsigned shared = 0; shared < 2; shared++) {
        const struct gmem_region *r;
        struct gmem *m = filled((struct gmem_options){.shared = shared}, &r);
        cr_assert_eq(gmem_release(m, GPA(GIB(2)), GIB(1)), 0, "no RAM there");
        cr_assert_eq(gmem_release(m, GPA(UINT64_MAX), UINT64_MAX), 0);
        cr_assert_eq(gmem_release(m, GPA(UINT64_MAX - PAGE + 1), PAGE), 0);
        cr_assert_eq(r[0].host[0], 0x5a);
        cr_assert_eq(gmem_release(m, GPA(MIB(4) - PAGE), 2 * PAGE), PAGE, "what is RAM of it");
        cr_assert(!there(r[0].host + MIB(4) - PAGE) && there(r[1].host));
        cr_assert_eq(gmem_release(m, GPA(GIB(4) - PAGE), 2 * PAGE), PAGE);
        cr_assert(!there(r[1].host) && there(r[1].host + PAGE));
        cr_assert_eq(gmem_release(m, GPA(0), UINT64_MAX), MIB(6), "across the hole");
        cr_assert(!there(r[0].host) && !there(r[1].host + MIB(2) - PAGE));
        gmem_free(m);
    }
}

Test(gmem, release_takes_what_was_prefaulted)
{
    for (unsigned shared = 0; shared < 2; shared++) {
        const struct gmem_region *r;
        struct gmem *m = filled((struct gmem_options){.prefault = true, .shared = shared}, &r);
        cr_assert_eq(gmem_release(m, GPA(PAGE), PAGE), PAGE);
        cr_assert(!there(r[0].host + PAGE));
        gmem_free(m);
    }
}

Test(gmem, release_leaves_huge_pages)
{
    if (!host_has_huge_pages("2048kB"))
        cr_skip("this host has no huge pages of 2 MiB");
    const struct gmem_region *r;
    struct gmem *m = filled((struct gmem_options){.backing = GMEM_HUGE_2M}, &r);
    cr_assert_eq(gmem_release(m, GPA(0), MIB(4)), 0);
    cr_assert(r[0].host[0] == 0x5a && r[0].host[MIB(2)] == 0x5a);
    gmem_free(m);
}

static void none_free(enum gmem_backing backing, uint64_t len)
{
    const struct gmem_region r = {.base = GPA(0), .len = len};
    for (unsigned shared = 0; shared < 2; shared++)
        refused(&r, 1, (struct gmem_options){.backing = backing, .shared = shared}, ERR_HOST,
                "guest memory: ");
}

Test(gmem, no_free_huge_pages_of_2_mib)
{
    if (host_has_huge_pages("2048kB"))
        cr_skip("this host has huge pages of 2 MiB");
    none_free(GMEM_HUGE_2M, 4 << 20);
    const struct gmem_region r = {.base = GPA(0), .len = 4 << 20};
    refused(&r, 1, (struct gmem_options){.backing = GMEM_HUGE_2M}, ERR_HOST,
            "the host has not 4 MiB of free huge pages");
}

Test(gmem, no_free_huge_pages_of_1_gib)
{
    if (host_has_huge_pages("1048576kB"))
        cr_skip("this host has huge pages of 1 GiB");
    none_free(GMEM_HUGE_1G, GIB(1));
}

Test(gmem, no_host_has_that_much)
{
    for (unsigned shift = 48; shift < 64; shift++) {
        const struct gmem_region r = {.base = GPA(0), .len = 1ull << shift};
        char words[80];
        (void)snprintf(words, sizeof(words),
                       "--mem: the host cannot address %llu MiB: ", 1ull << (shift - 20));
        refused(&r, 1, (struct gmem_options){0}, ERR_INPUT, words);
        refused(&r, 1, (struct gmem_options){.shared = true}, ERR_INPUT,
                "--mem: the host cannot address ");
    }
}

Test(gmem, all_of_the_address_space_but_a_page)
{
    /* With guards and room for alignment this is more than 2^64 bytes. */
    const struct gmem_region r = {.base = GPA(0), .len = UINT64_MAX - PAGE + 1};
    refused(&r, 1, (struct gmem_options){0}, ERR_INPUT,
            "--mem: the host cannot address 17592186044415 MiB: Cannot allocate memory");
}
