/* Locks whose word holds the owner's thread id: with priority inheritance, and
 * robust ones whose owner ends. They exclude, hand over, time out, and tell of a
 * dead owner, also when held across a restart. */
#include "guest.h"
#include <linux/futex.h>

#define THREADS 4
#define ROUNDS 1200
static pthread_mutex_t inheriting, recursive, checking, robust, robust_inheriting, held;
static long counts[4], deaths[2];
static volatile int stop;

static void make(pthread_mutex_t *mutex, int protocol, int type, int robustness)
{
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	CHECK(pthread_mutexattr_setprotocol(&attributes, protocol) == 0);
	CHECK(pthread_mutexattr_settype(&attributes, type) == 0);
	CHECK(pthread_mutexattr_setrobust(&attributes, robustness) == 0);
	CHECK(pthread_mutex_init(mutex, &attributes) == 0);
}

static void pause_us(long us)
{
	struct timespec t = {0, us * 1000};
	nanosleep(&t, NULL);
}

/* Adds one under the lock, in two steps that another thread would disturb. */
static void add(long *count, long step)
{
	volatile long *c = count;
	long value = *c;
	if (step % 8 == 0)
		pause_us(300);
	*c = value + 1;
}

static void *work(void *argument)
{
	for (long i = 0; i < ROUNDS; i++) {
		CHECK(pthread_mutex_lock(&inheriting) == 0);
		add(&counts[0], i);
		CHECK(pthread_mutex_unlock(&inheriting) == 0);

		CHECK(pthread_mutex_lock(&recursive) == 0);
		CHECK(pthread_mutex_lock(&recursive) == 0);
		add(&counts[1], i);
		CHECK(pthread_mutex_unlock(&recursive) == 0);
		CHECK(pthread_mutex_unlock(&recursive) == 0);

		CHECK(pthread_mutex_lock(&checking) == 0);
		CHECK(pthread_mutex_lock(&checking) == EDEADLK);
		add(&counts[2], i);
		CHECK(pthread_mutex_unlock(&checking) == 0);

		if (pthread_mutex_trylock(&inheriting) == 0) {
			CHECK(pthread_mutex_unlock(&inheriting) == 0);
		}
		if (i % 50 == 0)
			CHECK(pthread_mutex_unlock(&held) == EPERM && pthread_mutex_trylock(&held) == EBUSY);
	}
	return NULL;
}

/* The main thread has it all the time: this one's turn never comes. */
static void *time_out(void *argument)
{
	while (!stop) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += 50000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		double start = now();
		CHECK(pthread_mutex_timedlock(&held, &t) == ETIMEDOUT);
		CHECK(now() - start > 0.045);
	}
	return NULL;
}

static void *die_with(void *argument)
{
	pthread_mutex_t *mutex = argument;
	int e = pthread_mutex_lock(mutex);
	CHECK(e == 0 || e == EOWNERDEAD);
	if (e == EOWNERDEAD) {
		deaths[mutex == &robust_inheriting]++;
		CHECK(pthread_mutex_consistent(mutex) == 0);
	}
	pause_us(3000);
	return NULL; /* with the lock */
}

/* Raw: a wait that is to end with another lock, as old C libraries have it. */
static unsigned raw_lock, raw_wait;
static void *raw_waiter(void *argument)
{
	unsigned id = syscall(SYS_gettid);
	while (!stop) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += 20000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		unsigned value = __atomic_load_n(&raw_wait, __ATOMIC_SEQ_CST);
		long r = syscall(SYS_futex, &raw_wait, FUTEX_WAIT_REQUEUE_PI, value, &t, &raw_lock, 0);
		if (r != 0) {
			CHECK(errno == EAGAIN || errno == ETIMEDOUT);
			unsigned zero = 0;
			if (!__atomic_compare_exchange_n(&raw_lock, &zero, id, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
				CHECK(syscall(SYS_futex, &raw_lock, FUTEX_LOCK_PI, 0, NULL) == 0);
		}
		CHECK((raw_lock & FUTEX_TID_MASK) == id);
		add(&counts[3], 1);
		unsigned mine = id;
		if (!__atomic_compare_exchange_n(&raw_lock, &mine, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			CHECK(syscall(SYS_futex, &raw_lock, FUTEX_UNLOCK_PI, 0) == 0);
	}
	return NULL;
}

int main(void)
{
	pthread_t workers[THREADS], timed, raw[2], dying[2][4];
	make(&inheriting, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED);
	make(&recursive, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED);
	make(&checking, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
	make(&held, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED);
	make(&robust, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
	make(&robust_inheriting, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST);
	CHECK(pthread_mutex_lock(&held) == 0);
	pthread_create(&timed, NULL, time_out, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&raw[i], NULL, raw_waiter, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&workers[i], NULL, work, NULL);
	for (int round = 0; round < 60; round++) {
		for (int i = 0; i < 4; i++) {
			pthread_create(&dying[0][i], NULL, die_with, &robust);
			pthread_create(&dying[1][i], NULL, die_with, &robust_inheriting);
		}
		for (int i = 0; i < 4; i++) {
			pthread_join(dying[0][i], NULL);
			pthread_join(dying[1][i], NULL);
		}
		__atomic_fetch_add(&raw_wait, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &raw_wait, FUTEX_CMP_REQUEUE_PI, 1, (void *)1, &raw_lock, raw_wait);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i], NULL);
	stop = 1;
	pthread_join(timed, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(raw[i], NULL);
	CHECK(pthread_mutex_unlock(&held) == 0);
	CHECK(counts[3] > 0);
	printf("%ld %ld %ld, %ld and %ld owners died\n", counts[0], counts[1], counts[2], deaths[0], deaths[1]);
	return finish();
}
