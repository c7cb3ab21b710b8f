// Memory allocated and freed in stream order, on streams that depend on each other.
#include "../cuda/cuda_guest.h"

__global__ void fill(unsigned *to, unsigned n, unsigned seed)
{
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x)
        to[i] = seed * 2654435761u + i;
}

__global__ void add(unsigned *to, const unsigned *from, unsigned n)
{
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x)
        to[i] = to[i] * 3 + from[i];
}

static const unsigned N = 500, STREAMS = 3;

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 2000);
    cudaStream_t streams[STREAMS];
    cudaEvent_t event;
    unsigned *sums[STREAMS], model[STREAMS][N] = {}, host[N];
    for (unsigned s = 0; s < STREAMS; s++) {
        CUDA(cudaStreamCreateWithFlags(&streams[s], s ? cudaStreamNonBlocking : 0));
        CUDA(cudaMallocAsync(&sums[s], sizeof host, streams[s]));
        CUDA(cudaMemsetAsync(sums[s], 0, sizeof host, streams[s]));
    }
    CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    cudaMemPool_t pool;
    CUDA(cudaDeviceGetDefaultMemPool(&pool, 0));
    uint64_t keep = UINT64_MAX;
    CUDA(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
    digest_t digest = DIGEST_START;
    for (long step = 0; step < steps; step++) {
        unsigned s = (unsigned)step % STREAMS, seed = (unsigned)mix64(step);
        unsigned n = 1 + seed % N, *scratch, *more;
        CUDA(cudaMallocAsync(&scratch, n * sizeof *scratch, streams[s]));
        fill<<<1, 64, 0, streams[s]>>>(scratch, n, seed);
        add<<<1, 64, 0, streams[s]>>>(sums[s], scratch, n);
        CUDA(cudaMallocFromPoolAsync(&more, sizeof host, pool, streams[s]));
        CUDA(cudaMemcpyAsync(more, sums[s], sizeof host, cudaMemcpyDeviceToDevice, streams[s]));
        CUDA(cudaFreeAsync(scratch, streams[s]));
        // The next stream adds this one's sums, then frees the copy of them.
        unsigned t = (s + 1) % STREAMS;
        CUDA(cudaEventRecord(event, streams[s]));
        CUDA(cudaStreamWaitEvent(streams[t], event));
        add<<<1, 64, 0, streams[t]>>>(sums[t], more, N);
        CUDA(cudaFreeAsync(more, streams[t]));
        LAUNCHED();
        for (unsigned i = 0; i < N; i++) {
            if (i < n)
                model[s][i] = model[s][i] * 3 + seed * 2654435761u + i;
            model[t][i] = model[t][i] * 3 + model[s][i];
        }
        if (step % 8 == 7) {
            CUDA(cudaMemcpyAsync(host, sums[t], sizeof host, cudaMemcpyDeviceToHost, streams[t]));
            CUDA(cudaStreamSynchronize(streams[t]));
            for (unsigned i = 0; i < N; i++)
                REQUIRE(host[i] == model[t][i], "step %ld, %u: %u, not %u", step, i, host[i],
                        model[t][i]);
            digest = digest_add(digest, host, sizeof host);
        }
        progress(step, steps);
    }
    return guest_end(digest);
}
