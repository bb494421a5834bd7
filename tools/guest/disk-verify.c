/* Writes a disk in random order, by several processes at once, past the page cache, and reads it
 * back: what tests do with fio elsewhere, without its libraries. A block says where it belongs and
 * which of its writes it is, so that a write which is lost, late or somewhere else is seen.
 *
 * usage: disk-verify DISK MIB ROUNDS   destroys what is there; exit status 0 if all was well
 *
 * Each process owns every WORKERS-th block. In a round it writes each of them, and reads some that
 * it wrote at any time before between its writes; then it syncs and reads them all. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 8, BLOCK = 16 * 1024, WORDS = BLOCK / 8 };

struct worker {
    int fd;
    uint32_t number, blocks; /* how many are its own */
    uint32_t *order;         /* of its blocks, for one pass */
    uint32_t *version;       /* of each: which round wrote it, 0: none */
    uint64_t seed;
    uint64_t *block, *want; /* BLOCK bytes each, aligned */
};

static void fail(const char *what)
{
    printf("disk-verify: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Each word of a block depends on its place, its version and the word's own place. */
static void fill(uint64_t *b, uint32_t place, uint32_t version)
{
    uint64_t seed = (uint64_t)place << 32 | version;
    b[0] = seed;
    for (unsigned i = 1; i < WORDS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        b[i] = seed;
    }
}

static uint32_t place_of(const struct worker *w, uint32_t own)
{
    return own * WORKERS + w->number;
}

static void shuffle(struct worker *w)
{
    for (uint32_t i = w->blocks; i > 1; i--) {
        uint32_t j = (uint32_t)(next_random(&w->seed) % i), other = w->order[j];
        w->order[j] = w->order[i - 1];
        w->order[i - 1] = other;
    }
}

static void write_one(struct worker *w, uint32_t own, uint32_t version)
{
    uint32_t place = place_of(w, own);
    fill(w->block, place, version);
    if (pwrite(w->fd, w->block, BLOCK, (off_t)place * BLOCK) != BLOCK)
        fail("pwrite");
    w->version[own] = version;
}

static void check_one(struct worker *w, uint32_t own)
{
    uint32_t place = place_of(w, own);
    if (w->version[own] == 0)
        return;
    if (pread(w->fd, w->block, BLOCK, (off_t)place * BLOCK) != BLOCK)
        fail("pread");
    fill(w->want, place, w->version[own]);
    if (memcmp(w->block, w->want, BLOCK) == 0)
        return;
    printf("disk-verify: block %u, write %u: there is block %u, write %u, or a part of it\n", place,
           w->version[own], (uint32_t)(w->block[0] >> 32), (uint32_t)w->block[0]);
    exit(1);
}

static void work(struct worker *w, uint32_t rounds)
{
    for (uint32_t round = 1; round <= rounds; round++) {
        shuffle(w);
        for (uint32_t i = 0; i < w->blocks; i++) {
            write_one(w, w->order[i], round);
            if (i % 4 == 0)
                check_one(w, (uint32_t)(next_random(&w->seed) % w->blocks));
        }
        if (fdatasync(w->fd) < 0)
            fail("fdatasync");
        shuffle(w);
        for (uint32_t i = 0; i < w->blocks; i++)
            check_one(w, w->order[i]);
    }
}

static void start(struct worker *w, const char *disk)
{
    w->fd = open(disk, O_RDWR | O_DIRECT);
    if (w->fd < 0)
        fail(disk);
    w->order = calloc(w->blocks, sizeof(*w->order));
    w->version = calloc(w->blocks, sizeof(*w->version));
    w->block = aligned_alloc(4096, BLOCK);
    w->want = aligned_alloc(4096, BLOCK);
    if (!w->order || !w->version || !w->block || !w->want)
        fail("memory");
    for (uint32_t i = 0; i < w->blocks; i++)
        w->order[i] = i;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    uint32_t blocks = (uint32_t)atoi(argv[2]) * (1048576 / BLOCK), rounds = (uint32_t)atoi(argv[3]);
    int failures = 0, status;
    for (uint32_t i = 0; i < WORKERS; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            struct worker w = {.number = i, .blocks = blocks / WORKERS, .seed = i + 1};
            start(&w, argv[1]);
            work(&w, rounds);
            exit(0);
        }
    }
    while (wait(&status) > 0)
        failures += status != 0;
    return failures != 0;
}
