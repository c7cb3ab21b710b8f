/* How threads are scheduled is the kernel's to keep, for each thread: policy, priority,
 * nice value, processors, and the priority of input and output. Every thread looks at its
 * own in every step. */
#define _GNU_SOURCE
#include "../guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { IO_BEST_EFFORT = 2 << 13, IO_IDLE = 3 << 13 };

struct wish {
    int policy, priority, nice, io, bound;
};

static volatile int stop;
static cpu_set_t all, lowest;

/* Sets all of it for the calling thread; a real-time policy where it is allowed. */
static void choose(struct wish *wish)
{
    struct sched_param param = {wish->priority};
    if (wish->policy == SCHED_RR && sched_setscheduler(0, SCHED_RR, &param) != 0) {
        wish->policy = SCHED_OTHER;
        wish->priority = 0;
    } else {
        REQUIRE(sched_setscheduler(0, wish->policy, &param) == 0, "policy %d", wish->policy);
    }
    REQUIRE(setpriority(PRIO_PROCESS, 0, wish->nice) == 0, "nice %d", wish->nice);
    REQUIRE(syscall(SYS_ioprio_set, 1, 0, wish->io) == 0, "ioprio %x", wish->io);
    if (wish->bound)
        REQUIRE(sched_setaffinity(0, sizeof lowest, &lowest) == 0, "affinity");
}

static void look(const struct wish *wish)
{
    struct sched_param param;
    cpu_set_t now;
    REQUIRE(sched_getscheduler(0) == wish->policy, "policy %d, was %d", sched_getscheduler(0), wish->policy);
    REQUIRE(sched_getparam(0, &param) == 0 && param.sched_priority == wish->priority, "priority %d", param.sched_priority);
    REQUIRE(getpriority(PRIO_PROCESS, 0) == wish->nice, "nice %d", getpriority(PRIO_PROCESS, 0));
    REQUIRE(syscall(SYS_ioprio_get, 1, 0) == wish->io, "ioprio %lx", syscall(SYS_ioprio_get, 1, 0));
    REQUIRE(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, wish->bound ? &lowest : &all), "%d processors",
            CPU_COUNT(&now));
}

static void *worker(void *arg)
{
    struct wish *wish = arg;
    choose(wish);
    while (!stop) {
        look(wish);
        pause_us(3000);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 400);
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, 0);
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0, "affinity");
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&lowest) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &lowest);
    struct wish wishes[] = {
        {SCHED_IDLE, 0, nice, IO_IDLE, 0},
        {SCHED_RR, 2, nice, IO_BEST_EFFORT | 3, 1},
        {SCHED_OTHER, 0, nice + 5, IO_BEST_EFFORT | 7, 1},
        {SCHED_BATCH, 0, nice + 3, IO_BEST_EFFORT | 5, 1},
    };
    enum { WORKERS = 3 };
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, worker, &wishes[i]) == 0, "pthread_create");
    choose(&wishes[WORKERS]);
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        look(&wishes[WORKERS]);
        d = digest_u64(d, mix64((uint64_t)s));
        pause_us(4000);
        progress(s, steps);
    }
    stop = 1;
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    return guest_end(d);
}
