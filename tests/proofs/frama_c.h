/* tests/proofs/frama_c.h - included before everything: what Frama-C does not know. To it, memory
 * that is accessed by an atomic load holds anything at each of them, as what a guest may write
 * does. */
#pragma once

#define _Alignas(n) __attribute__((aligned(n)))
#define __int128 long  /* in headers only: nothing here computes with one */
#define __FC_STDATOMIC /* instead of its own, which does not look at the pointer */
#define _Atomic volatile
typedef volatile _Bool atomic_bool;
typedef volatile unsigned char atomic_uchar;
typedef volatile unsigned int atomic_uint;
typedef enum {
    memory_order_relaxed,
    memory_order_acquire,
    memory_order_release,
    memory_order_seq_cst
} memory_order;
#define atomic_load(p)                     (*(p))
#define atomic_store(p, v)                 ((void)(*(p) = (v)))
#define atomic_load_explicit(p, order)     (*(p))
#define atomic_store_explicit(p, v, order) ((void)(*(p) = (v)))
#define atomic_thread_fence(order)         ((void)0)

#include <endian.h>
#define le16toh(v)            (v)
#define le32toh(v)            (v)
#define le64toh(v)            (v)
#define htole16(v)            (v)
#define htole32(v)            (v)
#define htole64(v)            (v)
#define __builtin_prefetch(p) ((void)(p))
