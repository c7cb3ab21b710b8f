/* One kind of call in a loop, as argv[1] says; prints nanoseconds a call. */
#define _GNU_SOURCE
#include "../../tests/guests/guest.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void *nothing(void *arg) { return arg; }

static void malloc_loop(long n)
{
    void *live[256] = {0};
    for (long i = 0; i < n; i++) {
        uint64_t r = mix64((uint64_t)i);
        free(live[r % 256]);
        live[r % 256] = malloc(16 + (r >> 32) % 2000);
        REQUIRE(live[r % 256], "malloc");
        *(char *)live[r % 256] = 1;
    }
    for (int i = 0; i < 256; i++)
        free(live[i]);
}

static void read_byte(long n)
{
    char c;
    int fd = open("/dev/zero", O_RDONLY);
    for (long i = 0; i < n; i++)
        REQUIRE(read(fd, &c, 1) == 1, "read");
    close(fd);
}

static void *idle(void *arg)
{
    pause();
    return arg;
}

/* With a second thread the kernel counts references to descriptors. */
static void read_threaded(long n)
{
    static pthread_t second;
    if (second == 0)
        REQUIRE(pthread_create(&second, NULL, idle, NULL) == 0, "a second thread");
    read_byte(n);
}

/* What the least of all filters costs: it allows everything. */
static void read_filtered(long n)
{
    static int installed;
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {1, &allow};
    if (!installed) {
        REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
        REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) == 0, "a filter");
    }
    installed = 1;
    read_byte(n);
}

static void clock_loop(long n)
{
    struct timespec t;
    for (long i = 0; i < n; i++)
        clock_gettime(CLOCK_MONOTONIC, &t);
}

static void open_close(long n)
{
    for (long i = 0; i < n; i++) {
        int fd = open("/dev/null", O_RDONLY);
        REQUIRE(fd >= 0 && close(fd) == 0, "open and close");
    }
}

static void fork_wait(long n)
{
    for (long i = 0; i < n; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        REQUIRE(child > 0 && waitpid(child, NULL, 0) == child, "fork and wait");
    }
}

static void create_join(long n)
{
    for (long i = 0; i < n; i++) {
        pthread_t t;
        REQUIRE(pthread_create(&t, NULL, nothing, NULL) == 0 && pthread_join(t, NULL) == 0, "create and join");
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(long);
        long n;
    } kinds[] = {
        {"malloc", malloc_loop, 3000000}, {"read", read_byte, 1000000}, {"clock", clock_loop, 5000000},
        {"open", open_close, 150000},     {"fork", fork_wait, 300},     {"thread", create_join, 5000},
        {"read-threaded", read_threaded, 1000000}, {"read-filtered", read_filtered, 1000000},
    };
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[1], kinds[i].name) == 0) {
            kinds[i].run(kinds[i].n / 50 + 1);
            double begin = now_s();
            kinds[i].run(kinds[i].n);
            printf("%.3f\n", (now_s() - begin) * 1e9 / (double)kinds[i].n);
            return 0;
        }
    return argc > 1 && strcmp(argv[1], "trivial") == 0 ? 0 : 2;
}
