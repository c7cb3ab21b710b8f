// Kernels in C++: virtual functions, function pointers, recursion, local
// arrays, large parameters, functors and sixty instances of a template.
#include "cuda_guest.h"
#include <vector>
#include <new>
#include <algorithm>
#include <functional>

struct Shape {
    __device__ virtual float area() const = 0;

    __device__ virtual ~Shape()
    {
    }

    int id;
};

struct Sq : Shape {
    float s;

    __device__ Sq(float v) : s(v)
    {
        id = 1;
    }

    __device__ float area() const override
    {
        return s * s;
    }
};

struct Ci : Shape {
    float r;

    __device__ Ci(float v) : r(v)
    {
        id = 2;
    }

    __device__ float area() const override
    {
        return 3.f * r * r;
    }
};

__global__ void make(Shape **v, char *room, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        v[i] = i % 2 ? (Shape *)new (room + 16 * i) Sq((float)(i % 100))
                     : (Shape *)new (room + 16 * i) Ci((float)(i % 50));
}

__global__ void use(Shape **v, float *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = v[i]->area() + v[i]->id;
}

__global__ void drop(Shape **v, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        v[i]->~Shape();
}

typedef int (*Op)(int, int);

__device__ int add(int a, int b)
{
    return a + b;
}

__device__ int mul(int a, int b)
{
    return a * b;
}

__device__ int sub(int a, int b)
{
    return a - b;
}

__device__ Op table[3] = {add, mul, sub};
__device__ Op one = sub;

__global__ void fp(int *o, int n, Op extra)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = table[i % 3](i, 7) + extra(i, 2);
}

__device__ __noinline__ int fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

__device__ int ack(int m, int n)
{
    return m == 0 ? n + 1 : n == 0 ? ack(m - 1, 1) : ack(m - 1, ack(m, n - 1));
}

__global__ void rec(int *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = fib(i % 12) + 1000 * ack(i % 3, i % 4);
}

struct Scaled {
    double w;
    int cap;

    __device__ double operator()(int i) const
    {
        return i * w + cap;
    }
};

template <class F, class T> __global__ void apply(F f, T *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = f(i);
}

struct Big {
    double a[60];
    int k;
    char tail[13];
};

__global__ void big(Big b, double *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = b.a[i % 60] * b.k + b.tail[i % 13];
}

__global__ void local(int *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int a[64];
    for (int k = 0; k < 64; k++)
        a[k] = (i * 31 + k * 17) % 101;
    for (int k = 1; k < 64; k++) {
        int v = a[k], j = k;
        while (j > 0 && a[j - 1] > v) {
            a[j] = a[j - 1];
            j--;
        }
        a[j] = v;
    }
    int s = 0;
    for (int k = 0; k < 64; k++)
        s = s * 3 + a[k];
    if (i < n)
        o[i] = s;
}

__device__ int sw(int v)
{
    switch (v % 11) {
    case 0:
        return 3;
    case 1:
        return v * v;
    case 2:
        return v - 8;
    case 3:
        return ~v;
    case 4:
        return v << 3;
    case 5:
        return v >> 1;
    case 6:
        return -v;
    case 7:
        return v ^ 99;
    case 8:
        return 42;
    case 9:
        return v | 16;
    default:
        return v & 7;
    }
}

__global__ void swk(int *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = sw(i);
}

template <int N> struct Poly {
    __device__ static int f(int x)
    {
        return x + N * Poly<N - 1>::f(x);
    }
};

template <> struct Poly<0> {
    __device__ static int f(int)
    {
        return 1;
    }
};

template <int N> __global__ void __launch_bounds__(128, 2) poly(int *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] += Poly<N>::f(i);
}

template <int N> void polys(int *o, int n)
{
    if constexpr (N > 0) {
        poly<N><<<(n + 127) / 128, 128>>>(o, n);
        polys<N - 1>(o, n);
    }
}

static int h_fib(int n)
{
    return n < 2 ? n : h_fib(n - 1) + h_fib(n - 2);
}

