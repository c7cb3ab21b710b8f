// Iterated vector arithmetic: integers that wrap, floats and doubles by fused
// multiply-add, many launches queued between two synchronisations.
#include "cuda_guest.h"
#include <cmath>
#include <vector>

static const int N = 2048;
static const int BURST = 8;

__global__ void advance(unsigned *u, float *f, double *d, unsigned step, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    u[i] = u[i] * 1664525u + 1013904223u + step;
    f[i] = fmaf(f[i], 0.5f, (float)(u[i] >> 16));
    d[i] = fma(d[i], 0.25, (double)u[i]);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 400);
    std::vector<unsigned> u(N), hu(N);
    std::vector<float> f(N), hf(N);
    std::vector<double> d(N), hd(N);
    for (int i = 0; i < N; i++) {
        u[i] = hu[i] = (unsigned)mix64(i);
        f[i] = hf[i] = (float)i;
        d[i] = hd[i] = -(double)i;
    }
    unsigned *du;
    float *df;
    double *dd;
    CUDA(cudaMalloc(&du, N * sizeof *du));
    CUDA(cudaMalloc(&df, N * sizeof *df));
    CUDA(cudaMalloc(&dd, N * sizeof *dd));
    CUDA(cudaMemcpy(du, u.data(), N * sizeof *du, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(df, f.data(), N * sizeof *df, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(dd, d.data(), N * sizeof *dd, cudaMemcpyHostToDevice));

    for (long s = 0; s < steps; s++) {
        for (int b = 0; b < BURST; b++) {
            advance<<<(N + 127) / 128, 128>>>(du, df, dd, (unsigned)(s * BURST + b), N);
            LAUNCHED();
        }
        // The host does the same work while the device runs.
        for (int b = 0; b < BURST; b++)
            for (int i = 0; i < N; i++) {
                hu[i] = hu[i] * 1664525u + 1013904223u + (unsigned)(s * BURST + b);
                hf[i] = fmaf(hf[i], 0.5f, (float)(hu[i] >> 16));
                hd[i] = fma(hd[i], 0.25, (double)hu[i]);
            }
        if (s % 4 == 3)
            CUDA(cudaDeviceSynchronize());
        progress(s, steps);
    }
    CUDA(cudaMemcpy(u.data(), du, N * sizeof *du, cudaMemcpyDeviceToHost));
    CUDA(cudaMemcpy(f.data(), df, N * sizeof *df, cudaMemcpyDeviceToHost));
    CUDA(cudaMemcpy(d.data(), dd, N * sizeof *dd, cudaMemcpyDeviceToHost));
    for (int i = 0; i < N; i++) {
        REQUIRE(u[i] == hu[i], "integer %d: %u, expected %u", i, u[i], hu[i]);
        REQUIRE(f[i] == hf[i], "float %d: %a, expected %a", i, f[i], hf[i]);
        REQUIRE(d[i] == hd[i], "double %d: %a, expected %a", i, d[i], hd[i]);
    }
    CUDA(cudaFree(du));
    CUDA(cudaFree(df));
    CUDA(cudaFree(dd));
    digest_t g = digest_add(DIGEST_START, u.data(), N * sizeof u[0]);
    g = digest_add(g, f.data(), N * sizeof f[0]);
    return guest_end(digest_add(g, d.data(), N * sizeof d[0]));
}
