/* Host threads that use the device for a given time and check every result.
 *
 *     endure SECONDS [THREADS]
 *
 * Each thread owns a stream; a round of two seconds copies random data in,
 * advances it by kernels, by copies on the device and through blocks that come
 * and go, and compares all with what the host finds. Then the threads end and
 * others begin. Ends with what was done; a wrong word ends it at once. */
#include "kit.h"
#include <pthread.h>

static const char ptx[] =
    ".version 6.4\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .global .align 8 .u64 launches;\n"
    /* to[i] = from[i] * 2862933555777941757 + push, one thread a word */
    ".visible .entry advance(.param .u64 from, .param .u64 to, .param .u64 count,\n"
    "                        .param .u64 push)\n"
    "{\n"
    "  .reg .pred %p<3>;\n"
    "  .reg .b32 %r<6>;\n"
    "  .reg .b64 %rd<16>;\n"
    "  ld.param.u64 %rd1, [from];\n"
    "  ld.param.u64 %rd2, [to];\n"
    "  ld.param.u64 %rd3, [count];\n"
    "  ld.param.u64 %rd4, [push];\n"
    "  mov.u32 %r1, %ctaid.x;\n"
    "  mov.u32 %r2, %ntid.x;\n"
    "  mov.u32 %r3, %tid.x;\n"
    "  mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "  cvt.u64.u32 %rd5, %r4;\n"
    "  setp.ge.u64 %p1, %rd5, %rd3;\n"
    "  @%p1 bra DONE;\n"
    "  cvta.to.global.u64 %rd6, %rd1;\n"
    "  cvta.to.global.u64 %rd7, %rd2;\n"
    "  shl.b64 %rd8, %rd5, 3;\n"
    "  add.s64 %rd9, %rd6, %rd8;\n"
    "  add.s64 %rd10, %rd7, %rd8;\n"
    "  ld.global.u64 %rd11, [%rd9];\n"
    "  mul.lo.s64 %rd11, %rd11, 2862933555777941757;\n"
    "  add.s64 %rd11, %rd11, %rd4;\n"
    "  st.global.u64 [%rd10], %rd11;\n"
    "  setp.ne.u64 %p2, %rd5, 0;\n"
    "  @%p2 bra DONE;\n"
    "  mov.u64 %rd12, launches;\n"
    "  mov.u64 %rd13, 1;\n"
    "  atom.global.add.u64 %rd14, [%rd12], %rd13;\n"
    "DONE:\n"
    "  ret;\n"
    "}\n";

enum { WORDS = 4096, BLOCK = 128, MOST_THREADS = 64, ROUND_S = 2, CHAIN = 8 };

typedef struct {
    pthread_t thread;
    uint64_t seed, launches, turns;
} worker_t;

static CUcontext context;
static CUmodule module;
static CUfunction advance;
static double end_s;

static void *work(void *given)
{
    worker_t *me = given;
    uint64_t data[WORDS], back[WORDS], state = me->seed;
    CUdeviceptr a, b;
    CUstream stream;
    CUcontext popped;
    CU(cuCtxPushCurrent_v2(context));
    CU(cuStreamCreate(&stream, 1));
    CU(cuMemAlloc_v2(&a, sizeof data));
    double round_end = now_s() + ROUND_S;
    while (now_s() < round_end && now_s() < end_s) {
        /* The block is another one in every turn. */
        CU(cuMemAlloc_v2(&b, sizeof data + (size_t)(state % 64) * 4096));
        for (int i = 0; i < WORDS; i++)
            data[i] = state = mix64(state);
        CU(cuMemcpyHtoDAsync_v2(a, data, sizeof data, stream));
        for (int c = 0; c < CHAIN; c++) {
            uint64_t count = WORDS, push = mix64(state + (uint64_t)c);
            void *arguments[] = {c % 2 ? &b : &a, c % 2 ? &a : &b, &count, &push};
            CU(cuLaunchKernel(advance, WORDS / BLOCK, 1, 1, BLOCK, 1, 1, 0, stream, arguments, NULL));
            for (int i = 0; i < WORDS; i++)
                data[i] = data[i] * 2862933555777941757ull + push;
        }
        CU(cuMemcpyDtoHAsync_v2(back, a, sizeof back, stream));
        CU(cuStreamSynchronize(stream));
        for (int i = 0; i < WORDS; i++)
            REQUIRE(back[i] == data[i], "turn %llu: word %d is %llx, expected %llx", (unsigned long long)me->turns, i,
                    (unsigned long long)back[i], (unsigned long long)data[i]);
        CU(cuMemFree_v2(b));
        me->launches += CHAIN;
        me->turns++;
    }
    CU(cuMemFree_v2(a));
    CU(cuStreamDestroy_v2(stream));
    CU(cuCtxPopCurrent_v2(&popped));
    return NULL;
}

int main(int argc, char **argv)
{
    long seconds = guest_steps(argc, argv, 10);
    int threads = argc > 2 ? atoi(argv[2]) : 4;
    REQUIRE(threads > 0 && threads <= MOST_THREADS, "%d threads", threads);
    load_driver();
    CUdevice device;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuModuleLoadData(&module, ptx));
    CU(cuModuleGetFunction(&advance, module, "advance"));
    CUdeviceptr counter;
    size_t size;
    uint64_t counted = 0, launches = 0, turns = 0;
    CU(cuModuleGetGlobal_v2(&counter, &size, module, "launches"));
    CU(cuMemcpyHtoD_v2(counter, &counted, sizeof counted));
    long rounds = 0;
    end_s = now_s() + (double)seconds;
    static worker_t workers[MOST_THREADS];
    for (; now_s() < end_s; rounds++) {
        for (int t = 0; t < threads; t++) {
            workers[t] = (worker_t){.seed = mix64((uint64_t)(rounds * MOST_THREADS + t))};
            REQUIRE(pthread_create(&workers[t].thread, NULL, work, &workers[t]) == 0, "pthread_create");
        }
        for (int t = 0; t < threads; t++) {
            REQUIRE(pthread_join(workers[t].thread, NULL) == 0, "pthread_join");
            launches += workers[t].launches;
            turns += workers[t].turns;
        }
        CU(cuMemcpyDtoH_v2(&counted, counter, sizeof counted));
        REQUIRE(counted == launches, "the device counted %llu launches, expected %llu", (unsigned long long)counted,
                (unsigned long long)launches);
    }
    printf("threads_at_once %d\nthreads_ended %ld\nlaunches %llu\nwords_compared %llu\n", threads,
           rounds * threads, (unsigned long long)launches, (unsigned long long)turns * WORDS);
    return 0;
}
