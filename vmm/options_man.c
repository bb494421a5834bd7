/* vmm/options_man.c - the manual page as mdoc(7): prose about the whole, and the sections OPTIONS
 * and DEVICES from the tables that the parser reads. */
#include "vmm/options_table.h"

#include <ctype.h>

/* A text of the tables as one line of mdoc: capitalised, and nothing in it is a request. */
static void print_sentence(FILE *to, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", to);
    for (const char *p = text; *p; p++) {
        if (*p == '\\')
            fputs("\\e", to);
        else
            fputc(p == text ? toupper((unsigned char)*p) : *p, to);
    }
    fputs(".\n", to);
}

/* "key=FILE" or "key" as macros behind an open line. */
static void print_key(FILE *to, const struct opt_desc *k)
{
    char meta[OPTION_META];

    fprintf(to, "Cm %s", k->key);
    if (k->type != OPT_FLAG)
        fprintf(to, " Ns = Ns %s %s", k->type == OPT_ENUM ? "Cm" : "Ar", option_metavar(k, meta));
    if (k->type == OPT_STRS) /* may be repeated */
        fputs(" Ns ...", to);
}

/* "--mem SIZE[,hugepages=...]" as macros behind an open line. */
static void print_syntax(FILE *to, const struct option_row *row)
{
    const struct opt_desc *keys = option_keys(row);
    bool words = row->d.type == OPT_ENUM || !strcmp(row->d.key, "console");
    char meta[OPTION_META];

    fprintf(to, "Fl -%s", row->d.key);
    if (row->d.type == OPT_FLAG)
        return;
    fprintf(to, " %s %s", words ? "Cm" : "Ar", option_metavar(&row->d, meta));
    for (const struct opt_desc *k = keys; k && k->type != OPT_END; k++) {
        if (k->positional)
            continue;
        fputs(" Ns Oo , Ns ", to);
        print_key(to, k);
        fputs(" Oc", to);
    }
    if (!strcmp(row->d.key, "device"))
        fputs(" Ns Oo , Ns Ar key Ns = Ns Ar value Oc Ns ...", to);
}

static void print_synopsis(FILE *to)
{
    fputs(".Sh SYNOPSIS\n.Nm\n.Fl -kernel Ar FILE\n", to);
    for (const struct option_row *row = option_rows; row->d.key; row++) {
        if (row->d.type == OPT_FLAG || !strcmp(row->d.key, "kernel"))
            continue;
        fputs(".Oo ", to);
        print_syntax(to, row);
        fprintf(to, " Oc%s\n", row->repeatable ? " Ns ..." : "");
    }
    fputs(".Nm\n.Fl -config-file Ar FILE\n.Op Ar OPTION\n.Ar ...\n", to);
    fputs(".Nm\n.Fl -api-sock Ar PATH\n.Op Ar OPTION\n.Ar ...\n", to);
    for (const struct option_row *row = option_rows; row->d.key; row++) {
        if (row->d.type == OPT_FLAG)
            fprintf(to, ".Nm\n.Fl -%s\n", row->d.key);
    }
}

static void print_key_list(FILE *to, const struct opt_desc *keys)
{
    if (keys->type == OPT_END)
        return;
    fputs(".Bl -tag -width Ds -compact\n", to);
    for (const struct opt_desc *k = keys; k->type != OPT_END; k++) {
        fputs(".It ", to);
        print_key(to, k);
        fputc('\n', to);
        print_sentence(to, k->help);
    }
    fputs(".El\n", to);
}

