# Programs' system calls, behind protocol/tests/avx512/boot.S.
        .section .bss
        .globl user_rsp
        .align 8
user_rsp: .skip 8

        .text
        .globl syscalls_on
syscalls_on:
        # EFER.
        movl $0xC0000080, %ecx
        rdmsr
        orl $1, %eax
        wrmsr
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
        ret

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
