/* Many descriptors with high numbers: opened, duplicated to numbers of choice,
 * closed and opened again. What each one reads is its own for ever; which numbers
 * the kernel gives is nobody's business and not printed. Works in argv[2]. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FILES = 300, SIZE = 4096, LIMIT = 4000 };

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 400);
    REQUIRE(argc > 2 && chdir(argv[2]) == 0, "a folder as second argument");
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    if (limit.rlim_cur < LIMIT) {
        REQUIRE(limit.rlim_max >= LIMIT, "the hard limit of open files is %ld", (long)limit.rlim_max);
        limit.rlim_cur = LIMIT;
        REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    }
    unsigned char bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)mix64(i);
    int data = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(data >= 0 && write(data, bytes, SIZE) == SIZE && close(data) == 0, "a file");
    static int fds[FILES];
    static size_t at[FILES];
    /* Around every place where somebody else might keep descriptors. */
    static const int FROM[] = {3, 700, 760, 1010, 1590, 3600};
    for (int f = 0; f < FILES; f++) {
        int low = open("data", O_RDONLY);
        fds[f] = fcntl(low, F_DUPFD, FROM[f % 6]);
        REQUIRE(low >= 0 && fds[f] >= FROM[f % 6], "a descriptor from %d on", FROM[f % 6]);
        close(low);
    }
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int n = 0; n < 40; n++) {
            int f = (int)(mix64((uint64_t)(s * 40 + n)) % FILES);
            unsigned char c;
            ssize_t got = read(fds[f], &c, 1);
            REQUIRE(got == 1 && c == bytes[at[f]], "file %d at %zu", f, at[f]);
            d = digest_u64(d, c);
            if (++at[f] == SIZE || n == 0) { /* another one in its place */
                int other = open("data", O_RDONLY);
                REQUIRE(other >= 0 && dup2(other, fds[f]) == fds[f] && close(other) == 0, "dup2 to %d", fds[f]);
                at[f] = 0;
            } else if (n == 1) {
                REQUIRE(close(fds[f]) == 0, "close %d", fds[f]);
                int other = open("data", O_RDONLY);
                fds[f] = fcntl(other, F_DUPFD, FROM[f % 6]);
                REQUIRE(other >= 0 && fds[f] >= 0 && close(other) == 0, "open again");
                at[f] = 0;
            }
        }
        pause_us(3000);
        progress(s, steps);
    }
    return guest_end(d);
}
