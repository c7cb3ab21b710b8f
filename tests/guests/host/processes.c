/* Everything that makes a process or becomes another program: fork, vfork,
 * posix_spawn, system, popen, execve with and without a search, chains of execs,
 * orphans and zombies; each child says who it is by its exit status. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *self;

static int status_of(pid_t child)
{
    int status;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child, "waitpid");
    REQUIRE(WIFEXITED(status), "a child ended with status %x", status);
    return WEXITSTATUS(status);
}

static void *thread_in_child(void *arg) { return (char *)arg + 1; }

/* Runs itself as "chain N": N more execs, then exit 40 + the number done. */
static int chain(int left, int done)
{
    char l[16], n[16];
    if (left == 0)
        return 40 + done;
    snprintf(l, sizeof l, "%d", left - 1);
    snprintf(n, sizeof n, "%d", done + 1);
    execl(self, self, "chain", l, n, (char *)NULL);
    return 1;
}

int main(int argc, char **argv)
{
    self = "/proc/self/exe";
    static char path[4096];
    REQUIRE(readlink(self, path, sizeof path - 1) > 0, "readlink /proc/self/exe");
    self = path;
    REQUIRE(strstr(path, "processes"), "/proc/self/exe is %s", path);
    if (argc > 3 && strcmp(argv[1], "chain") == 0)
        return chain(atoi(argv[2]), atoi(argv[3]));
    if (argc > 2 && strcmp(argv[1], "echo") == 0) {
        REQUIRE(getenv("GUEST_VARIABLE") && strcmp(getenv("GUEST_VARIABLE"), argv[2]) == 0, "the environment");
        return 7;
    }
    long steps = guest_steps(argc, argv, 20);
    volatile digest_t d = DIGEST_START; /* lives across vfork */
    for (long s = 0; s < steps; s++) {
        int key = (int)(mix64((uint64_t)s) % 100);
        pid_t child = fork();
        if (child == 0) { /* a child with a thread of its own, that forks again */
            pthread_t t;
            void *result;
            if (getppid() <= 1 || pthread_create(&t, NULL, thread_in_child, (void *)(long)key) != 0)
                _exit(250);
            pthread_join(t, &result);
            pid_t grandchild = fork();
            if (grandchild == 0)
                _exit((int)(long)result);
            int status;
            waitpid(grandchild, &status, 0);
            _exit(WEXITSTATUS(status) + 1);
        }
        REQUIRE(status_of(child) == key + 2, "fork");
        volatile int before = key;
        child = vfork();
        if (child == 0) {
            before = key + 1; /* seen by the parent: one memory */
            _exit(key);
        }
        REQUIRE(status_of(child) == key && before == key + 1, "vfork");
        child = vfork();
        if (child == 0) {
            execl(self, self, "chain", "2", "0", (char *)NULL);
            _exit(251);
        }
        REQUIRE(status_of(child) == 42, "vfork and exec");
        char value[16];
        snprintf(value, sizeof value, "%d", key);
        setenv("GUEST_VARIABLE", value, 1);
        char *args[] = {path, "echo", value, NULL};
        REQUIRE(posix_spawn(&child, path, NULL, NULL, args, environ) == 0 && status_of(child) == 7, "posix_spawn");
        REQUIRE(posix_spawnp(&child, "no-such-program-anywhere", NULL, NULL, args, environ) == ENOENT, "posix_spawnp");
        int status = system("test \"$GUEST_VARIABLE\" = \"$(echo $GUEST_VARIABLE | cat)\" && exit 9");
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 9, "system");
        FILE *p = popen("echo from a pipe; exit 3", "r");
        char line[64] = "";
        REQUIRE(p && fgets(line, sizeof line, p) && strcmp(line, "from a pipe\n") == 0, "popen gave %s", line);
        REQUIRE(WEXITSTATUS(pclose(p)) == 3, "pclose");
        REQUIRE(execl("/no/such/file", "x", (char *)NULL) == -1 && errno == ENOENT, "execl of nothing");
        REQUIRE(execl("/etc/passwd", "x", (char *)NULL) == -1 && errno == EACCES, "execl of a text");
        child = fork();
        if (child == 0) {
            raise(SIGTERM);
            _exit(1);
        }
        REQUIRE(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "a signal's status");
        d = digest_u64(d, (uint64_t)key);
        progress(s, steps);
    }
    REQUIRE(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "children are left");
    return guest_end(d);
}
