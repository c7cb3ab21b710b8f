// The other half of separate.cu.
#include "../cuda/cuda_guest.h"
#include "separate.h"

__device__ unsigned shared_count;
__constant__ unsigned factors[4];

static __device__ unsigned local_rule(unsigned a)
{
    return a * 31;
}

__device__ unsigned mix(unsigned a, unsigned b)
{
    return local_rule(a) ^ b;
}

__device__ unsigned twice(unsigned a)
{
    return scaled<2>(a);
}

__device__ unsigned Square::area(unsigned a) const
{
    return a * a;
}

__global__ void read_count(unsigned *to)
{
    *to = shared_count;
}

void set_factors(unsigned step)
{
    unsigned host[4] = {0, step, 2 * step, 3 * step};
    CUDA(cudaMemcpyToSymbol(factors, host, sizeof host));
}

unsigned count_so_far()
{
    unsigned *device, host;
    CUDA(cudaMalloc(&device, sizeof host));
    read_count<<<1, 1>>>(device);
    LAUNCHED();
    CUDA(cudaMemcpy(&host, device, sizeof host, cudaMemcpyDeviceToHost));
    CUDA(cudaFree(device));
    return host;
}
