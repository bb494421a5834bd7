/* tests/rig/test_pmem.c - persistent memory (virtio 1.4, 5.19): where the guest finds it, what a
 * flush does and what it says, and files that will not do. */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pmem.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/gmem.h"
#include "tests/rig/reported.h"
#include "tests/rig/rig_pci.h"
#include "tests/rig/scratch.h"

enum { FILE_LEN = 4 << 20, SHMEM_REGION = 1 };

static char path[SCRATCH_PATH];
static int file = -1;

static void drop_file(void)
{
    if (file >= 0)
        close(file);
    file = -1;
}

static void make_file(size_t len)
{
    drop_file();
    file = scratch_new(path);
    cr_assert_eq(ftruncate(file, (off_t)len), 0);
    cr_assert_eq(pwrite(file, "from the host", 13, 4096), 13);
}

static const char *spec_of(const char *extra)
{
    static char spec[128];
    (void)snprintf(spec, sizeof(spec), "pmem,%s%s", path, extra);
    return spec;
}

static struct rig *up_with(const char *extra, const struct rig_options *o)
{
    make_file(FILE_LEN);
    return rig_up(spec_of(extra), o);
}

static struct rig *up(void)
{
    return up_with("", NULL);
}

static void down(struct rig *r)
{
    rig_down(r);
    drop_file();
}

#define START(r)      rig_config(r, offsetof(struct virtio_pmem_config, start), 8)
#define CONFIG_LEN(r) rig_config(r, offsetof(struct virtio_pmem_config, size), 8)

/* --- what is asked of the host: the linker sees to it (--wrap) --- */

static struct {
    unsigned syncs, others;
    int64_t fails[4]; /* what the next ones come to; 0: what the host says */
    struct loop_io *held;
    struct loop *loop;
    bool hold;
} host;

void __real_loop_io(struct loop *l, struct loop_io *io);
void __wrap_loop_io(struct loop *l, struct loop_io *io);

static void end_it(void *ctx)
{
    struct loop_io *io = ctx;
    io->done(io, io->result);
}

void __wrap_loop_io(struct loop *l, struct loop_io *io)
{
    static struct loop_task tasks[16];
    static unsigned n;
    host.syncs += io->op == LOOP_FDATASYNC;
    host.others += io->op != LOOP_FDATASYNC;
    host.loop = l;
    if (host.hold) {
        host.held = io;
        return;
    }
    io->result = host.fails[0];
    memmove(host.fails, host.fails + 1, sizeof(host.fails) - sizeof(host.fails[0]));
    if (io->result == 0) {
        __real_loop_io(l, io);
        return;
    }
    struct loop_task *t = &tasks[n++ % ARRAY_SIZE(tasks)];
    *t = (struct loop_task){.fn = end_it, .ctx = io};
    loop_post(l, t);
}

static void release(void)
{
    host.hold = false;
    __real_loop_io(host.loop, host.held);
}

/* --- a driver --- */

static struct rig_seg submit(struct rig *r, uint32_t type, uint32_t in_len)
{
    struct rig_seg out = {rig_alloc(r, 4), 4}, in = {rig_alloc(r, 8), in_len};
    put_bytes(rig_at(r, out.at, 4), type, 4);
    put_bytes(rig_at(r, in.at, 4), 0x12345678, 4);
    rig_add(r, 0, &out, 1, &in, in_len != 0);
    rig_kick(r, 0);
    return in;
}

static uint32_t flush(struct rig *r)
{
    uint32_t id, len;
    struct rig_seg in = submit(r, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 4);
    return (uint32_t)get_bytes(rig_at(r, in.at, 4), 4);
}

/* --- where it is (5.19.5) --- */

