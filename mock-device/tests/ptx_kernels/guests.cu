// Kernels in the style of ordinary CUDA programs. What compilers make of them
// lies beside this file:
//   nvcc -ptx -arch=sm_75 guests.cu -o guests.ptx
//   nvcc -ptx -arch=sm_90 -use_fast_math guests.cu -o guests_fast.ptx
//   nvcc -ptx -arch=sm_80 -G guests.cu -o guests_debug.ptx
//   clang-19 -x cuda guests.cu --cuda-device-only --cuda-gpu-arch=sm_75 -O2
//     -nocudainc -nocudalib -Xclang -target-feature -Xclang +ptx75 -S -o guests_clang.ptx

#ifdef __clang__
#include "clang.h"
#endif

extern "C" __global__ void vec_add(const float *a, const float *b, float *c, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) c[i] = a[i] + b[i];
}

#define TILE 16
extern "C" __global__ void matmul(const float *a, const float *b, float *c, int n) {
    __shared__ float ta[TILE][TILE];
    __shared__ float tb[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y;
    int col = blockIdx.x * TILE + threadIdx.x;
    float sum = 0;
    for (int t = 0; t < n; t += TILE) {
        ta[threadIdx.y][threadIdx.x] = a[row * n + t + threadIdx.x];
        tb[threadIdx.y][threadIdx.x] = b[(t + threadIdx.y) * n + col];
        __syncthreads();
        for (int k = 0; k < TILE; k++) sum += ta[threadIdx.y][k] * tb[k][threadIdx.x];
        __syncthreads();
    }
    c[row * n + col] = sum;
}

extern "C" __global__ void reduce(const int *in, int *out, int n) {
    __shared__ int partial[32];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int v = i < n ? in[i] : 0;
    for (int d = 16; d; d >>= 1) v += __shfl_down_sync(0xffffffffu, v, d);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
        for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
        if (threadIdx.x == 0) atomicAdd(out, v);
    }
}

__device__ int counter = 7;
__device__ float table[4] = {1.5f, 2.5f, 3.5f, 4.5f};
__device__ int *pointer = &counter;
__constant__ float weights[8] = {1, 2, 3, 4, 5, 6, 7, 8};
struct Config { int scale; double bias; short tag[3]; };
__constant__ Config config = {3, 0.25, {1, 2, 3}};

extern "C" __global__ void globals(float *out) {
    int i = threadIdx.x;
    out[i] = table[i & 3] * weights[i & 7] * config.scale + config.bias + config.tag[i % 3];
    if (i == 0) *pointer += 5;
    atomicAdd(&counter, 1);
}

struct Node { Node *next; long long value; };
extern "C" __global__ void list_build(Node *nodes, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) { nodes[i].next = i + 1 < n ? &nodes[(i + 1)] : nullptr; nodes[i].value = i * 3; }
}
extern "C" __global__ void list_sum(const Node *head, long long *out) {
    long long s = 0;
    for (; head; head = head->next) s += head->value;
    *out = s;
}

extern "C" __global__ void stencil(const double *in, double *out, int w, int h) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= w || y >= h) return;
    int at = y * w + x;
    if (x == 0 || y == 0 || x == w - 1 || y == h - 1) { out[at] = in[at]; return; }
    out[at] = 0.2 * (in[at] + in[at - 1] + in[at + 1] + in[at - w] + in[at + w]);
}

#ifndef __clang__ // which has no libdevice here
extern "C" __global__ void math32(const float *x, float *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    out[i * 8 + 0] = sqrtf(fabsf(v));
    out[i * 8 + 1] = expf(v);
    out[i * 8 + 2] = logf(fabsf(v) + 1e-3f);
    out[i * 8 + 3] = sinf(v * 100.0f);
    out[i * 8 + 4] = cosf(v * 1000000.0f);
    out[i * 8 + 5] = 1.0f / v;
    out[i * 8 + 6] = rsqrtf(fabsf(v) + 0.5f);
    out[i * 8 + 7] = powf(fabsf(v), 1.7f);
}

extern "C" __global__ void math64(const double *x, double *out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double v = x[i];
    out[i * 8 + 0] = sqrt(fabs(v));
    out[i * 8 + 1] = exp(v);
    out[i * 8 + 2] = log(fabs(v) + 1e-3);
    out[i * 8 + 3] = sin(v * 100.0);
    out[i * 8 + 4] = cos(v * 1e7);
    out[i * 8 + 5] = 1.0 / v;
    out[i * 8 + 6] = rsqrt(fabs(v) + 0.5);
    out[i * 8 + 7] = pow(fabs(v), 1.7);
}
#endif

