/* tests/proofs/include/stdatomic.h - for Frama-C, which knows no atomics: to it, memory that is
 * accessed by one holds anything at each load, as what a guest may write does. */
#pragma once

#define _Atomic volatile
typedef enum { memory_order_relaxed, memory_order_acquire, memory_order_release,
               memory_order_seq_cst } memory_order;
#define atomic_load_explicit(p, order)     (*(p))
#define atomic_store_explicit(p, v, order) ((void)(*(p) = (v)))
#define atomic_thread_fence(order)         ((void)(order))
