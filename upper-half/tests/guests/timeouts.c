/* Long waits of every kind with a limit: none is shorter than asked, and none longer
 * by the time that had passed when it was interrupted. */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/select.h>
#include <sys/socket.h>

#define SECONDS 2.2
static const struct timespec wait_time = {2, 200000000};
static int timed, semaphores, epoll;
static sigset_t usr2;
static struct epoll_event ready;

static void w_nanosleep(void) { CHECK(nanosleep(&wait_time, NULL) == 0); }
static void w_clock(void) { CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wait_time, NULL) == 0); }
static void w_rest(void) { struct timespec r; CHECK(nanosleep(&wait_time, &r) == 0); }
static void w_poll(void) { CHECK(poll(NULL, 0, SECONDS * 1000) == 0); }
static void w_select(void) { struct timeval t = {2, 200000}; CHECK(select(0, NULL, NULL, NULL, &t) == 0); }
static void w_epoll(void) { CHECK(epoll_wait(epoll, &ready, 1, SECONDS * 1000) == 0); }
static void w_signal(void) { CHECK(sigtimedwait(&usr2, NULL, &wait_time) == -1 && errno == EAGAIN); }
static void w_receive(void) { char c; CHECK(recv(timed, &c, 1, 0) == -1 && errno == EAGAIN); }
static void w_futex(void)
{
	int word = 0;
	CHECK(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &wait_time, 0, 0) == -1 && errno == ETIMEDOUT);
}
static void w_semaphore(void)
{
	struct sembuf down = {0, -1, 0};
	CHECK(semtimedop(semaphores, &down, 1, &wait_time) == -1 && errno == EAGAIN);
}
static void (*const waits[])(void) = {
	w_nanosleep, w_clock, w_rest, w_poll, w_select, w_epoll, w_signal, w_receive, w_futex, w_semaphore,
};
#define COUNT (sizeof waits / sizeof *waits)

static void *wait_once(void *argument)
{
	long which = (long)argument;
	usleep(20000 * which);
	double start = now();
	waits[which]();
	double took = now() - start;
	if (took < SECONDS - 0.002 || took > SECONDS + 0.4) {
		printf("wait %ld took %.3f s\n", which, took);
		failures++;
	}
	return NULL;
}

int main(void)
{
	int sockets[2];
	struct timeval receive = {2, 200000};
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	timed = sockets[0];
	CHECK(setsockopt(timed, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) == 0);
	CHECK((epoll = epoll_create1(0)) >= 0);
	CHECK((semaphores = semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT)) >= 0);
	for (int round = 0; round < 2; round++) {
		pthread_t t[COUNT];
		for (long i = 0; i < COUNT; i++)
			pthread_create(&t[i], NULL, wait_once, (void *)i);
		for (long i = 0; i < COUNT; i++)
			pthread_join(t[i], NULL);
	}
	semctl(semaphores, 0, IPC_RMID);
	return finish();
}