static void print_options(FILE *to)
{
    fputs(".Sh OPTIONS\n"
          "An option and its value are one word with a\n"
          ".Sq =\n"
          "between them, or two words.\n"
          "A comma inside the value of a key is written twice.\n",
          to);
    for (int g = 0; g < GROUP_COUNT; g++) {
        fprintf(to, ".Ss %s\n.Bl -tag -width Ds\n", option_group_names[g]);
        for (const struct option_row *row = option_rows; row->d.key; row++) {
            if ((int)row->group != g)
                continue;
            fputs(".It ", to);
            print_syntax(to, row);
            fputc('\n', to);
            print_sentence(to, row->d.help);
            if (row->man)
                fputs(row->man, to);
            if (row->repeatable)
                fputs("It may be given more than once.\n", to);
            if (row->default_text)
                fprintf(to, "The default is\n.Ql %s .\n", row->default_text);
            if (row->keys)
                print_key_list(to, row->keys + row->keys->positional);
        }
        fputs(".El\n", to);
    }
}

static void print_devices(FILE *to)
{
    fputs(".Sh DEVICES\n"
          "Every device is a virtio device.\n"
          "These are the classes for\n"
          ".Fl -device ,\n"
          "with their keys:\n"
          ".Bl -tag -width Ds\n",
          to);
    for (const struct vdev_class *const *c = vdev_classes; *c; c++) {
        fprintf(to, ".It Cm %s\n", (*c)->name);
        print_sentence(to, (*c)->summary);
        print_key_list(to, (*c)->opts);
    }
    fputs(
        ".El\n"
        ".Pp\n"
        "These keys are every device's, and each feature that they offer is the guest's to take:\n",
        to);
    print_key_list(to, device_common_keys);
    print_key_list(to, vdev_option_keys);
    fputs(
        ".Pp\n"
        "An image is locked while a virtual machine has it, by an advisory lock of the open file:\n"
        "for itself alone if the guest can write, together with others if it cannot.\n",
        to);
}

static const char head[] =
    ".\\\" Made by vmm --help=man from the tables of the command line; edit those.\n"
    ".Dd November 23, 2026\n"
    ".Dt VMM 1\n"
    ".Os vmm " VMM_VERSION "\n"
    ".Sh NAME\n"
    ".Nm vmm\n"
    ".Nd virtual machine monitor for Linux guests on KVM\n";

static const char description[] =
    ".Sh DESCRIPTION\n"
    ".Nm\n"
    "boots a Linux kernel in a virtual machine of its own.\n"
    "The machine is an x86-64 one with as many CPUs and as much RAM as is asked for, a serial\n"
    "port, a clock, and virtio devices on a PCI bus or in memory-mapped windows: disks, network\n"
    "cards, a console, a source of entropy, and all that is under DEVICES.\n"
    "It has no firmware, no boot loader and no graphics; the kernel is entered directly.\n"
    ".Pp\n"
    "With just a kernel that has its drivers built in, and a disk, the guest's root is\n"
    ".Pa /dev/vda\n"
    "and its console this terminal.\n"
    "A distribution's kernel has its drivers in modules, and needs an\n"
    ".Fl -initrd\n"
    "that loads them.\n"
    ".Pp\n"
    ".Nm\n"
    "runs in the foreground until the guest ends or the user ends it.\n"
    "What it has to say goes to standard error, one line for each event.\n"
    "Nothing but\n"
    ".Fl -help\n"
    "and its like writes to standard output, and the guest if its console is there.\n";

static const char console[] =
    ".Sh CONSOLE\n"
    "The serial port and the virtio console share one end on the host, which\n"
    ".Fl -console\n"
    "chooses.\n"
    "What the guest writes to either of them appears there.\n"
    "Keystrokes go to the serial port while the guest has it open for input, else to\n"
    ".Pa hvc0 .\n"
    "What the guest has no room for stays on the host until it has: nothing is lost.\n"
    ".Pp\n"
    "A terminal is switched to raw mode while the guest runs, so that Ctrl-C is the guest's, and\n"
    "given back as it was in whatever way\n"
    ".Nm\n"
    "ends.\n"
    "Keys that are not the guest's begin with Ctrl-A:\n"
    ".Bl -tag -width \"Ctrl-A Ctrl-A\"\n"
    ".It Ctrl-A x\n"
    "Ends the virtual machine at once, as if its power were cut.\n"
    ".It Ctrl-A h\n"
    "Shows these keys.\n"
    ".It Ctrl-A Ctrl-A\n"
    "Sends one Ctrl-A to the guest.\n"
    ".El\n"
    ".Pp\n"
    "With\n"
    ".Fl -console Cm pty\n"
    "the name of the pseudo-terminal is printed on standard error; output is dropped while\n"
    "nobody has it open.\n"
    "With\n"
    ".Cm file\n"
    "and\n"
    ".Cm none\n"
    "the guest gets no input.\n";

