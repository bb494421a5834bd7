/* vmm/machine_loops.c - the machine's event loops, which its devices are spread over: how many, and
 * whether they poll. */
#include <sched.h>
#include <stdio.h>

#include "base/loop.h"
#include "vmm/machine_priv.h"

static bool one_cpu(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1;
}

int loops_build(struct machine *m, struct err *e)
{
    uint64_t poll_ns = m->cfg->io_poll_us * 1000ull;
    /* Another policy than the usual one was somebody's choice. */
    bool share = one_cpu() && sched_getscheduler(0) == SCHED_OTHER;
    /* A loop that looks while no other CPU can bring anything keeps the guest from running. */
    if (poll_ns && one_cpu()) {
        log_warn("--io-poll-us: there is one CPU to run on, so nothing is polled");
        poll_ns = 0;
    }
    for (int rc; m->n_io < m->cfg->io_threads; m->n_io++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "io%u", m->n_io);
        if ((rc = loop_new(name, LOOP_AUTO, &m->io[m->n_io])) < 0)
            return err_host(e, rc, "machine");
        loop_poll_set(m->io[m->n_io], poll_ns);
        if (share) {
            loop_share_cpu(m->io[m->n_io]);
            sandbox_need(&sandbox_loop_share);
        }
    }
    return 0;
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
