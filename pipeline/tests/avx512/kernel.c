// Just enough of a kernel for one static program of one thread that computes and prints: what tests do. The program runs at the
// kernel's own privileges, and what it asks for and is not here it is refused.
#include <elf.h>
#include <stdint.h>

extern const char program[];
void enter(uint64_t at, uint64_t stack);
void syscalls_on(void);

enum { MAPS = 64 << 20, STACK = 240 << 20, ENOENT = -2, EAGAIN = -11, EINVAL = -22, ENOSYS = -38 };

static void out(uint16_t port, uint8_t octet) { __asm__ volatile("outb %0, %1" ::"a"(octet), "Nd"(port)); }

// The port that Bochs copies to its standard output.
static void say(const char *text, uint64_t len) {
    for (uint64_t i = 0; i < len; i++) out(0xE9, text[i]);
}

static void say_number(const char *what, uint64_t value) {
    for (; *what; what++) out(0xE9, *what);
    for (int shift = 28; shift >= 0; shift -= 4) out(0xE9, "0123456789abcdef"[value >> shift & 15]);
    out(0xE9, '\n');
}

// The port that ends Bochs.
static void end(void) {
    for (const char *word = "Shutdown"; *word; word++) out(0x8900, *word);
    for (;;) { }
}

void *memset(void *to, int octet, unsigned long len) {
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(octet) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, unsigned long len) {
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(len)::"memory");
    return to;
}

static uint64_t heap, maps = MAPS, random = 88172645463325252;

static int64_t fill_random(uint8_t *to, uint64_t len) {
    for (uint64_t i = 0; i < len; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        to[i] = random;
    }
    return len;
}

// Pages that were given back, in no order. Two that touch become one.
static struct { uint64_t start, end; } given_back[1024];
static unsigned pieces;

static void give_back(uint64_t start, uint64_t end) {
    for (unsigned i = 0; i < pieces;) {
        if (given_back[i].end != start && given_back[i].start != end) {
            i++;
            continue;
        }
        if (given_back[i].end == start) start = given_back[i].start; else end = given_back[i].end;
        given_back[i] = given_back[--pieces];
        i = 0;
    }
    // Where there is no room to write it down, it is lost.
    if (pieces < sizeof given_back / sizeof given_back[0]) given_back[pieces].start = start, given_back[pieces++].end = end;
}

// The smallest piece that is large enough, or new pages. 0: there are none.
static uint64_t take(uint64_t len) {
    unsigned best = pieces;
    for (unsigned i = 0; i < pieces; i++) {
        uint64_t size = given_back[i].end - given_back[i].start;
        if (size >= len && (best == pieces || size < given_back[best].end - given_back[best].start)) best = i;
    }
    if (best == pieces) {
        uint64_t start = maps;
        if (len > STACK - (32 << 20) - maps) return 0;
        maps += len;
        return start;
    }
    uint64_t start = given_back[best].start;
    given_back[best].start += len;
    if (given_back[best].start == given_back[best].end) given_back[best] = given_back[--pieces];
    return start;
}

// The one file that is there: random octets.
static int64_t open_file(const char *name) {
    static const char *const names[] = {"/dev/urandom", "/dev/random"};
    for (int i = 0; i < 2; i++) {
        const char *at = name, *same = names[i];
        while (*same && *at == *same) at++, same++;
        if (!*same) return 3;
    }
    return ENOENT;
}

