// Four streams that hand a token round by events, timing events included; one
// stream has a priority, one is non-blocking, events die and are made again.
#include "cuda_guest.h"
#include <vector>

static const int STREAMS = 4, N = 512;

__global__ void stage(unsigned *mine, const unsigned *before, unsigned key, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        mine[i] = (mine[i] ^ before[n - 1 - i]) * 2654435761u + key;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 120);
    cudaStream_t streams[STREAMS];
    int least, greatest;
    CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    CUDA(cudaStreamCreate(&streams[0]));
    CUDA(cudaStreamCreateWithFlags(&streams[1], cudaStreamNonBlocking));
    CUDA(cudaStreamCreateWithPriority(&streams[2], cudaStreamNonBlocking, greatest));
    CUDA(cudaStreamCreate(&streams[3]));
    cudaEvent_t done[STREAMS], begin, end;
    unsigned *buffer[STREAMS];
    std::vector<unsigned> host[STREAMS];
    for (int k = 0; k < STREAMS; k++) {
        CUDA(cudaEventCreateWithFlags(&done[k], cudaEventDisableTiming));
        CUDA(cudaMalloc(&buffer[k], N * sizeof(unsigned)));
        host[k].resize(N);
        for (int i = 0; i < N; i++)
            host[k][i] = (unsigned)mix64(k * N + i);
        CUDA(cudaMemcpy(buffer[k], host[k].data(), N * sizeof(unsigned), cudaMemcpyHostToDevice));
    }
    CUDA(cudaDeviceSynchronize());
    CUDA(cudaEventCreate(&begin));
    CUDA(cudaEventCreate(&end));
    for (long s = 0; s < steps; s++) {
        CUDA(cudaEventRecord(begin, streams[0]));
        for (int k = 0; k < STREAMS; k++) {
            int before = (k + STREAMS - 1) % STREAMS;
            if (k > 0 || s > 0)
                CUDA(cudaStreamWaitEvent(streams[k], done[before], 0));
            unsigned key = (unsigned)(s * STREAMS + k);
            stage<<<(N + 63) / 64, 64, 0, streams[k]>>>(buffer[k], buffer[before], key, N);
            LAUNCHED();
            CUDA(cudaEventRecord(done[k], streams[k]));
            for (int i = 0; i < N; i++)
                host[k][i] = (host[k][i] ^ host[before][N - 1 - i]) * 2654435761u + key;
        }
        if (s % 8 == 7) { // wait by query, then by synchronise; the time is plausible
            cudaError_t state;
            while ((state = cudaEventQuery(done[3])) == cudaErrorNotReady)
                pause_us(50);
            CUDA(state);
            CUDA(cudaStreamWaitEvent(streams[0], done[3], 0));
            CUDA(cudaEventRecord(end, streams[0]));
            CUDA(cudaEventSynchronize(end));
            float ms = -1;
            CUDA(cudaEventElapsedTime(&ms, begin, end));
            REQUIRE(ms >= 0 && ms < 3.6e6f, "elapsed %f ms", ms);
            CUDA(cudaEventDestroy(begin));
            CUDA(cudaEventCreate(&begin));
        }
        progress(s, steps);
    }
    digest_t g = DIGEST_START;
    for (int k = 0; k < STREAMS; k++) {
        std::vector<unsigned> out(N);
        CUDA(cudaStreamSynchronize(streams[k]));
        CUDA(cudaMemcpyAsync(out.data(), buffer[k], N * sizeof(unsigned), cudaMemcpyDeviceToHost, streams[k]));
        CUDA(cudaStreamSynchronize(streams[k]));
        CUDA(cudaStreamQuery(streams[k]));
        REQUIRE(out == host[k], "stream %d's buffer differs", k);
        g = digest_add(g, out.data(), N * sizeof(unsigned));
        CUDA(cudaEventDestroy(done[k]));
        CUDA(cudaStreamDestroy(streams[k]));
        CUDA(cudaFree(buffer[k]));
    }
    return guest_end(g);
}
