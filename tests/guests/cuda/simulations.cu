// Finance, fractals, cellular automata, stencils, particles, clustering,
// wavelets and trees, each checked against the processor.
#include "cuda_guest.h"
#include <cmath>
#include <algorithm>
static digest_t g = DIGEST_START;

template <class T> void dg(const std::vector<T> &v)
{
    g = digest_add(g, v.data(), v.size() * sizeof(T));
}

// Black-Scholes, Monte Carlo pi with LCG, mandelbrot, life, histogram, nbody,
// convolution, transpose
__device__ float cnd(float d)
{
    float k = 1 / (1 + .2316419f * fabsf(d));
    float c =
        .39894228f * expf(-.5f * d * d) *
        (k * (.31938153f + k * (-.356563782f +
                                k * (1.781477937f +
                                     k * (-1.821255978f + k * 1.330274429f)))));
    return d > 0 ? 1 - c : c;
}

__global__ void bs(const float *S, const float *X, const float *T, float *c,
                   float *p, int n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += blockDim.x * gridDim.x) {
        float q = sqrtf(T[i]),
              d1 = (logf(S[i] / X[i]) + (.02f + .5f * .09f) * T[i]) / (.3f * q),
              d2 = d1 - .3f * q, a = cnd(d1), b = cnd(d2),
              e = __expf(-.02f * T[i]);
        c[i] = S[i] * a - X[i] * e * b;
        p[i] = X[i] * e * (1 - b) - S[i] * (1 - a);
    }
}

void t_bs(int s)
{
    int n = 3000;
    VF S(n), X(n), T(n);
    for (int i = 0; i < n; i++) {
        S[i] = 5 + 25 * rf(i + s);
        X[i] = 1 + 99 * rf(i + s + 7);
        T[i] = .25f + 9 * rf(i + s + 9);
    }
    float *a = up(S), *b = up(X), *c = up(T), *d = up(S), *e = up(S);
    bs<<<7, 128>>>(a, b, c, d, e, n);
    VF C = down(d, n), P = down(e, n);
    for (int i = 0; i < n; i++) {
        double d1 = (log(S[i] / X[i]) + .065 * T[i]) / (.3 * sqrt(T[i])),
               d2 = d1 - .3 * sqrt(T[i]);
        auto N = [](double x) { return .5 * erfc(-x / sqrt(2)); };
        double w = S[i] * N(d1) - X[i] * exp(-.02 * T[i]) * N(d2);
        REQUIRE(fabs(C[i] - w) < 2e-4, "bs %d %g %g", i, C[i], w);
    }
    dg(C);
    dg(P);
    cudaFree(a);
    cudaFree(b);
    cudaFree(c);
}

__global__ void mandel(unsigned char *o, int w, int h, double cx)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x,
        y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= w || y >= h)
        return;
    double a = cx + x * .02, b = -1.2 + y * .02, u = 0, v = 0;
    int k = 0;
    while (k < 80 && __dadd_rn(__dmul_rn(u, u), __dmul_rn(v, v)) < 4) {
        double t = __dadd_rn(__dsub_rn(__dmul_rn(u, u), __dmul_rn(v, v)), a);
        v = __dadd_rn(__dmul_rn(__dmul_rn(2, u), v), b);
        u = t;
        k++;
    }
    o[y * w + x] = k;
}

void t_mandel(int s)
{
    int w = 100, h = 70;
    double cx = -2 + s % 10 * .01;
    std::vector<unsigned char> z(w * h);
    auto *O = up(z);
    mandel<<<dim3(7, 18), dim3(16, 4)>>>(O, w, h, cx);
    auto got = down(O, w * h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            volatile double a = cx + x * .02, b = -1.2 + y * .02, u = 0, v = 0,
                            p, q, t;
            int k = 0;
            while (k < 80) {
                p = u * u;
                q = v * v;
                t = p + q;
                if (!(t < 4))
                    break;
                t = p - q;
                t = t + a;
                p = 2 * u;
                p = p * v;
                v = p + b;
                u = t;
                k++;
            }
            z[y * w + x] = k;
        }
    int df = 0;
    for (int i = 0; i < w * h; i++)
        df += got[i] != z[i];
    REQUIRE(df <= 20, "mandel %d", df);
    dg(got);
}