__device__ __noinline__ int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
extern "C" __global__ void recursion(int *out) { out[threadIdx.x] = fib(threadIdx.x % 12); }

typedef int (*Op)(int, int);
__device__ __noinline__ int op_add(int a, int b) { return a + b; }
__device__ __noinline__ int op_mul(int a, int b) { return a * b; }
__device__ Op ops[2] = {op_add, op_mul};
extern "C" __global__ void indirect(int *out) {
    int i = threadIdx.x;
    out[i] = ops[(i / 3) & 1](i, i + 1);
}

extern "C" __global__ void histogram(const unsigned char *in, unsigned *out, int n) {
    extern __shared__ unsigned bins[];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&bins[in[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&out[i], bins[i]);
}

__device__ int lock_word = 0;
__device__ long long guarded = 0;
extern "C" __global__ void spin_lock() {
    while (atomicCAS(&lock_word, 0, 1) != 0) {}
    __threadfence();
    long long v = *(volatile long long *)&guarded;
    *(volatile long long *)&guarded = v + threadIdx.x;
    __threadfence();
    atomicExch(&lock_word, 0);
}

extern "C" __global__ void switcher(const int *in, int *out) {
    int i = threadIdx.x, v = in[i], r;
    switch (v) {
    case 0: r = i * 3; break;
    case 1: r = i / 3; break;
    case 2: r = i ^ 0x55; break;
    case 3: r = -i; break;
    case 4: r = __popc(i); break;
    case 5: r = __clz(i); break;
    case 6: r = __brev(i); break;
    case 7: r = i << 5; break;
    default: r = 1000 + v;
    }
    out[i] = r;
}

extern "C" __global__ void local_array(const int *in, int *out, int n) {
    int tmp[16];
    for (int k = 0; k < 16; k++) tmp[k] = in[(threadIdx.x * 16 + k) % n];
    for (int a = 0; a < 16; a++)
        for (int b = a + 1; b < 16; b++)
            if (tmp[b] < tmp[a]) { int t = tmp[a]; tmp[a] = tmp[b]; tmp[b] = t; }
    for (int k = 0; k < 16; k++) out[threadIdx.x * 16 + k] = tmp[(k * 7 + in[0]) & 15];
}

struct Big { float m[12]; int flag; };
extern "C" __global__ void by_value(Big big, float *out) {
    out[threadIdx.x] = big.m[threadIdx.x % 12] * (big.flag ? 2.0f : 1.0f);
}

extern "C" __global__ void votes(const int *in, unsigned *out) {
    int i = threadIdx.x, v = in[i];
    unsigned r = __ballot_sync(0xffffffffu, v & 1);
    if (v & 2) r += __activemask() ? __popc(__match_any_sync(__activemask(), v)) : 0;
    r ^= __any_sync(0xffffffffu, v == 9) * 7 + __all_sync(0xffffffffu, v < 100) * 11;
    __syncwarp();
    r += __syncthreads_count(v & 4) + (__syncthreads_or(v == 3) ? 1000 : 0);
    out[i] = r;
}

extern "C" __global__ void float_atomics(float *f, double *d, unsigned long long *u) {
    atomicAdd(f, 0.5f);
    atomicAdd(d, 0.25);
    atomicAdd(u, 1ull << 33);
    atomicMax((int *)f + 1, (int)threadIdx.x - 3);
    atomicMin((unsigned *)f + 2, threadIdx.x + 5);
    atomicInc((unsigned *)f + 3, 6);
    atomicXor((unsigned *)f + 4, 1u << (threadIdx.x & 31));
}

extern "C" __global__ void long_math(const long long *a, const long long *b, long long *out) {
    int i = threadIdx.x;
    out[i * 6 + 0] = a[i] / b[i];
    out[i * 6 + 1] = a[i] % b[i];
    out[i * 6 + 2] = a[i] * b[i];
    out[i * 6 + 3] = __mul64hi(a[i], b[i]);
    out[i * 6 + 4] = (long long)((unsigned long long)a[i] / (unsigned long long)b[i]);
    out[i * 6 + 5] = a[i] >> (b[i] & 63);
}

extern "C" __global__ void out_of_bounds(int *p, int i) { p[i] = 1; }
extern "C" __global__ void trapper(int *p) { if (p[threadIdx.x] == 5) __trap(); }
