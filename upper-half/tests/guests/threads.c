/* Threads with a mutex and thread-local data, many short ones, a robust
 * mutex whose owner dies, cancellation, and a first thread that ends early. */
#include "guest.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, robust;
static long total;
static __thread long mine;

static void *add(void *argument)
{
	for (int i = 0; i < 100000; i++) {
		mine++;
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
		if (i % 1000 == 0)
			free(memset(malloc(1000 + i), 1, 1000));
	}
	return (void *)mine;
}

static void *same(void *argument)
{
	return argument;
}

static void *die_with_lock(void *argument)
{
	CHECK(pthread_mutex_lock(&robust) == 0);
	return NULL;
}

static void *wait_for_ever(void *argument)
{
	for (;;)
		pause();
}

static void *last(void *argument)
{
	usleep(50000);
	exit(finish() ? 1 : 5);
}

int main(void)
{
	pthread_t t[8];
	void *value;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 8; i++)
			CHECK(pthread_create(&t[i], NULL, add, NULL) == 0);
		for (int i = 0; i < 8; i++) {
			CHECK(pthread_join(t[i], &value) == 0);
			CHECK((long)value == 100000);
		}
	}
	CHECK(total == 2400000);
	for (long i = 0; i < 500; i++) {
		CHECK(pthread_create(&t[0], NULL, same, (void *)i) == 0);
		CHECK(pthread_join(t[0], &value) == 0);
		CHECK((long)value == i);
	}
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attributes);
	pthread_create(&t[0], NULL, die_with_lock, NULL);
	pthread_join(t[0], NULL);
	CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);

	pthread_create(&t[0], NULL, wait_for_ever, NULL);
	usleep(1000);
	CHECK(pthread_cancel(t[0]) == 0);
	CHECK(pthread_join(t[0], &value) == 0 && value == PTHREAD_CANCELED);

	pthread_create(&t[0], NULL, last, NULL);
	pthread_exit(NULL);
}
