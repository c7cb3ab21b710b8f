/* Blocked in every kind of call, without a signal handler: no EINTR may be
 * seen, no wait may end early, none may last much longer than asked. */
#include "guest.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define WAIT 0.05
#define MS 50
static const struct timespec wait_time = {0, MS * 1000000};
static volatile int stop;
static int pipe_fds[2], sockets[2], timed[2], bulk[2], event, timer, queue, semaphores, epoll;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sigset_t none, usr2;
static struct epoll_event ready;

/* Calls that wait WAIT seconds and then say so. */
static void w_nanosleep(void) { CHECK(nanosleep(&wait_time, NULL) == 0); }
static void w_clock(void) { struct timespec r; CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wait_time, &r) == 0); }
static void w_poll(void) { CHECK(poll(NULL, 0, MS) == 0); }
static void w_ppoll(void) { CHECK(ppoll(NULL, 0, &wait_time, &none) == 0); }
static void w_select(void) { struct timeval t = {0, MS * 1000}; CHECK(select(0, NULL, NULL, NULL, &t) == 0); }
static void w_pselect(void) { CHECK(pselect(0, NULL, NULL, NULL, &wait_time, &none) == 0); }
static void w_epoll(void) { CHECK(epoll_wait(epoll, &ready, 1, MS) == 0); }
static void w_epoll_pwait(void) { CHECK(epoll_pwait(epoll, &ready, 1, MS, &none) == 0); }
static void w_signal(void) { CHECK(sigtimedwait(&usr2, NULL, &wait_time) == -1 && errno == EAGAIN); }
static void w_receive(void) { char c; CHECK(recv(timed[0], &c, 1, 0) == -1 && errno == EAGAIN); }
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
static void w_absolute(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += wait_time.tv_nsec;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == 0);
}
static void (*const waits[])(void) = {
	w_nanosleep, w_clock, w_poll, w_ppoll, w_select, w_pselect, w_epoll, w_epoll_pwait,
	w_signal, w_receive, w_futex, w_semaphore, w_absolute,
};

static void *wait_again(void *argument)
{
	long which = (long)argument;
	while (!stop) {
		double start = now();
		waits[which]();
		double took = now() - start;
		if (took < WAIT - 0.002 || took > WAIT + 2.0) {
			printf("wait %ld took %.3f s\n", which, took);
			failures++;
		}
	}
	return NULL;
}

static void *read_pipe(void *argument)
{
	char b[8];
	ssize_t r;
	while ((r = read(pipe_fds[0], b, 3)) == 3)
		;
	CHECK(r == 0);
	return NULL;
}
static void *read_socket(void *argument)
{
	char b[8];
	ssize_t r;
	while ((r = recv(sockets[0], b, 3, 0)) == 3)
		;
	CHECK(r == 0);
	return NULL;
}
static void *read_event(void *argument)
{
	unsigned long value;
	while (!stop)
		CHECK(read(event, &value, 8) == 8);
	return NULL;
}
static void *read_timer(void *argument)
{
	unsigned long value;
	while (!stop)
		CHECK(read(timer, &value, 8) == 8);
	return NULL;
}
static volatile pid_t queue_reader;
static void *read_queue(void *argument)
{
	struct { long type; char text[8]; } message;
	queue_reader = syscall(SYS_gettid);
	while (msgrcv(queue, &message, 8, 0, 0) >= 0)
		;
	CHECK(errno == EIDRM);
	return NULL;
}
/* Until the reader has taken every message and waits for another: only then does the
 * end of the queue interrupt it, instead of being found by its next call. */
static void await_queue_reader(void)
{
	char path[64], line[128];
	struct msqid_ds state;
	long nr = -1;
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", queue_reader);
	while (nr != SYS_msgrcv || state.msg_qnum != 0) {
		FILE *f = fopen(path, "r");
		CHECK(f && msgctl(queue, IPC_STAT, &state) == 0);
		nr = fgets(line, sizeof line, f) ? atol(line) : -1;
		fclose(f);
	}
}
static void *wait_condition(void *argument)
{
	pthread_mutex_lock(&lock);
	while (!stop)
		CHECK(pthread_cond_wait(&condition, &lock) == 0);
	pthread_mutex_unlock(&lock);
	return NULL;
}
/* More than a pipe holds: a signal of ours must not cut the write short. */
static void *write_bulk(void *argument)
{
	static char data[300000];
	while (!stop)
		CHECK(write(bulk[1], data, sizeof data) == sizeof data);
	close(bulk[1]);
	return NULL;
}
static void *read_bulk(void *argument)
{
	static char data[5000];
	ssize_t r;
	while ((r = read(bulk[0], data, sizeof data)) > 0)
		usleep(200);
	CHECK(r == 0);
	return NULL;
}
static void *(*const readers[])(void *) = {
	read_pipe, read_socket, read_event, read_timer, read_queue, wait_condition, write_bulk, read_bulk,
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	pthread_t t[COUNT(waits) + COUNT(readers)];
	struct timeval receive = {0, MS * 1000};
	struct itimerspec tick = {{0, 30000000}, {0, 30000000}};
	sigemptyset(&none);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	CHECK(pipe(pipe_fds) == 0 && pipe(bulk) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, timed) == 0);
	CHECK(setsockopt(timed[0], SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) == 0);
	CHECK((event = eventfd(0, 0)) >= 0 && (epoll = epoll_create1(0)) >= 0);
	CHECK((timer = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
	CHECK(timerfd_settime(timer, 0, &tick, NULL) == 0);
	CHECK((queue = msgget(IPC_PRIVATE, 0600 | IPC_CREAT)) >= 0);
	CHECK((semaphores = semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT)) >= 0);
	for (long i = 0; i < COUNT(waits); i++)
		pthread_create(&t[i], NULL, wait_again, (void *)i);
	for (long i = 0; i < COUNT(readers); i++)
		pthread_create(&t[COUNT(waits) + i], NULL, readers[i], NULL);
	unsigned long one = 1;
	struct { long type; char text[8]; } message = {1, "x"};
	for (double end = now() + seconds; now() < end; usleep(7000)) {
		CHECK(write(pipe_fds[1], "abc", 3) == 3);
		CHECK(send(sockets[1], "abc", 3, 0) == 3);
		CHECK(write(event, &one, 8) == 8);
		CHECK(msgsnd(queue, &message, 8, 0) == 0);
		pthread_cond_broadcast(&condition);
	}
	stop = 1;
	close(pipe_fds[1]);
	close(sockets[1]);
	CHECK(write(event, &one, 8) == 8);
	await_queue_reader();
	msgctl(queue, IPC_RMID, NULL);
	for (int i = 0; i < COUNT(t); i++) {
		while (pthread_tryjoin_np(t[i], NULL) == EBUSY) {
			pthread_cond_broadcast(&condition);
			usleep(1000);
		}
	}
	semctl(semaphores, 0, IPC_RMID);
	return finish();
}
