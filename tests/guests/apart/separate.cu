// Separate compilation: kernels here, device functions, variables and another kernel in
// separate_device.cu, linked by nvcc's device linker.
#include "../cuda/cuda_guest.h"
#include "separate.h"

static __device__ unsigned (*function)(unsigned);

static __device__ unsigned local_rule(unsigned a)
{
    return a ^ 0x55u;
}

__global__ void evolve(unsigned *values, unsigned n)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    if (i == 0)
        function = twice;
    Square square;
    const Shape *shape = &square;
    unsigned v = mix(values[i], i) + factors[i & 3];
    v = local_rule(v) + shape->area(v) + scaled<3>(v);
    values[i] = v + twice(i);
    atomicAdd(&shared_count, 1u);
}

__global__ void through_pointer(unsigned *values, unsigned n)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        values[i] = function(values[i]) + 1;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1000);
    const unsigned n = 200;
    unsigned *device, host[n], expected[n];
    digest_t digest = DIGEST_START;
    for (unsigned i = 0; i < n; i++)
        expected[i] = i;
    CUDA(cudaMalloc(&device, sizeof host));
    CUDA(cudaMemcpy(device, expected, sizeof host, cudaMemcpyHostToDevice));
    for (long step = 0; step < steps; step++) {
        set_factors(unsigned(step));
        evolve<<<4, 64>>>(device, n);
        through_pointer<<<4, 64>>>(device, n);
        LAUNCHED();
        CUDA(cudaMemcpy(host, device, sizeof host, cudaMemcpyDeviceToHost));
        for (unsigned i = 0; i < n; i++) {
            unsigned v = (expected[i] * 31 ^ i) + unsigned(step) * (i & 3);
            v = (v ^ 0x55u) + v * v + v * 3;
            expected[i] = (v + 2 * i) * 2 + 1;
            REQUIRE(host[i] == expected[i], "step %ld, %u: %u, not %u", step, i,
                    host[i], expected[i]);
        }
        REQUIRE(count_so_far() == unsigned(step + 1) * n, "counted %u", count_so_far());
        digest = digest_add(digest, host, sizeof host);
        progress(step, steps);
    }
    return guest_end(digest);
}
