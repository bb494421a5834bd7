/* arch/x86_64/serial.c - 16550A: the console that every kernel can write to before it knows
 * anything else. Bytes leave at once and have no speed; only the host's side may make one wait. */
#include <pthread.h>

#include "arch/x86_64/devices.h"

/* TI PC16550D data sheet, "Registers". With DLAB set, 0 and 1 are the divisor latch. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, SERIAL_PORTS };
enum { FIFO_BYTES = 16 };
enum {
    IER_RX = 0x01,
    IER_THRE = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_MASK = 0x0f,

    IIR_NONE = 0x01, /* in order of priority: LINE, RX, RX_TIMEOUT, THRE, MODEM */
    IIR_LINE = 0x06,
    IIR_RX = 0x04,
    IIR_RX_TIMEOUT = 0x0c,
    IIR_THRE = 0x02,
    IIR_MODEM = 0x00,
    IIR_FIFOS = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_RESET_RX = 0x02,
    FCR_RESET_TX = 0x04,
    FCR_TRIGGER_SHIFT = 6,
    FCR_KEPT = 0xc9, /* enable, DMA mode, trigger level */

    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08, /* on a PC: lets the interrupt through */
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,

    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_THRE = 0x20,
    LSR_IDLE = 0x40,

    MSR_DELTA_CTS = 0x01,
    MSR_DELTA_DSR = 0x02,
    MSR_TRAILING_RI = 0x04,
    MSR_DELTA_DCD = 0x08,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

struct fifo {
    uint8_t bytes[FIFO_BYTES];
    unsigned first, count;
};

struct serial {
    struct bus *pio;
    struct chardev *out;
    int irq_fd;

    pthread_mutex_t lock; /* everything below; taken before the chardev's own */
    uint8_t ier, fcr, lcr, mcr, scr, divisor[2];
    uint8_t deltas;    /* MSR bits 0 to 3 */
    bool overrun;      /* LSR_OVERRUN */
    bool thre_pending; /* the THRE interrupt, until IIR is read or THR written */
    bool line;         /* the interrupt output, as last signalled */
    struct fifo rx, tx;
};

static void fifo_push(struct fifo *f, uint8_t byte)
{
    f->bytes[(f->first + f->count++) % FIFO_BYTES] = byte;
}

static uint8_t fifo_pop(struct fifo *f)
{
    uint8_t byte = f->bytes[f->first];
    f->first = (f->first + 1) % FIFO_BYTES;
    f->count--;
    return byte;
}

/* Interrupts. */

