/* tests/unit/test_gmem_added.c - memory of devices beside guest RAM: where it may be, what of it is
 * there, and what may be written. */
#include "gmem_try.h"

Test(gmem_added, regions_that_are_added)
{
    static uint8_t host[8 * PAGE] __attribute__((aligned(PAGE)));
    static const _Atomic uint64_t all = UINT64_MAX;
    struct gmem *m = make(pc, 2, (struct gmem_options){0});
    const gpa_t at = GPA(GIB(8));
    struct gmem_region r = {.base = at, .len = 4 * PAGE, .host = host};
    cr_assert_null(gmem_at(m, at, 1));
    cr_assert_eq(gmem_add(m, &r), 0);
    cr_assert_eq(gmem_at(m, at, 4 * PAGE), host);
    cr_assert_null(gmem_at(m, at, 4 * PAGE + 1));
    cr_assert_null(gmem_at(m, GPA(at.v - 1), 2));
    cr_assert_eq(gmem_add(m, &r), -EEXIST);
    r.base = GPA(at.v + 3 * PAGE);
    cr_assert_eq(gmem_add(m, &r), -EEXIST, "its beginning");
    r.base = GPA(at.v - PAGE);
    cr_assert_eq(gmem_add(m, &r), -EEXIST, "its end");
    r.base = pc[1].base;
    cr_assert_eq(gmem_add(m, &r), -EEXIST, "RAM");
    r.base = pc[0].base;
    cr_assert_eq(gmem_add(m, &r), -EEXIST, "the first of it");
    r.base = GPA(at.v - 4 * PAGE);
    cr_assert_eq(gmem_add(m, &r), 0, "in front of it");
    r.base = GPA(at.v + 4 * PAGE);
    cr_assert_eq(gmem_add(m, &r), 0, "behind it");
    const struct gmem_region odd[] = {
        {.base = GPA(GIB(9)), .len = 0, .host = host},
        {.base = GPA(GIB(9)), .len = 100, .host = host},
        {.base = GPA(GIB(9) + 8), .len = PAGE, .host = host},
        {.base = GPA(GIB(9)), .len = PAGE, .host = host + 8},
        {.base = GPA(-(uint64_t)PAGE), .len = 2 * PAGE, .host = host},
        {.base = GPA(GIB(9)), .len = PAGE, .host = host, .present = &all},
        {.base = GPA(GIB(9)), .len = 3 * PAGE, .host = host, .block = 2 * PAGE, .present = &all},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(odd); i++)
        cr_assert_eq(gmem_add(m, &odd[i]), -EINVAL, "%u", i);
    const struct gmem_region *own;
    cr_assert_eq(gmem_regions(m, &own), 2);
    host[0] = 1;
    gmem_discard(m);
    cr_assert_eq(host[0], 1, "a device's contents are its own business");
    cr_assert_eq(gmem_release(m, at, 4 * PAGE), 0);
    cr_assert_eq(host[0], 1);
    for (unsigned added = 3; added <= 32; added++) {
        r = (struct gmem_region){.base = GPA(GIB(16 + added)), .len = PAGE, .host = host};
        cr_assert_eq(gmem_add(m, &r), added < 32 ? 0 : -ENOSPC, "%u", added);
    }
    gmem_free(m);
}

Test(gmem_added, a_region_to_read_only)
{
    static uint8_t host[PAGE] __attribute__((aligned(PAGE)));
    struct gmem *m = make(pc, 2, (struct gmem_options){0});
    const struct gmem_region r = {.base = GPA(GIB(8)), .len = PAGE, .host = host, .ro = true};
    cr_assert_eq(gmem_add(m, &r), 0);
    cr_assert_null(gmem_at(m, r.base, 1));
    cr_assert_eq(gmem_at_ro(m, r.base, PAGE), host);
    cr_assert_null(gmem_at_ro(m, r.base, PAGE + 1));
    cr_assert_eq(gmem_at_ro(m, GPA(0), 1), gmem_at(m, GPA(0), 1));
    gmem_free(m);
}

Test(gmem_added, blocks_that_come_and_go)
{
    enum { BLOCKS = 130, BLOCK = 2 * PAGE };
    uint8_t *host = mmap(NULL, BLOCKS * BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _Atomic uint64_t present[3] = {0};
    struct gmem *m = make(pc, 2, (struct gmem_options){0});
    const gpa_t at = GPA(GIB(8));
    const struct gmem_region r = {
        .base = at, .len = BLOCKS * BLOCK, .host = host, .block = BLOCK, .present = present};
    cr_assert_eq(gmem_add(m, &r), 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        cr_assert_null(gmem_at(m, GPA(at.v + i * BLOCK), 1));
    for (unsigned i = 62; i < BLOCKS; i++) /* across words */
        present[i / 64] |= 1ull << i % 64;
    cr_assert_eq(gmem_at(m, GPA(at.v + 62 * BLOCK), 68 * BLOCK), host + 62 * BLOCK);
    cr_assert_null(gmem_at(m, GPA(at.v + 62 * BLOCK - 1), 2), "its first byte");
    cr_assert_null(gmem_at(m, GPA(at.v + 61 * BLOCK), 0), "where nothing is, not even that");
    cr_assert_eq(gmem_at(m, GPA(at.v + 62 * BLOCK), 0), host + 62 * BLOCK);
    present[1] &= ~1ull; /* block 64 */
    cr_assert_null(gmem_at(m, GPA(at.v + 62 * BLOCK), 68 * BLOCK));
    cr_assert_null(gmem_at(m, GPA(at.v + 62 * BLOCK), 2 * BLOCK + 1), "its last byte");
    cr_assert_eq(gmem_at(m, GPA(at.v + 62 * BLOCK), 2 * BLOCK), host + 62 * BLOCK);
    cr_assert_eq(gmem_at(m, GPA(at.v + 64 * BLOCK - 1), 1), host + 64 * BLOCK - 1);
    cr_assert_eq(gmem_at_ro(m, GPA(at.v + 65 * BLOCK), 65 * BLOCK), host + 65 * BLOCK);
    cr_assert_null(gmem_at_ro(m, GPA(at.v + 64 * BLOCK), 1));
    gmem_free(m);
    munmap(host, BLOCKS * BLOCK);
}
