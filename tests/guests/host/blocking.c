/* A thread in each kind of blocking call. Nothing wakes a thread but what it
 * waits for: EINTR, an early return or a spurious result is a failure; so is a
 * wait that comes out far too long. Half of the waits have a timeout that runs
 * out, the others end when the main thread feeds them. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static long steps;
static volatile int stop;
/* A wait of WAIT_US; a checkpoint and a restart may lengthen it, never shorten. */
enum { WAIT_US = 40000, SLACK_US = 500 };
static const double TOO_LONG = 120.0;

struct waiter {
    const char *name;
    /* One wait: returns 0 when it ended as it must. */
    int (*timed)(struct waiter *);
    int (*fed)(struct waiter *);
    void (*feed)(struct waiter *);
    int in, out;
    sem_t sem, ready;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    volatile int flag;
    volatile uint32_t word;
    volatile long fed_times, timed_out;
    pthread_t thread;
    volatile pid_t tid;
};

static struct timespec in_us(clockid_t clock, long us)
{
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_nsec += us * 1000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static const struct timespec interval = {0, WAIT_US * 1000};

static int take_byte(struct waiter *w)
{
    char c;
    return read(w->in, &c, 1) == 1 && c == 'x' ? 0 : -1;
}

static void give_byte(struct waiter *w) { REQUIRE(write(w->out, "x", 1) == 1, "write"); }

/* descriptors */
static int readv_fed(struct waiter *w)
{
    char c = 0;
    struct iovec v = {&c, 1};
    return readv(w->in, &v, 1) == 1 && c == 'x' ? 0 : -1;
}
static int poll_timed(struct waiter *w)
{
    struct pollfd p = {w->in, POLLIN, 0};
    return poll(&p, 1, WAIT_US / 1000) == 0 ? 0 : -1;
}
static int poll_fed(struct waiter *w)
{
    struct pollfd p = {w->in, POLLIN, 0};
    return poll(&p, 1, -1) == 1 && p.revents == POLLIN ? take_byte(w) : -1;
}
static int ppoll_timed(struct waiter *w)
{
    struct pollfd p = {w->in, POLLIN, 0};
    sigset_t mask;
    sigfillset(&mask);
    return ppoll(&p, 1, &interval, &mask) == 0 ? 0 : -1;
}
static int ppoll_fed(struct waiter *w)
{
    struct pollfd p = {w->in, POLLIN, 0};
    sigset_t mask;
    sigfillset(&mask);
    return ppoll(&p, 1, NULL, &mask) == 1 ? take_byte(w) : -1;
}
static int select_timed(struct waiter *w)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(w->in, &set);
    struct timeval t = {0, WAIT_US};
    return select(w->in + 1, &set, NULL, NULL, &t) == 0 && t.tv_sec == 0 && t.tv_usec == 0 ? 0 : -1;
}
static int select_fed(struct waiter *w)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(w->in, &set);
    return select(w->in + 1, &set, NULL, NULL, NULL) == 1 && FD_ISSET(w->in, &set) ? take_byte(w) : -1;
}
static int pselect_timed(struct waiter *w)
{
    fd_set set;
    sigset_t mask;
    FD_ZERO(&set);
    FD_SET(w->in, &set);
    sigfillset(&mask);
    return pselect(w->in + 1, &set, NULL, NULL, &interval, &mask) == 0 ? 0 : -1;
}
static int pselect_fed(struct waiter *w)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(w->in, &set);
    return pselect(w->in + 1, &set, NULL, NULL, NULL, NULL) == 1 ? take_byte(w) : -1;
}

