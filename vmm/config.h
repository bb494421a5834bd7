/* vmm/config.h - what the command line asked for, as plain data. options.c fills it in; machine.c
 * builds a machine of it. */
#pragma once

#include "arch/x86_64/platform.h"
#include "base/chardev.h"
#include "base/gmem.h"
#include "base/jail.h"
#include "base/log.h"
#include "devices/virtio/vdev.h"
#include "transport/transport.h"

struct device_config {
    const struct vdev_class *class;
    void *opts;     /* class->opts_size bytes, owned */
    const char *id; /* NULL: it has none */
    int transport;  /* enum transport_kind */
    struct vdev_options virtio;
    const char *what; /* "--disk root.img", for messages; owned */
};

enum watchdog { WATCHDOG_NONE, WATCHDOG_RESET, WATCHDOG_POWER_OFF };

enum sandbox_wish { SANDBOX_ON, SANDBOX_OFF };

enum { IO_THREADS_MAX = 16 };

struct vm_config {
    const char *kernel, *initrd; /* initrd NULL: none */
    const char *cmdline;         /* NULL: DEFAULT_CMDLINE */
    unsigned cpus;
    unsigned io_threads; /* event loops: 1 to IO_THREADS_MAX */
    unsigned io_poll_us; /* how long one looks before it sleeps, at most; 0: not at all */
    uint64_t mem_size;
    struct gmem_options mem;
    struct device_config *devices; /* in the order of the command line; owned */
    unsigned n_devices;
    int transport; /* of devices that do not say; enum transport_kind */
    struct chardev_spec console;
    enum discovery discovery;
    bool restart;                       /* --on-reboot restart */
    int watchdog;                       /* enum watchdog: what it does when it is not fed */
    const char *dump_dtb;               /* NULL: no */
    const char *api_sock, *config_file; /* NULL: none */
    struct jail_config jail;
    int sandbox; /* enum sandbox_wish */
    enum log_level log;
};

#define DEFAULT_CMDLINE "console=ttyS0 root=/dev/vda rw panic=-1"
