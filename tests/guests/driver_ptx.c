/* The CUDA driver API in plain C, with PTX text; no CUDA toolkit is needed to
 * build it.
 *
 *     cc -O2 driver_ptx.c -o driver_ptx && ./driver_ptx [STEPS [MILLISECONDS]]
 *
 * A particle simulation advances on the device, a counter in a module variable
 * and a table in constant memory with it; the host follows it exactly. With a
 * second argument each step takes at least that long and prints a bar, for
 * somebody to watch. */
#include "driver.h"

static const char ptx[] =
    ".version 6.4\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .global .align 8 .u64 steps_done;\n"
    ".visible .const .align 4 .b32 forces[4] = {3, 5, 7, 11};\n"
    /* advance(position, velocity, n, push): one thread a particle */
    ".visible .entry advance(.param .u64 position, .param .u64 velocity,\n"
    "                        .param .u32 n, .param .u32 push)\n"
    "{\n"
    "  .reg .pred %p<3>;\n"
    "  .reg .b32 %r<16>;\n"
    "  .reg .b64 %rd<12>;\n"
    "  ld.param.u64 %rd1, [position];\n"
    "  ld.param.u64 %rd2, [velocity];\n"
    "  ld.param.u32 %r1, [n];\n"
    "  ld.param.u32 %r2, [push];\n"
    "  mov.u32 %r3, %ctaid.x;\n"
    "  mov.u32 %r4, %ntid.x;\n"
    "  mov.u32 %r5, %tid.x;\n"
    "  mad.lo.s32 %r6, %r3, %r4, %r5;\n"
    "  setp.ge.u32 %p1, %r6, %r1;\n"
    "  @%p1 bra DONE;\n"
    "  cvta.to.global.u64 %rd3, %rd1;\n"
    "  cvta.to.global.u64 %rd4, %rd2;\n"
    "  mul.wide.u32 %rd5, %r6, 4;\n"
    "  add.s64 %rd6, %rd3, %rd5;\n"
    "  add.s64 %rd7, %rd4, %rd5;\n"
    "  and.b32 %r7, %r6, 3;\n"
    "  mul.wide.u32 %rd8, %r7, 4;\n"
    "  mov.u64 %rd9, forces;\n"
    "  add.s64 %rd10, %rd9, %rd8;\n"
    "  ld.const.u32 %r8, [%rd10];\n"
    "  ld.global.u32 %r9, [%rd7];\n"
    "  mad.lo.s32 %r10, %r8, %r2, %r9;\n"
    "  st.global.u32 [%rd7], %r10;\n"
    "  ld.global.u32 %r11, [%rd6];\n"
    "  add.s32 %r12, %r11, %r10;\n"
    "  xor.b32 %r13, %r12, %r2;\n"
    "  st.global.u32 [%rd6], %r13;\n"
    "  setp.ne.u32 %p2, %r6, 0;\n"
    "  @%p2 bra DONE;\n"
    "  ld.global.u64 %rd11, [steps_done];\n"
    "  add.s64 %rd11, %rd11, 1;\n"
    "  st.global.u64 [steps_done], %rd11;\n"
    "DONE:\n"
    "  ret;\n"
    "}\n"
    /* fold(position, n, out): sum and xor of all positions, by atomics */
    ".visible .entry fold(.param .u64 position, .param .u32 n, .param .u64 out)\n"
    "{\n"
    "  .reg .pred %p<2>;\n"
    "  .reg .b32 %r<10>;\n"
    "  .reg .b64 %rd<8>;\n"
    "  ld.param.u64 %rd1, [position];\n"
    "  ld.param.u32 %r1, [n];\n"
    "  ld.param.u64 %rd2, [out];\n"
    "  mov.u32 %r2, %ctaid.x;\n"
    "  mov.u32 %r3, %ntid.x;\n"
    "  mov.u32 %r4, %tid.x;\n"
    "  mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "  setp.ge.u32 %p1, %r5, %r1;\n"
    "  @%p1 bra DONE;\n"
    "  cvta.to.global.u64 %rd3, %rd1;\n"
    "  cvta.to.global.u64 %rd4, %rd2;\n"
    "  mul.wide.u32 %rd5, %r5, 4;\n"
    "  add.s64 %rd6, %rd3, %rd5;\n"
    "  ld.global.u32 %r6, [%rd6];\n"
    "  atom.global.add.u32 %r7, [%rd4], %r6;\n"
    "  red.global.xor.b32 [%rd4+4], %r6;\n"
    "DONE:\n"
    "  ret;\n"
    "}\n";

enum { N = 1536, BLOCK = 128 };

static uint32_t position[N], velocity[N];
static uint32_t forces[4] = {3, 5, 7, 11};

static void on_host(uint32_t push)
{
    for (uint32_t i = 0; i < N; i++) {
        velocity[i] += forces[i % 4] * push;
        position[i] = (position[i] + velocity[i]) ^ push;
    }
}

