/* A library as a driver may be: it starts threads without a thought for the masks and
 * segment bases of its caller, and ends them in every way. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_SET_GS 0x1001

static unsigned long caller[64];

static void *look(void *end)
{
	unsigned long record;
	int blocked = 0;
	sigset_t mask;
	__asm__("mov %%gs:0, %0" : "=r"(record));
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	for (int signal = 1; signal < 32; signal++)
		blocked += sigismember(&mask, signal);
	printf("%s record, %d signals blocked\n", record ? "a" : "no", blocked);
	if (end)
		pthread_exit("by exit");
	return "by return";
}

static void *forever(void *unused)
{
	for (;;)
		pause();
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;
	sigset_t none, now;
	void *result;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	caller[0] = 1;
	syscall(SYS_arch_prctl, ARCH_SET_GS, caller);
	for (long end = 0; end < 2; end++) {
		pthread_create(&thread, NULL, look, (void *)end);
		pthread_join(thread, &result);
		puts(result);
	}
	pthread_create(&thread, NULL, forever, NULL);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	puts(result == PTHREAD_CANCELED ? "cancelled" : "?");
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	puts(sigismember(&now, SIGUSR1) ? "the caller's mask changed" : "the caller is as it was");
	fflush(stdout);
	_exit(0);
}
