// A 2D heat stencil on pitched memory with a shared-memory halo, double
// buffered, many steps queued; runs for as long as it is told.
#include "cuda_guest.h"
#include <cmath>
#include <vector>

static const int W = 60, H = 44, TX = 16, TY = 8;

__global__ void heat(const float *in, float *out, size_t pitch, int w, int h)
{
    __shared__ float tile[TY + 2][TX + 2];
    int x = blockIdx.x * TX + threadIdx.x, y = blockIdx.y * TY + threadIdx.y;
    int lx = threadIdx.x + 1, ly = threadIdx.y + 1;
    auto at = [&](int cx, int cy) {
        cx = cx < 0 ? 0 : cx >= w ? w - 1 : cx;
        cy = cy < 0 ? 0 : cy >= h ? h - 1 : cy;
        return *((const float *)((const char *)in + cy * pitch) + cx);
    };
    tile[ly][lx] = at(x, y);
    if (threadIdx.x == 0)
        tile[ly][0] = at(x - 1, y);
    if (threadIdx.x == TX - 1)
        tile[ly][TX + 1] = at(x + 1, y);
    if (threadIdx.y == 0)
        tile[0][lx] = at(x, y - 1);
    if (threadIdx.y == TY - 1)
        tile[TY + 1][lx] = at(x, y + 1);
    __syncthreads();
    if (x < w && y < h) {
        float around = (tile[ly - 1][lx] + tile[ly + 1][lx]) + (tile[ly][lx - 1] + tile[ly][lx + 1]);
        float v = fmaf(around, 0.1f, tile[ly][lx] * 0.6f);
        if (x == w / 2 && y == h / 2)
            v = 100.0f;
        *((float *)((char *)out + y * pitch) + x) = v;
    }
}

static void on_host(const std::vector<float> &in, std::vector<float> &out)
{
    auto at = [&](int x, int y) {
        x = x < 0 ? 0 : x >= W ? W - 1 : x;
        y = y < 0 ? 0 : y >= H ? H - 1 : y;
        return in[y * W + x];
    };
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            float around = (at(x, y - 1) + at(x, y + 1)) + (at(x - 1, y) + at(x + 1, y));
            float v = fmaf(around, 0.1f, at(x, y) * 0.6f);
            out[y * W + x] = x == W / 2 && y == H / 2 ? 100.0f : v;
        }
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 200);
    std::vector<float> a(W * H), b(W * H), out(W * H);
    for (int i = 0; i < W * H; i++)
        a[i] = (float)(mix64(i) % 100);
    float *device[2];
    size_t pitch, pitch2;
    CUDA(cudaMallocPitch(&device[0], &pitch, W * sizeof(float), H));
    CUDA(cudaMallocPitch(&device[1], &pitch2, W * sizeof(float), H));
    REQUIRE(pitch == pitch2 && pitch >= W * sizeof(float), "pitches %zu and %zu", pitch, pitch2);
    size_t row = W * sizeof(float);
    CUDA(cudaMemcpy2D(device[0], pitch, a.data(), row, row, H, cudaMemcpyHostToDevice));
    CUDA(cudaMemset2D(device[1], pitch, 0, row, H));
    dim3 grid((W + TX - 1) / TX, (H + TY - 1) / TY), block(TX, TY);
    for (long s = 0; s < steps; s++) {
        heat<<<grid, block>>>(device[s % 2], device[(s + 1) % 2], pitch, W, H);
        LAUNCHED();
        on_host(a, b);
        a.swap(b);
        if (s % 50 == 49)
            CUDA(cudaDeviceSynchronize());
        progress(s, steps);
    }
    CUDA(cudaMemcpy2D(out.data(), row, device[steps % 2], pitch, row, H, cudaMemcpyDeviceToHost));
    for (int i = 0; i < W * H; i++)
        REQUIRE(out[i] == a[i], "cell %d: %a, expected %a", i, out[i], a[i]);
    CUDA(cudaFree(device[0]));
    CUDA(cudaFree(device[1]));
    return guest_end(digest_add(DIGEST_START, out.data(), W * H * sizeof(float)));
}