static bool fifos_on(const struct serial *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned trigger_level(const struct serial *s)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return fifos_on(s) ? levels[s->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* The time-out is that of a line on which no byte follows for four characters' time; here, what
 * has not arrived yet is that late already. */
static uint8_t pending_interrupt(const struct serial *s)
{
    if (s->ier & IER_LINE && s->overrun)
        return IIR_LINE;
    if (s->ier & IER_RX && s->rx.count)
        return s->rx.count >= trigger_level(s) ? IIR_RX : IIR_RX_TIMEOUT;
    if (s->ier & IER_THRE && s->thre_pending)
        return IIR_THRE;
    if (s->ier & IER_MODEM && s->deltas)
        return IIR_MODEM;
    return IIR_NONE;
}

/* The line is edge-triggered and an edge is all that the guest gets, so a handler that serves one
 * cause and leaves another must hear of it again. Hence a pulse when the line rises, and one when
 * it stays up though the guest acknowledged something, or something new came up behind it. One
 * pulse too many costs a glance at IIR; one too few hangs the console. */
static void update_line(struct serial *s, bool again)
{
    bool line = s->mcr & MCR_OUT2 && pending_interrupt(s) != IIR_NONE;
    if (line && (!s->line || again))
        event_signal(s->irq_fd);
    s->line = line;
}

/* Registers. */

/* In loopback the modem control outputs come back as modem status; else a peer is always there. */
static uint8_t modem_lines(const struct serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct serial *s, uint8_t v)
{
    uint8_t before = modem_lines(s);
    if (v & ~s->mcr & MCR_OUT2)
        chardev_rx_ready(s->out); /* input is wanted from now on */
    s->mcr = v & MCR_MASK;
    uint8_t changed = before ^ modem_lines(s);
    s->deltas |= (uint8_t)((changed & MSR_CTS ? MSR_DELTA_CTS : 0) |
                           (changed & MSR_DSR ? MSR_DELTA_DSR : 0) |
                           (changed & before & MSR_RI ? MSR_TRAILING_RI : 0) |
                           (changed & MSR_DCD ? MSR_DELTA_DCD : 0));
}

static unsigned rx_capacity(const struct serial *s)
{
    return fifos_on(s) ? FIFO_BYTES : 1;
}

static void rx_push(struct serial *s, uint8_t byte)
{
    if (s->rx.count < rx_capacity(s))
        fifo_push(&s->rx, byte);
    else
        s->overrun = true;
}

static void rx_reset(struct serial *s)
{
    s->rx = (struct fifo){0};
    chardev_rx_ready(s->out);
}

/* Sends what waits. THRE comes up when the last byte has left. */
static void tx_flush(struct serial *s)
{
    while (s->tx.count) {
        size_t run = MIN(s->tx.count, FIFO_BYTES - s->tx.first);
        size_t n = chardev_write(s->out, s->tx.bytes + s->tx.first, run);
        s->tx.first = (s->tx.first + (unsigned)n) % FIFO_BYTES;
        s->tx.count -= (unsigned)n;
        if (n < run)
            return;
    }
    s->thre_pending = true;
}

static void write_thr(struct serial *s, uint8_t byte)
{
    s->thre_pending = false;
    if (s->mcr & MCR_LOOP) {
        rx_push(s, byte);
        s->thre_pending = true;
        return;
    }
    if (s->tx.count == FIFO_BYTES) /* THRE was clear: the guest did not look */
        return;
    fifo_push(&s->tx, byte);
    tx_flush(s);
}

static void write_fcr(struct serial *s, uint8_t v)
{
    bool toggled = (v ^ s->fcr) & FCR_ENABLE;
    if (toggled || v & FCR_RESET_RX)
        rx_reset(s);
    if (toggled || v & FCR_RESET_TX)
        s->tx = (struct fifo){0};
    if (v & FCR_ENABLE) /* the other bits count only together with it */
        s->fcr = v & FCR_KEPT;
    else
        s->fcr = 0;
}

static void write_ier(struct serial *s, uint8_t v)
{
    v &= IER_MASK;
    /* Enabling the THRE interrupt raises it if the transmitter is empty. */
    if (v & ~s->ier & IER_THRE && !s->tx.count)
        s->thre_pending = true;
    s->ier = v;
}

static void write_reg(struct serial *s, uint64_t reg, uint8_t v)
{
    bool dlab = s->lcr & LCR_DLAB;

    switch (reg) {
    case REG_DATA:
        if (dlab)
            s->divisor[0] = v;
        else
            write_thr(s, v);
        break;
    case REG_IER:
        if (dlab)
            s->divisor[1] = v;
        else
            write_ier(s, v);
        break;
    case REG_IIR_FCR:
        write_fcr(s, v);
        break;
    case REG_LCR:
        s->lcr = v;
        break;
    case REG_MCR:
        write_mcr(s, v);
        break;
    case REG_SCR:
        s->scr = v;
        break;
    default: /* LSR and MSR are for reading */
        break;
    }
    /* A new byte or enable may be a cause behind one that stands; see update_line(). */
    update_line(s, !dlab && (reg == REG_DATA || reg == REG_IER));
}

static uint8_t read_rbr(struct serial *s, bool *acked)
{
    if (!s->rx.count)
        return 0;
    uint8_t byte = fifo_pop(&s->rx);
    *acked = true;
    if (!s->rx.count)
        chardev_rx_ready(s->out);
    return byte;
}

static uint8_t read_iir(struct serial *s, bool *acked)
{
    uint8_t id = pending_interrupt(s);
    if (id == IIR_THRE) {
        s->thre_pending = false;
        *acked = true;
    }
    return fifos_on(s) ? id | IIR_FIFOS : id;
}

static uint8_t read_lsr(struct serial *s, bool *acked)
{
    uint8_t v = s->tx.count ? 0 : LSR_THRE | LSR_IDLE;
    if (s->rx.count)
        v |= LSR_DATA;
    if (s->overrun)
        v |= LSR_OVERRUN;
    *acked = s->overrun;
    s->overrun = false;
    return v;
}

static uint8_t read_msr(struct serial *s, bool *acked)
{
    uint8_t v = modem_lines(s) | s->deltas;
    *acked = s->deltas != 0;
    s->deltas = 0;
    return v;
}

static uint8_t read_reg(struct serial *s, uint64_t reg)
{
    bool dlab = s->lcr & LCR_DLAB, acked = false;
    uint8_t v = 0;

    switch (reg) {
    case REG_DATA:
        v = dlab ? s->divisor[0] : read_rbr(s, &acked);
        break;
    case REG_IER:
        v = dlab ? s->divisor[1] : s->ier;
        break;
    case REG_IIR_FCR:
        v = read_iir(s, &acked);
        break;
    case REG_LCR:
        v = s->lcr;
        break;
    case REG_MCR:
        v = s->mcr;
        break;
    case REG_LSR:
        v = read_lsr(s, &acked);
        break;
    case REG_MSR:
        v = read_msr(s, &acked);
        break;
    case REG_SCR:
        v = s->scr;
        break;
    }
    update_line(s, acked);
    return v;
}

static uint64_t serial_read(void *ctx, uint64_t off, unsigned size)
{
    struct serial *s = ctx;
    if (size != 1)
        return UINT64_MAX;
    pthread_mutex_lock(&s->lock);
    uint8_t v = read_reg(s, off);
    pthread_mutex_unlock(&s->lock);
    return v;
}

static void serial_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct serial *s = ctx;
    if (size != 1)
        return;
    pthread_mutex_lock(&s->lock);
    write_reg(s, off, (uint8_t)val);
    pthread_mutex_unlock(&s->lock);
}

static const struct region_ops serial_ops = {.read = serial_read, .write = serial_write};

/* The chardev's client: the loop's thread. */

static bool wants_input(void *ctx)
{
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    bool wants = s->mcr & MCR_OUT2; /* set while a driver has the port open */
    pthread_mutex_unlock(&s->lock);
    return wants;
}

static size_t room(void *ctx)
{
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    /* In loopback the receiver hears the transmitter alone. */
    size_t n = s->mcr & MCR_LOOP ? 0 : rx_capacity(s) - MIN(s->rx.count, rx_capacity(s));
    pthread_mutex_unlock(&s->lock);
    return n;
}

static void receive(void *ctx, const uint8_t *p, size_t len)
{
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < len; i++)
        rx_push(s, p[i]);
    update_line(s, true);
    pthread_mutex_unlock(&s->lock);
}

