/* The cost of driver calls, in nanoseconds a call. `gate`: the gate alone, by an internal
 * call that does nothing; natively, what the processor needs to read FS and to change it
 * there and back. `gate-by-calls`: the same where system calls have to do that. `passed`: a call that is only passed down; `recorded`: one that is
 * recorded (half of a create and destroy pair).
 * `pairs N BEAT`: N malloc/free pairs, then makes the file BEAT whenever it is
 * missing, until it is killed. */
#include "../../tests/guests/driver.h"
#include <asm/prctl.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    REQUIRE(argc > 1, "which measurement?");
    load_driver();
    CUdevice device;
    CUcontext context, current;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    if (strncmp(argv[1], "gate", 4) == 0) {
        typedef uint64_t gate_t(uint32_t, uint64_t *);
        gate_t *gate = (gate_t *)0x160001001400; /* fixed: GATE of upper-half/src/abi.rs */
        int by_calls = strcmp(argv[1], "gate-by-calls") == 0;
        const int n = by_calls ? 500000 : 5000000;
        uint64_t slots[8] = {0}, fs = 0;
        syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512];
        int launched = 0;
        while (maps && fgets(line, sizeof line, maps))
            launched |= strncmp(line, "160001001000-", 13) == 0;
        double begin = now_s();
        if (launched)
            for (int i = 0; i < n; i++)
                gate(1u << 31, slots);
        else if (by_calls)
            for (int i = 0; i < 2 * n; i++)
                syscall(SYS_arch_prctl, ARCH_SET_FS, fs);
        else
            for (int i = 0; i < n; i++)
                __asm__ volatile("rdfsbase %0\n\twrfsbase %0\n\twrfsbase %0" : "=r"(fs));
        printf("%.3f\n", (now_s() - begin) * 1e9 / n);
    } else if (strcmp(argv[1], "passed") == 0) {
        enum { N = 2000000 };
        for (int i = 0; i < N / 10; i++)
            cuCtxGetCurrent(&current);
        double begin = now_s();
        for (int i = 0; i < N; i++)
            cuCtxGetCurrent(&current);
        printf("%.3f\n", (now_s() - begin) * 1e9 / N);
    } else if (strcmp(argv[1], "recorded") == 0) {
        enum { N = 300000 };
        CUevent event;
        double begin = now_s();
        for (int i = 0; i < N; i++) {
            CU(cuEventCreate(&event, 2));
            CU(cuEventDestroy_v2(event));
        }
        printf("%.3f\n", (now_s() - begin) * 1e9 / (2.0 * N));
    } else {
        REQUIRE(argc > 3, "pairs N BEAT");
        long n = strtol(argv[2], NULL, 10);
        for (long i = 0; i < n; i++) {
            CUdeviceptr p;
            CU(cuMemAlloc_v2(&p, 256 + (size_t)(i % 64) * 4096));
            CU(cuMemFree_v2(p));
        }
        for (;;) {
            if (access(argv[3], F_OK) != 0)
                close(open(argv[3], O_WRONLY | O_CREAT, 0600));
            pause_us(500);
        }
    }
    return 0;
}
