/* guest.h, and what the runtime-API guests share: checked calls, arrays that are copied
 * to the device and back, and numbers to fill them. */
#ifndef GPUCKPT_CUDA_GUEST_H
#define GPUCKPT_CUDA_GUEST_H

#include "../guest.h"
#include <cuda_runtime.h>
#include <vector>

#define CUDA(call)                                                             \
    do {                                                                       \
        cudaError_t guest_status = (call);                                     \
        REQUIRE(guest_status == cudaSuccess, "%s: %s",                         \
                cudaGetErrorName(guest_status),                                \
                cudaGetErrorString(guest_status));                             \
    } while (0)

#define LAUNCHED() CUDA(cudaGetLastError())

typedef std::vector<float> VF;
typedef std::vector<int> VI;

template <class T> T *up(const std::vector<T> &v)
{
    T *d;
    CUDA(cudaMalloc(&d, v.size() * sizeof(T)));
    CUDA(cudaMemcpy(d, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return d;
}

/* The array is freed. */
template <class T> std::vector<T> down(T *d, size_t n)
{
    std::vector<T> v(n);
    CUDA(cudaMemcpy(v.data(), d, n * sizeof(T), cudaMemcpyDeviceToHost));
    CUDA(cudaFree(d));
    return v;
}

/* From 0 to 1. */
GUEST_UNUSED static float rf(uint64_t i)
{
    return (mix64(i) >> 40) / 16777216.f;
}

#endif
