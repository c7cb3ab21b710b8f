/* What calls of the driver cost, each row by itself: prints `NAME NANOSECONDS`
 * a call, the median of several batches. Run natively and under gpuckpt in turn,
 * the ratio is what gpuckpt adds.
 *
 *     costs [MILLISECONDS of a batch, default 15]
 *
 * Kernels that count show at the end that every launch took place, in order. */
#include "kit.h"

static const char ptx[] =
    ".version 6.4\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .entry nothing()\n"
    "{\n"
    "  ret;\n"
    "}\n"
    /* total = total * a + b + c + d + e: another order gives another total */
    ".visible .entry follow(.param .u64 total, .param .u64 a, .param .u64 b,\n"
    "                       .param .u64 c, .param .u64 d, .param .u64 e)\n"
    "{\n"
    "  .reg .b64 %rd<12>;\n"
    "  ld.param.u64 %rd1, [total];\n"
    "  ld.param.u64 %rd2, [a];\n"
    "  ld.param.u64 %rd3, [b];\n"
    "  ld.param.u64 %rd4, [c];\n"
    "  ld.param.u64 %rd5, [d];\n"
    "  ld.param.u64 %rd6, [e];\n"
    "  cvta.to.global.u64 %rd7, %rd1;\n"
    "  ld.global.u64 %rd8, [%rd7];\n"
    "  mul.lo.s64 %rd8, %rd8, %rd2;\n"
    "  add.s64 %rd8, %rd8, %rd3;\n"
    "  add.s64 %rd8, %rd8, %rd4;\n"
    "  add.s64 %rd8, %rd8, %rd5;\n"
    "  add.s64 %rd8, %rd8, %rd6;\n"
    "  st.global.u64 [%rd7], %rd8;\n"
    "  ret;\n"
    "}\n";

enum { BATCHES = 5, MOST = 1 << 24, DEPTH = 512 };

static CUcontext context;
static CUfunction nothing, follow;
static CUstream stream;
static CUevent event;
static CUdeviceptr total, target;
static uint64_t expected;

static void current(long n)
{
    for (long i = 0; i < n; i++) {
        CUcontext c;
        CU(cuCtxGetCurrent(&c));
    }
}

static void query(long n)
{
    for (long i = 0; i < n; i++)
        CU(cuStreamQuery(stream));
}

static void events(long n)
{
    for (long i = 0; i < n; i++) {
        CUevent e;
        CU(cuEventCreate(&e, 2));
        CU(cuEventDestroy_v2(e));
    }
}

static void record(long n)
{
    for (long i = 0; i < n; i++) {
        CU(cuEventRecord(event, stream));
        if (i % DEPTH == DEPTH - 1)
            CU(cuStreamSynchronize(stream));
    }
    CU(cuStreamSynchronize(stream));
}

static void launch(long n)
{
    for (long i = 0; i < n; i++) {
        CU(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
        if (i % DEPTH == DEPTH - 1)
            CU(cuStreamSynchronize(stream));
    }
    CU(cuStreamSynchronize(stream));
}

static void launch_arguments(long n)
{
    for (long i = 0; i < n; i++) {
        uint64_t a = 6364136223846793005ull, b = (uint64_t)i, c = 3, d = 5, e = 7;
        void *arguments[] = {&total, &a, &b, &c, &d, &e};
        CU(cuLaunchKernel(follow, 1, 1, 1, 1, 1, 1, 0, stream, arguments, NULL));
        expected = expected * a + b + c + d + e;
        if (i % DEPTH == DEPTH - 1)
            CU(cuStreamSynchronize(stream));
    }
    CU(cuStreamSynchronize(stream));
}

static void launch_wait(long n)
{
    for (long i = 0; i < n; i++) {
        CU(cuLaunchKernel(nothing, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
        CU(cuStreamSynchronize(stream));
    }
}

static void allocate(long n)
{
    for (long i = 0; i < n; i++) {
        CUdeviceptr p;
        CU(cuMemAlloc_v2(&p, 64 << 10));
        CU(cuMemFree_v2(p));
    }
}

static void copy_in(long n)
{
    uint32_t word = 1;
    for (long i = 0; i < n; i++)
        CU(cuMemcpyHtoD_v2(target, &word, sizeof word));
}

static void copy_out(long n)
{
    uint32_t word;
    for (long i = 0; i < n; i++)
        CU(cuMemcpyDtoH_v2(&word, target, sizeof word));
}

static void measure(const char *name, void (*work)(long), double batch_s)
{
    long n = 16;
    double each[BATCHES], took;
    for (;; n *= 2) {
        double begin = now_s();
        work(n);
        took = now_s() - begin;
        if (took >= batch_s || n >= MOST)
            break;
    }
    for (int b = 0; b < BATCHES; b++) {
        double begin = now_s();
        work(n);
        each[b] = (now_s() - begin) * 1e9 / (double)n;
    }
    printf("%s %.2f\n", name, median(each, BATCHES));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    double batch_s = (double)guest_steps(argc, argv, 15) / 1e3;
    load_driver();
    CUdevice device;
    CUmodule module;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuModuleLoadData(&module, ptx));
    CU(cuModuleGetFunction(&nothing, module, "nothing"));
    CU(cuModuleGetFunction(&follow, module, "follow"));
    CU(cuStreamCreate(&stream, 1));
    CU(cuEventCreate(&event, 2));
    CU(cuMemAlloc_v2(&total, 8));
    CU(cuMemAlloc_v2(&target, 4096));
    expected = 42;
    CU(cuMemcpyHtoD_v2(total, &expected, sizeof expected));
    static const struct {
        const char *name;
        void (*work)(long);
    } rows[] = {
        {"gate", current},
        {"stream_query", query},
        {"event_create_destroy", events},
        {"event_record", record},
        {"launch", launch},
        {"launch_6_arguments", launch_arguments},
        {"launch_and_wait", launch_wait},
        {"alloc_free_64k", allocate},
        {"copy_4_bytes_in", copy_in},
        {"copy_4_bytes_out", copy_out},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        measure(rows[r].name, rows[r].work, batch_s);
    uint64_t found;
    CU(cuMemcpyDtoH_v2(&found, total, sizeof found));
    REQUIRE(found == expected, "the launches made %llx, expected %llx", (unsigned long long)found,
            (unsigned long long)expected);
    return 0;
}
