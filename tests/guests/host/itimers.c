/* The three interval timers and alarm(): what is armed stays armed with a
 * plausible rest, intervals go on, one-shots fire once. */
#include "../guest.h"
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
    return guest_end(d);
}
