/* tools/benchlib/guest.c - the two ends of a piece of work that tools/bench lab measures: as a
 * process 1 of a guest it does what it is told on its console and says how long that took; as
 * "peer" in the laboratory it is the other end of the guest's connections. One program, so that no
 * guest needs a file system, a shell or libraries; no fio, which needs all of them.
 *
 * The guest says "@ready", then answers each line with "@OPERATIONS NANOSECONDS", or "@failed
 * WHAT":
 *
 *   null                       nothing: what asking costs
 *   blk read|write random|seq SIZE DEPTH OPERATIONS
 *                              of /dev/vda past the page cache, DEPTH in flight, by Linux's
 *                              asynchronous I/O
 *   tcp ADDRESS send|recv|ping N
 *                              N MiB one way, or N bytes there and back, one by one
 *   vsock send|recv|ping N     the same with the host
 *   mount OPTIONS              the shared folder "shared" on /mnt
 *   file N                     reads /mnt/data, N MiB that the guest has not cached
 *   off                        powers off
 *
 * usage: guest peer UNIX_SOCKET    serves TCP and vsock at PORT and what comes to UNIX_SOCKET */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/aio_abi.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 7000, MIB = 1 << 20, DEPTH_MAX = 32, SIZE_MAX_IO = 128 * 1024, CHUNK = 64 * 1024 };

/* Disk blocks, or a stream's chunk. */
static uint8_t buffers[DEPTH_MAX][SIZE_MAX_IO] __attribute__((aligned(4096)));

static uint64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What a command of the console's came to; times by now(), from the work's beginning to its end. */
struct figures {
    uint64_t operations, start, end;
};

/* ---- The disk ---- */

struct disk_work {
    bool write, random;
    uint32_t size;
    uint64_t blocks, next;
};

/* Opened once: to end a context takes as long as the kernel's grace periods. */
static int disk = -1;
static aio_context_t context;

static bool submit(struct disk_work *w, unsigned slot)
{
    uint64_t block = w->next++ % w->blocks;
    if (w->random) {
        static uint64_t random = 88172645463325252;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        block = random % w->blocks;
    }
    struct iocb cb = {.aio_data = slot,
                      .aio_lio_opcode = w->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
                      .aio_fildes = (uint32_t)disk,
                      .aio_buf = (uint64_t)buffers[slot],
                      .aio_nbytes = w->size,
                      .aio_offset = (int64_t)(block * w->size)};
    struct iocb *cbs[] = {&cb};
    return syscall(SYS_io_submit, context, 1, cbs) == 1;
}

static bool disk_operations(struct disk_work *w, unsigned depth, uint64_t operations)
{
    struct io_event done[DEPTH_MAX];
    uint64_t started = 0, ended = 0;
    bool good = true;
    for (; good && started < depth && started < operations; started++)
        good = submit(w, (unsigned)started);
    while (good && ended < operations) {
        long n = syscall(SYS_io_getevents, context, 1, depth, done, NULL);
        for (long i = 0; i < n && good; i++, ended++) {
            good = done[i].res == w->size;
            if (good && started < operations)
                good = submit(w, (unsigned)done[i].data), started++;
        }
    }
    return good;
}

/* "read|write random|seq SIZE DEPTH OPERATIONS" */
static const char *do_blk(char **words, struct figures *f)
{
    struct disk_work w = {.write = !strcmp(words[0], "write"),
                          .random = !strcmp(words[1], "random"),
                          .size = (uint32_t)atoi(words[2])};
    unsigned depth = (unsigned)atoi(words[3]);
    f->operations = (uint64_t)atoi(words[4]);
    if (disk < 0) {
        disk = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
        (void)syscall(SYS_io_setup, DEPTH_MAX, &context);
    }
    off_t end = lseek(disk, 0, SEEK_END);
    if (end <= 0 || !w.size || w.size > SIZE_MAX_IO || !depth || depth > DEPTH_MAX)
        return "/dev/vda";
    w.blocks = (uint64_t)end / w.size;
    f->start = now();
    bool good = disk_operations(&w, depth, f->operations);
    f->end = now();
    return good ? NULL : "the disk's operations";
}

