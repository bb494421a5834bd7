#!/bin/sh
# A shared folder whose files are mapped: what fs does, by mount -o dax.

# shellcheck source=/dev/null
. /usr/lib/vmm-test/fs
