/* Holds one kernel object that cannot be saved, named by argv[2], for as long as
 * the file argv[3] exists; then lets it go, works on and ends. A checkpoint must
 * be refused while it is held, and possible afterwards. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 300);
    REQUIRE(argc > 3, "an object and a file as arguments");
    const char *object = argv[2], *held = argv[3];
    int fd = -1;
    pid_t child = 0;
    timer_t timer;
    int has_timer = 0;
    struct rlimit files = {0, 0};
    if (strcmp(object, "socket") == 0) {
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        REQUIRE(fd >= 0, "socket");
    } else if (strcmp(object, "listener") == 0) {
        struct sockaddr name = {.sa_family = AF_UNIX}; /* bound to a name of the kernel's choice */
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        REQUIRE(fd >= 0 && bind(fd, &name, sizeof name.sa_family) == 0 && listen(fd, 1) == 0, "a listener");
    } else if (strcmp(object, "timer") == 0) {
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        REQUIRE(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0, "timer_create");
        has_timer = 1;
    } else if (strcmp(object, "inotify") == 0) {
        fd = inotify_init1(IN_CLOEXEC);
        REQUIRE(fd >= 0 && inotify_add_watch(fd, "/tmp", IN_DELETE_SELF) >= 0, "inotify");
    } else if (strcmp(object, "memfd") == 0) {
        fd = memfd_create("guest", MFD_CLOEXEC);
        REQUIRE(fd >= 0 && write(fd, "content", 7) == 7, "memfd_create");
    } else if (strcmp(object, "deleted") == 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s.deleted", held);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        REQUIRE(fd >= 0 && write(fd, "content", 7) == 7 && unlink(path) == 0, "a deleted file");
    } else if (strcmp(object, "flock") == 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s.locked", held);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0 && flock(fd, LOCK_EX) == 0, "flock");
    } else if (strcmp(object, "child") == 0) {
        child = fork();
        REQUIRE(child >= 0, "fork");
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    } else if (strcmp(object, "limit") == 0) {
        REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0, "getrlimit");
        struct rlimit low = {16, files.rlim_max};
        REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0, "setrlimit");
    } else {
        REQUIRE(0, "unknown object %s", object);
    }
    printf("holding\n");
    fflush(stdout);
    digest_t d = DIGEST_START;
    while (access(held, F_OK) == 0)
        pause_us(2000);
    if (fd >= 0)
        close(fd);
    if (files.rlim_max > 0)
        REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
    if (has_timer)
        timer_delete(timer);
    if (child) {
        int status;
        REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child, "the child");
        REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child's status %x", status);
    }
    printf("let go\n");
    fflush(stdout);
    for (long s = 0; s < steps; s++) {
        d = digest_u64(d, mix64((uint64_t)s));
        pause_us(4000);
        progress(s, steps);
    }
    return guest_end(d);
}
