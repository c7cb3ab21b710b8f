/* A program that has its table of descriptors to itself: closes what it did not open, as
 * daemons do, takes every number that its limit leaves, and goes on in a second thread
 * when the first has ended. Works in argv[2]. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FROM = 64, LIMIT = 600, SIZE = 4096, UNSHARE = 2 /* CLOSE_RANGE_UNSHARE */ };

static long steps;
static unsigned char bytes[SIZE];
static size_t at[LIMIT];

static int open_all(void)
{
    int fd, last = -1;
    while ((fd = open("data", O_RDONLY)) >= 0) {
        at[fd] = 0;
        last = fd;
    }
    REQUIRE(errno == EMFILE, "open");
    return last;
}

static void *work(void *first)
{
    REQUIRE(pthread_join(*(pthread_t *)first, NULL) == 0, "the first thread");
    REQUIRE(open_all() == LIMIT - 1, "every number up to the limit");
    int ends[2] = {10, 11};
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        unsigned char c;
        for (int n = 0; n < 40; n++) {
            int fd = FROM + (int)(mix64((uint64_t)(s * 40 + n)) % (LIMIT - FROM));
            ssize_t got = read(fd, &c, 1);
            REQUIRE(got == 1 && c == bytes[at[fd]], "descriptor %d at %zu", fd, at[fd]);
            d = digest_u64(d, c);
            if (++at[fd] == SIZE || n == 0) {
                REQUIRE(close(fd) == 0 && open_all() == fd, "descriptor %d again", fd);
            }
        }
        REQUIRE(write(ends[1], &c, 1) == 1, "the pipe's end %d", ends[1]);
        if (s % 100 == 99)
            for (int n = 0; n < 100; n++)
                REQUIRE(read(ends[0], &c, 1) == 1 && (d = digest_u64(d, c)), "the pipe");
        pause_us(3000);
        progress(s, steps);
    }
    exit(guest_end(d));
}

int main(int argc, char **argv)
{
    static pthread_t first, second;
    steps = guest_steps(argc, argv, 400);
    REQUIRE(argc > 2 && chdir(argv[2]) == 0, "a folder as second argument");
    for (int fd = 3; fd < 8192; fd++)
        close(fd);
    REQUIRE(syscall(SYS_close_range, 3, ~0u, 0) == 0, "close_range");
    REQUIRE(syscall(SYS_close_range, 2000, ~0u, UNSHARE) == 0, "close_range into a new table");
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)mix64(i);
    int data = open("data", O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(data >= 0 && write(data, bytes, SIZE) == SIZE && close(data) == 0, "a file");
    int ends[2];
    REQUIRE(pipe(ends) == 0 && dup2(ends[0], 10) == 10 && dup2(ends[1], 11) == 11, "a pipe");
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= LIMIT, "the limit of open files");
    limit.rlim_cur = LIMIT;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    first = pthread_self();
    REQUIRE(pthread_create(&second, NULL, work, &first) == 0, "a thread");
    pthread_exit(NULL);
}
