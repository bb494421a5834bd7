/* tests/rig/matrix.c - see matrix.h. */
#include "tests/rig/matrix.h"

#include <linux/fuse.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>

#include "tests/rig/scratch.h"

char cell_name[160];
uint32_t matrix_cut;

/* --- what each class does --- */

static uint64_t sum_of(struct rig *r, struct rig_seg s)
{
    const uint8_t *p = rig_at(r, s.at, s.len);
    uint64_t sum = 14695981039346656037u; /* FNV-1a */
    for (uint32_t i = 0; i < s.len; i++)
        sum = (sum ^ p[i]) * 1099511628211u;
    return sum;
}

static unsigned cut(struct rig_seg s, struct rig_seg *to)
{
    uint32_t most = matrix_cut ? matrix_cut : UINT32_MAX;
    unsigned n = 0;
    for (uint32_t len; s.len > 0; s.at.v += len, s.len -= len) {
        len = MIN(s.len, most);
        to[n++] = (struct rig_seg){s.at, len};
    }
    return n;
}

/* At most one segment each way, before it is cut; none if it is empty. */
static void add(struct rig *r, struct matrix_request *q, unsigned queue, bool indirect,
                struct rig_seg out, struct rig_seg in)
{
    struct rig_seg *all = calloc(out.len + in.len, sizeof(*all));
    unsigned n_out = cut(out, all), n_in = cut(in, all + n_out);
    q->out = out;
    q->sum = out.len ? sum_of(r, out) : 0;
    q->id = (indirect ? rig_add_indirect : rig_add)(r, queue, all, n_out, all + n_out, n_in);
    free(all);
}

static void balloon_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    enum { PAGE = 4096 };
    gpa_t page = rig_alloc_at(r, PAGE, PAGE);
    memset(rig_at(r, page, PAGE), 1, PAGE);
    q->at = rig_alloc(r, 4);
    put_bytes(rig_at(r, q->at, 4), page.v / PAGE, 4);
    add(r, q, 0, indirect, (struct rig_seg){q->at, 4}, (struct rig_seg){0});
}

static void balloon_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    uint64_t pfn = get_bytes(rig_at(r, q->at, 4), 4);
    (void)len;
    MUST(*(uint8_t *)rig_at(r, GPA(pfn << 12), 1) == 0, "the page is still there");
}

static void rng_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    q->at = rig_alloc(r, 64);
    add(r, q, 0, indirect, (struct rig_seg){0}, (struct rig_seg){q->at, 64});
}

static void rng_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    const uint8_t *p = rig_at(r, q->at, 64);
    unsigned zeroes = 0;
    for (uint32_t i = 0; i < len; i++)
        zeroes += p[i] == 0;
    MUST(zeroes < 16, "64 random bytes have %u zeroes", zeroes);
}

enum { BLK_HEADER = 16, SECTOR = 512 };

static void blk_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 3};
    q->at = rig_alloc(r, BLK_HEADER + SECTOR + 1);
    memcpy(rig_at(r, q->at, sizeof(h)), &h, sizeof(h));
    *(uint8_t *)rig_at(r, GPA(q->at.v + BLK_HEADER + SECTOR), 1) = 0xff;
    const struct rig_seg out = {q->at, BLK_HEADER};
    const struct rig_seg in = {GPA(q->at.v + BLK_HEADER), SECTOR + 1};
    add(r, q, 0, indirect, out, in);
}

static void blk_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    const uint8_t *p = rig_at(r, GPA(q->at.v + BLK_HEADER), SECTOR + 1);
    (void)len;
    MUST(p[0] == MATRIX_MARK && p[SECTOR - 1] == MATRIX_MARK);
    MUST(p[SECTOR] == VIRTIO_BLK_S_OK, "status %u", p[SECTOR]);
}

static void console_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    q->at = rig_alloc(r, 5);
    memcpy(rig_at(r, q->at, 5), "hello", 5);
    add(r, q, 1, indirect, (struct rig_seg){q->at, 5}, (struct rig_seg){0});
}

enum { FS_OUT = sizeof(struct fuse_in_header) + sizeof(struct fuse_init_in) };
enum { FS_IN = sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out) };

static void fs_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    const struct fuse_in_header h = {.len = FS_OUT, .opcode = FUSE_INIT, .unique = 5};
    const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = 36};
    q->at = rig_alloc(r, FS_OUT + FS_IN);
    memcpy(rig_at(r, q->at, sizeof(h)), &h, sizeof(h));
    memcpy(rig_at(r, GPA(q->at.v + sizeof(h)), sizeof(init)), &init, sizeof(init));
    add(r, q, 1, indirect, (struct rig_seg){q->at, FS_OUT},
        (struct rig_seg){GPA(q->at.v + FS_OUT), FS_IN});
}

