/* System calls made without the C library: from sites with one number, and from one
 * site for all numbers. None is taken for another. */
#include "guest.h"
#include <poll.h>
#include <sys/epoll.h>

static volatile int stop;

/* The number comes in a register: nobody can tell it from the code. */
static __attribute__((noinline)) long any(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

/* The number stands some instructions before. */
#define FIXED(name, nr) \
	static __attribute__((noinline)) long name(long a, long b, long c, long d) \
	{ \
		long result; \
		__asm__ volatile("mov $" #nr ", %%eax\n\tmov %4, %%r10\n\txor %%r8d, %%r8d\n\tsyscall" \
				 : "=&a"(result) : "D"(a), "S"(b), "d"(c), "r"(d) : "rcx", "r8", "r10", "r11", "memory"); \
		return result; \
	}
FIXED(fixed_poll, 7)
FIXED(fixed_nanosleep, 35)
FIXED(fixed_epoll, 232)

static void *fixed(void *argument)
{
	struct timespec t = {0, 300000};
	struct epoll_event event;
	int epoll = epoll_create1(0);
	while (!stop) {
		CHECK(fixed_poll(0, 0, 1, 0) == 0);
		CHECK(fixed_nanosleep((long)&t, 0, 0, 0) == 0);
		CHECK(fixed_epoll(epoll, (long)&event, 1, 1) == 0);
	}
	close(epoll);
	return NULL;
}

/* Where the number is not known, an interrupted call may say so, but it is never made
 * under another number: each of these would show by its result. */
static void *varying(void *argument)
{
	struct timespec t = {0, 300000};
	struct epoll_event event;
	int epoll = epoll_create1(0);
	char buffer[8];
	int fds[2];
	CHECK(pipe(fds) == 0);
	long interrupted = 0, made = 0;
	while (!stop) {
		long r[] = {
			any(SYS_poll, 0, 0, 1, 0),
			any(SYS_nanosleep, (long)&t, 0, 0, 0),
			any(SYS_epoll_wait, epoll, (long)&event, 1, 1),
		};
		for (int i = 0; i < 3; i++) {
			CHECK(r[i] == 0 || r[i] == -EINTR);
			interrupted += r[i] != 0;
			made++;
		}
		CHECK(any(SYS_write, fds[1], (long)"abcd", 4, 0) == 4);
		CHECK(any(SYS_read, fds[0], (long)buffer, 8, 0) == 4);
		CHECK(any(SYS_getppid, 0, 0, 0, 0) == getppid());
	}
	CHECK(interrupted * 20 <= made);
	close(epoll);
	return NULL;
}

int main(void)
{
	pthread_t t[6];
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, i % 2 ? varying : fixed, NULL);
	sleep(3);
	stop = 1;
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	return finish();
}
