/* tests/unit/all_bodies.h - every body that the control socket knows, which are more than a
 * file may have (api_bodies), for tests of all of them. */
#pragma once

#include "vmm/api/config.h"

static const struct api_body *const all_bodies[] = {&api_boot_source,
                                                    &api_machine,
                                                    &api_drive,
                                                    &api_drive_patch,
                                                    &api_net,
                                                    &api_net_patch,
                                                    &api_vsock,
                                                    &api_entropy,
                                                    &api_balloon,
                                                    &api_balloon_patch,
                                                    &api_balloon_stats_patch,
                                                    &api_hotplug,
                                                    &api_hotplug_patch,
                                                    &api_pmem,
                                                    &api_pmem_patch,
                                                    &api_serial,
                                                    &api_logger,
                                                    &api_metrics,
                                                    &api_vm,
                                                    &api_action,
                                                    &api_hinting_start};
