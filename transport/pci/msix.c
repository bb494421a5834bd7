/* transport/pci/msix.c - MSI-X (PCI Local Bus 3.0, 6.8.2): the table of vectors in a BAR, what
 * masks them, and what is pending meanwhile. A vector that is sent costs one write to an eventfd.
 *
 * A message is a memory write of the function's, so bus mastering has to be on (6.8.3); while it is
 * off a vector waits as if it was masked. */
#include "transport/pci/pci_priv.h"

#include <assert.h>

enum { ENTRY = PCI_MSIX_ENTRY_SIZE, PBA_ALIGN = 4096 };
enum { DATA = PCI_MSIX_ENTRY_DATA / 4, CONTROL = PCI_MSIX_ENTRY_VECTOR_CTRL / 4 };

static unsigned pending_words(const struct msix *m)
{
    return (m->n + 63) / 64;
}

static uint64_t pending_bit(unsigned v)
{
    return 1ull << v % 64;
}

/* Whoever takes the bit away sends the message, so it is sent once. */
static void send_pending(struct msix *m, unsigned v, int fd)
{
    if (atomic_fetch_and(&m->pending[v / 64], ~pending_bit(v)) & pending_bit(v))
        event_signal(fd);
}

/* The vector may become live between the look at it and the pending bit, and then nobody would send
 * it: so this looks again after the bit is set, as deliver() looks for the bit after it has made
 * the vector live. All four are sequentially consistent: one of the two sees the other. A message
 * that overtakes the mask was under way when the mask was written. */
void pci_msix_raise(struct pci_function *f, unsigned v)
{
    struct msix *m = &f->msix;
    if (v >= m->n || !atomic_load(&m->enabled))
        return;
    int fd = atomic_load(&m->vector[v].live);
    if (fd >= 0) {
        event_signal(fd);
        return;
    }
    (void)atomic_fetch_or(&m->pending[v / 64], pending_bit(v));
    fd = atomic_load(&m->vector[v].live);
    if (fd >= 0)
        send_pending(m, v, fd);
}

/* KVM's part, or a test's: a descriptor, once, and where the table says that it goes. */
static int connect_vector(struct pci_function *f, struct msix_vector *e)
{
    const struct pci_env *env = &f->bus->env;
    uint64_t address = e->word[0] | (uint64_t)e->word[1] << 32;
    int rc = e->fd < 0 ? env->irq->msi_open(env->irq_ctx, &e->id, &e->fd) : 0;
    if (rc < 0 || (e->routed && e->routed_address == address && e->routed_data == e->word[DATA]))
        return rc;
    rc = env->irq->msi_route(env->irq_ctx, e->id, address, e->word[DATA]);
    if (rc < 0)
        return rc;
    e->routed = true;
    e->routed_address = address;
    e->routed_data = e->word[DATA];
    return 0;
}