__global__ void life(const unsigned char *a, unsigned char *b, int w, int h)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y;
    if (x >= w)
        return;
    int c = 0;
    for (int j = -1; j <= 1; j++)
        for (int i = -1; i <= 1; i++)
            if (i || j)
                c += a[(y + j + h) % h * w + (x + i + w) % w];
    b[y * w + x] = c == 3 || (c == 2 && a[y * w + x]);
}

void t_life(int s)
{
    int w = 96, h = 40;
    std::vector<unsigned char> a(w * h), b(w * h);
    for (int i = 0; i < w * h; i++)
        a[i] = mix64(i + s) % 3 == 0;
    auto *A = up(a), *B = up(b);
    for (int k = 0; k < 6; k++) {
        life<<<dim3(2, h), 64>>>(A, B, w, h);
        std::swap(A, B);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                int c = 0;
                for (int j = -1; j <= 1; j++)
                    for (int i = -1; i <= 1; i++)
                        if (i || j)
                            c += a[(y + j + h) % h * w + (x + i + w) % w];
                b[y * w + x] = c == 3 || (c == 2 && a[y * w + x]);
            }
        a = b;
    }
    auto got = down(A, w * h);
    REQUIRE(got == a, "life");
    cudaFree(B);
    dg(got);
}

__global__ void hist(const unsigned char *d, unsigned *h, int n)
{
    __shared__ unsigned s[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        s[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += blockDim.x * gridDim.x)
        atomicAdd(&s[d[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (s[i])
            atomicAdd(&h[i], s[i]);
}

void t_hist(int s)
{
    int n = 30000;
    std::vector<unsigned char> d(n);
    std::vector<unsigned> h(256);
    for (int i = 0; i < n; i++)
        d[i] = mix64(i + s) % 97;
    auto *D = up(d);
    auto *H = up(h);
    hist<<<5, 192>>>(D, H, n);
    auto got = down(H, 256);
    for (auto c : d)
        h[c]++;
    REQUIRE(got == h, "hist");
    cudaFree(D);
    dg(got);
}

__constant__ float KER[17];

__global__ void conv(const float *in, float *o, int n)
{
    __shared__ float t[128 + 16];
    int b = blockIdx.x * 128 - 8;
    for (int k = threadIdx.x; k < 144; k += 128)
        t[k] = b + k >= 0 && b + k < n ? in[b + k] : 0;
    __syncthreads();
    int i = blockIdx.x * 128 + threadIdx.x;
    float s = 0;
#pragma unroll
    for (int k = 0; k < 17; k++)
        s = fmaf(KER[k], t[threadIdx.x + k], s);
    if (i < n)
        o[i] = s;
}

void t_conv(int s)
{
    int n = 2000;
    VF in(n), k(17);
    for (int i = 0; i < n; i++)
        in[i] = rf(i + s);
    for (int i = 0; i < 17; i++)
        k[i] = rf(i + 5 * s) - .5f;
    CUDA(cudaMemcpyToSymbol(KER, k.data(), 68));
    auto *I = up(in), *O = up(in);
    conv<<<16, 128>>>(I, O, n);
    VF got = down(O, n);
    for (int i = 0; i < n; i++) {
        float q = 0;
        for (int j = 0; j < 17; j++) {
            int x = i + j - 8;
            q = fmaf(k[j], x >= 0 && x < n ? in[x] : 0, q);
        }
        REQUIRE(q == got[i], "conv %d", i);
    }
    cudaFree(I);
    dg(got);
}

template <int T>
__global__ void transp(const float4 *in, float4 *o, int w, int h)
{
    __shared__ float4 t[T][T + 1];
    int x = blockIdx.x * T + threadIdx.x, y = blockIdx.y * T + threadIdx.y;
    if (x < w && y < h)
        t[threadIdx.y][threadIdx.x] = in[y * w + x];
    __syncthreads();
    x = blockIdx.y * T + threadIdx.x;
    y = blockIdx.x * T + threadIdx.y;
    if (x < h && y < w)
        o[y * h + x] = t[threadIdx.x][threadIdx.y];
}

void t_transp(int s)
{
    int w = 50, h = 37;
    std::vector<float4> a(w * h);
    for (int i = 0; i < w * h; i++)
        a[i] = make_float4(i, s, rf(i), -i);
    auto *A = up(a), *B = up(a);
    transp<16><<<dim3(4, 3), dim3(16, 16)>>>(A, B, w, h);
    auto got = down(B, w * h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            REQUIRE(!memcmp(&got[x * h + y], &a[y * w + x], 16), "transp");
    cudaFree(A);
    dg(got);
}

__global__ void nbody(float4 *p, float3 *v, int n)
{
    extern __shared__ float4 sp[];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float4 me = p[i];
    float3 a = {0, 0, 0};
    for (int t = 0; t < gridDim.x; t++) {
        sp[threadIdx.x] = p[t * blockDim.x + threadIdx.x];
        __syncthreads();
        for (int k = 0; k < blockDim.x; k++) {
            float dx = sp[k].x - me.x, dy = sp[k].y - me.y, dz = sp[k].z - me.z,
                  d = dx * dx + dy * dy + dz * dz + .01f, r = rsqrtf(d),
                  f = sp[k].w * r * r * r;
            a.x += dx * f;
            a.y += dy * f;
            a.z += dz * f;
        }
        __syncthreads();
    }
    v[i].x += a.x * .01f;
    v[i].y += a.y * .01f;
    v[i].z += a.z * .01f;
}

void t_nbody(int s)
{
    int n = 256;
    std::vector<float4> p(n);
    std::vector<float3> v(n);
    for (int i = 0; i < n; i++)
        p[i] =
            make_float4(rf(i + s), rf(i + s + 1000), rf(i + s + 2000), 1.f / n);
    auto *P = up(p);
    auto *V = up(v);
    nbody<<<4, 64, 64 * 16>>>(P, V, n);
    auto got = down(V, n);
    for (int i = 0; i < n; i += 13) {
        double a = 0;
        for (int k = 0; k < n; k++) {
            double dx = p[k].x - p[i].x, dy = p[k].y - p[i].y,
                   dz = p[k].z - p[i].z, d = dx * dx + dy * dy + dz * dz + .01;
            a += dx * p[k].w / (d * sqrt(d));
        }
        REQUIRE(fabs(got[i].x - a * .01) < 1e-5, "nbody %g %g", got[i].x,
                a * .01);
    }
    cudaFree(P);
    dg(got);
}

// k-means, backprop layer, DWT haar, LUD shared, SRAD-like, hotspot3D
__global__ void assign(const float *x, const float *c, int *m, int n, int k,
                       int d)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    float best = 3e38f;
    int b = 0;
    for (int j = 0; j < k; j++) {
        float s = 0;
        for (int q = 0; q < d; q++) {
            float t = __fsub_rn(x[q * n + i], c[j * d + q]);
            s = __fadd_rn(s, __fmul_rn(t, t));
        }
        if (s < best) {
            best = s;
            b = j;
        }
    }
    m[i] = b;
}

void t_kmeans(int s)
{
    int n = 800, k = 5, d = 4;
    VF x(n * d), c(k * d);
    for (int i = 0; i < n * d; i++)
        x[i] = rf(i + s);
    for (int i = 0; i < k * d; i++)
        c[i] = rf(i * 31 + s);
    auto *X = up(x);
    VI m(n);
    for (int it = 0; it < 5; it++) {
        auto *C = up(c);
        auto *M = up(m);
        assign<<<7, 128>>>(X, C, M, n, k, d);
        m = down(M, n);
        cudaFree(C);
        for (int i = 0; i < n; i++) {
            float best = 3e38f;
            int b = 0;
            for (int j = 0; j < k; j++) {
                volatile float q = 0;
                for (int e = 0; e < d; e++) {
                    volatile float t = x[e * n + i] - c[j * d + e];
                    volatile float tt = t * t;
                    q = q + tt;
                }
                if (q < best) {
                    best = q;
                    b = j;
                }
            }
            REQUIRE(m[i] == b, "kmeans");
        }
        VF nc(k * d);
        VI cnt(k);
        for (int i = 0; i < n; i++) {
            cnt[m[i]]++;
            for (int e = 0; e < d; e++)
                nc[m[i] * d + e] += x[e * n + i];
        }
        for (int j = 0; j < k; j++)
            for (int e = 0; e < d; e++)
                if (cnt[j])
                    c[j * d + e] = nc[j * d + e] / cnt[j];
    }
    dg(c);
    cudaFree(X);
}

__global__ void layer(const float *x, const float *w, float *o, int n, int m)
{
    __shared__ float in[16], ww[16][16];
    int by = blockIdx.y, tx = threadIdx.x, ty = threadIdx.y;
    if (tx == 0)
        in[ty] = x[by * 16 + ty];
    __syncthreads();
    ww[ty][tx] = w[(by * 16 + ty) * m + tx] * in[ty];
    __syncthreads();
    for (int i = 1; i <= 4; i++) {
        int p = 1 << i;
        if (ty % p == 0)
            ww[ty][tx] += ww[ty + p / 2][tx];
        __syncthreads();
    }
    if (tx == 0)
        o[by * 16 + ty] = ww[0][ty];
}

void t_back(int s)
{
    int n = 64, m = 16;
    VF x(n), w(n * m), o(n);
    for (int i = 0; i < n; i++)
        x[i] = rf(i + s);
    for (int i = 0; i < n * m; i++)
        w[i] = rf(i + s + 9) - .5f;
    auto *X = up(x), *W = up(w), *O = up(o);
    layer<<<dim3(1, 4), dim3(16, 16)>>>(X, W, O, n, m);
    o = down(O, n);
    for (int b = 0; b < 4; b++)
        for (int j = 0; j < 16; j++) {
            double q = 0;
            for (int i = 0; i < 16; i++)
                q += x[b * 16 + i] * w[(b * 16 + i) * m + j];
            REQUIRE(fabs(q - o[b * 16 + j]) < 1e-5, "back");
        }
    dg(o);
    cudaFree(X);
    cudaFree(W);
}

__global__ void hot3(const float *a, float *b, int n)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x,
        y = blockIdx.y * blockDim.y + threadIdx.y,
        z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x >= n || y >= n || z >= n)
        return;
    auto I = [n](int x, int y, int z) { return (z * n + y) * n + x; };
    float c = a[I(x, y, z)];
    float w = x ? a[I(x - 1, y, z)] : c, e = x < n - 1 ? a[I(x + 1, y, z)] : c,
          s = y ? a[I(x, y - 1, z)] : c, t = y < n - 1 ? a[I(x, y + 1, z)] : c,
          u = z ? a[I(x, y, z - 1)] : c, d = z < n - 1 ? a[I(x, y, z + 1)] : c;
    b[I(x, y, z)] = .4f * c + .1f * (((((w + e) + s) + t) + u) + d);
}

void t_hot(int s)
{
    int n = 20;
    VF a(n * n * n);
    for (size_t i = 0; i < a.size(); i++)
        a[i] = rf(i + s) * 100;
    double before = 0;
    for (float f : a)
        before += f;
    auto *A = up(a), *B = up(a);
    for (int k = 0; k < 4; k++) {
        hot3<<<dim3(3, 5, 5), dim3(8, 4, 4)>>>(A, B, n);
        std::swap(A, B);
    }
    VF got = down(A, a.size());
    double after = 0;
    for (float f : got)
        after += f;
    REQUIRE(fabs(before - after) < before * 1e-5, "hot %g %g", before, after);
    VF b(a);
    auto I = [n](int x, int y, int z) { return (z * n + y) * n + x; };
    for (int k = 0; k < 4; k++) {
        for (int z = 0; z < n; z++)
            for (int y = 0; y < n; y++)
                for (int x = 0; x < n; x++) {
                    float c = a[I(x, y, z)];
                    b[I(x, y, z)] =
                        .4f * c + .1f * ((x ? a[I(x - 1, y, z)] : c) +
                                         (x < n - 1 ? a[I(x + 1, y, z)] : c) +
                                         (y ? a[I(x, y - 1, z)] : c) +
                                         (y < n - 1 ? a[I(x, y + 1, z)] : c) +
                                         (z ? a[I(x, y, z - 1)] : c) +
                                         (z < n - 1 ? a[I(x, y, z + 1)] : c));
                }
        std::swap(a, b);
    }
    for (size_t i = 0; i < a.size(); i++)
        REQUIRE(fabs(a[i] - got[i]) < 1e-3, "hot %zu", i);
    cudaFree(B);
    dg(got);
}

__global__ void haar(const float *in, float *o, int n)
{
    extern __shared__ float th[];
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        th[i] = in[i];
    __syncthreads();
    for (int l = n; l > 1; l /= 2) {
        float a = 0, b = 0;
        bool on = threadIdx.x < l / 2;
        if (on) {
            a = (th[2 * threadIdx.x] + th[2 * threadIdx.x + 1]) * .5f;
            b = (th[2 * threadIdx.x] - th[2 * threadIdx.x + 1]) * .5f;
        }
        __syncthreads();
        if (on) {
            th[threadIdx.x] = a;
            o[l / 2 + threadIdx.x] = b;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0)
        o[0] = th[0];
}

void t_dwt(int s)
{
    int n = 512;
    VF a(n), o(n);
    for (int i = 0; i < n; i++)
        a[i] = rf(i + s);
    auto *A = up(a), *O = up(o);
    haar<<<1, 256, n * 4>>>(A, O, n);
    o = down(O, n);
    VF t(a), w(n);
    for (int l = n; l > 1; l /= 2) {
        VF q(l / 2);
        for (int i = 0; i < l / 2; i++) {
            q[i] = (t[2 * i] + t[2 * i + 1]) * .5f;
            w[l / 2 + i] = (t[2 * i] - t[2 * i + 1]) * .5f;
        }
        t = q;
    }
    w[0] = t[0];
    REQUIRE(o == w, "dwt");
    cudaFree(A);
    dg(o);
}

__global__ void lud(float *a, int n)
{
    extern __shared__ float m[];
    for (int i = threadIdx.x; i < n * n; i += blockDim.x)
        m[i] = a[i];
    __syncthreads();
    for (int k = 0; k < n - 1; k++) {
        for (int i = k + 1 + threadIdx.x; i < n; i += blockDim.x)
            m[i * n + k] /= m[k * n + k];
        __syncthreads();
        for (int t = threadIdx.x; t < (n - k - 1) * (n - k - 1);
             t += blockDim.x) {
            int i = k + 1 + t / (n - k - 1), j = k + 1 + t % (n - k - 1);
            m[i * n + j] -= m[i * n + k] * m[k * n + j];
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < n * n; i += blockDim.x)
        a[i] = m[i];
}

void t_lud(int s)
{
    int n = 32;
    VF a(n * n);
    for (int i = 0; i < n * n; i++)
        a[i] = rf(i + s) + (i / n == i % n ? n : 0);
    auto *A = up(a);
    lud<<<1, 100, n * n * 4>>>(A, n);
    VF l = down(A, n * n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double q = 0;
            for (int k = 0; k <= std::min(i, j); k++)
                q += (k == i ? 1. : l[i * n + k]) * l[k * n + j];
            REQUIRE(fabs(q - a[i * n + j]) < 1e-3, "lud");
        }
    dg(l);
}

// b+tree search
struct Node {
    int cnt, leaf, key[8], child[9];
};

__global__ void find(const Node *t, const int *q, int *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int c = 0;
    while (!t[c].leaf) {
        int k = 0;
        while (k < t[c].cnt && q[i] >= t[c].key[k])
            k++;
        c = t[c].child[k];
    }
    o[i] = -1;
    for (int k = 0; k < t[c].cnt; k++)
        if (t[c].key[k] == q[i])
            o[i] = t[c].child[k];
}

void t_btree(int s)
{
    std::vector<Node> t(10);
    t[0].cnt = 8;
    t[0].leaf = 0;
    for (int j = 0; j < 9; j++) {
        Node &l = t[j + 1];
        l.leaf = 1;
        l.cnt = 8;
        for (int k = 0; k < 8; k++) {
            l.key[k] = (j * 8 + k) * 3;
            l.child[k] = j * 8 + k + s % 100;
        }
        if (j)
            t[0].key[j - 1] = l.key[0];
        t[0].child[j] = j + 1;
    }
    VI q(300), o(300);
    for (int i = 0; i < 300; i++)
        q[i] = mix64(i + s) % 216;
    auto *T = up(t);
    auto *Q = up(q), *O = up(o);
    find<<<3, 128>>>(T, Q, O, 300);
    o = down(O, 300);
    for (int i = 0; i < 300; i++)
        REQUIRE(o[i] == (q[i] % 3 ? -1 : q[i] / 3 + s % 100), "btree");
    cudaFree(T);
    cudaFree(Q);
    dg(o);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 10);
    for (long s = 0; s < steps; s++) {
        t_bs(s);
        t_mandel(s);
        t_life(s);
        t_hist(s);
        t_conv(s);
        t_transp(s);
        t_nbody(s);
        t_kmeans(s);
        t_back(s);
        t_hot(s);
        t_dwt(s);
        t_lud(s);
        t_btree(s);
    }
    printf("digest %016llx\n", (unsigned long long)g);
    return 0;
}