static int epoll_of(struct waiter *w)
{
    if (w->word == 0) {
        struct epoll_event e = {.events = EPOLLIN, .data.fd = w->in};
        w->word = (uint32_t)epoll_create1(0);
        REQUIRE(epoll_ctl((int)w->word, EPOLL_CTL_ADD, w->in, &e) == 0, "epoll_ctl");
    }
    return (int)w->word;
}
static int epoll_timed(struct waiter *w)
{
    struct epoll_event e;
    return epoll_wait(epoll_of(w), &e, 1, WAIT_US / 1000) == 0 ? 0 : -1;
}
static int epoll_fed(struct waiter *w)
{
    struct epoll_event e;
    return epoll_wait(epoll_of(w), &e, 1, -1) == 1 && e.data.fd == w->in ? take_byte(w) : -1;
}
static int epoll_p_timed(struct waiter *w)
{
    struct epoll_event e;
    sigset_t mask;
    sigfillset(&mask);
    return epoll_pwait(epoll_of(w), &e, 1, WAIT_US / 1000, &mask) == 0 ? 0 : -1;
}
static int epoll_p_fed(struct waiter *w)
{
    struct epoll_event e;
    sigset_t mask;
    sigfillset(&mask);
    return epoll_pwait(epoll_of(w), &e, 1, -1, &mask) == 1 ? take_byte(w) : -1;
}
static int eventfd_fed(struct waiter *w)
{
    uint64_t v;
    return read(w->in, &v, sizeof v) == sizeof v && v == 3 ? 0 : -1;
}
static void eventfd_feed(struct waiter *w)
{
    uint64_t v = 3;
    REQUIRE(write(w->in, &v, sizeof v) == sizeof v, "write to the eventfd");
}
static int timerfd_timed(struct waiter *w)
{
    uint64_t v;
    struct itimerspec t = {{0, 0}, interval};
    REQUIRE(timerfd_settime(w->in, 0, &t, NULL) == 0, "timerfd_settime");
    return read(w->in, &v, sizeof v) == sizeof v && v == 1 ? 0 : -1;
}
static int writer_fed(struct waiter *w) /* blocks because the pipe is full */
{
    static char page[4096];
    int n;
    fcntl(w->out, F_SETFL, O_NONBLOCK);
    do
        n = (int)write(w->out, page, sizeof page);
    while (n > 0);
    fcntl(w->out, F_SETFL, 0);
    sem_post(&w->ready);
    return write(w->out, page, sizeof page) == sizeof page ? 0 : -1;
}
static void writer_feed(struct waiter *w)
{
    char page[4096];
    sem_wait(&w->ready);
    pause_us(1000);
    REQUIRE(read(w->in, page, sizeof page) == sizeof page, "read of a page");
}

/* sleeping */
static int nanosleep_timed(struct waiter *w)
{
    (void)w;
    return nanosleep(&interval, NULL);
}
static int nanosleep_rest_timed(struct waiter *w) /* with a place for the rest */
{
    (void)w;
    struct timespec rest = {7, 7};
    return nanosleep(&interval, &rest);
}
static int clock_relative_timed(struct waiter *w)
{
    (void)w;
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &interval, NULL);
}
static int clock_absolute_timed(struct waiter *w)
{
    (void)w;
    struct timespec t = in_us(CLOCK_MONOTONIC, WAIT_US);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}
static int clock_realtime_timed(struct waiter *w)
{
    (void)w;
    struct timespec t = in_us(CLOCK_REALTIME, WAIT_US);
    return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
}