/* ---- Streams, both ends ---- */

/* What a connection begins with. */
struct order {
    char what[8]; /* send, recv, ping: as the guest sees it */
    uint64_t count;
};

static bool write_all(int fd, const void *data, uint64_t len)
{
    for (uint64_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        if (n <= 0)
            return false;
        done += (uint64_t)n;
    }
    return true;
}

static bool read_all(int fd, void *data, uint64_t len)
{
    for (uint64_t done = 0; done < len;) {
        ssize_t n = read(fd, (char *)data + done, len - done);
        if (n <= 0)
            return false;
        done += (uint64_t)n;
    }
    return true;
}

/* The end of it is a byte the other way: all has arrived. */
static bool stream_out(int fd, uint64_t mib)
{
    bool good = true;
    for (uint64_t left = mib * MIB; good && left; left -= CHUNK)
        good = write_all(fd, buffers, CHUNK);
    return good && read_all(fd, buffers, 1);
}

static bool stream_in(int fd, uint64_t mib)
{
    for (uint64_t left = mib * MIB; left;) {
        ssize_t n = read(fd, buffers, left < CHUNK ? left : CHUNK);
        if (n <= 0)
            return false;
        left -= (uint64_t)n;
    }
    return write_all(fd, buffers, 1);
}

static bool guest_end(int fd, const struct order *order)
{
    bool good = write_all(fd, order, sizeof(*order));
    if (!strcmp(order->what, "send"))
        return good && stream_out(fd, order->count);
    if (!strcmp(order->what, "recv"))
        return good && stream_in(fd, order->count);
    for (uint64_t i = 0; good && i < order->count; i++)
        good = write_all(fd, "!", 1) && read_all(fd, buffers, 1);
    return good;
}

static void host_end(int fd)
{
    struct order order;
    if (!read_all(fd, &order, sizeof(order)))
        return;
    if (!strcmp(order.what, "send")) {
        (void)stream_in(fd, order.count);
    } else if (!strcmp(order.what, "recv")) {
        (void)stream_out(fd, order.count);
    } else {
        while (read_all(fd, buffers, 1) && write_all(fd, buffers, 1))
            continue;
    }
}

static void no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* "send|recv|ping N" over the connection, which the time of a connection is no part of. */
static const char *do_stream(int fd, char **words, struct figures *f)
{
    struct order order = {.count = (uint64_t)atoi(words[1])};
    (void)snprintf(order.what, sizeof(order.what), "%s", words[0]);
    f->operations = order.count;
    f->start = now();
    bool good = guest_end(fd, &order);
    f->end = now();
    (void)close(fd);
    return good ? NULL : strerror(errno);
}

/* The guest's addresses: of tap, 10.9.0.2 beside 10.9.0.1; of the user back end, 10.0.2.15 beside
 * 10.0.2.2, which is the loopback of the laboratory. */
static void set_address(const char *peer)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = {.ifr_name = "eth0"};
    struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;
    a->sin_family = AF_INET;
    (void)inet_pton(AF_INET, peer, &a->sin_addr);
    a->sin_addr.s_addr = (a->sin_addr.s_addr & htonl(0xffffff00)) | htonl(15);
    (void)ioctl(fd, SIOCSIFADDR, &r);
    a->sin_addr.s_addr = htonl(0xffffff00);
    (void)ioctl(fd, SIOCSIFNETMASK, &r);
    r.ifr_flags = IFF_UP | IFF_RUNNING;
    (void)ioctl(fd, SIOCSIFFLAGS, &r);
    (void)close(fd);
}

static const char *do_tcp(char **words, struct figures *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    (void)inet_pton(AF_INET, words[0], &a.sin_addr);
    set_address(words[0]);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return "connecting by TCP";
    no_delay(fd);
    return do_stream(fd, words + 1, f);
}

static const char *do_vsock(char **words, struct figures *f)
{
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = PORT};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return "connecting by vsock";
    return do_stream(fd, words, f);
}

/* ---- The shared folder ---- */