static void show(long step, long steps, uint32_t sum)
{
    char bar[41];
    int full = (int)(step * 40 / steps);
    for (int i = 0; i < 40; i++)
        bar[i] = i < full ? '#' : '.';
    bar[40] = 0;
    printf("step %4ld of %ld [%s] checksum %08x\n", step, steps, bar, sum);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 300);
    long pace_ms = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    load_driver();

    int version, count, major, warp;
    size_t total, left;
    char name[128];
    CUdevice device;
    CUcontext context, current, popped;
    CU(cuInit(0));
    CU(cuDriverGetVersion(&version));
    CU(cuDeviceGetCount(&count));
    REQUIRE(version >= 11000 && count >= 1, "driver %d, %d devices", version, count);
    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetName(name, sizeof name, device));
    CU(cuDeviceTotalMem_v2(&total, device));
    CU(cuDeviceGetAttribute(&major, 75, device)); /* COMPUTE_CAPABILITY_MAJOR */
    CU(cuDeviceGetAttribute(&warp, 10, device));  /* WARP_SIZE */
    REQUIRE(name[0] && total > 0 && major >= 5 && warp == 32, "the device's properties");
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuCtxGetCurrent(&current));
    REQUIRE(current == context, "the new context is not current");

    CUmodule module;
    CUfunction advance, fold;
    CUdeviceptr counter, table, dp, dv, out;
    size_t counter_size, table_size;
    CU(cuModuleLoadData(&module, ptx));
    CU(cuModuleGetFunction(&advance, module, "advance"));
    CU(cuModuleGetFunction(&fold, module, "fold"));
    CU(cuModuleGetGlobal_v2(&counter, &counter_size, module, "steps_done"));
    CU(cuModuleGetGlobal_v2(&table, &table_size, module, "forces"));
    REQUIRE(counter_size == 8 && table_size == 16, "sizes %zu and %zu", counter_size, table_size);

    for (int i = 0; i < N; i++) {
        position[i] = (uint32_t)mix64(i);
        velocity[i] = (uint32_t)mix64(i + N);
    }
    CU(cuMemAlloc_v2(&dp, sizeof position));
    CU(cuMemAlloc_v2(&dv, sizeof velocity));
    CU(cuMemAlloc_v2(&out, 8));
    CU(cuMemGetInfo_v2(&left, &total));
    REQUIRE(left <= total, "%zu of %zu free", left, total);
    CU(cuMemcpyHtoD_v2(dp, position, sizeof position));
    CU(cuMemcpyHtoD_v2(dv, velocity, sizeof velocity));

    CUstream worker, reader;
    CUevent ready, taken;
    CU(cuStreamCreate(&worker, 1));
    CU(cuStreamCreate(&reader, 1));
    CU(cuEventCreate(&ready, 2));
    CU(cuEventCreate(&taken, 2));

    digest_t g = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        double begin = now_s();
        uint32_t n = N, push = (uint32_t)s * 2654435761u;
        void *advance_args[] = {&dp, &dv, &n, &push};
        CU(cuLaunchKernel(advance, N / BLOCK, 1, 1, BLOCK, 1, 1, 0, worker, advance_args, NULL));
        on_host(push);
        if (s % 8 == 7) {
            uint32_t want[2] = {0, 0}, got[2];
            void *fold_args[] = {&dp, &n, &out};
            CU(cuEventRecord(ready, worker));
            CU(cuStreamWaitEvent(reader, ready, 0));
            CU(cuMemsetD32Async(out, 0, 2, reader));
            CU(cuLaunchKernel(fold, N / BLOCK, 1, 1, BLOCK, 1, 1, 0, reader, fold_args, NULL));
            CU(cuMemcpyDtoHAsync_v2(got, out, sizeof got, reader));
            CU(cuEventRecord(taken, reader));
            CU(cuStreamWaitEvent(worker, taken, 0));
            CU(cuStreamSynchronize(reader));
            for (int i = 0; i < N; i++) {
                want[0] += position[i];
                want[1] ^= position[i];
            }
            REQUIRE(got[0] == want[0] && got[1] == want[1], "step %ld: sum %x, expected %x; xor %x, expected %x",
                    s, got[0], want[0], got[1], want[1]);
            g = digest_add(g, got, sizeof got);
            if (pace_ms > 0)
                show(s + 1, steps, got[0]);
        }
        if (s % 64 == 63) { /* the table changes, a scratch block comes and goes */
            CUdeviceptr scratch;
            forces[s / 64 % 4] += 2;
            CU(cuStreamSynchronize(worker));
            CU(cuMemcpyHtoD_v2(table, forces, sizeof forces));
            CU(cuMemAlloc_v2(&scratch, 4096 + (size_t)s * 16));
            CU(cuMemFree_v2(scratch));
            CU(cuCtxPopCurrent_v2(&popped));
            REQUIRE(popped == context, "another context was popped");
            CU(cuCtxPushCurrent_v2(context));
        }
        if (pace_ms > 0) {
            double rest = (double)pace_ms / 1000 - (now_s() - begin);
            if (rest > 0)
                pause_us((long)(rest * 1e6));
        } else {
            progress(s, steps);
        }
    }

    uint32_t last_p[N], last_v[N];
    uint64_t done;
    CU(cuCtxSynchronize());
    CU(cuMemcpyDtoH_v2(last_p, dp, sizeof last_p));
    CU(cuMemcpyDtoH_v2(last_v, dv, sizeof last_v));
    CU(cuMemcpyDtoH_v2(&done, counter, sizeof done));
    REQUIRE(memcmp(last_p, position, sizeof position) == 0, "positions differ");
    REQUIRE(memcmp(last_v, velocity, sizeof velocity) == 0, "velocities differ");
    REQUIRE(done == (uint64_t)steps, "the device counted %llu steps", (unsigned long long)done);
    CU(cuEventDestroy_v2(ready));
    CU(cuEventDestroy_v2(taken));
    CU(cuStreamDestroy_v2(worker));
    CU(cuStreamDestroy_v2(reader));
    CU(cuMemFree_v2(dp));
    CU(cuMemFree_v2(dv));
    CU(cuMemFree_v2(out));
    CU(cuModuleUnload(module));
    CU(cuCtxDestroy_v2(context));
    g = digest_add(g, last_p, sizeof last_p);
    g = digest_add(g, last_v, sizeof last_v);
    return guest_end(digest_u64(g, done));
}
