/* tests/unit/test_options_refused.c - the command line: what is refused, and in which words. */
#include "tests/unit/options_try.h"

Test(options, refused_words)
{
    REFUSE("no kernel: --kernel FILE is needed (see vmm --help)", NULL);
    REFUSE("no kernel: --kernel FILE is needed (see vmm --help)", "--mem=1G");
    REFUSE("unknown option --kernal; did you mean --kernel?", "--kernal", "k");
    REFUSE("unknown option --dsik; did you mean --disk?", "--kernel=k", "--dsik=a=b");
    REFUSE("unknown option -kernel; did you mean --kernel?", "-kernel", "k");
    REFUSE("unknown option --frobnicate (see vmm --help)", "--frobnicate");
    REFUSE("unknown option -m (see vmm --help)", "-m", "512");
    REFUSE("unknown option -- (see vmm --help)", "--", "k");
    REFUSE("unknown option -- (see vmm --help)", "--=x");
    REFUSE("\"bzImage\" is not an option; a kernel is named by --kernel FILE", "bzImage");
    REFUSE("\"\" is not an option; a kernel is named by --kernel FILE", "");
    REFUSE("--kernel: FILE is missing", "--kernel");
    REFUSE("--kernel: FILE is missing", "--kernel=");
    REFUSE("--kernel: FILE is missing", "--kernel", "");
    REFUSE("--kernel: FILE is missing", "--kernel", "--initrd", "i");
    REFUSE("--kernel: FILE is missing", "--kernel", "--initrd=i");
    REFUSE("--log: off|error|warn|info|debug is missing", "--kernel=k", "--log");
    REFUSE("--check-host: takes no value", "--check-host=yes");
    REFUSE("--version: takes no value", "--version=1");
    REFUSE("--help: takes no value", "--help=me");
    REFUSE("--kernel is given twice", "--kernel=k", "--kernel=k");
    REFUSE("--mem is given twice", "--kernel=k", "--mem=1G", "--mem", "2G");
    REFUSE("--check-host is given twice", "--check-host", "--check-host");
}

Test(options, refused_values)
{
    static const char twice[] = "--mem: hugepages is given twice";

    REFUSE("--cpus: 0 is out of range (1 to 4096)", "--kernel=k", "--cpus=0");
    REFUSE("--cpus: 4097 is out of range (1 to 4096)", "--kernel=k", "--cpus=4097");
    REFUSE("--cpus: 100000 is out of range (1 to 4096)", "--kernel=k", "--cpus", "100000");
    REFUSE("--io-threads: 0 is out of range (1 to 16)", "--kernel=k", "--io-threads=0");
    REFUSE("--io-threads: 17 is out of range (1 to 16)", "--kernel=k", "--io-threads=17");
    REFUSE("--io-poll-us: 1001 is out of range (0 to 1000)", "--kernel=k", "--io-poll-us=1001");
    REFUSE("--cpus: \"-1\" is not a number", "--kernel=k", "--cpus", "-1");
    REFUSE("--mem: 0 is out of range (16M to 64T)", "--kernel=k", "--mem=0");
    REFUSE("--mem: 1M is out of range (16M to 64T)", "--kernel=k", "--mem", "1M");
    REFUSE("--mem: 15M is out of range (16M to 64T)", "--kernel=k", "--mem", "15M");
    REFUSE("--mem: 65T is out of range (16M to 64T)", "--kernel=k", "--mem", "65T");
    REFUSE("--mem: 99999999999999999999G is out of range (16M to 64T)", "--kernel=k",
           "--mem=99999999999999999999G");
    REFUSE("--mem: \"abc\" is not a size (examples: 512M, 4G)", "--kernel=k", "--mem=abc");
    REFUSE("--mem: \"-1\" is not a size (examples: 512M, 4G)", "--kernel=k", "--mem=-1");
    REFUSE("--mem: SIZE is missing", "--kernel=k", "--mem=");
    REFUSE("--mem: SIZE is missing", "--kernel=k", "--mem=hugepages=2M");
    REFUSE("--mem: 16385K: the size is not a multiple of 4K", "--kernel=k", "--mem=16385K");
    REFUSE("--mem: 17M,hugepages=2M: the size is not a multiple of 2M", "--kernel=k",
           "--mem=17M,hugepages=2M");
    REFUSE("--mem: 512M,hugepages=1G: the size is not a multiple of 1G", "--kernel=k",
           "--mem=512M,hugepages=1G");
    REFUSE(twice, "--kernel=k", "--mem=1G,hugepages=thp,hugepages=2M");
    REFUSE("--mem: unknown key \"prefalt\"; did you mean \"prefault\"?", "--kernel=k",
           "--mem=1G,prefalt");
    REFUSE("--discovery: unknown value \"apci\"; did you mean \"acpi\"?", "--kernel=k",
           "--discovery=apci");
    REFUSE("--on-reboot: unknown value \"panic\"; it is one of restart, exit", "--kernel=k",
           "--on-reboot=panic");
    REFUSE("--console: unknown value \"stdoi\"; did you mean \"stdio\"?", "--kernel=k",
           "--console=stdoi");
    REFUSE("--console: unknown value \"screen\"; it is one of stdio|pty|file=PATH|none",
           "--kernel=k", "--console", "screen");
    REFUSE("--console: the PATH of file=PATH is missing", "--kernel=k", "--console=file");
    REFUSE("--console: the PATH of file=PATH is missing", "--kernel=k", "--console=file=");
    REFUSE("--console: pty takes no value", "--kernel=k", "--console=pty=x");
}

