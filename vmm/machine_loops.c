/* vmm/machine_loops.c - the machine's event loops, which its devices are spread over: how many, and
 * whether they poll. */
#include <linux/virtio_ids.h>
#include <sched.h>
#include <stdio.h>

#include "base/loop.h"
#include "base/sandbox.h"
#include "devices/virtio/vdev.h"
#include "vmm/machine_priv.h"

static bool one_cpu(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1;
}

static int add_loop(struct machine *m, const char *name, int kind, uint64_t poll_ns, struct err *e)
{
    struct loop *l;
    int rc = loop_new(name, LOOP_AUTO, &l);
    if (rc < 0)
        return err_host(e, rc, "machine");
    loop_confine_as(l, kind);
    loop_poll_set(l, poll_ns);
    /* Another policy than the usual one was somebody's choice. */
    if (one_cpu() && sched_getscheduler(0) == SCHED_OTHER) {
        loop_share_cpu(l);
        sandbox_need(&sandbox_loop_share);
    }
    m->io[m->n_io++] = l;
    return 0;
}

static bool on_slirp(const struct device_config *d)
{
    return d->class->on_slirp && d->class->on_slirp(d->opts);
}

bool is_console(const struct device_config *d)
{
    return d->class->virtio_id == VIRTIO_ID_CONSOLE;
}

/* In turn, in the order of the configuration; but a console is where the host's end of it is, and
 * networks in user space have a loop of their own, the last. */
unsigned loops_of(const struct machine *m, unsigned device, struct loop *loops[IO_THREADS_MAX])
{
    const struct device_config *all = m->cfg->devices;
    unsigned first = 0;
    if (on_slirp(&all[device])) {
        loops[0] = m->io[m->n_io - 1];
        return 1;
    }
    for (unsigned i = 0; i < device && !is_console(&all[device]); i++)
        first += !is_console(&all[i]) && !on_slirp(&all[i]);
    for (unsigned k = 0; k < m->cfg->io_threads; k++)
        loops[k] = m->io[(first + k) % m->cfg->io_threads];
    return m->cfg->io_threads;
}

int loops_build(struct machine *m, struct err *e)
{
    bool slirp = false;
    uint64_t poll_ns = m->cfg->io_poll_us * 1000ull;
    /* A loop that looks while no other CPU can bring anything keeps the guest from running. */
    if (poll_ns && one_cpu()) {
        log_warn("--io-poll-us: there is one CPU to run on, so nothing is polled");
        poll_ns = 0;
    }
    int rc = 0;
    while (rc == 0 && m->n_io < m->cfg->io_threads) {
        char name[16];
        (void)snprintf(name, sizeof(name), "io%u", m->n_io);
        rc = add_loop(m, name, SANDBOX_LOOP, poll_ns, e);
    }
    for (unsigned i = 0; i < m->cfg->n_devices; i++)
        slirp = slirp || on_slirp(&m->cfg->devices[i]);
    if (rc == 0 && slirp)
        rc = add_loop(m, "slirp", SANDBOX_SLIRP, poll_ns, e);
    return rc;
}

int loops_start(struct machine *m, struct err *e)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < m->n_io; i++)
        rc = loop_start(m->io[i]);
    return rc < 0 ? err_host(e, rc, "cannot start the machine's event loops") : 0;
}

void loops_stop(struct machine *m)
{
    for (unsigned i = 0; i < m->n_io; i++)
        loop_stop(m->io[i]);
}

void loops_free(struct machine *m)
{
    for (unsigned i = 0; i < m->n_io; i++)
        loop_free(m->io[i]);
}

bool machine_report_thread(const struct machine *m, unsigned i, struct report *r)
{
    if (i >= m->n_io)
        return false;
    loop_report(m->io[i], r);
    return true;
}