static void fs_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    struct fuse_out_header h;
    (void)len;
    memcpy(&h, rig_at(r, GPA(q->at.v + FS_OUT), sizeof(h)), sizeof(h));
    MUST(h.error == 0 && h.len == FS_IN && h.unique == 5, "error %d", h.error);
}

static void net_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    enum { HEADER = sizeof(struct virtio_net_hdr_v1), FRAME = 60 };
    q->at = rig_alloc(r, HEADER + FRAME); /* zeroes: to nobody, with nothing to do to it */
    add(r, q, 1, indirect, (struct rig_seg){q->at, HEADER + FRAME}, (struct rig_seg){0});
}

static void mem_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    const uint32_t len = sizeof(struct virtio_mem_req);
    const struct virtio_mem_req req = {
        .type = VIRTIO_MEM_REQ_STATE,
        .u.state = {.addr = rig_config(r, offsetof(struct virtio_mem_config, addr), 8),
                    .nb_blocks = 2}};
    q->at = rig_alloc(r, len + sizeof(struct virtio_mem_resp));
    memcpy(rig_at(r, q->at, len), &req, len);
    memset(rig_at(r, GPA(q->at.v + len), sizeof(struct virtio_mem_resp)), 0xff,
           sizeof(struct virtio_mem_resp));
    add(r, q, 0, indirect, (struct rig_seg){q->at, len},
        (struct rig_seg){GPA(q->at.v + len), sizeof(struct virtio_mem_resp)});
}

static void mem_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    struct virtio_mem_resp resp;
    memcpy(&resp, rig_at(r, GPA(q->at.v + sizeof(struct virtio_mem_req)), len), sizeof(resp));
    MUST(resp.type == VIRTIO_MEM_RESP_ACK && resp.u.state.state == VIRTIO_MEM_STATE_UNPLUGGED);
}

static void pmem_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    q->at = rig_alloc(r, 8); /* a flush is type 0 */
    put_bytes(rig_at(r, GPA(q->at.v + 4), 4), UINT32_MAX, 4);
    add(r, q, 0, indirect, (struct rig_seg){q->at, 4}, (struct rig_seg){GPA(q->at.v + 4), 4});
}

static void pmem_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    MUST(get_bytes(rig_at(r, GPA(q->at.v + 4), len), 4) == 0, "a flush failed");
}

static void out_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    (void)r, (void)q, (void)len; /* what is only read has no other outcome than length 0 */
}

static void rtc_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    q->at = rig_alloc(r, 32); /* clock 0 is read */
    put_bytes(rig_at(r, q->at, 2), 1, 2);
    add(r, q, 0, indirect, (struct rig_seg){q->at, 16}, (struct rig_seg){GPA(q->at.v + 16), 16});
}

static void rtc_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    (void)len;
    MUST(get_bytes(rig_at(r, GPA(q->at.v + 16), 8), 8) == 0, "not served");
    MUST(get_bytes(rig_at(r, GPA(q->at.v + 24), 8), 8) > 1, "1970");
}

static void vsock_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    const struct virtio_vsock_hdr h = {.src_cid = 3, /* the end of a connection that is none */
                                       .dst_cid = 2,
                                       .type = VIRTIO_VSOCK_TYPE_STREAM,
                                       .op = VIRTIO_VSOCK_OP_RST};
    q->at = rig_alloc(r, sizeof(h));
    memcpy(rig_at(r, q->at, sizeof(h)), &h, sizeof(h));
    add(r, q, 1, indirect, (struct rig_seg){q->at, sizeof(h)}, (struct rig_seg){0});
}

enum { SCSI_HEADER = 51, SCSI_RESPONSE = 108, SCSI_DATA = 36 };

static void scsi_add(struct rig *r, struct matrix_request *q, bool indirect)
{
    const uint8_t lun[] = {1, 0, 0x40, 0}, inquiry[] = {0x12, 0, 0, 0, SCSI_DATA, 0};
    q->at = rig_alloc(r, SCSI_HEADER + SCSI_RESPONSE + SCSI_DATA);
    memcpy(rig_at(r, q->at, sizeof(lun)), lun, sizeof(lun));
    memcpy(rig_at(r, GPA(q->at.v + 19), sizeof(inquiry)), inquiry, sizeof(inquiry));
    memset(rig_at(r, GPA(q->at.v + SCSI_HEADER), SCSI_RESPONSE), 0xff, SCSI_RESPONSE);
    add(r, q, 2, indirect, (struct rig_seg){q->at, SCSI_HEADER},
        (struct rig_seg){GPA(q->at.v + SCSI_HEADER), SCSI_RESPONSE + SCSI_DATA});
}

