/* One program, linked in every way: dynamic PIE, dynamic non-PIE, static-pie,
 * static non-PIE. Heap by brk and by mmap, thread-local and static data, a
 * second thread, argv, environ and the auxiliary vector. */
#include "../guest.h"
#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>

static uint64_t table[512];
static const char constant[] = "read-only data";
static __thread uint64_t mine = 42;
static volatile int stop;
static uint64_t ticks;

static void *other(void *arg)
{
    (void)arg;
    REQUIRE(mine == 42, "the initial thread-local value");
    while (!stop) {
        mine++;
        pause_us(200);
    }
    ticks = mine;
    return NULL;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1500);
    pthread_t thread;
    digest_t d = DIGEST_START;
    REQUIRE(pthread_create(&thread, NULL, other, NULL) == 0, "pthread_create");
    REQUIRE(getauxval(AT_PAGESZ) == (unsigned long)sysconf(_SC_PAGESIZE), "AT_PAGESZ");
    REQUIRE(getauxval(AT_RANDOM) && getauxval(AT_PHDR), "the auxiliary vector");
    char *brk_before = sbrk(0);
    char *area = sbrk(200000);
    REQUIRE(area != (void *)-1, "sbrk");
    memset(area, 0x5c, 200000);
    for (long s = 0; s < steps; s++) {
        for (int i = 0; i < 512; i++)
            table[i] = mix64(table[i] + (uint64_t)s);
        size_t len = 100 + (size_t)s % 4000;
        uint64_t *block = malloc(len * sizeof *block);
        REQUIRE(block, "malloc");
        for (size_t i = 0; i < len; i++)
            block[i] = table[i % 512];
        d = digest_add(d, block, 64);
        free(block);
        mine += (uint64_t)s;
        if (s % 16 == 0)
            pause_us(8000);
        progress(s, steps);
    }
    stop = 1;
    pthread_join(thread, NULL);
    REQUIRE(ticks > 42, "the second thread never ran");
    REQUIRE(mine == 42 + (uint64_t)(steps * (steps - 1) / 2), "thread-local data");
    for (int i = 0; i < 200000; i++)
        REQUIRE(area[i] == 0x5c, "byte %d of the brk area", i);
    REQUIRE((char *)sbrk(0) >= brk_before + 200000, "the break went back");
    REQUIRE(strcmp(constant, "read-only data") == 0 && argv[argc] == NULL, "static data");
    d = digest_add(d, table, sizeof table);
    return guest_end(digest_u64(d, mine));
}
