/* Children after a restart: the kernel may give one the id by which the program
 * knows itself or a thread. Says when that happened. */
#include "guest.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
#define THREADS 12
static int collisions;
static volatile int tids[THREADS];
static const struct timespec while_saved = {0, 300000000};

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

/* Looks at a child from its birth to its end; the kernel's id of it. */
static int check(int child, int from)
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
	for (int i = 0; i < THREADS; i++)
		collisions += its.real == tids[i];
	return its.real;
}

static void *idle(void *argument)
{
	nanosleep(&while_saved, NULL);
	*(volatile int *)argument = syscall(SYS_gettid);
	for (;;)
		pause();
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
	for (int i = 0; i < THREADS; i++) {
		pthread_t t;
		CHECK(pthread_create(&t, NULL, idle, (void *)&tids[i]) == 0);
	}
	nanosleep(&while_saved, NULL);
	for (int i = 0; i < THREADS; i++)
		while (tids[i] == 0)
			usleep(1000);
	CHECK(pipe(fds) == 0);
	char number[16];
	snprintf(number, sizeof number, "%d", fds[1]);
	char *spawned[] = {argv[0], number, "child", NULL};
	/* The kernel's ids go up: until they have passed those of the program. */
	int last = getpid() + 3 * THREADS, first_spawned = argc > 1 ? last : getpid() - 20;
	for (int i = 0, real = 0; i < 5000 && real < last; i++) {
		int child;
		if (real >= first_spawned) {
			CHECK(posix_spawn(&child, argv[0], NULL, NULL, spawned, environ) == 0);
		} else if ((child = fork()) == 0) {
			report(fds[1]);
			_exit(failures);
		}
		real = check(child, fds[0]);
	}
	puts(collisions ? "collided" : "did not collide");
	return finish();
}
