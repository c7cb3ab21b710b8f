/* A process that holds much device memory with known random content.
 *
 *     resident BYTES SEED [BEAT STOP]
 *
 * Fills BYTES on the device, says "filled"; with BEAT and STOP it then works on a
 * counter on the device every millisecond, makes the folder BEAT whenever that is
 * missing (somebody who removes it sees when the process next has used the
 * device), until the file STOP exists. Then every word is compared on the device,
 * samples of them on the host, and a digest of all is printed: the same one
 * whether and whenever the process was saved.
 *
 * Exit status 3: the device has not that much memory free. */
#include "kit.h"
#include <sys/stat.h>

/* mix64 of guest.h, in PTX: rd20 from rd20. */
#define MIX                                                                    \
    "  add.s64 %rd20, %rd20, -7046029254386353131;\n"                          \
    "  shr.u64 %rd21, %rd20, 30;\n"                                            \
    "  xor.b64 %rd20, %rd20, %rd21;\n"                                         \
    "  mul.lo.s64 %rd20, %rd20, -4658895280553007687;\n"                       \
    "  shr.u64 %rd21, %rd20, 27;\n"                                            \
    "  xor.b64 %rd20, %rd20, %rd21;\n"                                         \
    "  mul.lo.s64 %rd20, %rd20, -7723592293110705685;\n"                       \
    "  shr.u64 %rd21, %rd20, 31;\n"                                            \
    "  xor.b64 %rd20, %rd20, %rd21;\n"

/* rd1 words, rd2 their count, rd3 the number of the first; rd4 this thread,
 * rd5 all threads. */
#define BEGIN                                                                  \
    "  .reg .pred %p<4>;\n"                                                    \
    "  .reg .b32 %r<8>;\n"                                                     \
    "  .reg .b64 %rd<32>;\n"                                                   \
    "  ld.param.u64 %rd1, [words];\n"                                          \
    "  ld.param.u64 %rd2, [count];\n"                                          \
    "  ld.param.u64 %rd3, [first];\n"                                          \
    "  cvta.to.global.u64 %rd1, %rd1;\n"                                       \
    "  mov.u32 %r1, %ctaid.x;\n"                                               \
    "  mov.u32 %r2, %ntid.x;\n"                                                \
    "  mov.u32 %r3, %tid.x;\n"                                                 \
    "  mov.u32 %r4, %nctaid.x;\n"                                              \
    "  mad.lo.s32 %r5, %r1, %r2, %r3;\n"                                       \
    "  mul.lo.s32 %r6, %r4, %r2;\n"                                            \
    "  cvt.u64.u32 %rd4, %r5;\n"                                               \
    "  cvt.u64.u32 %rd5, %r6;\n"

static const char ptx[] =
    ".version 6.4\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .entry fill(.param .u64 words, .param .u64 count, .param .u64 first)\n"
    "{\n" BEGIN
    "NEXT:\n"
    "  setp.ge.u64 %p1, %rd4, %rd2;\n"
    "  @%p1 bra DONE;\n"
    "  add.s64 %rd20, %rd3, %rd4;\n" MIX
    "  shl.b64 %rd6, %rd4, 3;\n"
    "  add.s64 %rd6, %rd1, %rd6;\n"
    "  st.global.u64 [%rd6], %rd20;\n"
    "  add.s64 %rd4, %rd4, %rd5;\n"
    "  bra NEXT;\n"
    "DONE:\n"
    "  ret;\n"
    "}\n"
    /* out: sum, xor, words that differ from what they were filled with */
    ".visible .entry fold(.param .u64 words, .param .u64 count, .param .u64 first,\n"
    "                     .param .u64 out)\n"
    "{\n" BEGIN
    "  ld.param.u64 %rd7, [out];\n"
    "  cvta.to.global.u64 %rd7, %rd7;\n"
    "  mov.u64 %rd10, 0;\n"
    "  mov.u64 %rd11, 0;\n"
    "  mov.u64 %rd12, 0;\n"
    "NEXT:\n"
    "  setp.ge.u64 %p1, %rd4, %rd2;\n"
    "  @%p1 bra DONE;\n"
    "  add.s64 %rd20, %rd3, %rd4;\n" MIX
    "  shl.b64 %rd6, %rd4, 3;\n"
    "  add.s64 %rd6, %rd1, %rd6;\n"
    "  ld.global.u64 %rd8, [%rd6];\n"
    "  add.s64 %rd10, %rd10, %rd8;\n"
    "  xor.b64 %rd11, %rd11, %rd8;\n"
    "  setp.eq.u64 %p2, %rd8, %rd20;\n"
    "  @%p2 bra SAME;\n"
    "  add.s64 %rd12, %rd12, 1;\n"
    "SAME:\n"
    "  add.s64 %rd4, %rd4, %rd5;\n"
    "  bra NEXT;\n"
    "DONE:\n"
    "  atom.global.add.u64 %rd13, [%rd7], %rd10;\n"
    "  atom.global.xor.b64 %rd14, [%rd7+8], %rd11;\n"
    "  atom.global.add.u64 %rd15, [%rd7+16], %rd12;\n"
    "  ret;\n"
    "}\n"
    ".visible .entry tick(.param .u64 counter)\n"
    "{\n"
    "  .reg .b64 %rd<3>;\n"
    "  ld.param.u64 %rd1, [counter];\n"
    "  cvta.to.global.u64 %rd1, %rd1;\n"
    "  ld.global.u64 %rd2, [%rd1];\n"
    "  add.s64 %rd2, %rd2, 1;\n"
    "  st.global.u64 [%rd1], %rd2;\n"
    "  ret;\n"
    "}\n";