static int h_ack(int m, int n)
{
    return m == 0   ? n + 1
           : n == 0 ? h_ack(m - 1, 1)
                    : h_ack(m - 1, h_ack(m, n - 1));
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1);
    digest_t g = DIGEST_START;
    const int n = 1000, G = 8, T = 128;
    int *d;
    float *df;
    double *dd;
    Shape **v;
    CUDA(cudaMalloc(&d, n * 4));
    CUDA(cudaMalloc(&df, n * 4));
    CUDA(cudaMalloc(&dd, n * 8));
    CUDA(cudaMalloc(&v, n * 8));
    char *room;
    CUDA(cudaMalloc(&room, n * 16));
    std::vector<int> o(n);
    std::vector<float> f(n);
    std::vector<double> D(n);
    for (long s = 0; s < steps; s++) {
        make<<<G, T>>>(v, room, n);
        use<<<G, T>>>(v, df, n);
        LAUNCHED();
        CUDA(cudaMemcpy(f.data(), df, n * 4, cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++) {
            float w = i % 2 ? (float)(i % 100) * (i % 100) + 1
                            : 3.f * (i % 50) * (i % 50) + 2;
            REQUIRE(f[i] == w, "area %d %g %g", i, f[i], w);
        }
        drop<<<G, T>>>(v, n);
        CUDA(cudaDeviceSynchronize());
        Op h;
        CUDA(cudaMemcpyFromSymbol(&h, one, sizeof h));
        fp<<<G, T>>>(d, n, h);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 4, cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            REQUIRE(o[i] == (i % 3 == 0   ? i + 7
                             : i % 3 == 1 ? i * 7
                                          : i - 7) +
                                i - 2,
                    "fp %d", i);
        g = digest_add(g, o.data(), n * 4);
        rec<<<G, T>>>(d, n);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 4, cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            REQUIRE(o[i] == h_fib(i % 12) + 1000 * h_ack(i % 3, i % 4),
                    "rec %d", i);
        g = digest_add(g, o.data(), n * 4);
        int cap = (int)s + 5;
        double w = 2.5;
        Scaled L{w, cap};
        apply<<<G, T>>>(L, dd, n);
        LAUNCHED();
        CUDA(cudaMemcpy(D.data(), dd, n * 8, cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            REQUIRE(D[i] == i * w + cap, "lambda");
        Big b;
        for (int i = 0; i < 60; i++)
            b.a[i] = i + .5;
        b.k = 3;
        for (int i = 0; i < 13; i++)
            b.tail[i] = i - 6;
        big<<<G, T>>>(b, dd, n);
        LAUNCHED();
        CUDA(cudaMemcpy(D.data(), dd, n * 8, cudaMemcpyDeviceToHost));
        for (int i = 0; i < n; i++)
            REQUIRE(D[i] == b.a[i % 60] * 3 + b.tail[i % 13], "big");
        local<<<G, T>>>(d, n);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 4, cudaMemcpyDeviceToHost));
        g = digest_add(g, o.data(), n * 4);
        for (int i = 0; i < n; i++) {
            std::vector<int> a(64);
            for (int k = 0; k < 64; k++)
                a[k] = (i * 31 + k * 17) % 101;
            std::sort(a.begin(), a.end());
            unsigned t = 0;
            for (int k : a)
                t = t * 3 + k;
            REQUIRE((unsigned)o[i] == t, "local");
        }
        swk<<<G, T>>>(d, n);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 4, cudaMemcpyDeviceToHost));
        for (int v = 0; v < n; v++) {
            int e;
            switch (v % 11) {
            case 0:
                e = 3;
                break;
            case 1:
                e = v * v;
                break;
            case 2:
                e = v - 8;
                break;
            case 3:
                e = ~v;
                break;
            case 4:
                e = v << 3;
                break;
            case 5:
                e = v >> 1;
                break;
            case 6:
                e = -v;
                break;
            case 7:
                e = v ^ 99;
                break;
            case 8:
                e = 42;
                break;
            case 9:
                e = v | 16;
                break;
            default:
                e = v & 7;
            }
            REQUIRE(o[v] == e, "switch %d", v);
        }
        CUDA(cudaMemset(d, 0, n * 4));
        polys<60>(d, n);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 4, cudaMemcpyDeviceToHost));
        g = digest_add(g, o.data(), n * 4);
        std::vector<unsigned> q(n);
        for (int N = 1; N <= 60; N++)
            for (int i = 0; i < n; i++) {
                unsigned r = 1;
                for (int m = 1; m <= N; m++)
                    r = i + m * r;
                q[i] += r;
            }
        for (int i = 0; i < n; i++)
            REQUIRE((unsigned)o[i] == q[i], "poly %d", i);
    }
    printf("digest %016llx\n", (unsigned long long)g);
    return 0;
}
