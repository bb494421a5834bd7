/* arch/x86_64/vmgenid.c - the machine's generation ID: see devices.h, and the DSDT in acpi.c. */
#include <sys/random.h>

#include "arch/x86_64/devices.h"

struct vmgenid {
    const struct gmem *mem;
    int irq_fd;
    uint8_t id[16];
};

static int renew(struct vmgenid *v)
{
    ssize_t n = getrandom(v->id, sizeof(v->id), 0);
    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof(v->id) ? 0 : -EIO;
}

int vmgenid_new(const struct gmem *m, int irq_fd, struct vmgenid **out)
{
    AUTO_FREE struct vmgenid *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    v->mem = m;
    v->irq_fd = irq_fd;
    int rc = renew(v);
    if (rc < 0)
        return rc;
    *out = TAKE_PTR(v);
    return 0;
}

void vmgenid_free(struct vmgenid *v)
{
    free(v);
}

/* Where there is less RAM than that, nothing boots anyway. */
void vmgenid_write(const struct vmgenid *v)
{
    void *p = gmem_at(v->mem, GPA(LAYOUT_VMGENID), sizeof(v->id));
    if (p)
        memcpy(p, v->id, sizeof(v->id));
}

int vmgenid_change(struct vmgenid *v)
{
    int rc = renew(v);
    if (rc < 0)
        return rc;
    vmgenid_write(v);
    event_signal(v->irq_fd);
    return 0;
}
