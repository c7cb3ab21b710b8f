/* A program that has one descriptor of a middling number and then puts others at
 * each number above it in turn, as shells and daemons do: all of them stay free. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <unistd.h>

enum { HELD = 40, TO = 700 };

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 600);
    int null = open("/dev/null", O_RDONLY);
    REQUIRE(null >= 0 && dup2(null, HELD) == HELD, "a descriptor at %d", HELD);
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int n = HELD + 1; n < TO; n++) {
            REQUIRE(dup2(HELD, n) == n && close(n) == 0, "number %d", n);
            d = digest_u64(d, (uint64_t)n);
        }
        pause_us(3000);
        progress(s, steps);
    }
    return guest_end(d);
}