int64_t system_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
    int64_t sum = 0;
    switch (number) {
    case 1: // write
        say((const char *)b, c);
        return c;
    case 20: // writev
        for (const uint64_t *part = (const uint64_t *)b; c > 0; c--, part += 2) sum += system_call(1, a, part[0], part[1]);
        return sum;
    case 9: // mmap
        b = (b + 4095) & ~4095ul;
        sum = take(b);
        if (sum == 0) return ENOSYS;
        memset((void *)sum, 0, b); // the loader, or who had it before, has left something there
        return sum;
    case 11: // munmap
        if (a >= MAPS && b > 0) give_back(a, (a + b + 4095) & ~4095ul);
        return 0;
    case 12: // brk
        if (a > heap && a < MAPS) {
            memset((void *)heap, 0, a - heap);
            heap = a;
        }
        return heap;
    case 7: // poll: all are ready
        return b;
    // mprotect, sigaction, sigprocmask, sched_yield, madvise, sigaltstack, futex, set_robust_list: done, or not
    // needed.
    case 10: case 13: case 14: case 24: case 28: case 131: case 202: case 273:
        return 0;
    case 39: case 186: case 218: // getpid, gettid, set_tid_address
        return 1;
    case 158: // arch_prctl: the thread's memory
        if (a != 0x1002) return EINVAL;
        __asm__ volatile("wrmsr" ::"c"(0xC0000100), "a"((uint32_t)b), "d"((uint32_t)(b >> 32)));
        return 0;
    case 204: // sched_getaffinity: one CPU
        memset((void *)c, 0, b);
        *(uint8_t *)c = 1;
        return 8;
    case 228: { // clock_gettime: instructions, as nanoseconds
        uint32_t low, high;
        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
        uint64_t time = (uint64_t)high << 32 | low;
        ((uint64_t *)b)[0] = 1 + time / 1000000000;
        ((uint64_t *)b)[1] = time % 1000000000;
        return 0;
    }
    case 318: // getrandom
        return fill_random((uint8_t *)a, b);
    case 60: case 231: // exit, exit_group
        say_number("PROGRAM ENDED ", a);
        end();
        return 0;
    case 2: // open
        return open_file((const char *)a);
    case 257: // openat
        return open_file((const char *)b);
    case 0: // read
        return fill_random((uint8_t *)b, c);
    case 3: // close
        return 0;
    case 79: // getcwd
        ((char *)a)[0] = '/';
        ((char *)a)[1] = 0;
        return 2;
    case 4: case 6: case 21: case 83: case 89: case 332: // stat, lstat, access, mkdir, readlink, statx
        return ENOENT;
    case 56: case 435: // clone: the test harness then goes on in its first thread
        return EAGAIN;
    case 262: case 302: case 334: // newfstatat, prlimit, rseq
        return ENOSYS;
    default:
        say_number("REFUSED CALL ", number);
        return ENOSYS;
    }
}

static uint64_t *strings(uint64_t *to, const char *text, uint64_t *count) {
    while (*text) {
        *to++ = (uint64_t)text;
        ++*count;
        while (*text) text++;
        text++;
    }
    *to++ = 0;
    return to;
}

void run(void) {
    syscalls_on();
    const Elf64_Ehdr *file = (const Elf64_Ehdr *)program;
    const Elf64_Phdr *part = (const Elf64_Phdr *)(program + file->e_phoff);
    uint64_t headers = 0;
    for (int i = 0; i < file->e_phnum; i++, part++) {
        if (part->p_type != PT_LOAD) continue;
        memset((void *)part->p_vaddr, 0, part->p_memsz);
        memcpy((void *)part->p_vaddr, program + part->p_offset, part->p_filesz);
        if (part->p_offset == 0) headers = part->p_vaddr + file->e_phoff;
        if (part->p_vaddr + part->p_memsz > heap) heap = part->p_vaddr + part->p_memsz;
    }
    heap = (heap + 4095) & ~4095ul;
    // NUL behind each, and one more behind all.
    static const char arguments[] = ARGUMENTS, environment[] = ENVIRONMENT;
    static uint64_t seed[2] = {1, 2};
    uint64_t *stack = (uint64_t *)(uint64_t)STACK, count = 0, ignored = 0;
    uint64_t *at = strings(stack + 1, arguments, &count);
    *stack = count;
    at = strings(at, environment, &ignored);
    const uint64_t auxiliary[] = {
        AT_PHDR, headers, AT_PHENT, sizeof(Elf64_Phdr), AT_PHNUM, file->e_phnum, AT_PAGESZ, 4096, AT_ENTRY, file->e_entry,
        AT_RANDOM, (uint64_t)seed, AT_SECURE, 0, AT_UID, 0, AT_EUID, 0, AT_GID, 0, AT_EGID, 0, AT_CLKTCK, 100, AT_NULL, 0,
    };
    memcpy(at, auxiliary, sizeof auxiliary);
    enter(file->e_entry, (uint64_t)stack);
}