static const char control[] =
    ".Sh CONTROL SOCKET\n"
    "The socket of\n"
    ".Fl -api-sock\n"
    "speaks HTTP/1.1 and JSON, with the resources, bodies and status codes of Firecracker's API.\n"
    "What is wrong is answered with status 400 and an object whose\n"
    ".Cm fault_message\n"
    "is one sentence.\n"
    "Only the user who started\n"
    ".Nm\n"
    "may connect.\n"
    ".Bl -tag -width Ds\n"
    ".It Before the guest is started\n"
    "PUT of\n"
    ".Pa /boot-source , /machine-config , /drives/ID , /network-interfaces/ID , /pmem/ID ,\n"
    ".Pa /vsock , /entropy , /balloon , /hotplug/memory , /serial ;\n"
    "PATCH of\n"
    ".Pa /machine-config , /balloon , /balloon/statistics ;\n"
    "then PUT of\n"
    ".Pa /actions\n"
    "with InstanceStart.\n"
    "A drive or pmem that is the root device comes first and is named on the kernel's command\n"
    "line.\n"
    ".It While it runs\n"
    "PATCH of\n"
    ".Pa /vm\n"
    "(Paused, Resumed),\n"
    ".Pa /balloon , /balloon/statistics , /balloon/hinting/start , /balloon/hinting/stop ,\n"
    ".Pa /hotplug/memory ,\n"
    "and of\n"
    ".Pa /drives/ID , /network-interfaces/ID\n"
    "for their rate limiters;\n"
    "GET of\n"
    ".Pa /balloon/statistics , /balloon/hinting/status .\n"
    "Devices of the command line have the names that\n"
    ".Cm id=\n"
    "gave them, or those of their class and number:\n"
    ".Ql blk0 .\n"
    ".It Always\n"
    "GET of\n"
    ".Pa / , /version , /vm/config , /machine-config , /balloon , /hotplug/memory ;\n"
    "PUT of\n"
    ".Pa /logger , /metrics ,\n"
    "which opens their files anew.\n"
    ".El\n"
    ".Pp\n"
    "A process in the background cannot have its terminal as the guest's console:\n"
    ".Fl -console\n"
    "says what else is.\n"
    ".Pp\n"
    "Metrics are a line of JSON for each FlushMetrics and each minute: what every device and\n"
    "every queue has counted.\n"
    "The file of\n"
    ".Fl -config-file\n"
    "is what GET of\n"
    ".Pa /vm/config\n"
    "answers.\n";

