/* Who sent a signal is told in ids that the program knows, by whichever way it
 * learns of the signal. */
#include "guest.h"

static int pid, parent;
static volatile int stop;
static volatile long handled;

static void on_usr1(int signal, siginfo_t *info, void *context)
{
	CHECK(info->si_pid == pid);
	handled++;
}

static void *send(void *argument)
{
	while (!stop) {
		CHECK(kill(pid, SIGUSR2) == 0);
		usleep(700);
	}
	return NULL;
}

int main(void)
{
	pid = getpid();
	parent = getppid();
	struct sigaction action = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGUSR1, &action, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pthread_t sender;
	pthread_create(&sender, NULL, send, NULL);
	long seen[2] = {0};
	for (long step = 0; step < 1500; step++) {
		siginfo_t info;
		memset(&info, 0, sizeof info);
		if (step % 4 == 0) {
			union sigval value = {.sival_int = (int)step};
			CHECK(sigqueue(pid, SIGRTMIN + 1, value) == 0);
		}
		if (step % 16 == 1)
			CHECK(raise(SIGUSR1) == 0);
		int signal = sigwaitinfo(&set, &info);
		CHECK(signal > 0 && info.si_signo == signal);
		if (signal == SIGUSR2) {
			CHECK(info.si_code == SI_USER && info.si_pid == pid && info.si_uid == getuid());
			seen[0]++;
		} else {
			CHECK(info.si_code == SI_QUEUE && info.si_pid == pid);
			seen[1]++;
		}
		CHECK(getpid() == pid && getppid() == parent);
	}
	stop = 1;
	pthread_join(sender, NULL);
	CHECK(seen[0] > 0 && seen[1] > 0 && handled == 94);
	return finish();
}
