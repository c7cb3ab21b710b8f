// Cooperative groups: a barrier across the grid, tiles, coalesced and labelled
// groups; votes, and a reduction whose last block finishes the work.
#include "cuda_guest.h"
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <vector>
#include <algorithm>
namespace cg = cooperative_groups;

__global__ void gridsum(const int *x, int *part, int *out, int n)
{
    cg::grid_group grid = cg::this_grid();
    cg::thread_block b = cg::this_thread_block();
    extern __shared__ int sh[];
    int s = 0;
    for (int i = grid.thread_rank(); i < n; i += grid.size())
        s += x[i];
    auto t = cg::tiled_partition<32>(b);
    s = cg::reduce(t, s, cg::plus<int>());
    if (t.thread_rank() == 0)
        sh[t.meta_group_rank()] = s;
    b.sync();
    if (b.thread_rank() == 0) {
        int q = 0;
        for (int i = 0; i < t.meta_group_size(); i++)
            q += sh[i];
        part[blockIdx.x] = q;
    }
    grid.sync();
    if (grid.thread_rank() == 0) {
        int q = 0;
        for (int i = 0; i < gridDim.x; i++)
            q += part[i];
        *out = q;
    }
    grid.sync();
    if (b.thread_rank() == 0)
        part[blockIdx.x] = *out + blockIdx.x;
}

__global__ void tiles(int *o)
{
    auto b = cg::this_thread_block();
    auto t = cg::tiled_partition<8>(b);
    int v = b.thread_rank();
    int a = cg::inclusive_scan(t, v);
    int e = cg::exclusive_scan(t, v, cg::plus<int>());
    int m = cg::reduce(t, v * 7 % 13, cg::greater<int>());
    o[v * 4] = a;
    o[v * 4 + 1] = e;
    o[v * 4 + 2] = m + t.any(v == 3) * 100 + t.shfl(v, 5) * 1000;
    if (v % 3 == 0) {
        auto c = cg::coalesced_threads();
        o[v * 4 + 3] =
            c.size() * 100 + c.thread_rank() +
            (c.thread_rank() == 0 ? cg::reduce(c, 0, cg::plus<int>()),
             0                    : (cg::reduce(c, 0, cg::plus<int>()), 0));
    } else
        o[v * 4 + 3] = -1;
}

__global__ void match(int *o)
{
    int v = threadIdx.x;
    unsigned m = __match_any_sync(~0u, v % 5);
    int p;
    unsigned a = __match_all_sync(~0u, v / 32, &p);
    o[v] = m ^ a;
    unsigned q = __activemask();
    if (v & 1) {
        o[512 + v] = __popc(__activemask());
    } else
        o[512 + v] = __popc(q) + 1000;
    auto b = cg::this_thread_block();
    auto t = cg::labeled_partition(cg::coalesced_threads(), v % 3);
    o[768 + v] = t.size() * 10 + t.meta_group_rank() * 0;
}

__device__ unsigned cnt = 0;

__global__ void fence(const float *x, volatile float *part, float *out, int n)
{
    __shared__ float sh[256];
    __shared__ bool last;
    float s = 0;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256)
        s += x[i];
    sh[threadIdx.x] = s;
    __syncthreads();
    for (int k = 128; k; k >>= 1) {
        if (threadIdx.x < k)
            sh[threadIdx.x] += sh[threadIdx.x + k];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sh[0];
        __threadfence();
        unsigned t = atomicInc(&cnt, gridDim.x);
        last = t == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float q = 0;
        for (int i = 0; i < gridDim.x; i++)
            q += part[i];
        *out = q;
        cnt = 0;
    }
}