static void scsi_check(struct rig *r, const struct matrix_request *q, uint32_t len)
{
    const uint8_t *p = rig_at(r, GPA(q->at.v + SCSI_HEADER), len);
    MUST(p[10] == 0 && p[11] == 0, "status %u, response %u", p[10], p[11]);
    MUST(memcmp(p + SCSI_RESPONSE + 8, "VMM     ", 8) == 0, "whose disk is that?");
}

static const struct matrix_class classes[] = {
    {"balloon", "size=1M,hinting,reporting", 0, 1, balloon_add, balloon_check, 0, 0, false},
    {"blk", "%s", 0, 2, blk_add, blk_check, SECTOR + 1, 0, false},
    {"console", "", 1, 1, console_add, out_check, 0, 0, false},
    {"fs", "/tmp,tag=matrix,ro", 1, 2, fs_add, fs_check, FS_IN, 0, false},
    {"mem", "size=128M,requested=64M", 0, 2, mem_add, mem_check, sizeof(struct virtio_mem_resp),
     1u << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, false},
    {"net", "backend=none", 1, 1, net_add, out_check, 0, 0, false},
    {"pmem", "%s", 0, 2, pmem_add, pmem_check, sizeof(struct virtio_pmem_resp), 0, false},
    {"rng", "", 0, 1, rng_add, rng_check, 64, 0, false},
    {"rtc", "", 0, 2, rtc_add, rtc_check, 16, 0, false},
    {"scsi", "%s", 2, 2, scsi_add, scsi_check, SCSI_RESPONSE + SCSI_DATA, 0, false},
    {"vsock", "cid=3,uds=%s", 1, 1, vsock_add, out_check, 0, 0, true},
};

const struct matrix_class *matrix_class_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        if (strcmp(classes[i].name, name) == 0)
            return &classes[i];
    }
    cr_assert_fail("the matrix does not know what a %s does", name);
    return NULL;
}

/* --- the cells --- */

bool cell_is_legacy(const struct cell *c)
{
    return c->transport == RIG_MMIO_LEGACY || c->transport == RIG_PCI_LEGACY ||
           c->transport == RIG_PCI_TRANSITIONAL_LEGACY;
}

static bool is_pci(enum rig_transport t)
{
    return t != RIG_MMIO && t != RIG_MMIO_LEGACY;
}

static unsigned n_classes(void)
{
    unsigned n = 0;
    while (vdev_classes[n])
        n++;
    return n;
}

/* Digits of a number, the last one counts fastest. */
static unsigned digit(unsigned *n, unsigned base)
{
    unsigned d = *n % base;
    *n /= base;
    return d;
}

static bool decode(struct cell *c, unsigned n)
{
    c->ring_reset = digit(&n, 2);
    c->notification_data = digit(&n, 2);
    c->in_order = digit(&n, 2);
    c->event_idx = digit(&n, 2);
    c->indirect = digit(&n, 2);
    c->packed = digit(&n, 2);
    c->intx = digit(&n, 2);
    c->transport = digit(&n, RIG_TRANSPORTS);
    if (n >= n_classes())
        return false;
    c->class = matrix_class_named(vdev_classes[n]->name);
    return true;
}

static bool has_legacy(const struct cell *c)
{
    for (unsigned i = 0; vdev_classes[i]; i++) {
        if (strcmp(vdev_classes[i]->name, c->class->name) == 0)
            return transport_has_legacy(vdev_classes[i]->virtio_id);
    }
    return false;
}

/* What a driver and a device can agree on. */
static bool legal(const struct cell *c)
{
    if (c->transport != RIG_MMIO && c->transport != RIG_PCI && !has_legacy(c))
        return false;
    if (c->intx && !is_pci(c->transport))
        return false;
    return !cell_is_legacy(c) || /* 32 feature bits: none of these is among them */
           !(c->packed || c->in_order || c->notification_data || c->ring_reset);
}

static bool wanted(const struct cell *c, enum cells which)
{
    if (which == CELLS_ALL)
        return true;
    return c->indirect && c->event_idx && !c->in_order && !c->notification_data &&
           c->ring_reset == !cell_is_legacy(c) && (which == CELLS_RINGS || !c->packed);
}

