/* Work that goes on across restarts: ids stay, sums come out right, sleepers
 * see no EINTR, a thread can be cancelled and its clock read afterwards. */
#include "guest.h"
#include <poll.h>

#define WORKERS 4
static volatile int stop;
static volatile long handled;
static unsigned long sums[WORKERS];
static int pid;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static int tid(void) { return syscall(SYS_gettid); }
static void on_signal(int signal) { handled++; }

static void *work(void *argument)
{
	long k = (long)argument;
	int id = tid();
	unsigned long state = k;
	double real = k;
	for (long i = 0; i < 40000000; i++) {
		state = state * 6364136223846793005UL + 1;
		real = real * 0.999 + (state >> 40) * 1e-9;
		if (i % 500000 == 0) {
			CHECK(getpid() == pid && tid() == id);
			pthread_mutex_lock(&lock);
			sums[k] ^= state ^ (long)(real * 1e6);
			pthread_mutex_unlock(&lock);
			pthread_cond_broadcast(&condition);
		}
	}
	return NULL;
}

static void *sleeper(void *argument)
{
	struct timespec t = {0, 30000000};
	for (int id = tid(); !stop;) {
		CHECK(nanosleep(&t, NULL) == 0);
		CHECK(poll(NULL, 0, 20) == 0);
		CHECK(tid() == id);
	}
	return NULL;
}

static void *waiter(void *argument)
{
	pthread_mutex_lock(&lock);
	while (!stop) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_sec++;
		int e = pthread_cond_timedwait(&condition, &lock, &t);
		CHECK(e == 0 || e == ETIMEDOUT);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *for_ever(void *argument)
{
	for (;;)
		pause();
}

int main(void)
{
	pthread_t workers[WORKERS], sleepers[3], wait, cancelled;
	pid = getpid();
	signal(SIGUSR1, on_signal);
	pthread_create(&cancelled, NULL, for_ever, NULL);
	for (long i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work, (void *)i);
	for (int i = 0; i < 3; i++)
		pthread_create(&sleepers[i], NULL, sleeper, NULL);
	pthread_create(&wait, NULL, waiter, NULL);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	raise(SIGUSR1);
	CHECK(handled == 1);
	kill(getpid(), SIGUSR1);
	CHECK(handled == 2);
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(sleepers[i], NULL);
	pthread_join(wait, NULL);
	CHECK(pthread_kill(cancelled, SIGUSR1) == 0);
	CHECK(pthread_cancel(cancelled) == 0 && pthread_join(cancelled, NULL) == 0);
	clockid_t clock;
	struct timespec t;
	CHECK(pthread_getcpuclockid(pthread_self(), &clock) == 0 && clock_gettime(clock, &t) == 0);
	cpu_set_t set;
	CHECK(pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0);
	unsigned long digest = 0;
	for (int i = 0; i < WORKERS; i++)
		digest = digest * 31 + sums[i];
	printf("digest %lx\n", digest);
	return finish();
}
