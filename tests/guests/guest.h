/* What every C, C++ and CUDA guest shares: a digest of all state, a progress
 * line that is the same in every run, and failures that name themselves.
 *
 * A guest takes its number of steps as argv[1], prints nothing that depends on
 * time or identity, and ends with "digest HEX" and status 0, or with a message
 * on standard error and status 1. */
#ifndef GPUCKPT_GUEST_H
#define GPUCKPT_GUEST_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GUEST_UNUSED __attribute__((unused))

/* Ends the guest with a message when COND does not hold. */
#define REQUIRE(cond, ...)                                                     \
    do {                                                                       \
        if (!(cond)) {                                                         \
            int guest_errno = errno;                                           \
            fprintf(stderr, "guest: %s:%d: %s: ", __FILE__, __LINE__, #cond);  \
            fprintf(stderr, __VA_ARGS__);                                      \
            fprintf(stderr, " (errno %d)\n", guest_errno);                     \
            fflush(stderr);                                                    \
            _Exit(1);                                                          \
        }                                                                      \
    } while (0)

typedef uint64_t digest_t;

#define DIGEST_START 0xcbf29ce484222325ull

/* FNV-1a over 8-byte words where possible: order matters, nothing is lost. */
GUEST_UNUSED static digest_t digest_add(digest_t d, const void *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data;
    for (size_t i = 0; i < len; i++)
        d = (d ^ p[i]) * 0x100000001b3ull;
    return d;
}

GUEST_UNUSED static digest_t digest_u64(digest_t d, uint64_t v)
{
    return digest_add(d, &v, sizeof v);
}

/* splitmix64: the guests' only source of "random" data. */
GUEST_UNUSED static uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

GUEST_UNUSED static long guest_steps(int argc, char **argv, long fallback)
{
    long n = argc > 1 ? strtol(argv[1], NULL, 10) : fallback;
    REQUIRE(n > 0, "the number of steps must be positive");
    return n;
}

/* One flushed line for every twentieth of the way. */
GUEST_UNUSED static void progress(long step, long steps)
{
    long every = steps / 20 > 0 ? steps / 20 : 1;
    if (step % every == 0) {
        printf("step %ld of %ld\n", step, steps);
        fflush(stdout);
    }
}

GUEST_UNUSED static int guest_end(digest_t d)
{
    printf("digest %016llx\n", (unsigned long long)d);
    fflush(stdout);
    return 0;
}

GUEST_UNUSED static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Sleeps, and takes no part of it away when a handler interrupts. */
GUEST_UNUSED static void pause_us(long us)
{
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&left, &left) != 0)
        REQUIRE(errno == EINTR, "nanosleep");
}

#endif
