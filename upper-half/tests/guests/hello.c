/* Says who it is, in the ways that a program can find out. */
#include "guest.h"

int main(int argc, char **argv)
{
	char exe[4096] = {0}, comm[32] = {0}, cmdline[4096] = {0};
	CHECK(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
	FILE *f = fopen("/proc/self/comm", "r");
	CHECK(f && fgets(comm, sizeof comm, f));
	f = fopen("/proc/self/cmdline", "r");
	size_t length = fread(cmdline, 1, sizeof cmdline - 1, f);
	for (size_t i = 0; i + 1 < length; i++)
		if (!cmdline[i])
			cmdline[i] = ' ';
	printf("%d arguments, %s, %s, %s, ", argc, exe, cmdline, comm);
	printf("%s\n", getenv("GUEST") ? getenv("GUEST") : "-");
	return argc == 2 ? atoi(argv[1]) : failures;
}
