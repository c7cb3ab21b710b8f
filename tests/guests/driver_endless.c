/* A kernel that does not end while the file argv[2] exists: a checkpoint cannot
 * drain the device meanwhile, must give up at its deadline, and the program must
 * not notice. Afterwards it works on, and can be saved. */
#include "driver.h"
#include <unistd.h>

static const char ptx[] =
    ".version 6.4\n"
    ".target sm_50\n"
    ".address_size 64\n"
    /* spin(flag, turns): until *flag is not 0; counts the turns it took */
    ".visible .entry spin(.param .u64 flag, .param .u64 turns)\n"
    "{\n"
    "  .reg .pred %p<2>;\n"
    "  .reg .b32 %r<2>;\n"
    "  .reg .b64 %rd<8>;\n"
    "  ld.param.u64 %rd1, [flag];\n"
    "  ld.param.u64 %rd2, [turns];\n"
    "  cvta.to.global.u64 %rd3, %rd1;\n"
    "  cvta.to.global.u64 %rd4, %rd2;\n"
    "  mov.u64 %rd5, 0;\n"
    "AGAIN:\n"
    "  add.s64 %rd5, %rd5, 1;\n"
    "  ld.volatile.global.u32 %r1, [%rd3];\n"
    "  setp.eq.u32 %p1, %r1, 0;\n"
    "  @%p1 bra AGAIN;\n"
    "  st.global.u64 [%rd4], %rd5;\n"
    "  ret;\n"
    "}\n";

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 200);
    REQUIRE(argc > 2, "a file as second argument");
    load_driver();
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction spin;
    CUdeviceptr flag, turns;
    CUstream worker, other;
    uint32_t one = 1, zero = 0;
    uint64_t count = 0;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuModuleLoadData(&module, ptx));
    CU(cuModuleGetFunction(&spin, module, "spin"));
    CU(cuMemAlloc_v2(&flag, 4));
    CU(cuMemAlloc_v2(&turns, 8));
    CU(cuMemcpyHtoD_v2(flag, &zero, sizeof zero));
    CU(cuMemcpyHtoD_v2(turns, &count, sizeof count));
    CU(cuStreamCreate(&worker, 1));
    CU(cuStreamCreate(&other, 1));
    void *args[] = {&flag, &turns};
    CU(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, worker, args, NULL));
    printf("spinning\n");
    fflush(stdout);
    while (access(argv[2], F_OK) == 0)
        pause_us(2000);
    REQUIRE(cuStreamQuery(worker) == 600, "the kernel ended by itself"); /* NOT_READY */
    CU(cuMemcpyHtoDAsync_v2(flag, &one, sizeof one, other));
    CU(cuStreamSynchronize(other));
    CU(cuStreamSynchronize(worker));
    CU(cuMemcpyDtoH_v2(&count, turns, sizeof count));
    REQUIRE(count > 0, "the kernel never ran");
    printf("released\n");
    fflush(stdout);
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        CU(cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, worker, args, NULL));
        CU(cuStreamSynchronize(worker));
        CU(cuMemcpyDtoH_v2(&count, turns, sizeof count));
        REQUIRE(count == 1, "%llu turns", (unsigned long long)count);
        d = digest_u64(d, count + (uint64_t)s);
        pause_us(4000);
        progress(s, steps);
    }
    return guest_end(d);
}