Test(pmem, at_an_address_for_good)
{
    PROVES("Device Types / PMEM Device / Device Initialization#04");
    PROVES("Device Types / PMEM Device / Device Initialization#05");
    for (enum rig_transport t = RIG_MMIO; t <= RIG_PCI; t += RIG_PCI - RIG_MMIO) {
        static const char *const extra[] = {"", ",shm"};
        for (unsigned k = 0; k < 2; k++) {
            struct rig *r =
                up_with(extra[k], &(struct rig_options){.transport = t, .without = SHMEM_REGION});
            cr_assert_not(rig_has(r, 0));
            cr_assert_eq(CONFIG_LEN(r), FILE_LEN);
            gpa_t at = GPA(START(r));
            cr_assert_eq(at.v % MIB(2), 0);
            char *cpu = rig_window_at(r, at, FILE_LEN);
            cr_assert_not_null(cpu);
            cr_assert(memcmp(cpu + 4096, "from the host", 13) == 0);
            cr_assert_eq((uint64_t)cpu % MIB(2), 0, "as the guest's address is");
            cr_assert_eq(gmem_at(r->mem, at, FILE_LEN), cpu, "descriptors may lead there");
            cr_assert_null(gmem_at(r->mem, at, FILE_LEN + 1));
            down(r);
        }
    }
}

Test(pmem, as_shared_memory_on_mmio)
{
    PROVES("Basic Facilities of a Virtio Device / Shared Memory Regions#01");
    PROVES("Device Types / PMEM Device / Device Initialization#01");
    PROVES("Device Types / PMEM Device / Device Initialization#02");
    PROVES("Device Types / PMEM Device / Device Initialization#03");
    struct rig *r = up_with(",shm", NULL);
    cr_assert(rig_has(r, 0));
    cr_assert_eq(START(r), 0);
    cr_assert_eq(CONFIG_LEN(r), 0);
    rig_reg_set(r, VIRTIO_MMIO_SHM_SEL, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_LEN_LOW), FILE_LEN);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_LEN_HIGH), 0);
    gpa_t at = GPA(rig_reg(r, VIRTIO_MMIO_SHM_BASE_LOW) |
                   (uint64_t)rig_reg(r, VIRTIO_MMIO_SHM_BASE_HIGH) << 32);
    char *cpu = rig_window_at(r, at, FILE_LEN);
    cr_assert(cpu && memcmp(cpu + 4096, "from the host", 13) == 0);
    cr_assert_null(gmem_at(r->mem, at, 1), "descriptors may not lead there");
    (void)rig_irqs(r);
    memset(cpu, 0xff, FILE_LEN); /* contents are all it is */
    rig_settle(r);
    cr_assert(rig_irqs(r) == 0 && rig_status(r) == 15 && START(r) == 0);
    cr_assert_eq(flush(r), 0);
    down(r);
}

Test(pmem, as_shared_memory_on_pci)
{
    PROVES("Device Types / PMEM Device / Device Initialization#01");
    PROVES("Device Types / PMEM Device / Device Initialization#02");
    struct rig *r = up_with(",shm", &(struct rig_options){.transport = RIG_PCI});
    unsigned n = 0;
    for (unsigned cap = rig_pci_get(r, PCI_CAPABILITY_LIST, 1); cap;
         cap = rig_pci_get(r, cap + PCI_CAP_LIST_NEXT, 1)) {
        if (rig_pci_get(r, cap, 1) != PCI_CAP_ID_VNDR ||
            rig_pci_get(r, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1) != RIG_CAP_SHARED_MEMORY)
            continue;
        const struct rig_bar *bar = &r->pci->bar[rig_pci_get(r, cap + VIRTIO_PCI_CAP_BAR, 1)];
        cr_assert_eq(rig_pci_get(r, cap + VIRTIO_PCI_CAP_BAR + 1, 1), 0, "the id");
        cr_assert_eq(rig_pci_get(r, cap + VIRTIO_PCI_CAP_LENGTH, 4), FILE_LEN);
        char *cpu = rig_window_at(r, GPA(bar->at + rig_pci_get(r, cap + VIRTIO_PCI_CAP_OFFSET, 4)),
                                  FILE_LEN);
        cr_assert(cpu && memcmp(cpu + 4096, "from the host", 13) == 0);
        n++;
    }
    cr_assert_eq(n, 1);
    cr_assert_eq(START(r), 0);
    down(r);
}

/* --- flushes (5.19.7) --- */

static void file_has(size_t off, const char *text)
{
    char buf[32] = "";
    int fd = open(path, O_RDONLY);
    cr_assert_eq(pread(fd, buf, strlen(text), (off_t)off), (ssize_t)strlen(text));
    cr_assert_str_eq(buf, text);
    close(fd);
}

