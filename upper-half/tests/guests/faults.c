/* Bad addresses given to system calls: EFAULT, as natively, and nothing else
 * happens. All calls are made raw: the C library would look at some itself. */
#include "guest.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

static char *none, *readonly, *edge, *page;
static long code(long r) { return r == -1 ? -errno : r; }
#define SHOW(...) printf("%s: %ld\n", #__VA_ARGS__, code(syscall(__VA_ARGS__)))

static void bad(char *p)
{
	struct timespec t = {0, 1000000};
	long set[16] = {0};
	struct { void *mask; long size; } pair = {p, 8};
	char *argv[] = {"x", p, NULL}, *plain[] = {"x", NULL};
	char buffer[64];
	int epoll = epoll_create1(0);
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, p, NULL, 8);
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, p, 8);
	SHOW(SYS_rt_sigaction, SIGUSR1, p, NULL, 8);
	SHOW(SYS_rt_sigaction, SIGUSR1, NULL, p, 8);
	SHOW(SYS_rt_sigsuspend, p, 8);
	SHOW(SYS_rt_sigtimedwait, p, NULL, &t, 8);
	SHOW(SYS_rt_sigtimedwait, set, NULL, p, 8);
	SHOW(SYS_ppoll, NULL, 0, &t, p, 8);
	SHOW(SYS_pselect6, 0, NULL, NULL, NULL, &t, p);
	SHOW(SYS_pselect6, 0, NULL, NULL, NULL, &t, &pair);
	SHOW(SYS_epoll_pwait, epoll, buffer, 1, 1, p, 8);
	SHOW(SYS_signalfd4, -1, p, 8, 0);
	SHOW(SYS_readlink, p, buffer, sizeof buffer);
	SHOW(SYS_readlink, "/proc/self/exe", p, 64);
	SHOW(SYS_readlinkat, AT_FDCWD, p, buffer, sizeof buffer);
	SHOW(SYS_execve, p, plain, NULL);
	SHOW(SYS_execve, "/bin/true", p, NULL);
	SHOW(SYS_execve, "/bin/true", argv, NULL);
	SHOW(SYS_execve, "/bin/true", plain, p);
	SHOW(SYS_execveat, AT_FDCWD, p, plain, NULL, 0);
	SHOW(SYS_nanosleep, p, NULL);
	SHOW(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, p, NULL);
	SHOW(SYS_futex, p, FUTEX_LOCK_PI, 0, NULL);
	SHOW(SYS_timer_create, CLOCK_MONOTONIC, p, buffer);
	SHOW(SYS_fcntl, 0, F_GETOWN_EX, p);
	int child = syscall(SYS_clone, SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, NULL, p, p, NULL);
	if (child == 0)
		_exit(7);
	int status = 0;
	CHECK(child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
	close(epoll);
}

static void *bad_end(void *argument)
{
	/* The kernel ignores addresses that have become bad when a thread ends. */
	syscall(SYS_set_robust_list, argument, 24);
	syscall(SYS_set_tid_address, argument);
	syscall(SYS_exit, 0);
	return NULL;
}

int main(void)
{
	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = page + 4096 - 4;
	memset(page, 'x', 4096);
	mprotect(page + 4096, 4096, PROT_NONE);
	puts("none");
	bad(none);
	puts("edge");
	memset(edge, 'x', 4);
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, edge, NULL, 8);
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, edge, 8);
	SHOW(SYS_rt_sigaction, SIGUSR1, page + 4096 - 24, NULL, 8);
	SHOW(SYS_rt_sigaction, SIGUSR1, NULL, page + 4096 - 24, 8);
	memset(edge, 'x', 4); /* the kernel may have written a part */
	SHOW(SYS_readlink, edge, page, 64);
	SHOW(SYS_readlink, "/proc/self/exe", edge, 64);
	memset(edge, 'x', 4);
	SHOW(SYS_execve, edge, NULL, NULL);
	puts("readonly");
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, readonly, NULL, 8);
	SHOW(SYS_rt_sigprocmask, SIG_BLOCK, NULL, readonly, 8);
	SHOW(SYS_rt_sigaction, SIGUSR1, NULL, readonly, 8);
	SHOW(SYS_readlink, "/proc/self/exe", readonly, 64);
	for (int i = 0; i < 3; i++) {
		pthread_t t;
		char *p = (char *[]){none, readonly, (char *)0x1000}[i];
		CHECK(pthread_create(&t, NULL, bad_end, p) == 0);
		pthread_detach(t);
		usleep(20000);
	}
	return finish();
}
