/* PIDs and TIDs stay what the program knew, and every call that takes or gives
 * one agrees: kill, tgkill, pthread_kill, pthread_cancel, thread CPU clocks,
 * affinity, robust mutexes, si_pid, recursive and error-checking mutexes. */
#define _GNU_SOURCE
#include "../guest.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t pid, main_tid, parent;
static volatile pid_t tids[2];
static volatile int stop;
static volatile long hits[2];
static pthread_mutex_t robust, recursive, checking;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    REQUIRE(info->si_pid == pid, "si_pid is %d", info->si_pid);
    for (int i = 0; i < 2; i++)
        if (syscall(SYS_gettid) == tids[i])
            hits[i]++;
}

static void *long_lived(void *arg)
{
    long id = (long)arg;
    tids[id] = (pid_t)syscall(SYS_gettid);
    while (!stop) {
        REQUIRE(syscall(SYS_gettid) == tids[id] && gettid() == tids[id] && getpid() == pid, "the thread's ids changed");
        for (volatile int i = 0; i < 20000; i++)
            ;
        pause_us(500);
    }
    return arg;
}

static volatile int cancel_ready;
static volatile int cleaned;
static void cleanup(void *arg) { cleaned += *(int *)arg; }

static void *to_cancel(void *arg)
{
    int one = 1;
    pthread_cleanup_push(cleanup, &one);
    cancel_ready = 1;
    if (arg) /* asynchronous: in a computation */
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;)
        if (!arg)
            pause_us(1000000);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *die_holding(void *arg)
{
    REQUIRE(pthread_mutex_lock(&robust) == 0, "lock");
    return arg;
}

static void init_mutex(pthread_mutex_t *m, int type, int robustness)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, type);
    pthread_mutexattr_setrobust(&a, robustness);
    pthread_mutex_init(m, &a);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 250);
    pid = getpid();
    main_tid = gettid();
    parent = getpgrp();
    pid_t session = getsid(0);
    REQUIRE(pid == main_tid, "the main thread's TID is not the PID");
    init_mutex(&robust, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
    init_mutex(&recursive, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
    init_mutex(&checking, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t threads[2];
    clockid_t clocks[2];
    struct timespec before[2], after;
    for (long i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, long_lived, (void *)i) == 0, "pthread_create");
        while (!tids[i])
            pause_us(100);
    }
    for (int i = 0; i < 2; i++)
        REQUIRE(tids[i] != pid && tids[i] > 0 && tids[0] != tids[1], "thread ids");
    pthread_mutex_lock(&recursive); /* held across every checkpoint */
    pthread_mutex_lock(&checking);
    cpu_set_t all, one;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0, "sched_getaffinity");
    long sent[2] = {0, 0};
    for (long s = 0; s < steps; s++) {
        int k = (int)(s % 2);
        REQUIRE(getpid() == pid && gettid() == main_tid, "ids changed: %d %d", getpid(), gettid());
        REQUIRE(getsid(0) == session || getsid(0) > 0, "getsid");
        long seen = hits[k];
        if (s % 4 < 2)
            REQUIRE(pthread_kill(threads[k], SIGUSR1) == 0, "pthread_kill");
        else
            REQUIRE(syscall(SYS_tgkill, pid, tids[k], SIGUSR1) == 0, "tgkill");
        sent[k]++;
        while (hits[k] == seen)
            pause_us(100);
        REQUIRE(kill(pid, 0) == 0, "kill(own pid, 0)");
        REQUIRE(pthread_mutex_lock(&recursive) == 0 && pthread_mutex_unlock(&recursive) == 0, "the recursive mutex");
        REQUIRE(pthread_mutex_lock(&checking) == EDEADLK, "the error-checking mutex forgot its owner");
        if (s % 5 == 0) { /* cancellation, deferred and asynchronous */
            pthread_t victim;
            void *result;
            int before_cleaned = cleaned;
            cancel_ready = 0;
            REQUIRE(pthread_create(&victim, NULL, to_cancel, s % 10 ? (void *)1 : NULL) == 0, "pthread_create");
            while (!cancel_ready)
                pause_us(100);
            pause_us(3000);
            REQUIRE(pthread_cancel(victim) == 0 && pthread_join(victim, &result) == 0, "pthread_cancel");
            REQUIRE(result == PTHREAD_CANCELED && cleaned == before_cleaned + 1, "the cancelled thread");
        }
        if (s % 5 == 1) { /* a thread dies with the robust mutex held */
            pthread_t victim;
            REQUIRE(pthread_create(&victim, NULL, die_holding, NULL) == 0 && pthread_join(victim, NULL) == 0, "a thread");
            REQUIRE(pthread_mutex_lock(&robust) == EOWNERDEAD, "EOWNERDEAD is lost");
            REQUIRE(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0, "consistent");
        }
        REQUIRE(pthread_getcpuclockid(threads[k], &clocks[k]) == 0 && clock_gettime(clocks[k], &before[k]) == 0,
                "the thread's CPU clock");
        CPU_ZERO(&one);
        int cpu = 0;
        while (!CPU_ISSET(cpu, &all))
            cpu++;
        CPU_SET(cpu, &one);
        REQUIRE(pthread_setaffinity_np(threads[k], sizeof one, &one) == 0, "pthread_setaffinity_np");
        REQUIRE(pthread_getaffinity_np(threads[k], sizeof one, &one) == 0 && CPU_COUNT(&one) == 1, "affinity");
        REQUIRE(pthread_setaffinity_np(threads[k], sizeof all, &all) == 0, "pthread_setaffinity_np");
        REQUIRE(sched_getscheduler(tids[k]) == SCHED_OTHER, "sched_getscheduler");
        pause_us(4000);
        REQUIRE(clock_gettime(clocks[k], &after) == 0, "the thread's CPU clock");
        progress(s, steps);
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    REQUIRE(hits[0] == sent[0] && hits[1] == sent[1], "%ld and %ld signals", hits[0], hits[1]);
    REQUIRE(pthread_mutex_unlock(&recursive) == 0 && pthread_mutex_unlock(&checking) == 0, "unlock by the owner");
    digest_t d = digest_u64(DIGEST_START, (uint64_t)hits[0] << 32 | (uint64_t)hits[1]);
    return guest_end(digest_u64(d, (uint64_t)cleaned));
}
