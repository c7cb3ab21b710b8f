// Kernels that print: every kind of conversion, from some threads of a warp,
// and an assertion that holds.
#include "cuda_guest.h"
#include <assert.h>

__global__ void say(const char *word, int step, int *said)
{
    int i = threadIdx.x;
    assert(said != nullptr);
    if (step % 16 != 0)
        return; // most steps are silent
    if (i % 3 == 1)
        atomicAdd(said,
                  printf("step %d: thread %u of %s, %5.2f|%-6s|%c %lx %% %*d\n",
                         step, threadIdx.x, word, i * 1.5 + step, "left",
                         'a' + i, 0x123456789abcul * (step + 1), 6, -i));
    else if (i == 5)
        printf("plain\n");
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 100);
    char *word;
    int *said;
    CUDA(cudaMalloc(&word, 16));
    CUDA(cudaMalloc(&said, sizeof *said));
    CUDA(cudaMemset(said, 0, sizeof *said));
    CUDA(cudaMemcpy(word, "eight", 6, cudaMemcpyHostToDevice));
    digest_t g = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        say<<<1, 8>>>(word, (int)s, said);
        LAUNCHED();
        int n;
        CUDA(cudaMemcpy(&n, said, sizeof n, cudaMemcpyDeviceToHost));
        REQUIRE(n > 0, "printf gave %d", n);
        g = digest_u64(g, n);
    }
    printf("digest %016llx\n", (unsigned long long)g);
    return 0;
}