/* Makes vector v live, or not, as the table and the registers say. */
static void deliver(struct pci_function *f, unsigned v)
{
    struct msix *m = &f->msix;
    struct msix_vector *e = &m->vector[v];
    bool may = m->sending && !(e->word[CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
    int rc = may ? connect_vector(f, e) : 0;
    if (rc < 0)
        log_limited(&m->failures, LOG_WARN, "%s: MSI-X vector %u cannot interrupt: %s", f->name, v,
                    strerror(-rc));
    if (!may || rc < 0) {
        atomic_store(&e->live, -1);
        return;
    }
    atomic_store(&e->live, e->fd);
    send_pending(m, v, e->fd);
}

static void forget_pending(struct msix *m)
{
    for (unsigned i = 0; i < pending_words(m); i++)
        atomic_store(&m->pending[i], 0);
}

void pci_msix_forget(struct pci_function *f)
{
    (void)pthread_mutex_lock(&f->msix.lock);
    forget_pending(&f->msix);
    (void)pthread_mutex_unlock(&f->msix.lock);
}

void msix_obey(struct pci_function *f)
{
    struct msix *m = &f->msix;
    if (!m->n)
        return;
    unsigned control = (unsigned)get_bytes(f->config + m->cap + PCI_MSIX_FLAGS, 2);
    bool enabled = control & PCI_MSIX_FLAGS_ENABLE;
    bool sending =
        enabled && !(control & PCI_MSIX_FLAGS_MASKALL) && get_command(f) & PCI_COMMAND_MASTER;
    (void)pthread_mutex_lock(&m->lock);
    atomic_store(&m->enabled, enabled);
    if (m->sending != sending) {
        m->sending = sending;
        for (unsigned v = 0; v < m->n; v++)
            deliver(f, v);
    }
    if (!enabled) /* what it was to say is said by INTx now */
        forget_pending(m);
    (void)pthread_mutex_unlock(&m->lock);
}

/* --- the BAR: aligned accesses of 32 or 64 bits; anything else reads as zero, and writes nothing
 * (6.8.2) --- */

static bool is_whole(uint64_t off, unsigned size)
{
    return (size == 4 || size == 8) && off % size == 0;
}

static uint64_t table_read(void *ctx, uint64_t off, unsigned size)
{
    struct pci_function *f = ctx;
    struct msix *m = &f->msix;
    uint64_t v = 0;
    if (!is_whole(off, size))
        return 0;
    if (off < (uint64_t)m->n * ENTRY) {
        (void)pthread_mutex_lock(&m->lock);
        v = get_bytes((const uint8_t *)m->vector[off / ENTRY].word + off % ENTRY, size);
        (void)pthread_mutex_unlock(&m->lock);
    } else if (off >= m->pba && (off - m->pba) / 8 < pending_words(m)) {
        v = atomic_load(&m->pending[(off - m->pba) / 8]) >> off % 8 * 8;
    }
    return v;
}

static void table_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_function *f = ctx;
    struct msix *m = &f->msix;
    if (!is_whole(off, size) || off >= (uint64_t)m->n * ENTRY)
        return;
    unsigned v = (unsigned)(off / ENTRY);
    (void)pthread_mutex_lock(&m->lock);
    put_bytes((uint8_t *)m->vector[v].word + off % ENTRY, val, size);
    m->vector[v].word[CONTROL] &= PCI_MSIX_ENTRY_CTRL_MASKBIT; /* the rest is reserved */
    deliver(f, v);
    (void)pthread_mutex_unlock(&m->lock);
}

static const struct region_ops table_ops = {.read = table_read, .write = table_write};

static void vector_reset(struct msix_vector *e)
{
    memset(e->word, 0, sizeof(e->word));
    e->word[CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

/* --- life --- */

/* Table and pending bits do not share a page, so that a guest may give either away (6.8.2). */
static uint64_t bar_size(const struct msix *m)
{
    uint64_t end = m->pba + 8 * pending_words(m), size = 2 * PBA_ALIGN;
    while (size < end)
        size *= 2;
    return size;
}

static int table_new(struct msix *m, unsigned vectors)
{
    m->vector = calloc(vectors, sizeof(*m->vector));
    m->pending = calloc((vectors + 63) / 64, sizeof(*m->pending));
    if (!m->vector || !m->pending)
        return -ENOMEM;
    m->n = vectors;
    m->pba = align_up((uint64_t)vectors * ENTRY, PBA_ALIGN);
    for (unsigned v = 0; v < vectors; v++) {
        m->vector[v].fd = -1;
        atomic_init(&m->vector[v].live, -1);
        vector_reset(&m->vector[v]);
    }
    return 0;
}

void pci_add_msix(struct pci_function *f, unsigned bar, unsigned vectors)
{
    struct msix *m = &f->msix;
    assert(vectors >= 1 && vectors <= PCI_MSIX_MAX && !m->n);
    f->error = table_new(m, vectors);
    if (f->error < 0)
        return;

    uint8_t body[PCI_CAP_MSIX_SIZEOF - PCI_CAP_FLAGS] = {0}, writable[sizeof(body)] = {0};
    put_bytes(body, vectors - 1, 2);
    put_bytes(body + PCI_MSIX_TABLE - PCI_CAP_FLAGS, bar, 4);
    put_bytes(body + PCI_MSIX_PBA - PCI_CAP_FLAGS, m->pba | bar, 4);
    put_bytes(writable, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
    m->cap = pci_add_capability(f, PCI_CAP_ID_MSIX, body, sizeof(body), writable);
    pci_add_bar(f, bar,
                &(struct pci_bar){.kind = PCI_BAR_MEM32, .size = bar_size(m), .ops = &table_ops});
    f->bars[bar].ctx = f;
}

void msix_free(struct pci_function *f)
{
    const struct pci_env *env = &f->bus->env;
    struct msix *m = &f->msix;
    for (unsigned v = 0; v < m->n; v++) {
        if (m->vector[v].fd >= 0)
            env->irq->msi_close(env->irq_ctx, m->vector[v].id, m->vector[v].fd);
    }
    free(m->vector);
    free(m->pending);
}

void msix_reset(struct pci_function *f)
{
    struct msix *m = &f->msix;
    (void)pthread_mutex_lock(&m->lock);
    for (unsigned v = 0; v < m->n; v++)
        vector_reset(&m->vector[v]);
    forget_pending(m);
    (void)pthread_mutex_unlock(&m->lock);
}

unsigned pci_msix_vectors(const struct pci_function *f)
{
    return f->msix.n;
}

bool pci_msix_enabled(const struct pci_function *f)
{
    return atomic_load(&f->msix.enabled);
}

/* --- state --- */

void msix_save(const struct pci_function *f, struct state_out *s)
{
    const struct msix *m = &f->msix;
    state_u32(s, m->n);
    for (unsigned v = 0; v < m->n; v++) {
        for (unsigned i = 0; i < ARRAY_SIZE(m->vector[v].word); i++)
            state_u32(s, m->vector[v].word[i]);
    }
    for (unsigned i = 0; i < pending_words(m); i++)
        state_u64(s, atomic_load(&m->pending[i]));
}

static bool image_is_sane(const struct msix *m, const struct msix_image *i)
{
    for (unsigned v = 0; v < m->n; v++) {
        if (i->word[v][CONTROL] & ~PCI_MSIX_ENTRY_CTRL_MASKBIT)
            return false;
    }
    return m->n % 64 == 0 || i->pending[m->n / 64] >> m->n % 64 == 0;
}

int msix_image_get(const struct pci_function *f, struct state_in *s, struct msix_image *out)
{
    const struct msix *m = &f->msix;
    if (state_get_u32(s) != m->n)
        return -EBADMSG;
    struct msix_image i = {.word = calloc(m->n + 1, sizeof(*i.word)),
                           .pending = calloc(pending_words(m) + 1, sizeof(*i.pending))};
    int rc = i.word && i.pending ? 0 : -ENOMEM;
    for (unsigned v = 0; rc == 0 && v < m->n; v++) {
        for (unsigned k = 0; k < ARRAY_SIZE(i.word[v]); k++)
            i.word[v][k] = state_get_u32(s);
    }
    for (unsigned k = 0; rc == 0 && k < pending_words(m); k++)
        i.pending[k] = state_get_u64(s);
    if (rc == 0 && !image_is_sane(m, &i))
        rc = -EBADMSG;
    if (rc < 0)
        msix_image_free(&i);
    else
        *out = i;
    return rc;
}

void msix_image_free(struct msix_image *i)
{
    free(i->word);
    free(i->pending);
}

void msix_image_apply(struct pci_function *f, const struct msix_image *i)
{
    struct msix *m = &f->msix;
    (void)pthread_mutex_lock(&m->lock);
    m->sending = false; /* so that msix_obey() looks at every vector */
    for (unsigned v = 0; v < m->n; v++) {
        atomic_store(&m->vector[v].live, -1);
        memcpy(m->vector[v].word, i->word[v], sizeof(m->vector[v].word));
    }
    for (unsigned k = 0; k < pending_words(m); k++)
        atomic_store(&m->pending[k], i->pending[k]);
    (void)pthread_mutex_unlock(&m->lock);
}