static const char jail[] =
    ".Sh JAIL\n"
    "With\n"
    ".Fl -jail\n"
    "the guest is run by a second process, which has mount, PID, IPC and UTS namespaces of its\n"
    "own, and which\n"
    ".Nm\n"
    "hands signals to and ends as.\n"
    "All that the command line or the control socket names for a start is opened first, by its\n"
    "name on the host; files need not be the other user's.\n"
    "Then\n"
    ".Ar DIR\n"
    "becomes the root, read only, and rights are given up, before the guest has run.\n"
    ".Pp\n"
    "Started by root,\n"
    ".Cm uid\n"
    "and\n"
    ".Cm gid\n"
    "are needed, best of a user that no other guest has.\n"
    "Started by somebody else it needs user namespaces, and changes no user.\n"
    "Limits are those of\n"
    ".Cm cgroup ,\n"
    "a folder of cgroup2's that somebody has made and limited before.\n"
    "Without\n"
    ".Cm netns\n"
    "the network is the host's for a guest that has an interface or may get one by the control\n"
    "socket or a file, and otherwise a new one, in which there is nothing; a tap has to be in the\n"
    "network that is named.\n"
    ".Pp\n"
    "What is opened later is looked for in\n"
    ".Ar DIR :\n"
    "new files of\n"
    ".Pa /logger\n"
    "and\n"
    ".Pa /metrics\n"
    "(none can be made), the host's sockets that a guest connects to by\n"
    ".Cm vsock ,\n"
    "and\n"
    ".Pa /etc/resolv.conf ,\n"
    "by which\n"
    ".Fl -net Cm user\n"
    "knows name servers.\n";

static const char endings[] =
    ".Sh HOW A GUEST ENDS\n"
    ".Bl -tag -width Ds\n"
    ".It ACPI power-off\n"
    "What\n"
    ".Xr poweroff 8\n"
    "does in a guest that was started with\n"
    ".Fl -discovery Cm acpi .\n"
    "With\n"
    ".Cm fdt\n"
    "the device tree names a register that does the same.\n"
    ".Nm\n"
    "ends with status 0.\n"
    "With\n"
    ".Cm cmdline\n"
    "there is no power-off, and the guest would halt for ever: start it with\n"
    ".Fl -on-reboot Cm exit\n"
    "and have it reboot instead.\n"
    ".It ACPI reset, keyboard-controller reset\n"
    "The two ways in which a kernel reboots.\n"
    "After either,\n"
    ".Fl -on-reboot\n"
    "decides between a new beginning in place and an end with status 0.\n"
    ".It Triple fault\n"
    "The CPU could not even report an exception.\n"
    ".Nm\n"
    "says where that happened and ends with status 3, whatever\n"
    ".Fl -on-reboot\n"
    "says.\n"
    ".It Panic\n"
    "A kernel with the pvpanic driver reports it, and\n"
    ".Nm\n"
    "ends with status 3.\n"
    "One without does what its\n"
    ".Cm panic=\n"
    "parameter says;\n"
    ".Cm panic=-1 ,\n"
    "which is in the default command line, makes it reboot.\n"
    ".El\n";

