/* kvm/vm.c - see kvm.h. */
#include "kvm/kvm.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static const struct {
    int cap;
    const char *name;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_IRQFD_RESAMPLE, "KVM_CAP_IRQFD_RESAMPLE"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

int vm_cap(const struct vm *vm, int cap)
{
    int rc = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, cap);
    return rc > 0 ? rc : 0;
}

static int open_kvm(struct err *e)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    int rc = -errno;
    const char *hint = "";
    if (rc == -ENOENT)
        hint = " (no KVM here: not loaded, or the CPU's virtualization is off)";
    else if (rc == -EACCES || rc == -EPERM)
        hint = " (is this user in the group kvm?)";
    return err_host(e, rc, "/dev/kvm%s", hint);
}

int vm_open(struct vm *vm, struct err *e)
{
    *vm = (struct vm){.kvm_fd = -1,
                      .fd = -1,
                      .routing_lock = PTHREAD_MUTEX_INITIALIZER,
                      .slots_lock = PTHREAD_MUTEX_INITIALIZER};
    vm->kvm_fd = open_kvm(e);
    if (vm->kvm_fd < 0)
        return vm->kvm_fd;
    int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return err_host(e, 0, "/dev/kvm: is not KVM");
    if (version != KVM_API_VERSION)
        return err_host(e, 0, "/dev/kvm: API version %d, and %d is needed", version,
                        KVM_API_VERSION);
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        if (!vm_cap(vm, needed[i].cap))
            return err_host(e, 0, "/dev/kvm: too old: it has no %s", needed[i].name);
    }
    int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return err_host(e, 0, "/dev/kvm: its vCPU page is too small");
    vm->run_size = (size_t)run_size;
    int max = vm_cap(vm, KVM_CAP_MAX_VCPUS);
    vm->max_cpus = (unsigned)(max ? max : MAX(vm_cap(vm, KVM_CAP_NR_VCPUS), 1));
    return 0;
}

int vm_create(struct vm *vm, struct err *e)
{
    vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    return vm->fd < 0 ? err_host(e, -errno, "/dev/kvm: cannot create a VM") : 0;
}

void vm_close(struct vm *vm)
{
    fd_cleanup_(&vm->fd);
    fd_cleanup_(&vm->kvm_fd);
    vm->fd = vm->kvm_fd = -1;
    free(vm->routes);
    free(vm->table);
    vm->routes = NULL;
    vm->table = NULL;
    vm->n_routes = 0;
}

static int set_slot(struct vm *vm, unsigned i, gpa_t base, void *host, uint64_t len, bool ro)
{
    struct kvm_userspace_memory_region r = {.slot = i,
                                            .flags = ro ? KVM_MEM_READONLY : 0,
                                            .guest_phys_addr = base.v,
                                            .memory_size = len,
                                            .userspace_addr = (uint64_t)host};
    return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

static int map_in_free_slot(struct vm *vm, gpa_t base, void *host, uint64_t len, bool ro)
{
    for (unsigned i = 0; i < VM_SLOTS; i++) {
        if (vm->slots[i].len)
            continue;
        int rc = set_slot(vm, i, base, host, len, ro);
        if (rc == 0)
            vm->slots[i] = (struct vm_slot){base, len};
        return rc;
    }
    return -ENOSPC;
}

int vm_map_memory(struct vm *vm, gpa_t base, void *host, uint64_t len, bool ro)
{
    if (len == 0) /* to KVM that would mean to take it away */
        return -EINVAL;
    if (ro && !vm_cap(vm, KVM_CAP_READONLY_MEM))
        return -EOPNOTSUPP;
    (void)pthread_mutex_lock(&vm->slots_lock);
    int rc = map_in_free_slot(vm, base, host, len, ro);
    (void)pthread_mutex_unlock(&vm->slots_lock);
    return rc;
}

void vm_unmap_memory(struct vm *vm, gpa_t base)
{
    (void)pthread_mutex_lock(&vm->slots_lock);
    for (unsigned i = 0; i < VM_SLOTS; i++) {
        struct vm_slot *s = &vm->slots[i];
        if (s->len && s->base.v == base.v && set_slot(vm, i, base, NULL, 0, false) == 0)
            s->len = 0;
    }
    (void)pthread_mutex_unlock(&vm->slots_lock);
}

int vm_add_memory(struct vm *vm, gpa_t base, void *host, uint64_t len, struct err *e)
{
    int rc = vm_map_memory(vm, base, host, len, false);
    if (rc < 0)
        return err_host(e, rc, "KVM does not take %llu MiB of guest memory at %#llx",
                        (unsigned long long)(len >> 20), (unsigned long long)base.v);
    return 0;
}

int vm_add_irqchip(struct vm *vm, struct err *e)
{
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return err_host(e, -errno, "KVM cannot create the interrupt controllers");
    return 0;
}

int vcpu_fd_open(struct vm *vm, unsigned id, struct vcpu_fd *out, struct err *e)
{
    AUTO_FD fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)id);
    if (fd < 0)
        return err_host(e, -errno, "KVM cannot create vCPU %u", id);
    void *run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED)
        return err_host(e, -errno, "cannot map vCPU %u", id);
    *out = (struct vcpu_fd){.fd = TAKE_FD(fd), .run = run, .run_size = vm->run_size};
    return 0;
}

void vcpu_fd_was_paused(struct vcpu_fd *v)
{
    if (ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0) < 0)
        return; /* EINVAL: it has no such clock */
}

void vcpu_fd_close(struct vcpu_fd *v)
{
    if (v->run)
        (void)munmap(v->run, v->run_size);
    v->run = NULL;
    fd_cleanup_(&v->fd);
    v->fd = -1;
}
