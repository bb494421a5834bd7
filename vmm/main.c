/* vmm/main.c - from the command line to an exit status. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "arch/x86_64/cpu.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "vmm/api/api.h"
#include "vmm/machine.h"
#include "vmm/options.h"

enum { EXIT_HOST = 1, EXIT_INPUT = 2, EXIT_GUEST = 3 };

static int complain(const struct err *e)
{
    (void)fprintf(stderr, "vmm: %s\n", e->msg);
    return e->kind == ERR_INPUT ? EXIT_INPUT : EXIT_HOST;
}

/* What was printed must have arrived: a full disk or a closed pipe is not success. */
static int flushed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_SUCCESS;
    (void)fprintf(stderr, "vmm: standard output: %s\n", strerror(errno));
    return EXIT_HOST;
}

static int check_host(void)
{
    struct host_report r;
    struct err e;
    if (host_probe(&r, &e) < 0)
        return complain(&e);
    (void)printf("KVM: %s\n", r.kind == HOST_HARDWARE ? "hardware"
                              : r.pvm                 ? "PVM-backed (software)"
                                                      : "emulated (software)");
    for (unsigned i = 0; i < r.n_missing; i++)
        (void)printf("missing: %s\n", r.missing[i]);
    (void)printf("stock kernels: %s\n",
                 r.n_missing ? "cannot boot here: use tools/lab, or another host" : "boot here");
    return flushed();
}

static int die_by(int signo)
{
    (void)signal(signo, SIG_DFL);
    sigset_t s;
    (void)sigemptyset(&s);
    (void)sigaddset(&s, signo);
    (void)raise(signo);
    (void)pthread_sigmask(SIG_UNBLOCK, &s, NULL);
    return 128 + signo;
}

/* A bug of ours must not leave the user with a raw terminal. */
static void on_deadly(int signo)
{
    chardev_restore_terminal(); /* NOLINT(bugprone-signal-handler,cert-sig30-c): tcsetattr() is */
    if (getpid() == 1)          /* in a jail: no signal of its own ends the first process */
        _exit(128 + signo);
    (void)raise(signo); /* not caught again */
}

static void prepare_signals(void)
{
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
    sigset_t mask;
    (void)sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaddset(&mask, signals[i]);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a write that fails says so itself */
    (void)signal(SIGXFSZ, SIG_IGN);
    const struct sigaction once = {.sa_handler = on_deadly, .sa_flags = SA_RESETHAND | SA_NODEFER};
    for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
        (void)sigaction(deadly[i], &once, NULL);
}

static int status_of(enum machine_end end, int signo)
{
    switch (end) {
    case MACHINE_POWERED_OFF:
    case MACHINE_QUIT:
    case MACHINE_REBOOTED:
        return EXIT_SUCCESS;
    case MACHINE_CRASHED:
        return EXIT_GUEST;
    case MACHINE_SIGNALLED:
        return die_by(signo);
    case MACHINE_FAILED:
        break;
    }
    return EXIT_HOST;
}

static int run(const struct vm_config *cfg)
{
    struct machine *m;
    struct err e;
    int signo = 0, rc = machine_build(cfg, &m, &e);
    if (rc < 0)
        return complain(&e);
    machine_start(m);
    enum machine_end end = machine_run(m, NULL, &signo);
    machine_free(m);
    return status_of(end, signo);
}

/* What boots is in a file, or is still to be said on the control socket. */
static int run_api(const struct vm_config *cfg)
{
    struct api *a;
    struct err e;
    int signo = 0, rc = api_new(cfg, &a, &e);
    if (rc < 0)
        return complain(&e);
    enum machine_end end = MACHINE_SIGNALLED;
    bool waits = !cfg->kernel && !cfg->config_file;
    if (!waits)
        rc = api_start(a, &e);
    if (rc == 0 && (!waits || api_wait(a, &signo)))
        end = api_run(a, &signo);
    api_free(a);
    return rc < 0 ? complain(&e) : status_of(end, signo);
}

/* How the process in the jail ended is how this one does. */
static int end_as(int wait_status)
{
    if (WIFSIGNALED(wait_status))
        return die_by(WTERMSIG(wait_status));
    int status = WEXITSTATUS(wait_status);
    return status > 128 ? die_by(status - 128) : status;
}

static int run_guest(const struct vm_config *cfg)
{
    struct err e;
    int wait_status, rc = jail_begin(&cfg->jail, &wait_status, &e);
    if (rc < 0)
        return complain(&e);
    if (rc > 0)
        return end_as(wait_status);
    if (cfg->sandbox == SANDBOX_OFF)
        (void)fprintf(stderr, "vmm: --sandbox off: nothing confines this process\n");
    else if (sandbox_use(&sandbox_programs, &e) < 0)
        return complain(&e);
    prepare_signals();
    log_terminal();
    (void)fd_room(); /* before there is anything that it is for */
    return cfg->api_sock || cfg->config_file ? run_api(cfg) : run(cfg);
}

static int act(enum options_action action, const struct vm_config *cfg)
{
    struct err e;
    log_set_level(cfg->log);
    switch (action) {
    case OPTIONS_HELP:
        options_help(stdout);
        return flushed();
    case OPTIONS_HELP_DEVICES:
        options_help_devices(stdout, cfg);
        return flushed();
    case OPTIONS_MAN:
        options_man(stdout);
        return flushed();
    case OPTIONS_VERSION:
        (void)printf("vmm %s\n", VMM_VERSION);
        return flushed();
    case OPTIONS_CHECK_HOST:
        return check_host();
    case OPTIONS_RUN:
        break;
    }
    if (!cfg->dump_dtb)
        return run_guest(cfg);
    return machine_dump_dtb(cfg, &e) < 0 ? complain(&e) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    /* An arena for each thread would cost each its start and two pages; what is
     * fast allocates nothing. */
    (void)mallopt(M_ARENA_MAX, 1);
    struct vm_config cfg;
    enum options_action action;
    struct err e;
    if (options_parse(argc, argv, &cfg, &action, &e) < 0)
        return complain(&e);
    int status = act(action, &cfg);
    options_free(&cfg);
    return status;
}
