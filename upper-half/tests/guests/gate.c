/* Calls through the gate from several threads, with signals at 1 kHz. */
#include "guest.h"
#include <sys/time.h>

static unsigned long (*const gate)(unsigned, unsigned long *) =
	(unsigned long (*)(unsigned, unsigned long *))0x160001001400UL;
static volatile long alarms;

static void on_alarm(int signal)
{
	unsigned long slot = 1;
	CHECK(gate(0, &slot) == 2);
	alarms++;
}

static void *call(void *argument)
{
	for (unsigned long i = 0; i < 30000; i++) {
		unsigned long slot = i;
		CHECK(gate(0, &slot) == i + 1);
		CHECK(gate(2, &slot) == (unsigned long)snprintf(NULL, 0, "%lu", i));
		if (i % 1000 == 0) {
			slot = 500;
			CHECK(gate(1, &slot) == 0);
		}
	}
	return NULL;
}

int main(void)
{
	pthread_t t[4];
	struct itimerval timer = {{0, 1000}, {0, 1000}};
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, call, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(alarms > 0);
	return finish();
}