Test(pmem, a_flush_ends_when_the_host_is_done)
{
    PROVES("Device Types / PMEM Device / Device Operation / Virtqueue flush#01");
    PROVES("Device Types / PMEM Device / Device Operation / Virtqueue return#01");
    struct rig *r = up();
    uint32_t id, len;
    memcpy(rig_window_at(r, GPA(START(r)), 32), "from the guest", 14);
    host.hold = true;
    struct rig_seg in = submit(r, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4);
    rig_settle(r);
    cr_assert_eq(host.syncs, 1);
    cr_assert_not(rig_used(r, 0, &id, &len), "not before");
    release();
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 4);
    cr_assert_eq(get_bytes(rig_at(r, in.at, 4), 4), 0);
    cr_assert_eq(host.others, 0);
    file_has(0, "from the guest");
    transport_reset(r->transport);
    rig_up_again(r);
    cr_assert(memcmp(rig_window_at(r, GPA(START(r)), 32), "from the guest", 14) == 0);
    down(r);
}

Test(pmem, a_flush_that_failed_stays_failed)
{
    PROVES("Device Types / PMEM Device / Device Operation / Virtqueue flush#01");
    PROVES("Device Types / PMEM Device / Device Operation / Virtqueue return#01");
    struct rig *r = up();
    cr_assert_eq(flush(r), 0);
    host.fails[0] = -EIO;
    cr_assert_eq(flush(r), UINT32_MAX);
    cr_assert_eq(flush(r), UINT32_MAX, "what was lost is not back");
    rig_negotiate(r);
    cr_assert_eq(flush(r), UINT32_MAX, "nor by a reset of the device");
    rig_save_and_load(r);
    cr_assert_eq(flush(r), UINT32_MAX, "nor by a load");
    transport_reset(r->transport);
    rig_up_again(r);
    cr_assert_eq(flush(r), 0);
    down(r);
}

Test(pmem, requests_that_are_none)
{
    PROVES("Device Types / PMEM Device / Device Operation / Virtqueue return#01");
    static const uint32_t types[] = {1, 0x100, UINT32_MAX};
    struct rig *r = up();
    uint32_t id, len;
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        struct rig_seg in = submit(r, types[i], 8);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(len, 4);
        cr_assert_eq(get_bytes(rig_at(r, in.at, 4), 4), UINT32_MAX);
    }
    struct rig_seg out = {rig_alloc(r, 4), 3}, in = {rig_alloc(r, 4), 4};
    rig_add(r, 0, &out, 1, &in, 1);
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(get_bytes(rig_at(r, in.at, 4), 4), UINT32_MAX, "too short");
    }
    cr_assert_eq(host.syncs, 0);
    for (uint32_t room = 0; room < 4;
         room++) { /* nothing can be said, and it is done all the same */
        (void)submit(r, VIRTIO_PMEM_REQ_TYPE_FLUSH, room);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(len, 0);
    }
    cr_assert_eq(host.syncs, 4);
    cr_assert_not(rig_needs_reset(r));
    down(r);
}

Test(pmem, a_reset_with_a_flush_in_flight)
{
    struct rig *r = up();
    for (unsigned i = 0; i < 8; i++)
        (void)submit(r, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4);
    (void)loop_step(r->loop, 0);
    rig_status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    rig_negotiate(r);
    cr_assert_eq(flush(r), 0);
    down(r);
}

/* --- read only --- */

Test(pmem, read_only)
{
    struct rig *r = up_with(",ro", NULL);
    gpa_t at = GPA(START(r));
    cr_assert(r->windows[RIG_WINDOWS - 1].ro, "KVM is told so");
    cr_assert_null(gmem_at(r->mem, at, 1), "nor may descriptors write there");
    cr_assert(memcmp(gmem_at_ro(r->mem, GPA(at.v + 4096), 13), "from the host", 13) == 0);
    cr_assert_eq(flush(r), 0);

    struct rig_seg out = {at, 4}, in = {rig_alloc(r, 4), 4}; /* zeroes of the file: a flush */
    uint32_t id, len;
    rig_add(r, 0, &out, 1, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 4);
    in.at = at;
    rig_add(r, 0, &out, 1, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_needs_reset(r));
    down(r);
}

/* --- files --- */

