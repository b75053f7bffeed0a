# From a multiboot loader into long mode, with AVX-512 switched on, into run().
        .section .multiboot, "a"
        .align 4
        .long 0x1BADB002, 0, -0x1BADB002

        .section .bss
        .align 4096
pml4:   .skip 4096
pdpt:   .skip 4096
pd:     .skip 4096
        .skip 1 << 18
        .globl stack
stack:

        .section .rodata
        .align 8
gdt:    .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdtr:   .word . - gdt - 1
        .long gdt

        .text
        .code32
        .globl start
start:  cli
        # The first GiB, where it is, in pages of 2 MiB.
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
        # Long mode.
        movl $0xC0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        # Paging and MP on; EM and TS off.
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
        # x87, SSE, AVX, and the three parts of AVX-512.
        xorl %ecx, %ecx
        xorl %edx, %edx
        movl $0xE7, %eax
        xsetbv
        movabsq $stack, %rsp
        call run
        hlt

        # Named by the compiled core library; nothing unwinds here.
        .globl rust_eh_personality, _Unwind_Resume
rust_eh_personality:
_Unwind_Resume:
        ud2
        .section .note.GNU-stack, "", @progbits
