/* vmm/api/bodies.c - the bodies of the API, a row for each field. */
#include "vmm/api/body.h"

#define NO_LIMITER "rate limits are not supported here"

static const struct api_word huge_words[] = {
    {"None", "off"}, {"Transparent", "thp"}, {"2M", "2M"}, {NULL, NULL}};
/* Files are read and written asynchronously, and a guest's flush reaches the disk, in any case. */
static const struct api_word engine_words[] = {{"Sync", NULL}, {"Async", NULL}, {NULL, NULL}};
static const struct api_word cache_words[] = {{"Unsafe", NULL}, {"Writeback", NULL}, {NULL, NULL}};
static const struct api_word level_words[] = {
    {"Off", "off"},   {"Error", "error"}, {"Warning", "warn"}, {"Warn", "warn"},
    {"Info", "info"}, {"Debug", "debug"}, {"Trace", "debug"},  {NULL, NULL}};
static const struct api_word state_words[] = {{"Paused", NULL}, {"Resumed", NULL}, {NULL, NULL}};
static const struct api_word action_words[] = {
    {"InstanceStart", NULL}, {"FlushMetrics", NULL}, {"SendCtrlAltDel", NULL}, {NULL, NULL}};

#define FIELDS(...) ((const struct api_field[]){__VA_ARGS__, {.name = NULL}})

const struct api_body api_boot_source = {
    .section = "boot-source",
    .fields = FIELDS(
        {.name = "kernel_image_path", .kind = API_TEXT, .required = true, .option = "kernel"},
        {.name = "initrd_path", .kind = API_TEXT, .option = "initrd"},
        {.name = "boot_args", .kind = API_TEXT, .option = "cmdline"})};

const struct api_body api_machine = {
    .section = "machine-config",
    .fields =
        FIELDS({.name = "vcpu_count", .kind = API_NUMBER, .required = true, .option = "cpus"},
               {.name = "mem_size_mib", .kind = API_MIB, .required = true, .option = "size"},
               {.name = "huge_pages", .kind = API_WORD, .option = "hugepages", .words = huge_words},
               {.name = "smt", .kind = API_OFF, .why = "each vCPU is a core of its own"},
               {.name = "track_dirty_pages", .kind = API_OFF, .why = "there are no snapshots"},
               {.name = "cpu_template", .kind = API_OFF, .why = "the guest's CPU is the host's"})};

const struct api_body api_drive = {
    .section = "drives",
    .id = "drive_id",
    .class = "blk",
    .fields = FIELDS({.name = "drive_id", .kind = API_TEXT, .required = true, .option = "id"},
                     {.name = "path_on_host", .kind = API_TEXT, .required = true, .option = "path"},
                     {.name = "is_root_device", .kind = API_SWITCH, .required = true},
                     {.name = "is_read_only", .kind = API_SWITCH, .option = "ro"},
                     {.name = "partuuid", .kind = API_TEXT},
                     {.name = "cache_type", .kind = API_WORD, .words = cache_words},
                     {.name = "io_engine", .kind = API_WORD, .words = engine_words},
                     {.name = "rate_limiter", .kind = API_LIMITER, .option = "bps", .ops = "iops"},
                     {.name = "socket", .kind = API_OFF, .why = "vhost-user is not supported"})};
const struct api_body api_drive_patch = {
    .section = "drives",
    .id = "drive_id",
    .class = "blk",
    .fields =
        FIELDS({.name = "drive_id", .kind = API_TEXT, .required = true},
               {.name = "path_on_host", .kind = API_TEXT, .option = "path"},
               {.name = "rate_limiter", .kind = API_LIMITER, .option = "bps", .ops = "iops"})};

const struct api_body api_net = {
    .section = "network-interfaces",
    .id = "iface_id",
    .class = "net",
    .always = {"backend", "tap"},
    .fields = FIELDS(
        {.name = "iface_id", .kind = API_TEXT, .required = true, .option = "id"},
        {.name = "host_dev_name", .kind = API_TEXT, .required = true, .option = "ifname"},
        {.name = "guest_mac", .kind = API_TEXT, .option = "mac"},
        {.name = "mtu", .kind = API_NUMBER, .option = "mtu"},
        {.name = "rx_rate_limiter", .kind = API_LIMITER, .option = "rx_bps", .ops = "rx_pps"},
        {.name = "tx_rate_limiter", .kind = API_LIMITER, .option = "tx_bps", .ops = "tx_pps"})};
const struct api_body api_net_patch = {
    .section = "network-interfaces",
    .id = "iface_id",
    .class = "net",
    .fields = FIELDS(
        {.name = "iface_id", .kind = API_TEXT, .required = true},
        {.name = "rx_rate_limiter", .kind = API_LIMITER, .option = "rx_bps", .ops = "rx_pps"},
        {.name = "tx_rate_limiter", .kind = API_LIMITER, .option = "tx_bps", .ops = "tx_pps"})};

