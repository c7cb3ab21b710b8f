/* gates STEP FILE [closed]: a signal arrives just before instruction STEP of a call of the
 * gate, which may be closed to all but internal calls, and its handler waits until FILE
 * exists. Ends by SIGTRAP when the call is in the lower half
 * by then. */
#include "guest.h"
#include <fcntl.h>
#include <ucontext.h>

#define GATE 0x160001001400UL
#define CLOSED ((volatile unsigned *)0x160001003048UL)
#define INTERNAL (1U << 31)
#define TRAP_FLAG 0x100

static unsigned long (*const gate)(unsigned, unsigned long *) =
	(unsigned long (*)(unsigned, unsigned long *))GATE;
static const char *file;
static long step;

/* After each instruction. What the handler is shown may stand further back than the
 * program does: the thread's record knows. */
static void on_step(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	unsigned long rip;
	__asm__("mov %%gs:64, %0" : "=r"(rip));
	if (rip - GATE >= 0x400)
		return;
	registers[REG_RIP] = rip;
	if (step-- == 0) {
		registers[REG_EFL] &= ~TRAP_FLAG;
		raise(SIGUSR2); /* blocked as long as this handler runs */
	}
}

static void on_signal(int signal)
{
	struct timespec moment = {0, 1000000};
	puts("stopped");
	fflush(stdout);
	while (access(file, F_OK) != 0)
		nanosleep(&moment, NULL);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	unsigned long slot = 12345;
	unsigned call = argc > 3 ? INTERNAL | 2 : 2;
	step = atol(argv[1]);
	file = argv[2];
	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGTRAP, &action, NULL);
	signal(SIGUSR2, on_signal);
	*CLOSED = argc > 3;
	__asm__ volatile("pushfq\n\torl %0, (%%rsp)\n\tpopfq" ::"i"(TRAP_FLAG) : "memory", "cc");
	CHECK(gate(call, &slot) == 5); /* uses the lower half's thread-local storage */
	CHECK(gate(call, &slot) == 5);
	return finish();
}
