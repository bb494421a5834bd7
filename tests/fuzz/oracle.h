/* tests/fuzz/oracle.h - what holds of any device at any moment, whatever its driver did and
 * whatever was loaded: what no test of a single sequence of steps can say, and no sanitizer sees.
 */
#pragma once

#include "tests/fuzz/fuzz.h"
#include "tests/rig/rig.h"

/* Status, features, queues and configuration go together as virtio 1.4 has it. */
void oracle_device(struct rig *r);
/* Saved and loaded in the same machine, while it is paused: the driver sees the same device as
 * before, and what it would save now is the same to the byte. Goes on afterwards. */
void oracle_migrate(struct rig *r);
/* In sections with this tag (NULL: in all) that many bytes become 0, and the checksum does. */
void oracle_blank(struct state_out *s, const char *tag, size_t at, size_t len);
/* Two saved states of devices on whom the same was done. */
void oracle_same(const struct state_out *was, const struct state_out *is);
