// __device__ and __constant__ variables, symbols copied both ways, addresses of
// symbols kept on the host and stored in device memory.
#include "cuda_guest.h"
#include <vector>

static const int N = 256;

__constant__ unsigned table[64];
__device__ unsigned state[N];
__device__ unsigned long long rounds;
__device__ unsigned *where;          // points into `state`
__device__ float initialised = 1.5f; // has an initial value that must arrive

__global__ void link(void) { where = &state[7]; }

__global__ void turn(unsigned step, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    state[i] = state[i] * 31u + table[(i + step) % 64];
    if (i == 0)
        rounds += 1;
}

__global__ void through_pointer(unsigned *direct, unsigned add)
{
    *where += add;   // by the pointer kept in device memory
    direct[9] += add; // by the address the host asked for
    initialised += 0.25f;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 150);
    std::vector<unsigned> t(64), model(N), out(N);
    for (int i = 0; i < 64; i++)
        t[i] = (unsigned)mix64(i);
    for (int i = 0; i < N; i++)
        model[i] = i;
    CUDA(cudaMemcpyToSymbol(table, t.data(), 64 * sizeof(unsigned)));
    CUDA(cudaMemcpyToSymbol(state, model.data(), N * sizeof(unsigned)));
    unsigned *direct;
    size_t size;
    CUDA(cudaGetSymbolAddress((void **)&direct, state));
    CUDA(cudaGetSymbolSize(&size, state));
    REQUIRE(size == N * sizeof(unsigned), "size of the symbol: %zu", size);
    link<<<1, 1>>>();
    LAUNCHED();
    for (long s = 0; s < steps; s++) {
        turn<<<2, N / 2>>>((unsigned)s, N);
        through_pointer<<<1, 1>>>(direct, (unsigned)s);
        LAUNCHED();
        for (int i = 0; i < N; i++)
            model[i] = model[i] * 31u + t[(i + (unsigned)s) % 64];
        model[7] += (unsigned)s;
        model[9] += (unsigned)s;
        if (s % 16 == 15) { // rewrite a part of the constant table
            t[s % 64] ^= 0x5a5a5a5au;
            CUDA(cudaMemcpyToSymbol(table, &t[s % 64], sizeof(unsigned), s % 64 * sizeof(unsigned)));
            unsigned peek;
            CUDA(cudaMemcpyFromSymbol(&peek, state, sizeof peek, 9 * sizeof(unsigned)));
            REQUIRE(peek == model[9], "step %ld: word 9 is %u, expected %u", s, peek, model[9]);
        }
        progress(s, steps);
    }
    unsigned long long turned;
    float value;
    CUDA(cudaMemcpyFromSymbol(out.data(), state, N * sizeof(unsigned)));
    CUDA(cudaMemcpyFromSymbol(&turned, rounds, sizeof turned));
    CUDA(cudaMemcpyFromSymbol(&value, initialised, sizeof value));
    REQUIRE(turned == (unsigned long long)steps, "%llu rounds", turned);
    REQUIRE(value == 1.5f + 0.25f * steps, "the initialised variable is %f", value);
    REQUIRE(out == model, "the state differs");
    unsigned *again;
    CUDA(cudaGetSymbolAddress((void **)&again, state));
    REQUIRE(again == direct, "the symbol moved");
    digest_t g = digest_add(DIGEST_START, out.data(), N * sizeof(unsigned));
    return guest_end(digest_add(g, t.data(), 64 * sizeof(unsigned)));
}
