/* devices/vsock/payload.c - bytes and messages between a connection and its Unix socket. A stream
 * goes between the driver's buffers and the kernel in one system call where it can; what the host
 * does not take yet is stored, within the credit that the driver was given (virtio 1.4, 5.10.6.3).
 */
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "devices/vsock/vsock_priv.h"

/* --- to the host --- */

/* The driver learns of room before it has run out of it; and of all there is when the host waits
 * for the rest of a message, for then nothing more will be passed on. */
static void tell_room(struct conn *c)
{
    uint32_t news = c->fwd_cnt - c->fwd_told;
    bool rest = c->out.len > 0 && c->out.whole == 0;
    if (c->state == CONN_OPEN && (news >= VSOCK_BUF / 4 || (news > 0 && rest)))
        conn_due(c, DUE_CREDIT);
}

static void passed_on(struct conn *c, size_t len)
{
    c->fwd_cnt += (uint32_t)len;
    tell_room(c);
}

void host_is_deaf(struct conn *c)
{
    uint32_t len = c->out.len;
    c->host_deaf = true;
    store_free(&c->out);
    passed_on(c, len);
}

ssize_t host_sendmsg(int fd, struct iovec *iov, unsigned n)
{
    const struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t r;
    do
        r = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r;
}

ssize_t host_recvmsg(int fd, struct iovec *iov, unsigned n, int flags)
{
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t r;
    do
        r = recvmsg(fd, &m, MSG_DONTWAIT | flags);
    while (r < 0 && errno == EINTR);
    return r;
}

static ssize_t send_iov(struct conn *c, struct iovec *iov, unsigned n)
{
    ssize_t r = host_sendmsg(c->fd, iov, n);
    if (r >= 0)
        return r;
    if (errno == EAGAIN) {
        c->out_ready = false;
        return 0;
    }
    if (errno == EMSGSIZE || errno == ENOBUFS || errno == ENOMEM)
        return -errno;
    host_is_deaf(c);
    return 0;
}

static int flush(struct conn *c)
{
    while (c->out_ready && c->out.whole > 0) {
        struct iovec iov[2];
        size_t len;
        unsigned k = store_peek(&c->out, iov, &len);
        ssize_t n = send_iov(c, iov, k);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        store_take(&c->out, (size_t)n);
        passed_on(c, (size_t)n);
        if (c->ticks && c->state != CONN_OPEN)
            conn_deadline(c, VSOCK_LINGER_TICKS);
    }
    return 0;
}

void host_flush(struct conn *c)
{
    if (c->fd < 0)
        return;
    if (flush(c) < 0)
        conn_end(c, false);
    conn_settle(c);
}

bool host_takes_some(struct conn *c)
{
    int left = 0, before = c->unread;
    c->unread = ioctl(c->fd, SIOCOUTQ, &left) == 0 ? left : 0;
    return c->unread < before;
}

int host_send(struct conn *c, const struct iovec *iov, unsigned n, size_t skip, size_t len,
              bool end_of_message)
{
    bool messages = c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
    size_t done = 0;
    if (c->out_ready && !c->host_deaf && c->out.len == 0 && len > 0 &&
        (end_of_message || !messages)) {
        struct iovec part[VSOCK_SEGMENTS];
        size_t total;
        unsigned k = iov_part(iov, n, skip, len, part, VSOCK_SEGMENTS, &total);
        ssize_t sent = total == len || !messages ? send_iov(c, part, k) : 0;
        if (sent < 0)
            return (int)sent;
        done = (size_t)sent;
        passed_on(c, done);
    }
    if (c->host_deaf) {
        passed_on(c, len - done);
        return 0;
    }
    if (done < len) {
        int rc = store_put(&c->out, messages, iov, n, skip + done, len - done);
        if (rc < 0)
            return rc;
    }
    if (end_of_message)
        store_end_message(&c->out);
    tell_room(c);
    return flush(c);
}

/* --- from the host --- */

static ssize_t recv_iov(struct conn *c, struct iovec *iov, unsigned n, int flags)
{
    ssize_t r = host_recvmsg(c->fd, iov, n, flags);
    if (r < 0 && errno == EAGAIN)
        c->in_ready = false;
    if (r < 0 && errno == ECONNRESET) { /* closed, with something unread */
        c->host_eof = true;
        host_is_deaf(c);
    }
    return r < 0 ? -errno : r;
}

/* How long the next message is; 0: none for now, or an empty one, which a Unix socket cannot tell
 * from the end and the driver is not told of. */
static ssize_t next_message(struct conn *c)
{
    struct iovec none = {0};
    ssize_t len = recv_iov(c, &none, 1, MSG_PEEK | MSG_TRUNC);
    int left = 0;
    if (len != 0)
        return len;
    if (ioctl(c->fd, SIOCINQ, &left) == 0 && left > 0)
        return recv_iov(c, &none, 1, 0);
    if (poll_now(c->fd, POLLRDHUP) & (POLLRDHUP | POLLHUP))
        c->host_eof = true;
    else
        (void)recv_iov(c, &none, 1, 0);
    return 0;
}

/* One that does not fit whole is kept here meanwhile. */
static int keep_message(struct conn *c, size_t len)
{
    uint8_t *p = malloc(len);
    if (!p)
        return -ENOMEM;
    struct iovec iov = {.iov_base = p, .iov_len = len};
    ssize_t n = recv_iov(c, &iov, 1, 0);
    if (n != (ssize_t)len) {
        free(p);
        return -EIO;
    }
    c->message = p;
    c->message_len = len;
    c->message_at = 0;
    return 0;
}

static size_t recv_kept(struct conn *c, const struct iovec *iov, unsigned n, bool *end)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && c->message_at < c->message_len; i++) {
        size_t part = MIN(iov[i].iov_len, c->message_len - c->message_at);
        memcpy(iov[i].iov_base, c->message + c->message_at, part);
        c->message_at += part;
        done += part;
    }
    *end = c->message_at == c->message_len;
    if (*end) {
        free(c->message);
        c->message = NULL;
    }
    return done;
}

static ssize_t recv_message(struct conn *c, struct iovec *iov, unsigned n, size_t room, bool *end)
{
    if (!c->message) {
        ssize_t len = next_message(c);
        if (len <= 0)
            return len;
        if (len > VSOCK_MESSAGE_MAX || len > c->peer_buf_alloc) {
            log_limited(&c->v->complaints, LOG_WARN,
                        "vsock: %s: a message of %zd bytes is longer than the guest has room for: "
                        "its connection ends",
                        c->v->path, len);
            return -EMSGSIZE;
        }
        if ((size_t)len <= room) {
            *end = true;
            return recv_iov(c, iov, n, 0);
        }
        int rc = keep_message(c, (size_t)len);
        if (rc < 0)
            return rc;
    }
    return (ssize_t)recv_kept(c, iov, n, end);
}

ssize_t host_recv(struct conn *c, struct iovec *iov, unsigned n, size_t room, bool *end)
{
    ssize_t r;
    if (c->type == VIRTIO_VSOCK_TYPE_SEQPACKET) {
        r = recv_message(c, iov, n, room, end);
    } else {
        r = recv_iov(c, iov, n, 0);
        c->host_eof = c->host_eof || r == 0;
    }
    return r == -EAGAIN || r == -ECONNRESET ? 0 : r;
}
