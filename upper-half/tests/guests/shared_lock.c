/* A lock with priority inheritance in memory that a child shares: whoever has it, the
 * other waits for it and gets it. */
#include "guest.h"
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/wait.h>

int main(void)
{
	struct timespec t = {0, 300000000};
	nanosleep(&t, NULL); /* saved here */
	pthread_mutex_t *mutex =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attributes;
	pthread_mutexattr_init(&attributes);
	CHECK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
	CHECK(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) == 0);
	CHECK(pthread_mutex_init(mutex, &attributes) == 0);
	int held[2], status;
	char byte = 0;
	for (int round = 0; round < 3; round++) {
		CHECK(pipe(held) == 0);
		int child = fork();
		if (child == 0) {
			alarm(20);
			CHECK(pthread_mutex_lock(mutex) == 0 && write(held[1], &byte, 1) == 1);
			while (!(__atomic_load_n(&mutex->__data.__lock, __ATOMIC_SEQ_CST) & FUTEX_WAITERS))
				usleep(1000);
			CHECK(pthread_mutex_unlock(mutex) == 0);
			_exit(failures);
		}
		alarm(20); /* one that waits for ever is killed */
		CHECK(read(held[0], &byte, 1) == 1);
		CHECK(pthread_mutex_lock(mutex) == 0);
		CHECK(pthread_mutex_unlock(mutex) == 0);
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		close(held[0]);
		close(held[1]);
	}
	return finish();
}
