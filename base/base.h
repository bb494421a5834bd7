/* base/base.h - the vocabulary that every layer shares: scoped ownership, guest addresses, errors.
 *
 * Everything here is thread-safe unless it says otherwise. */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* A guest-physical address. A struct, so that it cannot be mixed up with a host address, a length
 * or a disk offset without the compiler noticing. */
typedef struct {
    uint64_t v;
} gpa_t;
#define GPA(x) ((gpa_t){.v = (x)})

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define CHECKED                         __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first)         __attribute__((format(printf, fmt, first)))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) min_a_ = (a);                                                                \
        __typeof__(b) min_b_ = (b);                                                                \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                         \
    })
#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) max_a_ = (a);                                                                \
        __typeof__(b) max_b_ = (b);                                                                \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                         \
    })

/* `to` is a power of two. */
static inline uint64_t align_up(uint64_t v, uint64_t to)
{
    return (v + to - 1) & ~(to - 1);
}

/* Unaligned access to little-endian bytes; the host is x86-64, so no swap is needed. */
static inline void put_bytes(void *dst, uint64_t v, size_t n)
{
    memcpy(dst, &v, n);
}
static inline uint64_t get_bytes(const void *src, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, src, n);
    return v;
}

/* What the descriptor is ready for now, of these and of what poll(2) always tells; 0: nothing. */
uint32_t poll_now(int fd, short events);
/* As poll(2), of which there is one kind in this program. */
struct pollfd;
int poll_ms(struct pollfd *fds, unsigned n, int timeout_ms);

/* A second description of the same pipe or terminal, whose flags are ours alone, to write to
 * without waiting; -errno: another user's terminal, or no /proc. */
int CHECKED fd_unblocked(int fd);

/* Descriptors that guests make us hold. The process has so many; a part is kept for the rest of the
 * VMM, and what devices may take in all is the others, so that none runs out by what another does.
 * Any thread. */
uint64_t fd_room(void);     /* for fd_take(); main() calls first: it raises the soft limit then */
bool CHECKED fd_take(void); /* one; false: none is left */
void fd_give(void);
/* For as long as a device lives, whatever others take: at most `most`, and a quarter of the room,
 * which is smaller by that until they are given back. How many. */
uint64_t CHECKED fd_share(uint64_t most);
void fd_unshare(uint64_t n);

/* A socket that this process made by a name, to be removed while it is still the one there. */
struct own_path {
    uint64_t dev, ino; /* ino 0: none */
};
int CHECKED own_path_made(struct own_path *o, const char *path); /* just now; 0 or -errno */
void own_path_remove(const struct own_path *o, const char *path);

/* What may hold anything, such as a file's name, becomes part of one line. */
static inline void make_one_line(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = '?';
    }
}

/* Ownership that ends with the scope; TAKE_* moves it out. */
static inline void fd_cleanup_(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
static inline void mem_cleanup_(void *p)
{
    free(*(void **)p);
}
#define AUTO_FD   __attribute__((cleanup(fd_cleanup_))) int
#define AUTO_FREE __attribute__((cleanup(mem_cleanup_)))
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int take_fd_ = (fd);                                                                       \
        (fd) = -1;                                                                                 \
        take_fd_;                                                                                  \
    })
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) take_ptr_ = (p);                                                             \
        (p) = NULL;                                                                                \
        take_ptr_;                                                                                 \
    })

/* Of one writer, read by anybody. */
static inline void counter_add(_Atomic uint64_t *c, uint64_t n)
{
    uint64_t old = atomic_load_explicit(c, memory_order_relaxed);
    atomic_store_explicit(c, old + n, memory_order_relaxed);
}
static inline uint64_t counter_get(const _Atomic uint64_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* Adds one to an eventfd that outlives the call: it cannot fail, but for one that does not block
 * and is full, which says as much. */
static inline void event_signal(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof(one)) < 0)
        return;
}

/* Why set-up failed, told once by whoever knows the noun and printed once by main(). Functions
 * that may fail for a reason the user should read take a `struct err *` as their last argument
 * and return what these return: 0 is never among it. */
enum err_kind {
    ERR_HOST = 1,  /* the host refused something: exit status 1 */
    ERR_INPUT = 2, /* the command line or a file named on it is wrong: exit status 2 */
};
struct err {
    enum err_kind kind;
    char msg[512];
};
/* Fills *e with the sentence, and with strerror(-neg_errno) after a colon unless neg_errno is 0.
 * Returns neg_errno, or -EINVAL for 0. */
int err_set(struct err *e, enum err_kind kind, int neg_errno, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static inline int err_is_negative_(int rc)
{
    if (rc >= 0) /* an analyzer cannot know it */
        __builtin_unreachable();
    return rc;
}
#define err_host(e, rc, ...)  err_is_negative_(err_set((e), ERR_HOST, (rc), __VA_ARGS__))
#define err_input(e, rc, ...) err_is_negative_(err_set((e), ERR_INPUT, (rc), __VA_ARGS__))
