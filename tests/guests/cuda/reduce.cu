// Reductions by warp shuffles, votes, shared memory and every common atomic.
#include "cuda_guest.h"
#include <vector>

static const int N = 3000;

struct Totals {
    unsigned long long sum;
    unsigned xored, minimum, maximum, odd;
    int claimed;
    unsigned hash;
};

__device__ unsigned warp_sum(unsigned v)
{
    for (int o = 16; o > 0; o /= 2)
        v += __shfl_down_sync(0xffffffffu, v, o);
    return v;
}

__global__ void scramble(unsigned *x, unsigned step, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] = (x[i] ^ (x[i] >> 15)) * 2246822519u + step;
}

__global__ void reduce(const unsigned *x, Totals *t, unsigned *histogram, int n)
{
    __shared__ unsigned partial[8];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned v = i < n ? x[i] : 0;
    unsigned low = warp_sum(v & 0xffffu);
    unsigned votes = __ballot_sync(0xffffffffu, v & 1);
    unsigned xored = v;
    for (int o = 16; o > 0; o /= 2)
        xored ^= __shfl_xor_sync(0xffffffffu, xored, o);
    if (threadIdx.x % 32 == 0) {
        partial[threadIdx.x / 32] = low;
        atomicXor(&t->xored, xored);
        atomicAdd(&t->odd, __popc(votes));
    }
    __syncthreads();
    if (threadIdx.x < 8) {
        unsigned s = partial[threadIdx.x];
        for (int o = 4; o > 0; o /= 2)
            s += __shfl_down_sync(0xffu, s, o, 8);
        if (threadIdx.x == 0)
            atomicAdd(&t->sum, (unsigned long long)s);
    }
    if (i < n) {
        atomicMin(&t->minimum, v);
        atomicMax(&t->maximum, v);
        atomicAdd(&histogram[v >> 26], 1u);
        if (v % 97 == 0)
            atomicCAS(&t->claimed, -1, 1);
        unsigned seen = t->hash, assumed;
        do { // addition written as a compare-and-swap loop
            assumed = seen;
            seen = atomicCAS(&t->hash, assumed, assumed + (v | 1));
        } while (seen != assumed);
    }
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 100);
    std::vector<unsigned> x(N);
    for (int i = 0; i < N; i++)
        x[i] = (unsigned)mix64(i);
    unsigned *dx, *dh;
    Totals *dt;
    CUDA(cudaMalloc(&dx, N * sizeof *dx));
    CUDA(cudaMalloc(&dh, 64 * sizeof *dh));
    CUDA(cudaMalloc(&dt, sizeof *dt));
    CUDA(cudaMemcpy(dx, x.data(), N * sizeof *dx, cudaMemcpyHostToDevice));
    CUDA(cudaMemset(dh, 0, 64 * sizeof *dh));
    std::vector<unsigned> histogram(64, 0);
    digest_t g = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        Totals zero = {0, 0, 0xffffffffu, 0, 0, -1, 0}, got, want = zero;
        CUDA(cudaMemcpy(dt, &zero, sizeof zero, cudaMemcpyHostToDevice));
        scramble<<<(N + 255) / 256, 256>>>(dx, (unsigned)s, N);
        reduce<<<(N + 255) / 256, 256>>>(dx, dt, dh, N);
        LAUNCHED();
        for (int i = 0; i < N; i++) {
            unsigned v = x[i] = (x[i] ^ (x[i] >> 15)) * 2246822519u + (unsigned)s;
            want.sum += v & 0xffffu;
            want.xored ^= v;
            want.odd += v & 1;
            want.minimum = v < want.minimum ? v : want.minimum;
            want.maximum = v > want.maximum ? v : want.maximum;
            want.claimed = v % 97 == 0 ? 1 : want.claimed;
            want.hash += v | 1;
            histogram[v >> 26]++;
        }
        CUDA(cudaMemcpy(&got, dt, sizeof got, cudaMemcpyDeviceToHost));
        REQUIRE(memcmp(&got, &want, sizeof got) == 0,
                "step %ld: sum %llu/%llu xor %x/%x odd %u/%u min %u/%u max %u/%u claimed %d/%d hash %x/%x", s,
                got.sum, want.sum, got.xored, want.xored, got.odd, want.odd, got.minimum, want.minimum,
                got.maximum, want.maximum, got.claimed, want.claimed, got.hash, want.hash);
        g = digest_add(g, &got, sizeof got);
        progress(s, steps);
    }
    std::vector<unsigned> h(64);
    CUDA(cudaMemcpy(h.data(), dh, 64 * sizeof h[0], cudaMemcpyDeviceToHost));
    REQUIRE(h == histogram, "the histogram differs");
    CUDA(cudaFree(dx));
    CUDA(cudaFree(dh));
    CUDA(cudaFree(dt));
    return guest_end(digest_add(g, h.data(), 64 * sizeof h[0]));
}