const struct api_body api_pmem = {
    .section = "pmem",
    .id = "id",
    .class = "pmem",
    .fields = FIELDS({.name = "id", .kind = API_TEXT, .required = true, .option = "id"},
                     {.name = "path_on_host", .kind = API_TEXT, .required = true, .option = "file"},
                     {.name = "root_device", .kind = API_SWITCH},
                     {.name = "read_only", .kind = API_SWITCH, .option = "ro"},
                     {.name = "rate_limiter", .kind = API_OFF, .why = NO_LIMITER})};
const struct api_body api_pmem_patch = {
    .section = "pmem",
    .id = "id",
    .class = "pmem",
    .fields = FIELDS({.name = "id", .kind = API_TEXT, .required = true},
                     {.name = "rate_limiter", .kind = API_OFF, .why = NO_LIMITER})};

const struct api_body api_vsock = {
    .section = "vsock",
    .class = "vsock",
    .fields = FIELDS({.name = "guest_cid", .kind = API_NUMBER, .required = true, .option = "cid"},
                     {.name = "uds_path", .kind = API_TEXT, .required = true, .option = "uds"},
                     {.name = "vsock_id", .kind = API_TEXT})};

const struct api_body api_entropy = {
    .section = "entropy",
    .class = "rng",
    .fields = FIELDS({.name = "rate_limiter", .kind = API_OFF, .why = NO_LIMITER})};

const struct api_body api_balloon = {
    .section = "balloon",
    .class = "balloon",
    .fields = FIELDS({.name = "amount_mib", .kind = API_MIB, .required = true, .option = "size"},
                     {.name = "deflate_on_oom",
                      .kind = API_SWITCH,
                      .required = true,
                      .option = "deflate_on_oom"},
                     {.name = "stats_polling_interval_s", .kind = API_NUMBER, .option = "stats"},
                     {.name = "free_page_hinting", .kind = API_SWITCH, .option = "hinting"},
                     {.name = "free_page_reporting", .kind = API_SWITCH, .option = "reporting"})};
const struct api_body api_balloon_patch = {
    .section = "balloon",
    .class = "balloon",
    .fields = FIELDS({.name = "amount_mib", .kind = API_MIB, .required = true, .option = "size"})};
const struct api_body api_balloon_stats_patch = {.section = "balloon",
                                                 .class = "balloon",
                                                 .fields =
                                                     FIELDS({.name = "stats_polling_interval_s",
                                                             .kind = API_NUMBER,
                                                             .required = true,
                                                             .option = "stats"})};
const struct api_body api_hinting_start = {
    .section = "balloon", .fields = FIELDS({.name = "acknowledge_on_stop", .kind = API_SWITCH})};

/* Memory comes and goes by the block; the slots of KVM's behind it are not the user's business. */
const struct api_body api_hotplug = {
    .section = "memory-hotplug",
    .class = "mem",
    .fields =
        FIELDS({.name = "total_size_mib", .kind = API_MIB, .required = true, .option = "size"},
               {.name = "block_size_mib", .kind = API_MIB, .option = "block"},
               {.name = "slot_size_mib", .kind = API_NUMBER})};
const struct api_body api_hotplug_patch = {
    .section = "memory-hotplug",
    .class = "mem",
    .fields = FIELDS(
        {.name = "requested_size_mib", .kind = API_MIB, .required = true, .option = "requested"})};

const struct api_body api_serial = {
    .section = "serial",
    .fields = FIELDS({.name = "serial_out_path", .kind = API_TEXT, .option = "console"},
                     {.name = "rate_limiter", .kind = API_OFF, .why = NO_LIMITER})};

const struct api_body api_logger = {
    .section = "logger",
    .fields =
        FIELDS({.name = "level", .kind = API_WORD, .option = "log", .words = level_words},
               {.name = "log_path", .kind = API_TEXT, .option = "log_path"},
               {.name = "show_level", .kind = API_SWITCH},
               {.name = "show_log_origin",
                .kind = API_OFF,
                .why = "messages do not say where they are from"},
               {.name = "module", .kind = API_OFF, .why = "messages are chosen by level only"})};

const struct api_body api_metrics = {
    .section = "metrics",
    .fields = FIELDS(
        {.name = "metrics_path", .kind = API_TEXT, .required = true, .option = "metrics_path"},
        {.name = "emit_id", .kind = API_SWITCH}, {.name = "properties", .kind = API_MAP})};

const struct api_body api_vm = {
    .section = "vm",
    .fields = FIELDS({.name = "state", .kind = API_WORD, .required = true, .words = state_words})};
const struct api_body api_action = {
    .section = "actions",
    .fields =
        FIELDS({.name = "action_type", .kind = API_WORD, .required = true, .words = action_words})};

const struct api_body *const api_bodies[] = {
    &api_logger, &api_metrics, &api_machine, &api_boot_source, &api_drive,  &api_net, &api_pmem,
    &api_vsock,  &api_entropy, &api_balloon, &api_hotplug,     &api_serial, NULL};
