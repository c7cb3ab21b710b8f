/* cuBLAS: products of matrices of small whole numbers, exact in single precision
 * however they are split, and compared with the host's.
 *
 *     cublas LIBRARY [STEPS] */
#include "library.h"

typedef struct cublas *cublasHandle_t;
static int (*cublasCreate_v2)(cublasHandle_t *);
static int (*cublasDestroy_v2)(cublasHandle_t);
static int (*cublasSetStream_v2)(cublasHandle_t, CUstream);
static int (*cublasSgemm_v2)(cublasHandle_t, int, int, int, int, int, const float *, const float *, int,
                             const float *, int, const float *, float *, int);

enum { N = 96, BYTES = N * N * 4 };

static cublasHandle_t handle;
static CUdeviceptr a, b, c, spare;
static float host_a[N * N], host_b[N * N], host_c[N * N], wanted[N * N];
static const float one = 1, zero = 0;

/* Matrices lie by columns. */
static void multiply(CUdeviceptr to)
{
    SAID_0(cublasSgemm_v2(handle, 0, 0, N, N, N, &one, (const float *)a, N, (const float *)b, N, &zero, (float *)to, N));
}

static void busy(void)
{
    multiply(spare);
}

static void on_host(void)
{
    for (int column = 0; column < N; column++)
        for (int row = 0; row < N; row++) {
            float sum = 0;
            for (int k = 0; k < N; k++)
                sum += host_a[k * N + row] * host_b[column * N + k];
            wanted[column * N + row] = sum;
        }
}

int main(int argc, char **argv)
{
    REQUIRE(argc > 1, "which library?");
    long steps = guest_steps(argc - 1, argv + 1, 60);
    void *library = library_and_context(argv[1]);
    FUNCTION(library, cublasCreate_v2);
    FUNCTION(library, cublasDestroy_v2);
    FUNCTION(library, cublasSetStream_v2);
    FUNCTION(library, cublasSgemm_v2);
    CUstream stream;
    CU(cuStreamCreate(&stream, 1));
    CU(cuMemAlloc_v2(&a, BYTES));
    CU(cuMemAlloc_v2(&b, BYTES));
    CU(cuMemAlloc_v2(&c, BYTES));
    CU(cuMemAlloc_v2(&spare, BYTES));
    SAID_0(cublasCreate_v2(&handle));
    SAID_0(cublasSetStream_v2(handle, stream));
    digest_t digest = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int i = 0; i < N * N; i++) {
            host_a[i] = (float)(mix64((uint64_t)(s * 2 * N * N + i)) % 16);
            host_b[i] = (float)(mix64((uint64_t)(s * 2 * N * N + N * N + i)) % 16);
        }
        CU(cuMemcpyHtoDAsync_v2(a, host_a, BYTES, stream));
        CU(cuMemcpyHtoDAsync_v2(b, host_b, BYTES, stream));
        multiply(c);
        if (s == steps / 2)
            half_way(busy);
        CU(cuMemcpyDtoHAsync_v2(host_c, c, BYTES, stream));
        CU(cuStreamSynchronize(stream));
        on_host();
        for (int i = 0; i < N * N; i++)
            REQUIRE(host_c[i] == wanted[i], "step %ld: element %d is %g, expected %g", s, i, (double)host_c[i],
                    (double)wanted[i]);
        digest = digest_add(digest, host_c, BYTES);
        progress(s, steps);
    }
    SAID_0(cublasDestroy_v2(handle));
    return guest_end(digest);
}
