# From a multiboot loader into long mode, with AVX-512 and SYSCALL switched on, into kernel_main().
        .section .multiboot, "a"
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002

        .section .bss
        .align 4096
pml4:   .skip 4096
pdpt:   .skip 4096
pd:     .skip 4096
        .skip 1 << 18
stack:
        .globl user_rsp
user_rsp: .skip 8

        .section .rodata
        .align 8
gdt:    .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdtr:   .word . - gdt - 1
        .long gdt

        .text
        .code32
        .globl start
start:  cli
        movl $pdpt + 3, pml4
        movl $pd + 3, pdpt
        xorl %ecx, %ecx
        movl $0x83, %eax
1:      movl %eax, pd(, %ecx, 8)
        addl $0x200000, %eax
        incl %ecx
        cmpl $512, %ecx
        jne 1b
        movl $pml4, %eax
        movl %eax, %cr3
        # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE.
        movl %cr4, %eax
        orl $0x40620, %eax
        movl %eax, %cr4
        # Long mode, SYSCALL.
        movl $0xC0000080, %ecx
        rdmsr
        orl $0x101, %eax
        wrmsr
        movl %cr0, %eax
        andl $~0xC, %eax
        orl $0x80000003, %eax
        movl %eax, %cr0
        lgdt gdtr
        ljmp $8, $long

        .code64
long:   movw $16, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        xorl %ecx, %ecx
        xorl %edx, %edx
        movl $0xE7, %eax
        xsetbv
        # STAR: CS 8, SS 16. LSTAR: entry. FMASK: nothing.
        movl $0xC0000081, %ecx
        xorl %eax, %eax
        movl $8, %edx
        wrmsr
        movl $0xC0000082, %ecx
        movl $entry, %eax
        xorl %edx, %edx
        wrmsr
        movl $0xC0000084, %ecx
        xorl %eax, %eax
        xorl %edx, %edx
        wrmsr
        movabsq $stack, %rsp
        call kernel_main
        hlt

# A system call of the program: at the same privileges, on another stack. No vector register is touched on the way.
entry:  movq %rsp, user_rsp(%rip)
        leaq stack(%rip), %rsp
        pushq %rcx
        pushq %r11
        pushq %rdi
        pushq %rsi
        pushq %rdx
        pushq %r8
        pushq %r9
        pushq %r10
        # number, six arguments
        pushq %r9
        movq %r8, %r9
        movq %r10, %r8
        movq %rdx, %rcx
        movq %rsi, %rdx
        movq %rdi, %rsi
        movq %rax, %rdi
        call system_call
        addq $8, %rsp
        popq %r10
        popq %r9
        popq %r8
        popq %rdx
        popq %rsi
        popq %rdi
        popq %r11
        popq %rcx
        movq user_rsp(%rip), %rsp
        jmpq *%rcx

        .globl enter
enter:  movq %rsi, %rsp
        xorl %edx, %edx
        xorl %ebp, %ebp
        jmpq *%rdi

        .section .rodata
        .globl program, program_end
        .align 4096
program: .incbin PROGRAM
program_end:
        .section .note.GNU-stack, "", @progbits