Test(pmem, a_file_is_made_and_grows)
{
    struct stat st;
    char made[] = "/tmp/vmm-test-XXXXXX";
    file = mkstemp(made);
    cr_assert_eq(unlink(made), 0); /* a name that nobody has */
    drop_file();
    (void)strcpy(path, made);
    struct rig *r = rig_up(spec_of(",size=2M"), NULL);
    file = open(made, O_RDWR | O_CLOEXEC);
    cr_assert_geq(file, 0);
    cr_assert_eq(unlink(made), 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    cr_assert_eq(CONFIG_LEN(r), MIB(2));
    rig_down(r);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, MIB(2));
    cr_assert_eq(st.st_mode & 077, 0, "nobody else's");
    cr_assert_geq(st.st_blocks * 512, MIB(2), "no hole, that a write could find no room for");
    r = rig_up(spec_of(",size=6M"), NULL);
    cr_assert_eq(CONFIG_LEN(r), MIB(6));
    rig_down(r);
    r = rig_up(spec_of(",size=4M"), NULL);
    cr_assert_eq(CONFIG_LEN(r), MIB(4), "a part of it");
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, MIB(6), "and nothing is cut off");
    down(r);
}

Test(pmem, files_that_will_not_do)
{
    make_file(FILE_LEN);
    rig_refuses(spec_of(",ro,size=6M"), NULL, "has 4194304 bytes, and size= asks for 6291456");
    rig_refuses(spec_of(",ro,shm"), NULL, "ro and shm");
    rig_refuses(spec_of(",size=3M"), NULL, "3145728 bytes are not a multiple of 2 MiB");
    rig_refuses(spec_of(""), &(struct rig_options){.no_window = true}, "4 MiB have no room");
    cr_assert_eq(truncate(path, 4096 * 3), 0);
    rig_refuses(spec_of(""), NULL, "12288 bytes are not a multiple of 2 MiB");
    cr_assert_eq(truncate(path, 0), 0);
    rig_refuses(spec_of(""), NULL, "is empty");
    drop_file();
    (void)strcpy(path, "/nonexistent/pmem");
    rig_refuses(spec_of(""), NULL, "No such file");
    rig_refuses(spec_of(",ro,size=2M"), NULL, "No such file");
    rig_refuses("pmem,/tmp", NULL, "is a directory");
    rig_refuses("pmem,/dev/null,ro", NULL, "neither a file nor a block device");
}

Test(pmem, a_file_that_cannot_grow)
{
    struct rlimit old, less;
    make_file(FILE_LEN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    less = (struct rlimit){.rlim_cur = FILE_LEN, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
    rig_refuses(spec_of(",size=8M"), NULL, "cannot grow to 8 MiB");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    struct rig *r = rig_up(spec_of(""), NULL);
    cr_assert_eq(CONFIG_LEN(r), FILE_LEN, "it is as it was");
    down(r);
}

Test(pmem, a_file_that_another_has)
{
    struct rig *r = up();
    rig_refuses(spec_of(""), NULL, "in use");
    rig_refuses(spec_of(",ro"), NULL, "in use");
    rig_down(r);
    r = rig_up(spec_of(",ro"), NULL);
    struct rig *second = rig_up(spec_of(",ro"), NULL);
    rig_refuses(spec_of(""), NULL, "in use");
    rig_down(second);
    down(r);
}

/* --- state, report --- */

Test(pmem, a_state_of_another_place)
{
    struct rig *r = up();
    struct state_out s = rig_save(r);
    transport_free(r->transport); /* and one that is twice as long comes in its place */
    struct rig *other = up_with(",size=8M", NULL);
    cr_assert_eq(rig_load(other, s.buf, s.len), -EBADMSG);
    rig_up_again(other);
    cr_assert_eq(flush(other), 0);
    state_out_free(&s);
    down(other);
    r->transport = NULL;
    rig_down(r);
}

Test(pmem, tells_what_it_has_done)
{
    struct rig *r = up();
    (void)flush(r);
    host.fails[0] = -ENOSPC;
    (void)flush(r);
    cr_assert_eq(reported(r, "size"), FILE_LEN);
    cr_assert_eq(reported(r, "flushes"), 2);
    cr_assert_eq(reported(r, "failed_flushes"), 1);
    down(r);
}
