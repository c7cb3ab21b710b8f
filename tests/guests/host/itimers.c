/* The three interval timers, alarm() and timers of timer_create: what is armed stays
 * armed with a plausible rest, intervals go on, one-shots fire once. */
#define _GNU_SOURCE
#include "../guest.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t real_ticks, virtual_ticks, prof_ticks;

static void on_tick(int sig)
{
    if (sig == SIGALRM)
        real_ticks++;
    else if (sig == SIGVTALRM)
        virtual_ticks++;
    else
        prof_ticks++;
}

static volatile long created_ticks, thread_ticks;

static void on_created(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    if (info->si_code == SI_TIMER && info->si_value.sival_int == 11)
        created_ticks++;
}

static void in_thread(union sigval value)
{
    if (value.sival_int == 12)
        __atomic_add_fetch(&thread_ticks, 1, __ATOMIC_SEQ_CST);
}

static timer_t create(clockid_t clock, int notify, int value)
{
    struct sigevent event = {.sigev_notify = notify, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = value};
    timer_t timer;
    if (notify == SIGEV_THREAD)
        event.sigev_notify_function = in_thread;
    REQUIRE(timer_create(clock, &event, &timer) == 0, "timer_create");
    return timer;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 150);
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGVTALRM, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    struct itimerval slow = {{0, 30000}, {0, 30000}}, read_back;
    setitimer(ITIMER_VIRTUAL, &slow, NULL);
    setitimer(ITIMER_PROF, &slow, NULL);
    struct sigaction created = {.sa_sigaction = on_created, .sa_flags = SA_RESTART | SA_SIGINFO};
    sigaction(SIGRTMIN + 1, &created, NULL);
    struct itimerspec fast = {{0, 20000000}, {0, 20000000}}, late = {{9, 0}, {20000, 0}}, short_one = {{0, 0}, {0, 6000000}},
                      rest;
    timer_t deleted = create(CLOCK_MONOTONIC, SIGEV_NONE, 0), thread = create(CLOCK_MONOTONIC, SIGEV_THREAD, 12);
    timer_t shot = create(CLOCK_REALTIME, SIGEV_SIGNAL, 11), once_in_thread = create(CLOCK_REALTIME, SIGEV_THREAD, 12);
    timer_t none = create(CLOCK_BOOTTIME, SIGEV_NONE, 0), cpu = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, 13);
    REQUIRE(timer_delete(deleted) == 0, "timer_delete");
    REQUIRE(timer_settime(none, 0, &late, NULL) == 0 && timer_settime(cpu, 0, &fast, NULL) == 0, "timer_settime");
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        /* One shot: it must end the pause, exactly once. */
        int before = real_ticks;
        struct itimerval once = {{0, 0}, {0, 8000}};
        double begin = now_s();
        setitimer(ITIMER_REAL, &once, NULL);
        while (real_ticks == before)
            d = mix64(d);
        d = digest_u64(DIGEST_START, (uint64_t)s);
        REQUIRE(now_s() - begin >= 0.0075, "the timer fired after %f s", now_s() - begin);
        REQUIRE(real_ticks == before + 1, "fired %d times", real_ticks - before);
        getitimer(ITIMER_REAL, &read_back);
        REQUIRE(read_back.it_value.tv_sec == 0 && read_back.it_value.tv_usec == 0, "a one-shot is still armed");
        /* One shot each of timers that were created, one tells a thread. */
        long ticks = created_ticks, told = thread_ticks;
        REQUIRE(timer_settime(shot, 0, &short_one, NULL) == 0 && timer_settime(once_in_thread, 0, &short_one, NULL) == 0,
                "timer_settime");
        for (begin = now_s(); (created_ticks == ticks || thread_ticks == told) && now_s() - begin < 20;)
            pause_us(1000);
        REQUIRE(created_ticks == ticks + 1 && thread_ticks == told + 1, "%ld and %ld of one tick",
                created_ticks - ticks, thread_ticks - told);
        REQUIRE(timer_gettime(none, &rest) == 0 && rest.it_value.tv_sec > 19000 && rest.it_interval.tv_sec == 9,
                "rest %ld", (long)rest.it_value.tv_sec);
        /* A long one keeps most of its rest. */
        struct itimerval far = {{7, 0}, {10000, 0}};
        setitimer(ITIMER_REAL, &far, NULL);
        pause_us(2000);
        getitimer(ITIMER_REAL, &read_back);
        REQUIRE(read_back.it_value.tv_sec > 9000 && read_back.it_value.tv_sec <= 10000 && read_back.it_interval.tv_sec == 7,
                "rest %ld, interval %ld", (long)read_back.it_value.tv_sec, (long)read_back.it_interval.tv_sec);
        getitimer(ITIMER_VIRTUAL, &read_back);
        REQUIRE(read_back.it_interval.tv_usec == 30000, "the virtual timer's interval");
        progress(s, steps);
    }
    REQUIRE(virtual_ticks > 0 && prof_ticks > 0, "%d virtual and %d profiling ticks", virtual_ticks, prof_ticks);
    long told = thread_ticks;
    REQUIRE(timer_settime(thread, 0, &fast, NULL) == 0, "timer_settime");
    for (double begin = now_s(); thread_ticks < told + 3 && now_s() - begin < 20;)
        pause_us(1000);
    REQUIRE(thread_ticks >= told + 3, "a thread is told only %ld times", thread_ticks - told);
    return guest_end(d);
}
