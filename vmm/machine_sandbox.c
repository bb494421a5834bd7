/* vmm/machine_sandbox.c - what the machine's own threads need of the sandbox; a device says so of
 * itself. */
#include "vmm/machine_priv.h"
#include "vmm/sandbox_lists.h"

int confine(const struct vm_config *cfg, struct err *e)
{
    int rc = sandbox_begin(cfg->api_sock != NULL, e);
    if (rc < 0)
        return rc;
    if (cfg->api_sock || cfg->config_file)
        sandbox_need(&sandbox_outputs);
    if (cfg->api_sock) {
        sandbox_need(&sandbox_api);
        sandbox_path(cfg->api_sock, SANDBOX_LIVE);
    }
    return 0;
}
