// What the two texts of the guest `separate` know of each other.
#ifndef GPUCKPT_SEPARATE_H
#define GPUCKPT_SEPARATE_H

struct Shape {
    __device__ virtual unsigned area(unsigned a) const { return a; }
};

struct Square : Shape {
    __device__ unsigned area(unsigned a) const override;
};

extern __device__ unsigned shared_count;
extern __constant__ unsigned factors[4];
__device__ unsigned mix(unsigned a, unsigned b);
__device__ unsigned twice(unsigned a);

template <unsigned N> __device__ __noinline__ unsigned scaled(unsigned a)
{
    static __device__ unsigned calls;
    atomicAdd(&calls, 1u);
    return a * N;
}

void set_factors(unsigned step);
unsigned count_so_far();

#endif
