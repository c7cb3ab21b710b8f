// Pinned memory both ways (allocated, registered, mapped) and callbacks of both
// kinds, which run C++ of the program on whatever thread delivers them.
#include "cuda_guest.h"
#include <atomic>
#include <stdexcept>
#include <vector>

static const int N = 1024;

struct Slot {
    unsigned *pinned;
    digest_t digest;
    std::atomic<long> calls{0};
    cudaStream_t stream;
};

static thread_local int depth = 0; // a wrong thread pointer shows here

__global__ void work(unsigned *x, unsigned step, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] = x[i] * 747796405u + step;
}

__global__ void count(unsigned *mapped, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        atomicAdd(&mapped[i % 16], 1u);
}

static void consume(Slot *slot)
{
    depth++;
    std::vector<unsigned> copy(slot->pinned, slot->pinned + N);
    try {
        if (copy[0] != slot->pinned[0])
            throw std::runtime_error("the copy differs");
        slot->digest = digest_add(slot->digest, copy.data(), N * sizeof(unsigned));
        throw 7;
    } catch (int) {
        slot->calls++;
    }
    depth--;
    REQUIRE(depth == 0, "thread-local storage is shared");
}

static void CUDART_CB host_function(void *data) { consume((Slot *)data); }

static void CUDART_CB stream_callback(cudaStream_t stream, cudaError_t status, void *data)
{
    Slot *slot = (Slot *)data;
    REQUIRE(status == cudaSuccess, "the callback got an error");
    REQUIRE(stream == slot->stream, "the callback got another stream");
    consume(slot);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 100);
    cudaStream_t stream;
    CUDA(cudaStreamCreate(&stream));
    Slot slot;
    slot.digest = DIGEST_START;
    slot.stream = stream;
    CUDA(cudaMallocHost((void **)&slot.pinned, N * sizeof(unsigned)));
    std::vector<unsigned> source(N), model(N);
    CUDA(cudaHostRegister(source.data(), N * sizeof(unsigned), cudaHostRegisterDefault));
    unsigned *mapped, *mapped_device, *device;
    CUDA(cudaHostAlloc((void **)&mapped, 16 * sizeof(unsigned), cudaHostAllocMapped));
    memset(mapped, 0, 16 * sizeof(unsigned));
    CUDA(cudaHostGetDevicePointer((void **)&mapped_device, mapped, 0));
    CUDA(cudaMalloc(&device, N * sizeof(unsigned)));
    digest_t want = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        CUDA(cudaStreamSynchronize(stream)); // before the source is written again
        REQUIRE(slot.calls == s, "%ld callbacks ran, expected %ld", slot.calls.load(), s);
        for (int i = 0; i < N; i++)
            source[i] = model[i] = (unsigned)mix64(s * N + i);
        CUDA(cudaMemcpyAsync(device, source.data(), N * sizeof(unsigned), cudaMemcpyHostToDevice, stream));
        for (int k = 0; k < 4; k++)
            work<<<(N + 127) / 128, 128, 0, stream>>>(device, (unsigned)s + k, N);
        count<<<1, 64, 0, stream>>>(mapped_device, 64);
        LAUNCHED();
        CUDA(cudaMemcpyAsync(slot.pinned, device, N * sizeof(unsigned), cudaMemcpyDeviceToHost, stream));
        if (s % 2)
            CUDA(cudaLaunchHostFunc(stream, host_function, &slot));
        else
            CUDA(cudaStreamAddCallback(stream, stream_callback, &slot, 0));
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < N; i++)
                model[i] = model[i] * 747796405u + (unsigned)s + k;
        want = digest_add(want, model.data(), N * sizeof(unsigned));
        progress(s, steps);
    }
    CUDA(cudaStreamSynchronize(stream));
    REQUIRE(slot.calls == steps, "%ld callbacks ran, expected %ld", slot.calls.load(), steps);
    REQUIRE(slot.digest == want, "what the callbacks saw differs");
    for (int i = 0; i < 16; i++)
        REQUIRE(mapped[i] == 4u * steps, "mapped word %d is %u", i, mapped[i]);
    CUDA(cudaHostUnregister(source.data()));
    CUDA(cudaFreeHost(slot.pinned));
    CUDA(cudaFreeHost(mapped));
    CUDA(cudaFree(device));
    CUDA(cudaStreamDestroy(stream));
    return guest_end(want);
}
