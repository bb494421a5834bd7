/* guest-tests/lib/start.S - where the guest begins, where each interrupt enters, and where a second
 * CPU wakes up. What is here cannot be said in C. */
#include "machine.h"

    .section .text.start, "ax"
    .globl start
start: /* long mode, interrupts off, RSI = zero page */
    cld
    lea boot_stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %rsi, %rdi
    call start_c
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 16384
boot_stack_top:

/* 256 entries of 16 bytes each; those of exceptions with an error code find it pushed. */
    .text
    .globl irq_entries
    .balign 16
irq_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
          vector == 29 || vector == 30)
    push $0
    .endif
    push $vector
    jmp irq_common
    .set vector, vector + 1
    .endr

    .balign 16
irq_common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    call irq_dispatch
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

/* Copied to LOW_TRAMPOLINE, where a startup IPI begins in real mode. */
#define LOW(label) (LOW_TRAMPOLINE + (label) - ap_trampoline)
    .section .rodata
    .globl ap_trampoline, ap_trampoline_end, ap_cr3, ap_stack, ap_entry
    .code16
ap_trampoline:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl ap_gdtr - ap_trampoline
    mov %cr0, %eax
    and $0x9fffffff, %eax /* caches on */
    or $0x21, %eax        /* PE, NE */
    mov %eax, %cr0
    ljmpl $SEL_CODE32, $LOW(ap_32)
    .code32
ap_32:
    mov $SEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov LOW(ap_cr3), %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx /* EFER */
    rdmsr
    or $0x100, %eax /* LME */
    wrmsr
    mov %cr0, %eax
    or $0x80010000, %eax /* PG, WP */
    mov %eax, %cr0
    ljmpl $SEL_CODE64, $LOW(ap_64)
    .code64
ap_64:
    mov LOW(ap_stack), %rsp
    xor %ebp, %ebp
    mov LOW(ap_entry), %rax
    call *%rax
1:  hlt
    jmp 1b

    .balign 8
ap_gdtr:
    .word GDT_LIMIT
    .long LOW_GDT
    .balign 8
ap_cr3:
    .quad 0
ap_stack:
    .quad 0
ap_entry:
    .quad 0
ap_trampoline_end:

    .section .note.GNU-stack, "", @progbits
