/* What the kernel keeps for a process and must be as it was: folder, umask,
 * limits, names, signal actions and masks, pending signals, nice, dumpable. */
#define _GNU_SOURCE
#include "../guest.h"
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile int stop;

static void handler(int sig, siginfo_t *info, void *context) { (void)sig, (void)info, (void)context; }

static void *named(void *arg)
{
    char name[16];
    pthread_setname_np(pthread_self(), "a thread's name");
    while (!stop) {
        pause_us(3000);
        pthread_getname_np(pthread_self(), name, sizeof name);
        REQUIRE(strcmp(name, "a thread's name") == 0, "%s", name);
    }
    return arg;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 400);
    REQUIRE(argc > 2 && chdir(argv[2]) == 0 && mkdir("inside", 0700) == 0 && chdir("inside") == 0, "a fresh folder");
    char cwd[4096], now[4096], name[17] = {0};
    REQUIRE(getcwd(cwd, sizeof cwd), "getcwd");
    umask(0137);
    struct rlimit files = {777, 4000}, seen;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &seen) == 0, "getrlimit");
    if (seen.rlim_max < files.rlim_max)
        files.rlim_max = seen.rlim_max;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
    struct rlimit core = {0, 0};
    REQUIRE(setrlimit(RLIMIT_CORE, &core) == 0, "setrlimit");
    REQUIRE(prctl(PR_SET_NAME, "main name") == 0 && prctl(PR_SET_TIMERSLACK, 123456ul) == 0, "prctl");
    REQUIRE(prctl(PR_SET_PDEATHSIG, SIGURG) == 0, "prctl");
    errno = 0;
    REQUIRE(nice(3) != -1 || errno == 0, "nice");
    int niceness = getpriority(PRIO_PROCESS, 0);

    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART}, old;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGHUP);
    sigaddset(&action.sa_mask, SIGRTMAX);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t mask, read_mask, pending;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 7);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    kill(getpid(), SIGUSR2); /* stays pending until the end */
    for (int i = 0; i < 3; i++)
        sigqueue(getpid(), SIGRTMIN + 7, (union sigval){.sival_int = 40 + i});
    pthread_sigqueue(pthread_self(), SIGRTMIN + 7, (union sigval){.sival_int = 50});

    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, named, NULL) == 0, "pthread_create");
    setenv("GUEST_SETS_THIS", "yes", 1);
    for (long s = 0; s < steps; s++) {
        REQUIRE(getcwd(now, sizeof now) && strcmp(now, cwd) == 0, "the folder is %s", now);
        mode_t m = umask(0137);
        REQUIRE(m == 0137, "umask %o", m);
        REQUIRE(getrlimit(RLIMIT_NOFILE, &seen) == 0 && seen.rlim_cur == 777 && seen.rlim_max == files.rlim_max, "limit %lu %lu",
                seen.rlim_cur, seen.rlim_max);
        REQUIRE(getrlimit(RLIMIT_CORE, &seen) == 0 && seen.rlim_cur == 0, "core limit");
        REQUIRE(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "main name") == 0, "name %s", name);
        REQUIRE(prctl(PR_GET_TIMERSLACK) == 123456, "timer slack %d", prctl(PR_GET_TIMERSLACK));
        int death = 0;
        REQUIRE(prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGURG, "the signal of the parent's death is %d", death);
        REQUIRE(getpriority(PRIO_PROCESS, 0) == niceness, "nice");
        REQUIRE(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_sigaction == handler &&
                    (old.sa_flags & (SA_SIGINFO | SA_NODEFER | SA_RESTART | SA_ONSTACK | (int)SA_RESETHAND)) ==
                        (SA_SIGINFO | SA_NODEFER | SA_RESTART) &&
                    sigismember(&old.sa_mask, SIGHUP) && sigismember(&old.sa_mask, SIGRTMAX) &&
                    !sigismember(&old.sa_mask, SIGINT),
                "the action of SIGUSR1");
        REQUIRE(sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_IGN, "SIGPIPE");
        REQUIRE(sigaction(SIGTERM, NULL, &old) == 0 && old.sa_handler == SIG_DFL, "SIGTERM");
        sigprocmask(SIG_SETMASK, NULL, &read_mask);
        for (int sig = 1; sig < 65; sig++)
            if (sig != 32 && sig != 33)
                REQUIRE(sigismember(&read_mask, sig) == (sig == SIGUSR2 || sig == SIGRTMIN + 7), "mask of %d", sig);
        sigpending(&pending);
        REQUIRE(sigismember(&pending, SIGUSR2) && sigismember(&pending, SIGRTMIN + 7) && !sigismember(&pending, SIGHUP),
                "pending signals");
        pause_us(4000);
        progress(s, steps);
    }
    stop = 1;
    pthread_join(thread, NULL);
    siginfo_t info;
    int seen_values = 0;
    for (int i = 0; i < 4; i++) { /* order within the process's own queue is kept */
        struct timespec none = {0, 0};
        REQUIRE(sigtimedwait(&mask, &info, &none) > 0, "pending signal %d is gone", i);
        if (info.si_signo == SIGUSR2) {
            i--;
            seen_values |= 16;
            continue;
        }
        REQUIRE(info.si_value.sival_int == 50 || info.si_value.sival_int == 40 + __builtin_popcount((unsigned)seen_values & 7),
                "value %d", info.si_value.sival_int);
        seen_values |= info.si_value.sival_int == 50 ? 8 : 1 << (info.si_value.sival_int - 40);
        REQUIRE(info.si_pid == getpid() && info.si_code == SI_QUEUE, "si_pid or si_code");
    }
    if (!(seen_values & 16)) {
        struct timespec none = {0, 0};
        REQUIRE(sigtimedwait(&mask, &info, &none) == SIGUSR2, "SIGUSR2 is gone");
    }
    REQUIRE((seen_values & 15) == 15, "values %x", seen_values);
    int fd = (chdir(".."), rmdir("inside"));
    REQUIRE(fd == 0, "rmdir");
    return guest_end(digest_u64(digest_add(DIGEST_START, name, strlen(name)), (uint64_t)(seen_values & 15)));
}
