/* devices/balloon/pages.c - pages that the guest can do without: given to the balloon (virtio 1.4,
 * 5.5.6), or reported free (5.5.6.7). The host gets them back, in slices, so that no request holds
 * up other devices. */
#include <endian.h>

#include "devices/balloon/balloon_priv.h"

enum {
    PFNS_AT_ONCE = 256,
    /* What a call into the host costs, whatever its length, in bytes of a turn: 1024 calls. */
    CALL_BYTES = TURN_BYTES / 1024,
    HUGE_BYTES = 2 << 20,
};

static void spend(uint64_t *left, uint64_t bytes)
{
    *left -= MIN(*left, bytes);
}

/* --- inflate: an array of page frame numbers --- */

struct run { /* of neighbours: [first, end) */
    uint64_t first, end;
};

static void run_release(struct balloon *b, struct run *run)
{
    b->released += gmem_release(b->mem, GPA(run->first << VIRTIO_BALLOON_PFN_SHIFT),
                                (run->end - run->first) << VIRTIO_BALLOON_PFN_SHIFT);
    *run = (struct run){0};
}

/* Drivers name pages in either direction. */
static void run_add(struct balloon *b, struct run *run, uint64_t pfn)
{
    if (run->first != run->end && pfn == run->end) {
        run->end++;
    } else if (run->first != run->end && pfn + 1 == run->first) {
        run->first--;
    } else {
        run_release(b, run);
        *run = (struct run){.first = pfn, .end = pfn + 1};
    }
}

bool balloon_inflate(struct balloon *b, struct work *w, uint64_t *left)
{
    struct run run = {0};
    uint32_t pfns[PFNS_AT_ONCE];
    size_t n = 1;
    while (*left > 0 && n > 0) {
        n = MIN((w->req->out_len - w->done) / sizeof(pfns[0]), ARRAY_SIZE(pfns));
        if (vq_req_read(w->req, w->done, pfns, n * sizeof(pfns[0])) < 0)
            break;
        for (size_t i = 0; i < n; i++)
            run_add(b, &run, le32toh(pfns[i]));
        w->done += n * sizeof(pfns[0]);
        b->inflated += n << VIRTIO_BALLOON_PFN_SHIFT;
        spend(left, n * CALL_BYTES);
    }
    run_release(b, &run);
    return w->req->out_len - w->done < sizeof(pfns[0]);
}

/* --- reports and hints: the writable segments are the pages --- */

static gpa_t guest_address(const struct balloon *b, const void *host)
{
    const struct gmem_region *r;
    unsigned n = gmem_regions(b->mem, &r);
    for (unsigned i = 0; i < n; i++) {
        uint64_t off = (uint64_t)host - (uint64_t)r[i].host;
        if (off < r[i].len)
            return GPA(r[i].base.v + off);
    }
    return GPA(UINT64_MAX); /* a segment is always RAM; this is not */
}

/* As much as a turn may do at once of `len` bytes; not so that a huge page is cut. */
static uint64_t slice(gpa_t at, uint64_t len)
{
    return len <= TURN_BYTES ? len : TURN_BYTES - (at.v + TURN_BYTES) % HUGE_BYTES;
}

bool balloon_release_segments(struct balloon *b, struct work *w, uint64_t *left)
{
    const struct vq_req *req = w->req;
    size_t off = w->done;
    for (unsigned i = req->n_out; i < req->n_out + req->n_in; i++) {
        const struct iovec *v = &req->iov[i];
        if (off >= v->iov_len) {
            off -= v->iov_len;
            continue;
        }
        while (off < v->iov_len) {
            if (*left == 0)
                return false;
            gpa_t at = guest_address(b, (const uint8_t *)v->iov_base + off);
            uint64_t n = slice(at, v->iov_len - off);
            b->released += gmem_release(b->mem, at, n);
            spend(left, MAX(n, (uint64_t)CALL_BYTES));
            w->done += n;
            off += n;
        }
        off = 0;
    }
    return true;
}

/* 5.5.6.7.2: a page may only become what it is. What the host gives anew is zero. */
static bool keeps_value(const struct balloon *b)
{
    return vdev_has(b->dev, VIRTIO_BALLOON_F_PAGE_POISON) && atomic_load(&b->poison) != 0;
}

bool balloon_report(struct balloon *b, struct work *w, uint64_t *left)
{
    if (w->done == 0)
        b->reported += w->req->in_len;
    if (keeps_value(b)) {
        spend(left, CALL_BYTES);
        return true;
    }
    return balloon_release_segments(b, w, left);
}