static void name_cell(const struct cell *c)
{
    (void)snprintf(cell_name, sizeof(cell_name), "%s on %s%s, %s%s%s%s%s%s", c->class->name,
                   rig_transport_names[c->transport], c->intx ? " with INTx" : "",
                   c->packed ? "packed" : "split", c->indirect ? " indirect" : "",
                   c->event_idx ? " event_idx" : "", c->in_order ? " in_order" : "",
                   c->notification_data ? " notification_data" : "",
                   c->ring_reset ? " ring_reset" : "");
}

bool cell_next(struct cell *c, enum cells which)
{
    do {
        if (!decode(c, c->next++))
            return false;
    } while (!legal(c) || !wanted(c, which));
    name_cell(c);
    return true;
}

/* --- a device in its cell --- */

/* Once for a process. */
static const char *scratch(void)
{
    static char path[SCRATCH_PATH];
    if (!path[0]) {
        uint8_t bytes[MATRIX_MARK_LEN];
        int fd = scratch_new(path);
        memset(bytes, MATRIX_MARK, sizeof(bytes));
        cr_assert_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
        cr_assert_eq(ftruncate(fd, MIB(2)), 0); /* what persistent memory is made of */
    }
    return path;
}

/* Nothing is there. */
static const char *nowhere(void)
{
    static char path[32];
    (void)snprintf(path, sizeof(path), "/tmp/vmm-matrix-%d", getpid());
    return path;
}

struct rig *cell_up_with(const struct cell *c, struct rig_options o)
{
    char spec[128];
    const char *path = c->class->socket ? nowhere() : scratch(), *before = c->class->options;
    size_t len = strcspn(before, "%"); /* the path is what ends it */
    (void)snprintf(spec, sizeof(spec), "%s,%.*s%s", c->class->name, (int)len, before,
                   before[len] ? path : "");
    if (!c->class->options[0])
        spec[strlen(c->class->name)] = '\0';
    o.transport = c->transport;
    o.intx = c->intx;
    o.packed = c->packed;
    o.in_order = c->in_order;
    o.notification_data = c->notification_data;
    o.no_indirect = !c->indirect;
    o.no_event_idx = !c->event_idx;
    if (!c->ring_reset)
        o.without |= 1ull << VIRTIO_F_RING_RESET;
    return rig_up(spec, &o);
}

struct rig *cell_up(const struct cell *c, uint16_t size)
{
    struct rig_options o = {.queue_size = size};
    while (size & (size - 1)) /* the device's is a power of two */
        size += 1;
    o.device_queue_size = size;
    return cell_up_with(c, o);
}

void cell_add(struct rig *r, const struct cell *c, struct matrix_request *q)
{
    c->class->add(r, q, c->indirect);
}

void cell_expect(struct rig *r, const struct cell *c, const struct matrix_request *q)
{
    uint32_t id, len;
    MUST(rig_used(r, c->class->queue, &id, &len), "not used");
    MUST(id == q->id, "buffer %u, not %u", id, q->id);
    MUST(len == c->class->used_len, "length %u", len);
    MUST(q->out.len == 0 || sum_of(r, q->out) == q->sum, "what is to be read was written");
    c->class->check(r, q, len);
}

void cell_serve(struct rig *r, const struct cell *c)
{
    struct matrix_request q;
    cell_add(r, c, &q);
    rig_kick(r, c->class->queue);
    rig_settle(r);
    cell_expect(r, c, &q);
}

/* --- what is shared --- */

static size_t area_len(const struct rig *r, const struct rig_queue *q, unsigned area)
{
    if (rig_has(r, VIRTIO_F_RING_PACKED))
        return area == 0 ? q->size * 16u : 4;
    return area == 0 ? q->size * 16u : 6 + q->size * (area == 1 ? 2u : 8u);
}

struct ring_image ring_image(struct rig *r, unsigned i)
{
    const struct rig_queue *q = &r->q[i];
    const gpa_t at[] = {q->desc, q->avail, q->used};
    struct ring_image image = {0};
    for (unsigned a = 0; a < ARRAY_SIZE(at); a++) {
        size_t len = area_len(r, q, a);
        image.bytes = realloc(image.bytes, image.len + len);
        memcpy(image.bytes + image.len, rig_at(r, at[a], len), len);
        image.len += len;
    }
    return image;
}

bool ring_unchanged(struct rig *r, unsigned q, struct ring_image *i)
{
    struct ring_image now = ring_image(r, q);
    bool same = now.len == i->len && memcmp(now.bytes, i->bytes, now.len) == 0;
    free(now.bytes);
    free(i->bytes);
    i->bytes = NULL;
    return same;
}
