/* devices/blkio.h - a disk of the host, and one operation on it that takes as many asynchronous
 * steps as it needs: what blk.c and scsi/ share. On the loop's thread, but for opening.
 *
 * No step moves or clears more than a bounded number of bytes, so whoever gives up waits for one
 * step and no more. Nothing is allocated. */
#pragma once

#include "base/loop.h"

/* A raw image file, or a block device. */
struct blkfile {
    int fd;               /* O_DIRECT when asked for */
    int plain_fd;         /* with O_DIRECT: buffered, for what is not aligned; else -1 */
    bool ro, punch;       /* punch: holes can be made, as far as one can know */
    bool regular;         /* a file, whose length may change */
    uint64_t size;        /* bytes, a multiple of `block` */
    uint32_t align;       /* of addresses, lengths and offsets under O_DIRECT */
    uint32_t block;       /* logical block of a block device, `unit` of a file */
    uint8_t physical_exp; /* 2 to the power of it blocks of `block` bytes are one physically */
};
/* Opens, locks and measures it; a file's length must be a multiple of `unit`. `what` begins the
 * messages. What it fills in may be closed, whether it succeeds or not; nothing may be in flight
 * then. */
int CHECKED blkfile_open(const char *what, const char *path, bool ro, bool direct, uint32_t unit,
                         struct blkfile *out, struct err *e);
void blkfile_close(struct blkfile *f);
/* How long it is by now, in whole blocks; 0 or -errno. */
int CHECKED blkfile_measure(const struct blkfile *f, uint64_t *size);

enum { BLKIO_PARTS = 4 };
struct vq;

/* One operation. The first four are its owner's, who sets them before each start; the struct and
 * what it points to stay until done() runs, which is never before the start has returned. */
struct blkio {
    struct loop *loop;
    const struct blkfile *file;
    const struct vq *q; /* where vq_aborting() ends it between two steps */
    /* 0; -errno of the host's; -ENODATA: the file ends early; -ECANCELED: given up. */
    void (*done)(struct blkio *o, int result);
    bool cancel;    /* the owner's, at any time: no further step */
    uint64_t pos;   /* bytes: how far it has come, and what is at fault when it fails */
    uint64_t moved; /* bytes read or written */

    /* Its own. */
    struct loop_io io;
    const struct iovec *iov; /* the segment at work, and how much of it is done */
    unsigned n_iov;
    size_t skip;
    uint64_t left;
    uint8_t how;
    bool dsync;
    struct iovec part[BLKIO_PARTS]; /* what a step takes of one segment, or of the fill */
    const uint8_t *fill;            /* what is written over a range, from byte `skip` on */
    size_t fill_len;
};

/* Reads or writes `len` > 0 bytes, that the segments have from byte `skip` on. They stay as they
 * are. dsync: stable when it is done. */
void blkio_read(struct blkio *o, const struct iovec *iov, unsigned n, size_t skip, uint64_t pos,
                uint64_t len);
void blkio_write(struct blkio *o, const struct iovec *iov, unsigned n, size_t skip, uint64_t pos,
                 uint64_t len, bool dsync);
void blkio_flush(struct blkio *o);
/* Advice: where the host cannot make holes, nothing happens. len > 0. */
void blkio_discard(struct blkio *o, uint64_t pos, uint64_t len);
/* Reads as zeroes afterwards, as a hole if `hole`; written where the host can do no better. */
void blkio_zero(struct blkio *o, uint64_t pos, uint64_t len, bool hole);
/* The same bytes over and over, the last time as many as `len` leaves. */
void blkio_fill(struct blkio *o, uint64_t pos, uint64_t len, const void *bytes, size_t n);
/* For who has more operations to come: there is nobody any more to do them for. */
bool blkio_given_up(const struct blkio *o);
