/* A program that chooses its device itself: it sets CUDA_VISIBLE_DEVICES before its
 * first driver call, as frameworks do, and then sees that device alone, as the first.
 * Its memory, and which device it is, are looked at in every step. */
#include "driver.h"

enum { N = 512 };

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 2000);
    REQUIRE(setenv("CUDA_VISIBLE_DEVICES", "1", 1) == 0, "setenv");
    REQUIRE(unsetenv("CUDA_DEVICE_ORDER") == 0, "unsetenv");
    load_driver();
    CU(cuInit(0));

    int count;
    CUdevice device;
    CUcontext context;
    CUdeviceptr memory;
    CU(cuDeviceGetCount(&count));
    REQUIRE(count == 1, "%d devices are seen", count);
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuMemAlloc_v2(&memory, N * sizeof(uint32_t)));

    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        enum { PCI_BUS_ID = 33 };
        uint32_t now[N];
        int bus;
        CU(cuDeviceGetCount(&count));
        CU(cuDeviceGetAttribute(&bus, PCI_BUS_ID, device));
        CU(cuMemsetD32Async(memory, (unsigned)s, N, NULL));
        CU(cuMemcpyDtoH_v2(now, memory, sizeof now));
        d = digest_u64(d, (uint64_t)now[s % N]);
        d = digest_u64(d, (uint64_t)count);
        d = digest_u64(d, (uint64_t)bus);
        progress(s, steps);
    }
    CU(cuMemFree_v2(memory));
    CU(cuCtxDestroy_v2(context));
    return guest_end(d);
}