/* futexes */
static int mutex_fed(struct waiter *w) /* the feeder holds it for a while */
{
    sem_wait(&w->ready);
    int r = pthread_mutex_lock(&w->mutex);
    w->flag = 0;
    pthread_mutex_unlock(&w->mutex);
    return r;
}
static void mutex_feed(struct waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    w->flag = 1;
    sem_post(&w->ready);
    pause_us(3000);
    pthread_mutex_unlock(&w->mutex);
    while (w->flag)
        pause_us(200);
}
static int mutex_timed(struct waiter *w)
{
    struct timespec t = in_us(CLOCK_REALTIME, WAIT_US);
    return pthread_mutex_timedlock(&w->mutex, &t) == ETIMEDOUT ? 0 : -1;
}
static int cond_fed(struct waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    while (!w->flag)
        pthread_cond_wait(&w->cond, &w->mutex);
    w->flag = 0;
    pthread_mutex_unlock(&w->mutex);
    return 0;
}
static void cond_feed(struct waiter *w)
{
    pthread_mutex_lock(&w->mutex);
    w->flag = 1;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mutex);
}
static int cond_timed(struct waiter *w)
{
    struct timespec t = in_us(CLOCK_REALTIME, WAIT_US);
    int r;
    pthread_mutex_lock(&w->mutex);
    do
        r = pthread_cond_timedwait(&w->cond, &w->mutex, &t);
    while (r == 0 && !w->flag);
    pthread_mutex_unlock(&w->mutex);
    return r == ETIMEDOUT ? 0 : -1;
}
static int sem_fed(struct waiter *w) { return sem_wait(&w->sem); }
static void sem_feed(struct waiter *w) { sem_post(&w->sem); }
static int sem_timed(struct waiter *w)
{
    struct timespec t = in_us(CLOCK_REALTIME, WAIT_US);
    return sem_timedwait(&w->sem, &t) == -1 && errno == ETIMEDOUT ? 0 : -1;
}
static int futex_timed(struct waiter *w) /* the bare call, relative timeout */
{
    return syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, 0, &interval, NULL, 0) == -1 && errno == ETIMEDOUT ? 0 : -1;
}
static int futex_bitset_timed(struct waiter *w) /* absolute, monotonic */
{
    struct timespec t = in_us(CLOCK_MONOTONIC, WAIT_US);
    return syscall(SYS_futex, &w->word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY) == -1 &&
                   errno == ETIMEDOUT
               ? 0
               : -1;
}
static int futex_fed(struct waiter *w)
{
    while (w->word == 0)
        if (syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) != 0 && errno != EAGAIN)
            return -1;
    w->word = 0;
    return 0;
}
static void futex_feed(struct waiter *w)
{
    w->word = 1;
    syscall(SYS_futex, &w->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* signals: blocked everywhere, taken synchronously by their own thread */
static sigset_t one(int sig)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    return set;
}
static int sigwait_fed(struct waiter *w)
{
    (void)w;
    sigset_t set = one(SIGUSR1);
    int sig;
    return sigwait(&set, &sig) == 0 && sig == SIGUSR1 ? 0 : -1;
}
static void sigwait_feed(struct waiter *w) { pthread_kill(w->thread, SIGUSR1); }
static int sigwaitinfo_fed(struct waiter *w)
{
    (void)w;
    sigset_t set = one(SIGRTMIN + 4);
    siginfo_t info;
    return sigwaitinfo(&set, &info) == SIGRTMIN + 4 && info.si_value.sival_int == 77 ? 0 : -1;
}
static void sigwaitinfo_feed(struct waiter *w)
{
    pthread_sigqueue(w->thread, SIGRTMIN + 4, (union sigval){.sival_int = 77});
}
static int sigtimedwait_timed(struct waiter *w)
{
    (void)w;
    sigset_t set = one(SIGUSR2);
    return sigtimedwait(&set, NULL, &interval) == -1 && errno == EAGAIN ? 0 : -1;
}
static __thread volatile sig_atomic_t handled;
static void on_signal(int sig) { handled = sig; }
static int pause_fed(struct waiter *w)
{
    sigset_t set = one(SIGURG);
    /* One signal more may be left of the last time: it must not end this one unfed. */
    while (!w->flag)
        pause_us(200);
    handled = 0;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    /* The signal may have come before the pause: the feeder repeats it. */
    int r = handled ? -1 : pause();
    int e = errno;
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    w->flag = 0;
    return r == -1 && (handled == SIGURG) && (e == EINTR || handled) ? 0 : -1;
}
static void pause_feed(struct waiter *w)
{
    w->flag = 1;
    while (w->flag) {
        pthread_kill(w->thread, SIGURG);
        pause_us(2000);
    }
}
static int sigsuspend_fed(struct waiter *w)
{
    (void)w;
    sigset_t mask;
    sigfillset(&mask);
    sigdelset(&mask, SIGIO);
    handled = 0;
    return sigsuspend(&mask) == -1 && errno == EINTR && handled == SIGIO ? 0 : -1;
}
static void sigsuspend_feed(struct waiter *w) { pthread_kill(w->thread, SIGIO); }

#define PIPE_WAITER(n) {.name = #n, .timed = n##_timed, .fed = n##_fed, .feed = give_byte, .in = -1}
static struct waiter waiters[] = {
    {.name = "read", .fed = take_byte, .feed = give_byte, .in = -1},
    {.name = "readv", .fed = readv_fed, .feed = give_byte, .in = -1},
    {.name = "write", .fed = writer_fed, .feed = writer_feed, .in = -1},
    PIPE_WAITER(poll),
    PIPE_WAITER(ppoll),
    PIPE_WAITER(select),
    PIPE_WAITER(pselect),
    PIPE_WAITER(epoll),
    PIPE_WAITER(epoll_p),
    {.name = "eventfd", .fed = eventfd_fed, .feed = eventfd_feed, .in = -2},
    {.name = "timerfd", .timed = timerfd_timed, .in = -3},
    {.name = "nanosleep", .timed = nanosleep_timed},
    {.name = "nanosleep with a rest", .timed = nanosleep_rest_timed},
    {.name = "clock_nanosleep relative", .timed = clock_relative_timed},
    {.name = "clock_nanosleep absolute", .timed = clock_absolute_timed},
    {.name = "clock_nanosleep realtime", .timed = clock_realtime_timed},
    {.name = "mutex", .fed = mutex_fed, .feed = mutex_feed},
    {.name = "timed mutex", .timed = mutex_timed},
    {.name = "condition", .fed = cond_fed, .feed = cond_feed},
    {.name = "timed condition", .timed = cond_timed},
    {.name = "semaphore", .fed = sem_fed, .feed = sem_feed, .timed = NULL},
    {.name = "timed semaphore", .timed = sem_timed},
    {.name = "futex", .fed = futex_fed, .feed = futex_feed},
    {.name = "timed futex", .timed = futex_timed},
    {.name = "futex bitset", .timed = futex_bitset_timed},
    {.name = "sigwait", .fed = sigwait_fed, .feed = sigwait_feed},
    {.name = "sigwaitinfo", .fed = sigwaitinfo_fed, .feed = sigwaitinfo_feed},
    {.name = "sigtimedwait", .timed = sigtimedwait_timed},
    {.name = "pause", .fed = pause_fed, .feed = pause_feed},
    {.name = "sigsuspend", .fed = sigsuspend_fed, .feed = sigsuspend_feed},
};
enum { WAITERS = sizeof waiters / sizeof waiters[0] };

static void *run(void *arg)
{
    struct waiter *w = arg;
    for (long s = 0; s < steps; s++) {
        if (w->timed) {
            double begin = now_s();
            errno = 0;
            REQUIRE(w->timed(w) == 0, "%s: the timed wait ended wrongly", w->name);
            double took = now_s() - begin;
            REQUIRE(took >= (WAIT_US - SLACK_US) * 1e-6 && took < TOO_LONG, "%s: waited %f s", w->name, took);
            w->timed_out++;
        }
        if (w->fed) {
            errno = 0;
            REQUIRE(w->fed(w) == 0, "%s: the wait ended wrongly", w->name);
            w->fed_times++;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    steps = guest_steps(argc, argv, 25);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGURG, &action, NULL);
    sigaction(SIGIO, &action, NULL);
    for (int i = 0; i < WAITERS; i++) {
        struct waiter *w = &waiters[i];
        int ends[2];
        if (w->in == -1) {
            REQUIRE(pipe(ends) == 0, "pipe");
            w->in = ends[0], w->out = ends[1];
        } else if (w->in == -2) {
            w->in = eventfd(0, 0);
        } else if (w->in == -3) {
            w->in = timerfd_create(CLOCK_MONOTONIC, 0);
        }
        sem_init(&w->sem, 0, 0);
        sem_init(&w->ready, 0, 0);
        pthread_mutex_init(&w->mutex, NULL);
        pthread_cond_init(&w->cond, NULL);
        if (w->timed == mutex_timed)
            pthread_mutex_lock(&w->mutex); /* for ever */
        REQUIRE(pthread_create(&w->thread, NULL, run, w) == 0, "pthread_create");
    }
    for (long s = 0; s < steps; s++) {
        double begin = now_s();
        for (int i = 0; i < WAITERS; i++) {
            struct waiter *w = &waiters[i];
            if (!w->fed)
                continue;
            while (w->timed && w->timed_out <= s) /* never fed before its timeout ran out */
                pause_us(500);
            w->feed(w);
            while (w->fed_times <= s)
                pause_us(200);
        }
        while (now_s() - begin < 0.09)
            pause_us(1000);
        progress(s, steps);
    }
    digest_t d = DIGEST_START;
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(waiters[i].thread, NULL);
        d = digest_add(d, waiters[i].name, strlen(waiters[i].name));
        d = digest_u64(d, (uint64_t)waiters[i].fed_times * 1000 + (uint64_t)waiters[i].timed_out);
    }
    return guest_end(d);
}
