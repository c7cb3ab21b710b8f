/* Handlers that the kernel takes out as it calls them (SA_RESETHAND), for
 * signals that mostly find the thread in a vDSO function. */
#include "guest.h"

static volatile int ready, handled, stop;
static pthread_t first;

static void on_signal(int signal) { handled = 1; }

static void *sender(void *argument)
{
	while (!stop) {
		while (!ready && !stop)
			sched_yield();
		if (stop)
			break;
		ready = 0;
		usleep(100);
		pthread_kill(first, SIGUSR1);
	}
	return NULL;
}

int main(void)
{
	pthread_t t;
	struct timespec time;
	first = pthread_self();
	pthread_create(&t, NULL, sender, NULL);
	for (int i = 0; i < 300; i++) {
		struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND}, old;
		CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
		handled = 0;
		ready = 1;
		while (!handled)
			clock_gettime(CLOCK_MONOTONIC, &time);
		CHECK(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	}
	stop = 1;
	pthread_join(t, NULL);
	puts("300 handlers ran once");
	return finish();
}
