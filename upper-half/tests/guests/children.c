/* fork, vfork, posix_spawn, popen, system: statuses, errors, and nothing of
 * the child's signal actions in the parent. */
#include "guest.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static void expect_signal(int signal, void (*die)(void))
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		die();
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signal);
}

static void die_term(void) { raise(SIGTERM); }
static void die_fault(void) { *(volatile int *)0 = 1; }

int main(int argc, char **argv)
{
	(void)argv;
	if (argc == 2) /* started again by itself */
		return 42;
	for (int i = 0; i < 15; i++) {
		char *argv[] = {"true", NULL}, *again[] = {"again", "once", NULL}, line[100] = "";
		int status;
		pid_t child;
		CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ) == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, again, environ) == 0);
		CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42);
		int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		if ((child = fork()) == 0) {
			fexecve(self, again, environ);
			_exit(1);
		}
		CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 42);
		close(self);
		CHECK(posix_spawn(&child, "/nonexistent", NULL, NULL, argv, environ) == ENOENT);
		CHECK(posix_spawn(&child, "/etc/passwd", NULL, NULL, argv, environ) == EACCES);

		volatile int shared = 1;
		child = vfork();
		if (child == 0) {
			struct sigaction ignore = {.sa_handler = SIG_IGN};
			sigaction(SIGUSR1, &ignore, NULL);
			shared = 2;
			execl("/nonexistent", "x", (char *)NULL);
			_exit(errno == ENOENT ? 4 : 9);
		}
		CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 4);
		CHECK(shared == 2);
		struct sigaction action;
		sigaction(SIGUSR1, NULL, &action);
		CHECK(action.sa_handler == SIG_DFL);

		FILE *f = popen("echo hello; exit 3", "r");
		CHECK(fgets(line, sizeof line, f) && !strcmp(line, "hello\n"));
		CHECK(WEXITSTATUS(pclose(f)) == 3);
		CHECK(system("exit 6") == 6 << 8);
		expect_signal(SIGTERM, die_term);
		expect_signal(SIGSEGV, die_fault);
		expect_signal(SIGABRT, abort);
	}
	return finish();
}
