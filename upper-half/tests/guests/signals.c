/* Signals: what was installed is what is seen, none is lost, each wakes what
 * it should, their information is right, a timer at 1 kHz. */
#include "guest.h"
#include <sys/time.h>

static volatile long alarms, wakes, queued;
static volatile int ready;
static long returns;

static void on_alarm(int signal) { alarms++; }

static void on_wake(int signal, siginfo_t *info, void *context)
{
	wakes++;
	CHECK(info->si_pid == getpid() && info->si_code == SI_TKILL);
}

static void on_queued(int signal, siginfo_t *info, void *context)
{
	queued++;
	CHECK(info->si_pid == getpid() && info->si_value.sival_int == queued);
}

static void *suspend(void *argument)
{
	sigset_t set, during;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_sigmask(SIG_BLOCK, NULL, &during);
	sigdelset(&during, SIGUSR1);
	for (int i = 0; i < 300; i++) {
		ready = 1;
		CHECK(sigsuspend(&during) == -1 && errno == EINTR);
		returns++;
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
	sigaction(SIGALRM, &action, NULL);
	action.sa_sigaction = on_wake;
	action.sa_flags = SA_SIGINFO;
	sigaction(SIGUSR1, &action, NULL);
	action.sa_sigaction = on_queued;
	sigaction(SIGRTMIN + 3, &action, NULL);
	CHECK(sigaction(SIGUSR1, NULL, &old) == 0);
	CHECK(old.sa_sigaction == on_wake && (old.sa_flags & SA_SIGINFO));
	CHECK(sigaction(SIGALRM, NULL, &old) == 0);
	CHECK(old.sa_handler == on_alarm && !(old.sa_flags & SA_SIGINFO));

	sigset_t set, got;
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigprocmask(SIG_SETMASK, NULL, &got);
	for (int s = 1; s <= 64; s++)
		CHECK(s == SIGKILL || s == SIGSTOP || s == 32 || s == 33 || sigismember(&got, s));
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);

	pthread_t t;
	pthread_create(&t, NULL, suspend, NULL);
	for (int i = 0; i < 300; i++) {
		while (!ready)
			sched_yield();
		ready = 0;
		usleep(300);
		pthread_kill(t, SIGUSR1);
		while (returns <= i)
			usleep(50);
	}
	pthread_join(t, NULL);
	CHECK(wakes == 300);

	struct itimerval timer = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &timer, NULL);
	for (double end = now() + 1; now() < end;)
		free(memset(malloc(100000), 1, 100000));
	setitimer(ITIMER_REAL, &off, NULL);
	CHECK(alarms > 20);

	union sigval value;
	for (value.sival_int = 1; value.sival_int <= 1000; value.sival_int++) {
		CHECK(sigqueue(getpid(), SIGRTMIN + 3, value) == 0);
		CHECK(queued == value.sival_int);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (; value.sival_int <= 1010; value.sival_int++)
		sigqueue(getpid(), SIGRTMIN + 3, value);
	usleep(300000);
	sigpending(&got);
	CHECK(sigismember(&got, SIGRTMIN + 3) && queued == 1000);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(queued == 1010);
	return finish();
}