enum { MOST_BLOCKS = 1024, SAMPLES = 64, THREADS = 256, MARGIN = 384 << 20 };

static const size_t block_bytes = (size_t)1 << 30;
static CUdeviceptr blocks[MOST_BLOCKS];
static int block_count;
static uint64_t bytes, seed;
static CUfunction fill, fold, tick;

static uint64_t words_of(int block)
{
    uint64_t before = (uint64_t)block * block_bytes;
    return (bytes - before < block_bytes ? bytes - before : block_bytes) / 8;
}

static uint64_t first_of(int block)
{
    return seed + (uint64_t)block * (block_bytes / 8);
}

static void start(CUfunction f, void **arguments, uint64_t words)
{
    uint64_t wanted = (words + THREADS - 1) / THREADS;
    unsigned grid = (unsigned)(wanted < 4096 ? wanted : 4096);
    CU(cuLaunchKernel(f, grid, 1, 1, THREADS, 1, 1, 0, NULL, arguments, NULL));
}

static void fill_all(void)
{
    for (int b = 0; b < block_count; b++) {
        uint64_t words = words_of(b), first = first_of(b);
        void *arguments[] = {&blocks[b], &words, &first};
        CU(cuMemAlloc_v2(&blocks[b], words * 8));
        start(fill, arguments, words);
    }
    CU(cuCtxSynchronize());
}

static int verify_all(CUdeviceptr out)
{
    uint64_t result[3] = {0, 0, 0};
    CU(cuMemcpyHtoD_v2(out, result, sizeof result));
    for (int b = 0; b < block_count; b++) {
        uint64_t words = words_of(b), first = first_of(b);
        void *arguments[] = {&blocks[b], &words, &first, &out};
        start(fold, arguments, words);
    }
    CU(cuCtxSynchronize());
    CU(cuMemcpyDtoH_v2(result, out, sizeof result));
    uint64_t wrong_samples = 0;
    for (int b = 0; b < block_count; b++) {
        for (int s = 0; s < SAMPLES; s++) {
            uint64_t at = mix64((uint64_t)b * SAMPLES + (uint64_t)s) % words_of(b), word;
            CU(cuMemcpyDtoH_v2(&word, blocks[b] + at * 8, sizeof word));
            wrong_samples += word != mix64(first_of(b) + at);
        }
    }
    printf("bytes %llu\nwords that differ %llu\nsamples that differ %llu\n", (unsigned long long)bytes,
           (unsigned long long)result[2], (unsigned long long)wrong_samples);
    return guest_end(digest_u64(digest_u64(DIGEST_START, result[0]), result[1]));
}

int main(int argc, char **argv)
{
    REQUIRE(argc == 3 || argc == 5, "usage: resident BYTES SEED [BEAT STOP]");
    bytes = strtoull(argv[1], NULL, 10) / 8 * 8;
    seed = mix64(strtoull(argv[2], NULL, 10));
    block_count = (int)((bytes + block_bytes - 1) / block_bytes);
    REQUIRE(bytes > 0 && block_count <= MOST_BLOCKS, "%llu bytes", (unsigned long long)bytes);
    load_driver();
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUdeviceptr out, counter;
    size_t left, total;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuCtxCreate_v2(&context, 0, device));
    CU(cuModuleLoadData(&module, ptx));
    CU(cuModuleGetFunction(&fill, module, "fill"));
    CU(cuModuleGetFunction(&fold, module, "fold"));
    CU(cuModuleGetFunction(&tick, module, "tick"));
    CU(cuMemGetInfo_v2(&left, &total));
    if (left < bytes + MARGIN) {
        fprintf(stderr, "the device has %zu MiB of %zu free\n", left >> 20, total >> 20);
        return 3;
    }
    uint64_t ticks = 0, seen;
    CU(cuMemAlloc_v2(&out, 24));
    CU(cuMemAlloc_v2(&counter, 8));
    CU(cuMemcpyHtoD_v2(counter, &ticks, sizeof ticks));
    fill_all();
    printf("filled\n");
    fflush(stdout);
    while (argc == 5 && access(argv[4], F_OK) != 0) {
        void *arguments[] = {&counter};
        CU(cuLaunchKernel(tick, 1, 1, 1, 1, 1, 1, 0, NULL, arguments, NULL));
        CU(cuMemcpyDtoH_v2(&seen, counter, sizeof seen));
        ticks++;
        REQUIRE(seen == ticks, "the device counted %llu ticks, expected %llu", (unsigned long long)seen,
                (unsigned long long)ticks);
        mkdir(argv[3], 0700); /* EEXIST: nobody asked */
        pause_us(1000);
    }
    return verify_all(out);
}
