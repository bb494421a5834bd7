/* arch/x86_64/aml.c - see aml.h. Lengths come before contents in AML, so every opened object leaves
 * room for its length and fills it in when it is closed. */
#include "arch/x86_64/aml.h"

#include <assert.h>

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_EXT = 0x5b,
    OP_EXT_DEVICE = 0x82,
    OP_NOTIFY = 0x86,
};
enum { PKG_LENGTH_BYTES = 3, PKG_LENGTH_MAX = (1 << 20) - 1 };

static void put(struct aml *a, const void *p, size_t n)
{
    if (a->full || n > a->cap - a->len) {
        a->full = true;
        return;
    }
    memcpy(a->buf + a->len, p, n);
    a->len += n;
}

static void put_int(struct aml *a, uint64_t v, size_t n)
{
    put(a, &v, n);
}

static void put_name(struct aml *a, const char *name)
{
    assert(strlen(name) == 4);
    put(a, name, 4);
}

static size_t open_pkg(struct aml *a)
{
    size_t at = a->len;

    put_int(a, 0, PKG_LENGTH_BYTES);
    return at;
}

/* PkgLength counts itself. Always three bytes: the lead byte holds the count of the others in its
 * bits 7-6 and the lowest four bits of the length. */
void aml_close(struct aml *a, size_t opened)
{
    size_t len = a->len - opened;

    if (a->full)
        return;
    assert(len >= PKG_LENGTH_BYTES && len <= PKG_LENGTH_MAX);
    a->buf[opened] = (uint8_t)((PKG_LENGTH_BYTES - 1) << 6 | (len & 0xf));
    put_bytes(a->buf + opened + 1, len >> 4, 2);
}

size_t aml_scope(struct aml *a, const char *name)
{
    put_int(a, OP_SCOPE, 1);
    size_t opened = open_pkg(a);
    put_name(a, name);
    return opened;
}

size_t aml_device(struct aml *a, const char *name)
{
    put_int(a, OP_EXT, 1);
    put_int(a, OP_EXT_DEVICE, 1);
    size_t opened = open_pkg(a);
    put_name(a, name);
    return opened;
}

size_t aml_method(struct aml *a, const char *name, uint8_t args)
{
    enum { SERIALIZED = 1 << 3 };

    put_int(a, OP_METHOD, 1);
    size_t opened = open_pkg(a);
    put_name(a, name);
    put_int(a, args | SERIALIZED, 1);
    return opened;
}

void aml_notify(struct aml *a, const char *object, uint8_t value)
{
    put_int(a, OP_NOTIFY, 1);
    put_name(a, object);
    put_int(a, OP_BYTE | (uint64_t)value << 8, 2);
}

static void open_name(struct aml *a, const char *name)
{
    put_int(a, OP_NAME, 1);
    put_name(a, name);
}

size_t aml_package(struct aml *a, const char *name, uint8_t elements)
{
    open_name(a, name);
    return aml_inner_package(a, elements);
}

size_t aml_inner_package(struct aml *a, uint8_t elements)
{
    put_int(a, OP_PACKAGE, 1);
    size_t opened = open_pkg(a);
    put_int(a, elements, 1);
    return opened;
}

void aml_integer(struct aml *a, uint64_t v)
{
    if (v <= 1) {
        put_int(a, v ? OP_ONE : OP_ZERO, 1);
        return;
    }
    size_t n = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
    put_int(a, n == 1 ? OP_BYTE : n == 2 ? OP_WORD : n == 4 ? OP_DWORD : OP_QWORD, 1);
    put_int(a, v, n);
}

void aml_name_integer(struct aml *a, const char *name, uint64_t v)
{
    open_name(a, name);
    aml_integer(a, v);
}

void aml_string(struct aml *a, const char *s)
{
    put_int(a, OP_STRING, 1);
    put(a, s, strlen(s) + 1);
}

void aml_name_string(struct aml *a, const char *name, const char *s)
{
    open_name(a, name);
    aml_string(a, s);
}

