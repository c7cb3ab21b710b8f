/* cuFFT: a transform there and back gives the signal again; the bits of the
 * spectra are the digest.
 *
 *     cufft LIBRARY [STEPS] */
#include "library.h"

static int (*cufftPlan1d)(int *, int, int, int);
static int (*cufftSetStream)(int, CUstream);
static int (*cufftExecC2C)(int, void *, void *, int);
static int (*cufftDestroy)(int);

enum { N = 4096, BATCH = 4, WORDS = N * BATCH, BYTES = WORDS * 8, C2C = 0x29, FORWARD = -1, INVERSE = 1 };

typedef struct {
    float re, im;
} complex_t;

static int plan;
static CUdeviceptr signal_at, spectrum_at, spare;
static complex_t signal_data[WORDS], spectrum[WORDS], back[WORDS];

static void busy(void)
{
    SAID_0(cufftExecC2C(plan, (void *)signal_at, (void *)spare, FORWARD));
}

static float off(float found, float expected)
{
    float d = found / N - expected;
    return d < 0 ? -d : d;
}

int main(int argc, char **argv)
{
    REQUIRE(argc > 1, "which library?");
    long steps = guest_steps(argc - 1, argv + 1, 60);
    void *library = library_and_context(argv[1]);
    FUNCTION(library, cufftPlan1d);
    FUNCTION(library, cufftSetStream);
    FUNCTION(library, cufftExecC2C);
    FUNCTION(library, cufftDestroy);
    CUstream stream;
    CU(cuStreamCreate(&stream, 1));
    CU(cuMemAlloc_v2(&signal_at, BYTES));
    CU(cuMemAlloc_v2(&spectrum_at, BYTES));
    CU(cuMemAlloc_v2(&spare, BYTES));
    SAID_0(cufftPlan1d(&plan, N, C2C, BATCH));
    SAID_0(cufftSetStream(plan, stream));
    digest_t digest = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int i = 0; i < WORDS; i++) {
            uint64_t r = mix64((uint64_t)(s * WORDS + i));
            signal_data[i] = (complex_t){(float)(r % 1024) / 1024, (float)(r / 1024 % 1024) / 1024};
        }
        CU(cuMemcpyHtoDAsync_v2(signal_at, signal_data, BYTES, stream));
        SAID_0(cufftExecC2C(plan, (void *)signal_at, (void *)spectrum_at, FORWARD));
        if (s == steps / 2)
            half_way(busy);
        CU(cuMemcpyDtoHAsync_v2(spectrum, spectrum_at, BYTES, stream));
        SAID_0(cufftExecC2C(plan, (void *)spectrum_at, (void *)spectrum_at, INVERSE));
        CU(cuMemcpyDtoHAsync_v2(back, spectrum_at, BYTES, stream));
        CU(cuStreamSynchronize(stream));
        for (int i = 0; i < WORDS; i++)
            REQUIRE(off(back[i].re, signal_data[i].re) < 1e-4f && off(back[i].im, signal_data[i].im) < 1e-4f,
                    "step %ld: element %d is %g + %gi, expected %g + %gi", s, i, (double)back[i].re / N,
                    (double)back[i].im / N, (double)signal_data[i].re, (double)signal_data[i].im);
        digest = digest_add(digest, spectrum, BYTES);
        progress(s, steps);
    }
    SAID_0(cufftDestroy(plan));
    return guest_end(digest);
}
