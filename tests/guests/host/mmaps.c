/* Mappings of every kind that a checkpoint must keep apart: private file mappings
 * with and without dirty pages, guard pages, protections, reservations, shared
 * anonymous memory, advice that changes what fork gives. Works in argv[2]. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { P = 4096, FILE_PAGES = 64 };

static sigjmp_buf back;
static void on_fault(int sig)
{
    (void)sig;
    siglongjmp(back, 1);
}

/* Whether touching p faults. */
static int faults(volatile char *p, int writing)
{
    if (sigsetjmp(back, 1))
        return 1;
    if (writing)
        *p = *p;
    else
        (void)*p;
    return 0;
}

/* Bytes from the VmFlags line of the mapping at p, or an empty string. */
static void flags_of(const void *p, char *out, size_t size)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[256];
    int inside = 0;
    unsigned long lo, hi;
    *out = 0;
    REQUIRE(f, "smaps");
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
            inside = (uintptr_t)p >= lo && (uintptr_t)p < hi;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(out, size, "%.200s", line + 8);
    }
    fclose(f);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 200);
    REQUIRE(argc > 2 && chdir(argv[2]) == 0, "a folder as second argument");
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);

    static unsigned char content[FILE_PAGES * P];
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (unsigned char)mix64(i / 8);
    int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && write(fd, content, sizeof content) == (ssize_t)sizeof content, "the file");
    unsigned char *file = mmap(NULL, sizeof content, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    unsigned char *clean = mmap(NULL, 8 * P, PROT_READ, MAP_PRIVATE, fd, 16 * P);
    unsigned char *hole = mmap(NULL, 64 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *shared = mmap(NULL, 16 * P, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned char *reserved = mmap(NULL, 1ull << 36, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    unsigned char *dontfork = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *wiped = mmap(NULL, 4 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *code = mmap(NULL, P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(file != MAP_FAILED && clean != MAP_FAILED && hole != MAP_FAILED && shared != MAP_FAILED &&
                reserved != MAP_FAILED && dontfork != MAP_FAILED && wiped != MAP_FAILED && code != MAP_FAILED,
            "mmap");
    close(fd);
    REQUIRE(madvise(dontfork, 4 * P, MADV_DONTFORK) == 0 && madvise(wiped, 4 * P, MADV_WIPEONFORK) == 0, "madvise");
    memset(dontfork, 0x11, 4 * P);
    memset(wiped, 0x22, 4 * P);
    /* Guards inside a mapping, an island in the reservation, a moved and grown block. */
    REQUIRE(mprotect(hole + 16 * P, P, PROT_NONE) == 0 && mprotect(hole + 40 * P, 2 * P, PROT_READ) == 0, "mprotect");
    REQUIRE(munmap(hole + 50 * P, 4 * P) == 0, "munmap");
    REQUIRE(mprotect(reserved + (1ull << 33), 8 * P, PROT_READ | PROT_WRITE) == 0, "mprotect");
    unsigned char *island = reserved + (1ull << 33);
    /* mov eax, edi; imul eax, eax, 3; ret */
    static const unsigned char program[] = {0x89, 0xf8, 0x6b, 0xc0, 0x03, 0xc3};
    memcpy(code, program, sizeof program);
    REQUIRE(mprotect(code, P, PROT_READ | PROT_EXEC) == 0, "mprotect");
    unsigned char *moving = mmap(NULL, 2 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t moving_len = 2 * P;
    memset(moving, 0x33, moving_len);

    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        uint64_t r = mix64((uint64_t)s);
        size_t at = r % sizeof content; /* dirty one page in eight at most */
        at = at / (8 * P) * (8 * P) + r % P;
        content[at] = file[at] = (unsigned char)(r >> 8);
        hole[r % (16 * P)] = (unsigned char)r;
        hole[20 * P + r % (20 * P)] = (unsigned char)s;
        shared[r % (16 * P)] += (unsigned char)s;
        island[r % (8 * P)] ^= (unsigned char)r;
        int (*call)(int);
        *(void **)&call = code;
        REQUIRE(call((int)s) == 3 * (int)s, "the generated code");
        REQUIRE(faults((char *)hole + 16 * P + r % P, 0) && faults((char *)hole + 41 * P, 1) &&
                    !faults((char *)hole + 41 * P, 0),
                "protections");
        REQUIRE(faults((char *)reserved + r % (1ull << 33), 0) && faults((char *)clean + 3, 1), "the reservation");
        REQUIRE(clean[r % (8 * P)] == (unsigned char)mix64((16 * P + r % (8 * P)) / 8), "the clean mapping");
        if (s % 16 == 15) {
            size_t len = moving_len + P;
            unsigned char *moved = mremap(moving, moving_len, len, MREMAP_MAYMOVE);
            REQUIRE(moved != MAP_FAILED && moved[0] == 0x33 && moved[2 * P - 1] == 0x33 && moved[len - 1] == 0, "mremap");
            moving = moved, moving_len = len;
            REQUIRE(madvise(hole + 60 * P, 2 * P, MADV_DONTNEED) == 0 && hole[60 * P] == 0, "MADV_DONTNEED");
            hole[60 * P] = (unsigned char)s;
        }
        if (s % 4 == 0)
            pause_us(20000);
        progress(s, steps);
    }
    char flags[256];
    flags_of(dontfork, flags, sizeof flags);
    REQUIRE(strstr(flags, " dc"), "MADV_DONTFORK is lost:%s", flags);
    flags_of(wiped, flags, sizeof flags);
    REQUIRE(strstr(flags, " wf"), "MADV_WIPEONFORK is lost:%s", flags);
    REQUIRE(dontfork[5] == 0x11 && wiped[5] == 0x22, "advised memory");
    REQUIRE(memcmp(file, content, sizeof content) == 0, "the private file mapping");
    fd = open("mapped", O_RDONLY);
    unsigned char byte;
    for (size_t i = 0; i < sizeof content; i += 997)
        REQUIRE(pread(fd, &byte, 1, (off_t)i) == 1 && byte == (unsigned char)mix64(i / 8), "the file itself changed");
    d = digest_add(d, file, sizeof content);
    d = digest_add(d, hole, 16 * P);
    d = digest_add(d, hole + 17 * P, 33 * P);
    d = digest_add(d, shared, 16 * P);
    d = digest_add(d, island, 8 * P);
    return guest_end(digest_add(d, moving, moving_len));
}
