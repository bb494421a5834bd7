/* arch/x86_64/aml.h - writes ACPI Machine Language, as much of it as a machine without firmware
 * needs: scopes, devices, names, and resource templates (ACPI 6.5, chapter 20 and 6.4).
 *
 * A writer that runs out of room stays valid, writes nothing more and says so in `full`; so callers
 * check once, at the end. Names are of four characters, e.g. "_SB_". Not thread-safe. */
#pragma once

#include "base/base.h"

struct aml {
    uint8_t *buf;
    size_t cap, len;
    bool full;
};

/* What is opened is closed by aml_close with the value that opening it returned. */
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_package(struct aml *a, const char *name, uint8_t elements); /* Name(name, Package) */
size_t aml_inner_package(struct aml *a, uint8_t elements);             /* an element of a package */
/* Method(name, args, Serialized): what it does follows. */
size_t aml_method(struct aml *a, const char *name, uint8_t args);
void aml_close(struct aml *a, size_t opened);

void aml_notify(struct aml *a, const char *object, uint8_t value); /* in a method */

void aml_integer(struct aml *a, uint64_t v);   /* an element of a package */
void aml_string(struct aml *a, const char *s); /* the same */
void aml_name_integer(struct aml *a, const char *name, uint64_t v);
void aml_name_string(struct aml *a, const char *name, const char *s);
void aml_name_eisa_id(struct aml *a, const char *name, const char *id); /* "PNP0501" */

/* Name(_CRS, ResourceTemplate): open, one call for each resource, close. */
struct aml_crs {
    size_t package, size_at, data_at;
};
struct aml_crs aml_crs_open(struct aml *a);
void aml_crs_close(struct aml *a, struct aml_crs c);
void aml_io(struct aml *a, uint16_t port, uint8_t len);
void aml_irq(struct aml *a, unsigned irq); /* IRQNoFlags: edge, active high, exclusive */
void aml_memory32_fixed(struct aml *a, uint32_t base, uint32_t len);
/* Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) */
void aml_interrupt(struct aml *a, uint32_t gsi);
/* What a bridge passes on: bus numbers, ports, memory that is not cached. */
void aml_bus_range(struct aml *a, uint16_t first, uint16_t last);
void aml_io_window(struct aml *a, uint16_t base, uint16_t len);
void aml_memory_window(struct aml *a, uint64_t base, uint64_t len);
