/* tests/faults/test_fault_fs.c - a shared folder on a host that fails: each request has the host's
 * own error or as many bytes as there were, and the next one is a new one. */
#include "tests/faults/fault.h"
#include "tests/rig/rig.h"

/* The driver's own memory does not run out. */
static uint16_t add(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                    const struct rig_seg *in, unsigned n_in)
{
    fault_pause(true);
    uint16_t id = rig_add(r, q, out, n_out, in, n_in);
    fault_pause(false);
    return id;
}
#define rig_add add
#include "tests/rig/fs_fixture.h"

enum { LEN = 10000 };
static uint8_t bytes[LEN], back[LEN];

static uint64_t up_file(void)
{
    for (size_t i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 7);
    up();
    write_file("f", bytes, LEN);
    return open_name("f", O_RDWR);
}

static void done(uint64_t fh)
{
    fault_clear();
    cr_assert_eq(write_at(fh, 0, bytes, LEN), LEN);
    cr_assert_eq(read_at(fh, 0, back, LEN), LEN);
    cr_assert(memcmp(bytes, back, LEN) == 0);
    cr_assert_eq(release(fh), 0);
    down();
}

Test(fault_fs, errors_are_the_hosts)
{
    const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, EAGAIN, ENOMEM};
    uint64_t fh = up_file();
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        const struct fault once = {.times = 1, .error = errors[i]};
        fault_set(FAULT_PREADV, once);
        fault_set(FAULT_PWRITEV, once);
        cr_assert_eq(read_at(fh, 0, back, LEN), -errors[i]);
        cr_assert_eq(write_at(fh, 0, bytes, LEN), -errors[i]);
        cr_assert_eq(read_at(fh, 0, back, LEN), LEN);
        cr_assert_eq(write_at(fh, 0, bytes, LEN), LEN);
    }
    done(fh);
}

Test(fault_fs, a_part_is_said_to_be_one)
{
    const size_t most[] = {1, 4095, LEN - 1};
    uint64_t fh = up_file();
    for (size_t i = 0; i < ARRAY_SIZE(most); i++) {
        const struct fault part = {.times = FAULT_ALWAYS, .most = most[i]};
        fault_set(FAULT_PREADV, part);
        fault_set(FAULT_PWRITEV, part);
        memset(back, 0, LEN);
        cr_assert_eq(read_at(fh, 0, back, LEN), (int64_t)most[i]);
        cr_assert(memcmp(bytes, back, most[i]) == 0);
        cr_assert_eq(write_at(fh, 0, bytes, LEN), (int64_t)most[i]);
    }
    done(fh);
}

/* What the guest finds in the folder needs memory and descriptors: the request that gets none says
 * so, and nothing is lost by it. */
static void walk(void)
{
    struct fuse_entry_out e;
    struct fuse_attr a;
    uint64_t fh = 0, node;
    if (lookup(FUSE_ROOT_ID, "f", &e) == 0 && getattr(e.nodeid, &a) == 0 &&
        open_node(e.nodeid, O_RDWR, &fh) == 0) {
        (void)!read_at(fh, 0, back, LEN);
        (void)!release(fh);
    }
    if (create(FUSE_ROOT_ID, "new", 0644, O_RDWR, &node, &fh) == 0)
        (void)!release(fh);
}

Test(fault_fs, whatever_runs_out)
{
    uint64_t fh = up_file();
    fault_set(FAULT_RESOURCE, (struct fault){0});
    walk();
    const unsigned calls = fault_calls(FAULT_RESOURCE);
    cr_assert_gt(calls, 0);
    fault_clear();
    cr_assert_eq(release(fh), 0);
    down();
    for (unsigned k = 0; k < calls; k++) {
        for (unsigned times = 1; times; times = times == 1 ? FAULT_ALWAYS : 0) {
            fh = up_file();
            fault_set(FAULT_RESOURCE, (struct fault){.skip = k, .times = times});
            walk();
            fault_clear();
            walk();
            done(fh);
        }
    }
}
