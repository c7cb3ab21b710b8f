/* Children after a restart: the kernel may give one the id by which the program
 * knows itself. Says how often that happened. */
#include "guest.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static int collisions;

struct report { int id, real, parent, group; };

/* What /proc says of the calling process: the kernel's id. */
static int real_id(void)
{
	int id = 0;
	FILE *stat = fopen("/proc/self/stat", "r");
	CHECK(stat && fscanf(stat, "%d", &id) == 1);
	fclose(stat);
	return id;
}

static void report(int fd)
{
	setpgid(0, 0);
	struct report mine = {getpid(), real_id(), getppid(), getpgrp()};
	CHECK(write(fd, &mine, sizeof mine) == sizeof mine);
}

static void check(int child, int from)
{
	struct report its;
	siginfo_t info, end;
	int status;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	CHECK(child > 0 && child != getpid());
	CHECK(read(from, &its, sizeof its) == sizeof its);
	CHECK(its.id == child && its.parent == getpid() && its.group == child);
	CHECK(kill(child, 0) == 0 && getpgid(child) == child && kill(-child, 0) == 0);
	CHECK(sigwaitinfo(&set, &info) == SIGCHLD && info.si_pid == child);
	CHECK(waitid(P_PID, child, &end, WEXITED | WNOWAIT) == 0 && end.si_pid == child);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(kill(child, 0) == -1 && errno == ESRCH);
	collisions += its.real == getpid();
}

int main(int argc, char **argv)
{
	if (argc > 2) {
		report(atoi(argv[1]));
		return failures;
	}
	int fds[2];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct timespec t = {0, 300000000};
	nanosleep(&t, NULL); /* saved here */
	CHECK(pipe(fds) == 0);
	char number[16];
	snprintf(number, sizeof number, "%d", fds[1]);
	char *spawned[] = {argv[0], number, "child", NULL};
	for (int i = 0; i < 40; i++) {
		int child = fork();
		if (child == 0) {
			report(fds[1]);
			_exit(failures);
		}
		check(child, fds[0]);
	}
	for (int i = 0; i < (argc > 1 ? 0 : 40); i++) {
		int child;
		CHECK(posix_spawn(&child, argv[0], NULL, NULL, spawned, environ) == 0);
		check(child, fds[0]);
	}
	printf("collisions: %d\n", collisions);
	return finish();
}