static void writable(void *ctx)
{
    struct serial *s = ctx;
    pthread_mutex_lock(&s->lock);
    if (s->tx.count) {
        tx_flush(s);
        update_line(s, !s->tx.count);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Life and state. */

int serial_new(struct bus *pio, struct chardev *out, int irq_fd, struct serial **res)
{
    struct serial *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->out = out;
    s->irq_fd = irq_fd;
    pthread_mutex_init(&s->lock, NULL);
    struct region r = {.name = "serial",
                       .base = GPA(PORT_SERIAL),
                       .len = SERIAL_PORTS,
                       .ops = &serial_ops,
                       .ctx = s};
    int err = bus_map(pio, &r);
    if (err < 0) {
        serial_free(s);
        return err;
    }
    s->pio = pio;
    struct chardev_client client = {.wants_input = wants_input,
                                    .room = room,
                                    .receive = receive,
                                    .writable = writable,
                                    .ctx = s};
    chardev_attach(out, &client);
    *res = s;
    return 0;
}

void serial_free(struct serial *s)
{
    if (!s)
        return;
    if (s->pio)
        bus_unmap(s->pio, GPA(PORT_SERIAL));
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Everything that a guest can change, in one struct's worth of registers. */
static void clear(struct serial *s)
{
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = s->deltas = 0;
    s->divisor[0] = s->divisor[1] = 0;
    s->overrun = s->thre_pending = s->line = false;
    s->rx = s->tx = (struct fifo){0};
}

void serial_reset(struct serial *s)
{
    pthread_mutex_lock(&s->lock);
    tx_flush(s); /* a last chance for a dying guest's last words */
    clear(s);
    chardev_rx_ready(s->out);
    pthread_mutex_unlock(&s->lock);
}

static void save_fifo(const struct fifo *f, struct state_out *o)
{
    uint8_t bytes[FIFO_BYTES];
    for (unsigned i = 0; i < f->count; i++)
        bytes[i] = f->bytes[(f->first + i) % FIFO_BYTES];
    state_bytes(o, bytes, f->count);
}

static void load_fifo(struct fifo *f, struct state_in *i)
{
    *f = (struct fifo){0};
    f->count = (unsigned)state_get_blob(i, f->bytes, FIFO_BYTES);
}

void serial_save(const struct serial *s, struct state_out *o)
{
    struct serial *locked = (struct serial *)s;
    pthread_mutex_lock(&locked->lock);
    state_begin(o, "uart", 1);
    state_u8(o, s->ier);
    state_u8(o, s->fcr);
    state_u8(o, s->lcr);
    state_u8(o, s->mcr);
    state_u8(o, s->scr);
    state_u8(o, s->divisor[0]);
    state_u8(o, s->divisor[1]);
    state_u8(o, s->deltas);
    state_u8(o, s->overrun);
    state_u8(o, s->thre_pending);
    save_fifo(&s->rx, o);
    save_fifo(&s->tx, o);
    state_end(o);
    pthread_mutex_unlock(&locked->lock);
}

int serial_load(struct serial *s, struct state_in *i)
{
    struct serial n = {0};
    uint32_t version;
    int r = state_open(i, "uart", 1, &version);
    if (r < 0)
        return r;
    n.ier = state_get_u8(i);
    n.fcr = state_get_u8(i);
    n.lcr = state_get_u8(i);
    n.mcr = state_get_u8(i);
    n.scr = state_get_u8(i);
    n.divisor[0] = state_get_u8(i);
    n.divisor[1] = state_get_u8(i);
    n.deltas = state_get_u8(i);
    uint8_t overrun = state_get_u8(i), thre_pending = state_get_u8(i);
    load_fifo(&n.rx, i);
    load_fifo(&n.tx, i);
    r = state_close(i);
    if (r < 0)
        return r;
    bool fcr_ok = n.fcr == 0 || (n.fcr & FCR_ENABLE && !(n.fcr & ~FCR_KEPT));
    if (n.ier & ~IER_MASK || !fcr_ok || n.mcr & ~MCR_MASK || n.deltas & ~0x0f || overrun > 1 ||
        thre_pending > 1 || n.rx.count > rx_capacity(&n))
        return -EBADMSG;

    pthread_mutex_lock(&s->lock);
    s->ier = n.ier;
    s->fcr = n.fcr;
    s->lcr = n.lcr;
    s->mcr = n.mcr;
    s->scr = n.scr;
    memcpy(s->divisor, n.divisor, sizeof(s->divisor));
    s->deltas = n.deltas;
    s->overrun = overrun;
    s->thre_pending = thre_pending;
    s->rx = n.rx;
    s->tx = n.tx;
    if (s->tx.count)
        tx_flush(s);
    update_line(s, true);
    chardev_rx_ready(s->out);
    pthread_mutex_unlock(&s->lock);
    return 0;
}
