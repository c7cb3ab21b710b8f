/* Calls that move much data move all of it, as they do where no signal comes. */
#include "guest.h"
#include <fcntl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SIZE 400000
static volatile int stop;
struct pair { int from, to; };
static char source[SIZE];

static struct pair sockets(int type)
{
	int fds[2];
	CHECK(socketpair(AF_UNIX, type, 0, fds) == 0);
	return (struct pair){fds[0], fds[1]};
}

static struct msghdr message(char *data, struct iovec pieces[3])
{
	pieces[0] = (struct iovec){data, 1000};
	pieces[1] = (struct iovec){data + 1000, 150000};
	pieces[2] = (struct iovec){data + 151000, SIZE - 151000};
	return (struct msghdr){.msg_iov = pieces, .msg_iovlen = 3};
}

static void *send_messages(void *argument)
{
	struct pair *p = argument;
	struct iovec pieces[3];
	struct msghdr m = message(source, pieces);
	while (!stop)
		CHECK(sendmsg(p->to, &m, 0) == SIZE);
	shutdown(p->to, SHUT_WR);
	return NULL;
}
static void *send_file(void *argument)
{
	struct pair *p = argument;
	char name[] = "/tmp/bulk-XXXXXX";
	int file = mkstemp(name);
	unlink(name);
	CHECK(write(file, source, SIZE) == SIZE);
	while (!stop) {
		off_t offset = 0;
		CHECK(sendfile(p->to, file, &offset, SIZE) == SIZE && offset == SIZE);
	}
	shutdown(p->to, SHUT_WR);
	return NULL;
}
/* A little at a time, then more: whoever takes waits long. */
static void *send_slowly(void *argument)
{
	struct pair *p = argument;
	while (!stop)
		for (int done = 0; done < SIZE; done += 4000) {
			CHECK(send(p->to, source + done, 4000, 0) == 4000);
			usleep(200);
		}
	shutdown(p->to, SHUT_WR);
	return NULL;
}
static void *take_slowly(void *argument)
{
	struct pair *p = argument;
	static __thread char data[5000];
	long at = 0;
	ssize_t r;
	while ((r = read(p->from, data, sizeof data)) > 0) {
		for (ssize_t i = 0; i < r; i++, at++)
			if (data[i] != source[at % SIZE]) {
				CHECK(data[i] == source[at % SIZE]);
				return NULL;
			}
		usleep(150);
	}
	CHECK(r == 0 && at % SIZE == 0);
	return NULL;
}
static void *take_all(void *argument)
{
	struct pair *p = argument;
	char *data = malloc(SIZE);
	for (;;) {
		ssize_t r = recv(p->from, data, SIZE, MSG_WAITALL);
		if (r == 0)
			break;
		CHECK(r == SIZE && memcmp(data, source, SIZE) == 0);
	}
	free(data);
	return NULL;
}
static void *take_messages(void *argument)
{
	struct pair *p = argument;
	char *data = malloc(SIZE);
	for (;;) {
		struct iovec pieces[3];
		struct msghdr m = message(data, pieces);
		ssize_t r = recvmsg(p->from, &m, MSG_WAITALL);
		if (r == 0)
			break;
		CHECK(r == SIZE && memcmp(data, source, SIZE) == 0);
	}
	free(data);
	return NULL;
}
static void *take_from_devices(void *argument)
{
	static char random[3000000];
	int zero = open("/dev/zero", O_RDONLY);
	while (!stop) {
		CHECK(getrandom(random, sizeof random, 0) == sizeof random);
		CHECK(read(zero, random, sizeof random) == sizeof random);
		usleep(500);
	}
	close(zero);
	return NULL;
}
/* Several messages with one call. */
static void *send_many(void *argument)
{
	struct pair *p = argument;
	struct iovec piece = {source, 20000};
	struct mmsghdr all[40] = {0};
	for (int i = 0; i < 40; i++)
		all[i].msg_hdr = (struct msghdr){.msg_iov = &piece, .msg_iovlen = 1};
	while (!stop)
		CHECK(sendmmsg(p->to, all, 40, 0) == 40);
	shutdown(p->to, SHUT_WR);
	return NULL;
}
static void *take_many(void *argument)
{
	struct pair *p = argument;
	static char data[20000];
	struct iovec piece = {data, sizeof data};
	struct mmsghdr all[8] = {0};
	for (int i = 0; i < 8; i++)
		all[i].msg_hdr = (struct msghdr){.msg_iov = &piece, .msg_iovlen = 1};
	for (;;) {
		int r = recvmmsg(p->from, all, 8, 0, NULL);
		CHECK(r == 8);
		if (r != 8 || all[0].msg_len == 0)
			break;
		CHECK(memcmp(data, source, sizeof data) == 0);
		usleep(1500);
	}
	return NULL;
}

int main(void)
{
	struct pair p[5];
	for (int i = 0; i < SIZE; i++)
		source[i] = i * 7 + i / 1000;
	for (int i = 0; i < 4; i++)
		p[i] = sockets(SOCK_STREAM);
	p[4] = sockets(SOCK_SEQPACKET);
	pthread_t t[11];
	pthread_create(&t[0], NULL, send_messages, &p[0]);
	pthread_create(&t[1], NULL, take_slowly, &p[0]);
	pthread_create(&t[2], NULL, send_slowly, &p[1]);
	pthread_create(&t[3], NULL, take_all, &p[1]);
	pthread_create(&t[4], NULL, send_slowly, &p[2]);
	pthread_create(&t[5], NULL, take_messages, &p[2]);
	pthread_create(&t[6], NULL, send_file, &p[3]);
	pthread_create(&t[7], NULL, take_slowly, &p[3]);
	pthread_create(&t[8], NULL, take_from_devices, NULL);
	pthread_create(&t[9], NULL, send_many, &p[4]);
	pthread_create(&t[10], NULL, take_many, &p[4]);
	sleep(2);
	stop = 1;
	for (int i = 0; i < 11; i++)
		pthread_join(t[i], NULL);
	return finish();
}