static const char *do_mount(char **words)
{
    (void)umount("/mnt");
    return mount("shared", "/mnt", "virtiofs", 0, words[0]) < 0 ? "mounting" : NULL;
}

static const char *do_file(char **words, struct figures *f)
{
    f->operations = (uint64_t)atoi(words[0]);
    int drop = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    (void)!write(drop, "3", 1);
    (void)close(drop);
    f->start = now();
    int fd = open("/mnt/data", O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0;
    for (uint64_t left = f->operations * MIB; good && left; left -= SIZE_MAX_IO)
        good = read_all(fd, buffers, SIZE_MAX_IO);
    f->end = now();
    (void)close(fd);
    return good ? NULL : "reading /mnt/data";
}

/* ---- The guest ---- */

/* Returns NULL, or what failed. */
static const char *do_command(char **words, struct figures *f)
{
    *f = (struct figures){.operations = 1};
    if (!strcmp(words[0], "null"))
        return NULL;
    if (!strcmp(words[0], "blk"))
        return do_blk(words + 1, f);
    if (!strcmp(words[0], "tcp"))
        return do_tcp(words + 1, f);
    if (!strcmp(words[0], "vsock"))
        return do_vsock(words + 1, f);
    if (!strcmp(words[0], "mount"))
        return do_mount(words + 1);
    if (!strcmp(words[0], "file"))
        return do_file(words + 1, f);
    return "the command is not known";
}

/* What the stock kernel has as modules. */
static void load_modules(void)
{
    glob_t files;
    if (glob("/modules/*.ko", 0, NULL, &files) != 0)
        return;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        int fd = open(files.gl_pathv[i], O_RDONLY | O_CLOEXEC);
        (void)syscall(SYS_finit_module, fd, "", 0);
        (void)close(fd);
    }
    globfree(&files);
}

static FILE *open_console(void)
{
    int fd;
    while ((fd = open("/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
        (void)poll(NULL, 0, 1);
    struct termios t;
    (void)tcgetattr(fd, &t);
    cfmakeraw(&t);
    (void)tcsetattr(fd, TCSANOW, &t);
    return fdopen(fd, "r+");
}

static void be_guest(void)
{
    (void)mount("dev", "/dev", "devtmpfs", 0, NULL);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    load_modules();
    FILE *console = open_console();
    (void)fprintf(console, "@ready\n");
    char line[256];
    while (fflush(console) == 0 && fgets(line, sizeof(line), console)) {
        char *words[9] = {"", "", "", "", "", "", "", "", ""}, *save;
        unsigned n = 0;
        for (char *w = strtok_r(line, " \n", &save); w && n < 8; w = strtok_r(NULL, " \n", &save))
            words[n++] = w;
        if (!strcmp(words[0], "off"))
            break;
        struct figures f;
        const char *failed = do_command(words, &f);
        if (failed)
            (void)fprintf(console, "@failed %s\n", failed);
        else
            (void)fprintf(console, "@%lu %lu\n", (unsigned long)f.operations,
                          (unsigned long)(f.end - f.start));
    }
    (void)reboot(RB_POWER_OFF);
}

/* ---- The peer ---- */

static int listen_at(int family, const void *address, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(fd, address, len) < 0 || listen(fd, 8) < 0 ? -1 : fd;
}

static void be_peer(const char *path)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    struct pollfd fds[] = {{.fd = listen_at(AF_INET, &in, sizeof(in)), .events = POLLIN},
                           {.fd = listen_at(AF_UNIX, &un, sizeof(un)), .events = POLLIN},
                           {.fd = listen_at(AF_VSOCK, &vm, sizeof(vm)), .events = POLLIN}};
    while (poll(fds, 3, -1) > 0) {
        for (unsigned i = 0; i < 3; i++) {
            if (!(fds[i].revents & POLLIN))
                continue;
            int fd = accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC);
            no_delay(fd);
            host_end(fd);
            (void)close(fd);
        }
    }
}

int main(int argc, char **argv)
{
    if (getpid() == 1)
        be_guest();
    else if (argc == 3 && !strcmp(argv[1], "peer"))
        be_peer(argv[2]);
    return 1;
}