Test(options, refused_devices)
{
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk");
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk=");
    REFUSE("--disk: FILE is missing", "--kernel=k", "--disk", ",ro");
    REFUSE("--disk: unknown key \"readonly\"; did you mean \"ro\"?", "--kernel=k",
           "--disk=a,readonly");
    REFUSE("--disk: ro is given twice", "--kernel=k", "--disk=a,ro,ro");
    REFUSE("--disk: ro: \"x\" is neither on nor off", "--kernel=k", "--disk=b", "--disk=a,ro=x");
    REFUSE("--device: CLASS is missing", "--kernel=k", "--device", "");
    REFUSE("--device: CLASS is missing", "--kernel=k", "--device=,ro");
    REFUSE("--device: unknown class \"consol\"; did you mean \"console\"?", "--kernel=k",
           "--device=consol,port=x");
    REFUSE("--device: unknown class \"gpu\" (--device help lists them)", "--kernel=k", "--disk=a",
           "--device=gpu");
    REFUSE("--device: unknown class \"gpu\" (--device help lists them)", "--device=gpu,help");
    REFUSE("--device blk: FILE is missing", "--kernel=k", "--device=blk");
    REFUSE("--device blk: unknown key \"seriel\"; did you mean \"serial\"?", "--kernel=k",
           "--device=blk,path=a,seriel=x");
}

Test(options, refused_together)
{
    REFUSE("--initrd without --kernel: nothing would unpack it", "--initrd=i");
    REFUSE("--initrd without --kernel: nothing would unpack it", "--initrd=i", "--dump-dtb=t");
    REFUSE("--check-host and --kernel contradict: it runs no guest", "--check-host", "--kernel=k");
    REFUSE("--check-host and --disk contradict: it runs no guest", "--disk=a", "--check-host");
    REFUSE("--check-host and --dump-dtb contradict: it runs no guest", "--dump-dtb=t",
           "--check-host");
}

Test(options, a_long_value_is_cut_not_overrun)
{
    char word[5000];

    memset(word, 'x', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    memcpy(word, "--", 2);
    cr_assert_lt(PARSE("--kernel=k", word), 0);
    cr_expect_eq(strlen(err.msg), sizeof(err.msg) - 1);
    cr_assert_lt(PARSE("--kernel=k", "--device", word), 0);
    cr_assert_lt(PARSE("--kernel=k", "--console", word), 0);
}
