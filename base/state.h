/* base/state.h - saved state: a stream of sections, each with a tag, a version, a length and a
 * checksum. Writing cannot fail but for memory; reading treats every byte as hostile. */
#pragma once

#include "base/base.h"

struct state_out {
    uint8_t *buf;
    size_t len, cap, section; /* section: offset of the open one's header */
    int error;                /* first failure, sticky */
};
void state_begin(struct state_out *s, const char tag[4], uint32_t version);
void state_u8(struct state_out *s, uint8_t v);
void state_u16(struct state_out *s, uint16_t v);
void state_u32(struct state_out *s, uint32_t v);
void state_u64(struct state_out *s, uint64_t v);
void state_bytes(struct state_out *s, const void *p, size_t len); /* length-prefixed */
void state_end(struct state_out *s);
void state_out_free(struct state_out *s);

/* Reading past a section's end yields zeroes and sets error, once for all: check it at the end. */
struct state_in {
    const uint8_t *buf;
    size_t len, pos, section_end;
    int error; /* 0, or -EBADMSG */
};
/* Opens the next section, which must carry this tag, an intact checksum and a version of at most
 * max_version; *version is what it has. */
int CHECKED state_open(struct state_in *s, const char tag[4], uint32_t max_version,
                       uint32_t *version);
uint8_t state_get_u8(struct state_in *s);
uint16_t state_get_u16(struct state_in *s);
uint32_t state_get_u32(struct state_in *s);
uint64_t state_get_u64(struct state_in *s);
/* The prefix must be exactly len; or, for a blob, at most max: returns how many there were. */
void state_get_bytes(struct state_in *s, void *p, size_t len);
size_t state_get_blob(struct state_in *s, void *p, size_t max);
int CHECKED state_close(struct state_in *s); /* -EBADMSG if anything was wrong or is left over */