/* Three letters of five bits and four hexadecimal digits, big-endian (ACPI 6.5, 19.3.4). */
void aml_name_eisa_id(struct aml *a, const char *name, const char *id)
{
    assert(strlen(id) == 7);
    uint32_t v = (uint32_t)strtoul(id + 3, NULL, 16);

    for (unsigned i = 0; i < 3; i++)
        v |= (uint32_t)(id[i] - '@') << (26 - 5 * i);
    open_name(a, name);
    put_int(a, OP_DWORD, 1);
    put_int(a, __builtin_bswap32(v), 4);
}

struct aml_crs aml_crs_open(struct aml *a)
{
    struct aml_crs c;

    open_name(a, "_CRS");
    put_int(a, OP_BUFFER, 1);
    c.package = open_pkg(a);
    put_int(a, OP_WORD, 1);
    c.size_at = a->len;
    put_int(a, 0, 2);
    c.data_at = a->len;
    return c;
}

void aml_crs_close(struct aml *a, struct aml_crs c)
{
    enum { END_TAG = 0x79 }; /* its checksum may be 0 for "not computed" */

    put_int(a, END_TAG, 2);
    if (!a->full)
        put_bytes(a->buf + c.size_at, a->len - c.data_at, 2);
    aml_close(a, c.package);
}

void aml_io(struct aml *a, uint16_t port, uint8_t len)
{
    enum { IO = 0x47, DECODE16 = 1, ALIGN = 1 };

    put_int(a,
            IO | DECODE16 << 8 | (uint64_t)port << 16 | (uint64_t)port << 32 |
                (uint64_t)ALIGN << 48 | (uint64_t)len << 56,
            8);
}

void aml_irq(struct aml *a, unsigned irq)
{
    enum { IRQ_NO_FLAGS = 0x22 };

    assert(irq < 16);
    put_int(a, IRQ_NO_FLAGS | (uint64_t)1 << (8 + irq), 3);
}

void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len)
{
    enum { MEMORY32_FIXED = 0x86, BODY = 9, WRITABLE = 1 };

    put_int(a, MEMORY32_FIXED | BODY << 8 | WRITABLE << 24, 4);
    put_int(a, base | (uint64_t)len << 32, 8);
}

void aml_interrupt(struct aml *a, uint32_t gsi)
{
    enum { EXTENDED_INTERRUPT = 0x89, BODY = 6, CONSUMER = 1, EDGE = 2 };

    put_int(a, EXTENDED_INTERRUPT | BODY << 8 | (CONSUMER | EDGE) << 24, 4);
    put_int(a, 1 | (uint64_t)gsi << 8, 5); /* a list of one */
}

enum address_space { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };

/* Word, DWord and QWord Address Space Descriptor (6.4.3.5.1 to 3): the same but for the width of
 * their five numbers. */
static void address_space(struct aml *a, size_t width, enum address_space space, uint64_t first,
                          uint64_t last)
{
    enum { WORD = 0x88, DWORD = 0x87, QWORD = 0x8a };
    enum { MIN_FIXED = 1 << 2, MAX_FIXED = 1 << 3 };
    enum { READ_WRITE = 1, ENTIRE_RANGE = 3 };
    static const uint8_t flags[] = {[SPACE_MEMORY] = READ_WRITE, [SPACE_IO] = ENTIRE_RANGE, 0};

    put_int(a, width == 2 ? WORD : width == 4 ? DWORD : QWORD, 1);
    put_int(a, 3 + 5 * width, 2);
    put_int(a, space, 1);
    put_int(a, MIN_FIXED | MAX_FIXED, 1);
    put_int(a, flags[space], 1);
    put_int(a, 0, width); /* granularity */
    put_int(a, first, width);
    put_int(a, last, width);
    put_int(a, 0, width); /* translation: addresses are the same on both sides */
    put_int(a, last - first + 1, width);
}

void aml_bus_range(struct aml *a, uint16_t first, uint16_t last)
{
    address_space(a, 2, SPACE_BUS, first, last);
}

void aml_io_window(struct aml *a, uint16_t base, uint16_t len)
{
    address_space(a, 2, SPACE_IO, base, (uint64_t)base + len - 1);
}

void aml_memory_window(struct aml *a, uint64_t base, uint64_t len)
{
    uint64_t last = base + len - 1;

    address_space(a, last <= UINT32_MAX ? 4 : 8, SPACE_MEMORY, base, last);
}