__global__ void votes(int *o)
{
    int i = threadIdx.x;
    o[i] = __syncthreads_count(i % 3 == 0) +
           1000 * __syncthreads_and(i < 9999) +
           2000 * __syncthreads_or(i == 77);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1);
    digest_t g = DIGEST_START;
    const int n = 20000;
    std::vector<int> x(n);
    std::vector<float> xf(n);
    int *d, *part, *out;
    float *df, *pf, *of;
    CUDA(cudaMalloc(&d, n * 4));
    CUDA(cudaMalloc(&part, 4096));
    CUDA(cudaMalloc(&out, 65536));
    CUDA(cudaMalloc(&df, n * 4));
    CUDA(cudaMalloc(&pf, 4096));
    CUDA(cudaMalloc(&of, 4));
    std::vector<int> o(1024);
    for (long s = 0; s < steps; s++) {
        int want = 0;
        float wf = 0;
        for (int i = 0; i < n; i++) {
            x[i] = mix64(i + s) % 1000;
            want += x[i];
            xf[i] = x[i] % 4;
            wf += xf[i];
        }
        CUDA(cudaMemcpy(d, x.data(), n * 4, cudaMemcpyHostToDevice));
        CUDA(cudaMemcpy(df, xf.data(), n * 4, cudaMemcpyHostToDevice));
        int nn = n;
        void *a[] = {&d, &part, &out, &nn};
        int per = 0;
        CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per, gridsum, 128,
                                                           1024));
        REQUIRE(per > 0, "occ");
        CUDA(cudaLaunchCooperativeKernel((void *)gridsum, dim3(16), dim3(128),
                                         a, 1024, 0));
        int got;
        CUDA(cudaMemcpy(&got, out, 4, cudaMemcpyDeviceToHost));
        REQUIRE(got == want, "grid %d %d", got, want);
        CUDA(cudaMemcpy(o.data(), part, 64, cudaMemcpyDeviceToHost));
        for (int i = 0; i < 16; i++)
            REQUIRE(o[i] == want + i, "after");
        tiles<<<1, 64>>>(out);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), out, 1024, cudaMemcpyDeviceToHost));
        for (int v = 0; v < 64; v++) {
            int b = v / 8 * 8, a = 0;
            for (int k = b; k <= v; k++)
                a += k;
            int m = 0;
            for (int k = b; k < b + 8; k++)
                m = std::max(m, k * 7 % 13);
            REQUIRE(o[v * 4] == a && o[v * 4 + 1] == a - v &&
                        o[v * 4 + 2] == m + (b == 0) * 100 + (b + 5) * 1000,
                    "tiles %d: %d %d %d", v, o[v * 4], o[v * 4 + 1],
                    o[v * 4 + 2]);
            int w = v / 32 * 32;
            int c = 0, r = 0;
            for (int k = w; k < w + 32; k++)
                if (k % 3 == 0) {
                    c++;
                    if (k < v)
                        r++;
                }
            REQUIRE(o[v * 4 + 3] == (v % 3 == 0 ? c * 100 + r : -1),
                    "coal %d %d", v, o[v * 4 + 3]);
        }
        match<<<1, 256>>>(out);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), out, 4096, cudaMemcpyDeviceToHost));
        for (int v = 0; v < 256; v++) {
            unsigned m = 0;
            int w = v / 32 * 32, cc = 0;
            for (int k = w; k < w + 32; k++) {
                if (k % 5 == v % 5)
                    m |= 1u << (k - w);
                if (k % 3 == v % 3)
                    cc++;
            }
            REQUIRE((unsigned)o[v] == ~m, "match");
            REQUIRE(o[512 + v] == (v & 1 ? 16 : 1032), "active %d %d", v,
                    o[512 + v]);
            REQUIRE(o[768 + v] == cc * 10, "label %d %d", o[768 + v], cc);
        }
        fence<<<40, 256>>>(df, pf, of, n);
        LAUNCHED();
        float gf;
        CUDA(cudaMemcpy(&gf, of, 4, cudaMemcpyDeviceToHost));
        REQUIRE(gf == wf, "fence %g %g", gf, wf);
        votes<<<1, 300>>>(out);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), out, 1200, cudaMemcpyDeviceToHost));
        for (int i = 0; i < 300; i++)
            REQUIRE(o[i] == 100 + 3000, "votes %d", o[i]);
        g = digest_u64(g, got);
    }
    printf("digest %016llx\n", (unsigned long long)g);
    return 0;
}
