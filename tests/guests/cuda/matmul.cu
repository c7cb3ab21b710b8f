// Tiled matrix product with shared memory and barriers; each product is the
// next one's operand, static and dynamic shared memory take turns.
#include "cuda_guest.h"
#include <cmath>
#include <vector>

static const int N = 40; // not a multiple of the tile: the edges count
static const int TILE = 16;

__global__ void product(const float *a, const float *b, float *c, int n)
{
    __shared__ float ta[TILE][TILE];
    __shared__ float tb[TILE][TILE + 1];
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int t = 0; t < n; t += TILE) {
        ta[threadIdx.y][threadIdx.x] = row < n && t + threadIdx.x < n ? a[row * n + t + threadIdx.x] : 0;
        tb[threadIdx.y][threadIdx.x] = col < n && t + threadIdx.y < n ? b[(t + threadIdx.y) * n + col] : 0;
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            sum = fmaf(ta[threadIdx.y][k], tb[k][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < n && col < n)
        c[row * n + col] = sum;
}

// c := c / 4 - rounded-down c / 4 + small, keeps values bounded and exact to repeat.
__global__ void normalise(float *c, int n)
{
    extern __shared__ float line[];
    int row = blockIdx.x;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        line[i] = c[row * n + i] * 0.25f;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float v = line[i] + line[(i + 1) % n];
        c[row * n + i] = v - floorf(v) - 0.5f;
    }
}

static void on_host(const std::vector<float> &a, const std::vector<float> &b, std::vector<float> &c)
{
    int padded = (N + TILE - 1) / TILE * TILE;
    for (int r = 0; r < N; r++)
        for (int k = 0; k < N; k++) {
            float sum = 0;
            for (int i = 0; i < padded; i++)
                sum = fmaf(i < N ? a[r * N + i] : 0, i < N ? b[i * N + k] : 0, sum);
            c[r * N + k] = sum;
        }
    for (int r = 0; r < N; r++) {
        float line[N];
        for (int i = 0; i < N; i++)
            line[i] = c[r * N + i] * 0.25f;
        for (int i = 0; i < N; i++) {
            float v = line[i] + line[(i + 1) % N];
            c[r * N + i] = v - floorf(v) - 0.5f;
        }
    }
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 60);
    std::vector<float> a(N * N), b(N * N), c(N * N), out(N * N);
    for (int i = 0; i < N * N; i++) {
        a[i] = (float)(mix64(i) % 1000) / 1000 - 0.5f;
        b[i] = (float)(mix64(i + N * N) % 1000) / 1000 - 0.5f;
    }
    float *m[3];
    for (int i = 0; i < 3; i++)
        CUDA(cudaMalloc(&m[i], N * N * sizeof(float)));
    CUDA(cudaMemcpy(m[0], a.data(), N * N * sizeof(float), cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(m[1], b.data(), N * N * sizeof(float), cudaMemcpyHostToDevice));
    dim3 grid((N + TILE - 1) / TILE, (N + TILE - 1) / TILE), block(TILE, TILE);
    for (long s = 0; s < steps; s++) {
        product<<<grid, block>>>(m[0], m[1], m[2], N);
        LAUNCHED();
        normalise<<<N, 32, N * sizeof(float)>>>(m[2], N);
        LAUNCHED();
        float *oldest = m[0];
        m[0] = m[1], m[1] = m[2], m[2] = oldest;
        on_host(a, b, c);
        a.swap(b), b.swap(c);
        progress(s, steps);
    }
    CUDA(cudaMemcpy(out.data(), m[1], N * N * sizeof(float), cudaMemcpyDeviceToHost));
    for (int i = 0; i < N * N; i++)
        REQUIRE(out[i] == b[i], "element %d: %a, expected %a", i, out[i], b[i]);
    digest_t g = digest_add(DIGEST_START, out.data(), N * N * sizeof(float));
    CUDA(cudaMemcpy(out.data(), m[0], N * N * sizeof(float), cudaMemcpyDeviceToHost));
    for (int i = 0; i < 3; i++)
        CUDA(cudaFree(m[i]));
    return guest_end(digest_add(g, out.data(), N * N * sizeof(float)));
}
