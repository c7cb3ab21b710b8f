// Eight host threads, each with its stream, allocating and freeing all the time;
// blocks of many sizes are filled, checked and moved.
#include "cuda_guest.h"
#include <mutex>
#include <thread>
#include <vector>

static const int THREADS = 8, LIVE = 6;

__global__ void fill(unsigned *x, unsigned seed, int n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        x[i] = (seed + i) * 2654435761u;
}

__global__ void fold(const unsigned *x, unsigned *into, int n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(into, x[i] ^ (unsigned)i);
}

struct Block {
    unsigned *device;
    int n;
    unsigned seed;
};

static std::mutex lock;
static long finished_steps;
static digest_t digests[THREADS];

static void check(const Block &b, unsigned *sum, cudaStream_t stream, digest_t &g)
{
    CUDA(cudaMemsetAsync(sum, 0, sizeof *sum, stream));
    fold<<<2, 64, 0, stream>>>(b.device, sum, b.n);
    LAUNCHED();
    unsigned got, want = 0;
    CUDA(cudaMemcpyAsync(&got, sum, sizeof got, cudaMemcpyDeviceToHost, stream));
    CUDA(cudaStreamSynchronize(stream));
    for (int i = 0; i < b.n; i++)
        want += ((b.seed + i) * 2654435761u) ^ (unsigned)i;
    REQUIRE(got == want, "block of %d words: %u, expected %u", b.n, got, want);
    g = digest_u64(g, got);
}

static void run(int id, long steps)
{
    cudaStream_t stream;
    CUDA(cudaSetDevice(0));
    CUDA(cudaStreamCreate(&stream));
    unsigned *sum;
    CUDA(cudaMalloc(&sum, sizeof *sum));
    std::vector<Block> blocks;
    digest_t g = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        uint64_t r = mix64(id * 1000003ull + s);
        if (blocks.size() < LIVE) {
            Block b = {NULL, (int)(1 + r % 900), (unsigned)(r >> 32)};
            if (r % 31 == 0)
                b.n += 20000;
            CUDA(cudaMalloc(&b.device, b.n * sizeof(unsigned)));
            fill<<<2, 64, 0, stream>>>(b.device, b.seed, b.n);
            LAUNCHED();
            blocks.push_back(b);
        } else {
            size_t k = r % blocks.size();
            check(blocks[k], sum, stream, g);
            CUDA(cudaFree(blocks[k].device));
            blocks.erase(blocks.begin() + k);
        }
        std::lock_guard<std::mutex> hold(lock);
        progress(finished_steps++, steps * THREADS);
    }
    for (const Block &b : blocks) {
        check(b, sum, stream, g);
        CUDA(cudaFree(b.device));
    }
    CUDA(cudaFree(sum));
    CUDA(cudaStreamDestroy(stream));
    digests[id] = g;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 60);
    std::vector<std::thread> threads;
    for (int i = 0; i < THREADS; i++)
        threads.emplace_back(run, i, steps);
    for (std::thread &t : threads)
        t.join();
    CUDA(cudaDeviceSynchronize());
    return guest_end(digest_add(DIGEST_START, digests, sizeof digests));
}