static const char tail[] =
    ".Sh ENVIRONMENT\n"
    ".Nm\n"
    "looks at no environment variable.\n"
    ".Sh FILES\n"
    ".Bl -tag -width Ds\n"
    ".It Pa /dev/kvm\n"
    "The host's KVM.\n"
    "Whoever runs\n"
    ".Nm\n"
    "must be allowed to read and write it, which on most systems the group kvm is.\n"
    ".It Pa /sys/kernel/mm/hugepages/\n"
    "The host's pools of huge pages, which\n"
    ".Cm hugepages=2M\n"
    "and\n"
    ".Cm hugepages=1G\n"
    "take from.\n"
    ".El\n"
    ".Sh SANDBOX\n"
    "Once the machine is built, and before the guest's first instruction runs, each thread that\n"
    "the guest can reach gives up all system calls but those that it needs: by a filter\n"
    "of its own, which depends on what devices there are.\n"
    "No thread can start a program, make another thread, map memory to be executed or signal\n"
    "another process.\n"
    "Files are opened before that; where the kernel has Landlock (Linux 5.19), nothing can be\n"
    "opened afterwards but what is below a shared folder, or below\n"
    ".Pa /etc/resolv.conf\n"
    "for\n"
    ".Fl -net Cm user ,\n"
    "or what a jail's folder has, to be read.\n"
    ".Pp\n"
    "With\n"
    ".Fl -api-sock ,\n"
    "files may also be named while the guest runs: disks and CDs of\n"
    ".Cm scsi ,\n"
    "a log, metrics.\n"
    "They must then be in a folder, or below one, in which the control socket or one of the\n"
    ".Cm scsi\n"
    "device's first files is.\n"
    ".Pp\n"
    "There is no core file, and nobody but root can trace vmm or read its\n"
    ".Pa /proc\n"
    "entries.\n"
    "Before a guest is started over the control socket, nothing is restricted yet.\n"
    ".Sh EXIT STATUS\n"
    ".Bl -tag -width Ds\n"
    ".It 0\n"
    "The guest powered off or the user quit.\n"
    ".It 1\n"
    "The host failed: it refused memory, KVM, or another thing that is needed.\n"
    ".It 2\n"
    "The command line, or a file named on it, is wrong.\n"
    ".It 3\n"
    "The guest crashed: a triple fault, a panic that pvpanic reported, or a state in which KVM\n"
    "could not go on.\n"
    ".It 4\n"
    "A thread asked the kernel for what the sandbox forbids; a message names the thread and the\n"
    "system call.\n"
    ".El\n"
    ".Sh EXAMPLES\n"
    "A kernel with its drivers built in, its root on a disk image, the console on this\n"
    "terminal:\n"
    ".Pp\n"
    ".Dl $ vmm --kernel bzImage --disk root.img\n"
    ".Pp\n"
    "A distribution's kernel with two CPUs and 2 GiB of RAM, and a second disk that cannot be\n"
    "written:\n"
    ".Bd -literal -offset indent\n"
    "$ vmm --kernel /boot/vmlinuz --initrd /boot/initrd.img --cpus 2 --mem 2G \\e\n"
    "      --disk root.img --disk data.img,ro,serial=DATA1\n"
    ".Ed\n"
    ".Pp\n"
    "A root file system of its own in the RAM disk, the guest's words in a file, and an end where\n"
    "a machine would reboot:\n"
    ".Bd -literal -offset indent\n"
    "$ vmm --kernel vmlinux --initrd rootfs.cpio --cmdline \"console=hvc0 panic=-1\" \\e\n"
    "      --console file=guest.log --on-reboot exit\n"
    ".Ed\n"
    ".Pp\n"
    "What the guest would see in its device tree:\n"
    ".Pp\n"
    ".Dl $ vmm --dump-dtb m.dtb --cpus 2 && dtc -I dtb -O dts m.dtb\n"
    ".Pp\n"
    "A guest that is configured, started and paused from outside:\n"
    ".Bd -literal -offset indent\n"
    "$ vmm --api-sock vm.sock --console file=guest.log &\n"
    "$ put() { curl --unix-socket vm.sock -X PUT http://vm$1 -d \"$2\"; }\n"
    "$ put /boot-source '{\"kernel_image_path\": \"bzImage\"}'\n"
    "$ put /actions '{\"action_type\": \"InstanceStart\"}'\n"
    "$ curl --unix-socket vm.sock -X PATCH http://vm/vm -d '{\"state\": \"Paused\"}'\n"
    ".Ed\n"
    ".Pp\n"
    "Can this host run a virtual machine?\n"
    ".Pp\n"
    ".Dl $ vmm --check-host\n"
    ".Sh SEE ALSO\n"
    ".Xr dtc 1 ,\n"
    ".Xr bootparam 7 ,\n"
    ".Xr mke2fs 8\n"
    ".Rs\n"
    ".%T Virtual I/O Device (VIRTIO) Version 1.4\n"
    ".%Q OASIS\n"
    ".Re\n"
    ".Rs\n"
    ".%T The Linux/x86 Boot Protocol\n"
    ".%B Documentation/arch/x86/boot.rst\n"
    ".Re\n";

void options_man(FILE *to)
{
    fputs(head, to);
    print_synopsis(to);
    fputs(description, to);
    print_options(to);
    print_devices(to);
    fputs(console, to);
    fputs(control, to);
    fputs(jail, to);
    fputs(endings, to);
    fputs(tail, to);
}
