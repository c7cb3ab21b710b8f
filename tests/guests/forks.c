/* Children that are born while other threads are inside calls: of the driver's first call,
 * which loads it, and of a call that is writing a message to a standard error that nobody
 * reads. Each child makes calls of its own, and must come to its end. */
#define _GNU_SOURCE
#include "driver.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile pid_t caller;
static volatile int finished;
static pthread_barrier_t start;

/* Not every driver has these; gpuckpt names each once on standard error. */
static CUresult unsupported(const char *name)
{
    CUresult (*call)(void *, void *) = (CUresult(*)(void *, void *))dlsym(RTLD_DEFAULT, name);
    return call ? call(NULL, NULL) : 801;
}

static void *talks(void *arg)
{
    caller = (pid_t)syscall(SYS_gettid);
    unsupported("cuGraphCreate");
    finished = 1;
    return arg;
}

static void *initialises(void *arg)
{
    pthread_barrier_wait(&start);
    CU(cuInit(0));
    finished = 1;
    return arg;
}

/* True when the thread waits in a write to standard error. */
static int is_writing(pid_t thread)
{
    char path[64], line[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, line, sizeof line - 1) < 0)
            line[0] = 0;
        close(fd);
    }
    return strncmp(line, "1 0x2 ", 6) == 0;
}

static pid_t child(void)
{
    pid_t pid = fork();
    REQUIRE(pid >= 0, "fork");
    if (pid > 0)
        return pid;
    alarm(20); /* a child that hangs is killed, and seen */
    int null = open("/dev/null", O_WRONLY), version;
    dup2(null, 2);
    unsupported("cuArrayDestroy");
    cuDriverGetVersion(&version);
    _exit(7);
}

static void expect_end(pid_t pid)
{
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid, "waitpid");
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 7, "a child ended with status %x", status);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 20);
    load_driver();
    pthread_t thread;

    int keep = dup(2), ends[2];
    REQUIRE(keep >= 0 && pipe(ends) == 0, "pipe");
    REQUIRE(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
    char block[4096] = {0};
    while (write(ends[1], block, sizeof block) > 0)
        ;
    REQUIRE(fcntl(ends[1], F_SETFL, 0) == 0 && dup2(ends[1], 2) == 2, "a full pipe");
    REQUIRE(pthread_create(&thread, NULL, talks, NULL) == 0, "pthread_create");
    while (!finished && !(caller && is_writing(caller)))
        pause_us(500);
    pid_t born = child();
    int status;
    pid_t ended = waitpid(born, &status, 0);
    dup2(keep, 2);
    close(ends[1]);
    REQUIRE(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
    while (!finished) {
        if (read(ends[0], block, sizeof block) <= 0)
            pause_us(500);
    }
    pthread_join(thread, NULL);
    REQUIRE(ended == born && WIFEXITED(status) && WEXITSTATUS(status) == 7,
            "a child beside a full pipe ended with status %x", status);

    enum { MOST = 400 };
    static pid_t children[MOST];
    int count = 0;
    finished = 0;
    pthread_barrier_init(&start, NULL, 2);
    REQUIRE(pthread_create(&thread, NULL, initialises, NULL) == 0, "pthread_create");
    pthread_barrier_wait(&start);
    do
        children[count++] = child();
    while (!finished && count < MOST);
    pthread_join(thread, NULL);
    for (int i = 0; i < count; i++)
        expect_end(children[i]);

    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++)
        progress(s, steps);
    return guest_end(d);
}
