/* Handlers on alternate stacks in two threads, nested handlers, siglongjmp out of
 * a handler, SIGSEGV repaired by its handler, and masks that survive. */
#define _GNU_SOURCE
#include "../guest.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { STACK = 64 * 1024, PAGES = 16 };

static __thread char *stack_base;
static __thread sigjmp_buf back;
static __thread volatile uint64_t nested, faults, jumps;
static char *guarded[2];
static long page;
static digest_t digests[2];
static long steps;

static int on_stack(const void *p) { return (const char *)p >= stack_base && (const char *)p < stack_base + STACK; }

static void inner(int sig)
{
    volatile int local = sig;
    REQUIRE(on_stack((void *)&local), "the nested handler left the alternate stack");
    nested++;
    pause_us(100); /* a checkpoint may find the thread here */
}

static void outer(int sig)
{
    volatile int local = sig;
    sigset_t mask;
    REQUIRE(on_stack((void *)&local), "the handler is not on the alternate stack");
    sigprocmask(SIG_SETMASK, NULL, &mask);
    REQUIRE(sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGUSR1), "the handler's mask");
    raise(SIGURG);
    pause_us(200);
}

static void jumper(int sig)
{
    (void)sig;
    jumps++;
    siglongjmp(back, 1);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    char *at = info->si_addr;
    REQUIRE(sig == SIGSEGV && on_stack(&at), "the fault handler is not on the alternate stack");
    REQUIRE(uc->uc_mcontext.gregs[REG_RIP] != 0, "the context");
    for (int i = 0; i < 2; i++)
        if (at >= guarded[i] && at < guarded[i] + PAGES * page) {
            REQUIRE(mprotect((char *)((uintptr_t)at & ~(uintptr_t)(page - 1)), (size_t)page, PROT_READ | PROT_WRITE) == 0,
                    "mprotect");
            faults++;
            return;
        }
    REQUIRE(0, "a fault at %p", (void *)at);
}

static void *run(void *arg)
{
    long id = (long)arg;
    stack_base = malloc(STACK);
    stack_t ss = {.ss_sp = stack_base, .ss_size = STACK}, seen;
    REQUIRE(sigaltstack(&ss, NULL) == 0, "sigaltstack");
    volatile digest_t d = DIGEST_START; /* lives across siglongjmp */
    for (long s = 0; s < steps; s++) {
        pthread_kill(pthread_self(), SIGUSR1);
        if (sigsetjmp(back, 1) == 0) {
            pthread_kill(pthread_self(), SIGUSR2);
            REQUIRE(0, "the handler came back");
        }
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        REQUIRE(!sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGUSR1), "the mask after a jump");
        REQUIRE(sigaltstack(NULL, &seen) == 0 && seen.ss_sp == (void *)stack_base && seen.ss_size == STACK, "sigaltstack");
        REQUIRE(mprotect(guarded[id], PAGES * (size_t)page, PROT_READ) == 0, "mprotect");
        for (int p = 0; p < PAGES; p++)
            guarded[id][p * page + s % page] = (char)mix64((uint64_t)(s + p));
        d = digest_add(d, guarded[id], 256);
        if (id == 0)
            progress(s, steps);
    }
    REQUIRE(nested == (uint64_t)steps && jumps == (uint64_t)steps, "%llu nested, %llu jumps",
            (unsigned long long)nested, (unsigned long long)jumps);
    REQUIRE(faults == (uint64_t)(steps * PAGES), "%llu faults", (unsigned long long)faults);
    digests[id] = digest_add(d, guarded[id], PAGES * (size_t)page);
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    steps = guest_steps(argc, argv, 1500);
    page = sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 2; i++) {
        guarded[i] = mmap(NULL, PAGES * (size_t)page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(guarded[i] != MAP_FAILED, "mmap");
    }
    struct sigaction action = {.sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    action.sa_handler = outer;
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = jumper;
    sigaction(SIGUSR2, &action, NULL);
    action.sa_handler = inner;
    sigaction(SIGURG, &action, NULL);
    action.sa_flags = SA_ONSTACK | SA_SIGINFO;
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, NULL);
    pthread_t threads[2];
    for (long i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, run, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return guest_end(digest_add(DIGEST_START, digests, sizeof digests));
}
