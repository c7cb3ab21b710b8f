/* Signals at 1 kHz: an interval timer, queued realtime signals between threads
 * (counted exactly, values in order), and system calls that are interrupted. */
#include "../guest.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms;
static volatile long queued_sum, queued_count, order_errors;
static siginfo_t wrong; /* the first one that was */
static long expected_value;
static volatile long targeted[3];
static pthread_t main_thread, sender_thread;
static volatile int stop;
static pid_t main_tid;

static void complain(const siginfo_t *info)
{
    if (order_errors++ == 0) {
        wrong = *info;
        expected_value = queued_count;
    }
}

static void on_alarm(int sig)
{
    (void)sig;
    alarms++;
}

static void on_queued(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (sig != SIGRTMIN + 3 || info->si_code != SI_QUEUE || info->si_pid != getpid() || info->si_uid != getuid() ||
        info->si_value.sival_int != (int)queued_count)
        complain(info);
    queued_sum += info->si_value.sival_int;
    queued_count++;
}

static void on_targeted(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code != SI_TKILL || info->si_pid != getpid() || !pthread_equal(pthread_self(), main_thread))
        complain(info);
    targeted[sig - (SIGRTMIN + 5)]++;
}

static void *send_all(void *arg)
{
    long steps = (long)arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (long s = 0; s < steps; s++) {
        union sigval value = {.sival_int = (int)s};
        while (sigqueue(getpid(), SIGRTMIN + 3, value) != 0) {
            REQUIRE(errno == EAGAIN, "sigqueue");
            pause_us(500);
        }
        REQUIRE(syscall(SYS_tgkill, getpid(), main_tid, SIGRTMIN + 5 + s % 3) == 0, "tgkill");
        pause_us(900);
    }
    stop = 1;
    return NULL;
}

/* A line for every twentieth, also when many signals came at once. */
static void show(long *shown, long steps)
{
    long every = steps / 20 > 0 ? steps / 20 : 1;
    for (long seen = queued_count; seen >= *shown + every;) {
        *shown += every;
        printf("step %ld of %ld\n", *shown, steps);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1500);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    main_thread = pthread_self();
    main_tid = (pid_t)syscall(SYS_gettid);
    sigaction(SIGALRM, &action, NULL);
    action = (struct sigaction){.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGRTMIN + 3, &action, NULL);
    action.sa_sigaction = on_targeted;
    for (int i = 0; i < 3; i++)
        sigaction(SIGRTMIN + 5 + i, &action, NULL);
    REQUIRE(pthread_create(&sender_thread, NULL, send_all, (void *)steps) == 0, "pthread_create");
    struct itimerval timer = {{0, 1000}, {0, 1000}};
    REQUIRE(setitimer(ITIMER_REAL, &timer, NULL) == 0, "setitimer");
    digest_t d = DIGEST_START;
    long shown = 0;
    double x = 1.0;
    while (!stop || queued_count < steps) {
        for (int i = 0; i < 2000; i++) /* floating-point state in a handler's way */
            x = x * 1.0000001 + 1e-9;
        show(&shown, steps);
        REQUIRE(order_errors == 0, "signal %d, code %d, pid %d (ours is %d), value %d, expected %ld", wrong.si_signo,
                wrong.si_code, wrong.si_pid, getpid(), wrong.si_value.sival_int, expected_value);
    }
    show(&shown, steps);
    pthread_join(sender_thread, NULL);
    /* The rest of the tgkill'ed ones is pending at most until the next system call. */
    while (targeted[0] + targeted[1] + targeted[2] < steps)
        pause_us(1000);
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    REQUIRE(queued_count == steps && queued_sum == steps * (steps - 1) / 2, "%ld queued signals, sum %ld",
            queued_count, queued_sum);
    REQUIRE(targeted[0] + targeted[1] + targeted[2] == steps, "targeted signals");
    REQUIRE(alarms > 0 && x > 1.0, "the timer never fired");
    d = digest_u64(d, (uint64_t)queued_sum);
    for (int i = 0; i < 3; i++)
        d = digest_u64(d, (uint64_t)targeted[i]);
    return guest_end(d);
}
