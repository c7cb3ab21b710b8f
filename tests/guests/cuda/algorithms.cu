// Graph search, dynamic programming, linear systems, sorting and a Fourier
// transform, each checked against the processor.
#include "cuda_guest.h"
#include <cmath>
#include <algorithm>
static digest_t g = DIGEST_START;

template <class T> void dg(const std::vector<T> &v)
{
    g = digest_add(g, v.data(), v.size() * sizeof(T));
}

__global__ void bfs(const int *row, const int *col, int *lev, int cur, int n,
                    int *more)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && lev[i] == cur)
        for (int e = row[i]; e < row[i + 1]; e++)
            if (lev[col[e]] < 0) {
                lev[col[e]] = cur + 1;
                *more = 1;
            }
}

void t_bfs(int s)
{
    int n = 2000, d = 4;
    VI row(n + 1), col;
    for (int i = 0; i < n; i++) {
        row[i] = col.size();
        for (int k = 0; k < d; k++)
            col.push_back(mix64(i * d + k + s) % n);
    }
    row[n] = col.size();
    VI lev(n, -1);
    lev[0] = 0;
    int *R = up(row), *C = up(col), *L = up(lev), *M;
    CUDA(cudaMalloc(&M, 4));
    int more = 1, cur = 0;
    while (more) {
        more = 0;
        CUDA(cudaMemcpy(M, &more, 4, cudaMemcpyHostToDevice));
        bfs<<<(n + 127) / 128, 128>>>(R, C, L, cur++, n, M);
        CUDA(cudaMemcpy(&more, M, 4, cudaMemcpyDeviceToHost));
    }
    VI got = down(L, n);
    lev.assign(n, -1);
    VI q{0};
    lev[0] = 0;
    for (size_t h = 0; h < q.size(); h++)
        for (int e = row[q[h]]; e < row[q[h] + 1]; e++)
            if (lev[col[e]] < 0) {
                lev[col[e]] = lev[q[h]] + 1;
                q.push_back(col[e]);
            }
    REQUIRE(got == lev, "bfs");
    cudaFree(R);
    cudaFree(C);
    cudaFree(M);
    dg(got);
}

// Needleman-Wunsch by antidiagonals
__global__ void nw(int *m, const int *sc, int n, int d)
{
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    int i = d - t, j = t + 1;
    if (i >= 1 && i <= n && j <= n) {
        int w = n + 1;
        m[i * w + j] = max(m[(i - 1) * w + j - 1] + sc[i * w + j],
                           max(m[(i - 1) * w + j], m[i * w + j - 1]) - 10);
    }
}

void t_nw(int s)
{
    int n = 60, w = n + 1;
    VI m(w * w), sc(w * w);
    for (int i = 0; i < w * w; i++)
        sc[i] = (int)(mix64(i + s) % 20) - 10;
    for (int i = 0; i < w; i++)
        m[i] = m[i * w] = -10 * i;
    int *M = up(m), *S = up(sc);
    for (int d = 1; d <= 2 * n - 1; d++)
        nw<<<(d + 31) / 32, 32>>>(M, S, n, d);
    LAUNCHED();
    VI got = down(M, w * w);
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= n; j++)
            m[i * w + j] =
                std::max(m[(i - 1) * w + j - 1] + sc[i * w + j],
                         std::max(m[(i - 1) * w + j], m[i * w + j - 1]) - 10);
    REQUIRE(got == m, "nw");
    cudaFree(S);
    dg(got);
}

// pathfinder with shared halo
__global__ void path(const int *wall, const int *src, int *dst, int n)
{
    __shared__ int sh[258];
    int i = blockIdx.x * 256 + threadIdx.x;
    sh[threadIdx.x + 1] = i < n ? src[i] : 1 << 29;
    if (threadIdx.x == 0)
        sh[0] = i > 0 ? src[i - 1] : 1 << 29;
    if (threadIdx.x == 255)
        sh[257] = i + 1 < n ? src[i + 1] : 1 << 29;
    __syncthreads();
    if (i < n)
        dst[i] = wall[i] + min(sh[threadIdx.x],
                               min(sh[threadIdx.x + 1],
                                   i + 1 < n ? sh[threadIdx.x + 2] : 1 << 29));
}

void t_path(int s)
{
    int n = 1000, r = 20;
    VI w(n * r);
    for (int i = 0; i < n * r; i++)
        w[i] = mix64(i + s) % 10;
    int *W = up(w), *A = up(w), *B = up(w);
    for (int k = 1; k < r; k++) {
        path<<<(n + 255) / 256, 256>>>(W + k * n, A, B, n);
        std::swap(A, B);
    }
    VI got = down(A, n);
    cudaFree(B);
    cudaFree(W);
    VI a(w.begin(), w.begin() + n), b(n);
    for (int k = 1; k < r; k++) {
        for (int i = 0; i < n; i++) {
            int m = a[i];
            if (i)
                m = std::min(m, a[i - 1]);
            if (i + 1 < n)
                m = std::min(m, a[i + 1]);
            b[i] = w[k * n + i] + m;
        }
        a = b;
    }
    REQUIRE(got == a, "path");
    dg(got);
}

// gaussian elimination + LUD blocked-free
__global__ void fan1(float *m, const float *a, int n, int t)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n - 1 - t)
        m[n * (i + t + 1) + t] = a[n * (i + t + 1) + t] / a[n * t + t];
}

__global__ void fan2(const float *m, float *a, float *b, int n, int t)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x,
        y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= n - 1 - t || y >= n - t)
        return;
    a[n * (x + 1 + t) + y + t] -= m[n * (x + 1 + t) + t] * a[n * t + y + t];
    if (y == 0)
        b[x + 1 + t] -= m[n * (x + 1 + t) + t] * b[t];
}

void t_gauss(int s)
{
    int n = 48;
    VF a(n * n), b(n), m(n * n);
    for (int i = 0; i < n * n; i++)
        a[i] = rf(i + s) + (i / n == i % n ? n : 0);
    VF xs(n);
    for (int i = 0; i < n; i++) {
        xs[i] = i % 5;
    }
    for (int i = 0; i < n; i++) {
        double q = 0;
        for (int j = 0; j < n; j++)
            q += a[i * n + j] * xs[j];
        b[i] = q;
    }
    float *A = up(a), *B = up(b), *M = up(m);
    for (int t = 0; t < n - 1; t++) {
        fan1<<<1, 64>>>(M, A, n, t);
        fan2<<<dim3(3, 3), dim3(16, 16)>>>(M, A, B, n, t);
    }
    VF ga = down(A, n * n), gb = down(B, n);
    cudaFree(M);
    VF x(n);
    for (int i = n - 1; i >= 0; i--) {
        double q = gb[i];
        for (int j = i + 1; j < n; j++)
            q -= ga[i * n + j] * x[j];
        x[i] = q / ga[i * n + i];
    }
    for (int i = 0; i < n; i++)
        REQUIRE(fabs(x[i] - xs[i]) < 1e-3, "gauss %d %g", i, x[i]);
    dg(ga);
}

// spmv + CG
__global__ void spmv(const int *r, const int *c, const double *v,
                     const double *x, double *y, int n)
{
    int w = (blockIdx.x * blockDim.x + threadIdx.x) / 32, l = threadIdx.x % 32;
    if (w >= n)
        return;
    double s = 0;
    for (int e = r[w] + l; e < r[w + 1]; e += 32)
        s += v[e] * x[c[e]];
    for (int o = 16; o; o >>= 1)
        s += __shfl_down_sync(~0u, s, o);
    if (l == 0)
        y[w] = s;
}

__global__ void dot(const double *a, const double *b, double *o, int n)
{
    __shared__ double sh[128];
    double s = 0;
    for (int i = threadIdx.x; i < n; i += 128)
        s += a[i] * b[i];
    sh[threadIdx.x] = s;
    __syncthreads();
    for (int k = 64; k; k /= 2) {
        if (threadIdx.x < k)
            sh[threadIdx.x] += sh[threadIdx.x + k];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *o = sh[0];
}

__global__ void axpy(double *y, const double *x, double a, double b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = a * x[i] + b * y[i];
}

void t_cg(int s)
{
    int n = 128;
    VI r(n + 1), c;
    std::vector<double> v, x(n), b(n);
    for (int i = 0; i < n; i++) {
        r[i] = c.size();
        for (int j = std::max(0, i - 2); j <= std::min(n - 1, i + 2); j++) {
            c.push_back(j);
            v.push_back(i == j ? 5 + s % 3 : -1);
        }
        b[i] = 1 + i % 7;
    }
    r[n] = c.size();
    int *R = up(r), *C = up(c);
    double *V = up(v), *X = up(x), *Rr = up(b), *P = up(b), *Ap = up(x), *D;
    CUDA(cudaMalloc(&D, 8));
    auto dt = [&](double *a, double *bb) {
        dot<<<1, 128>>>(a, bb, D, n);
        double q;
        CUDA(cudaMemcpy(&q, D, 8, cudaMemcpyDeviceToHost));
        return q;
    };
    double rr = dt(Rr, Rr);
    int it = 0;
    while (rr > 1e-20 && it++ < 200) {
        spmv<<<n * 32 / 128, 128>>>(R, C, V, P, Ap, n);
        double al = rr / dt(P, Ap);
        axpy<<<1, 128>>>(X, P, al, 1, n);
        axpy<<<1, 128>>>(Rr, Ap, -al, 1, n);
        double r2 = dt(Rr, Rr);
        axpy<<<1, 128>>>(P, Rr, 1, r2 / rr, n);
        rr = r2;
    }
    auto gx = down(X, n);
    for (int i = 0; i < n; i++) {
        double q = 0;
        for (int e = r[i]; e < r[i + 1]; e++)
            q += v[e] * gx[c[e]];
        REQUIRE(fabs(q - b[i]) < 1e-8, "cg %d %g", i, q - b[i]);
    }
    dg(gx);
    for (void *p : {(void *)R, (void *)C, (void *)V, (void *)Rr, (void *)P,
                    (void *)Ap, (void *)D})
        cudaFree(p);
}

// radix sort (1 bit split) + bitonic
__global__ void bitonic(int *a, int j, int k)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, x = i ^ j;
    if (x > i) {
        int p = a[i], q = a[x];
        if (((i & k) == 0) == (p > q)) {
            a[i] = q;
            a[x] = p;
        }
    }
}

__global__ void scanblk(const unsigned *in, unsigned *out, unsigned *sums,
                        int n)
{
    extern __shared__ unsigned t[];
    int i = blockIdx.x * blockDim.x + threadIdx.x, l = threadIdx.x;
    t[l] = i < n ? in[i] : 0;
    __syncthreads();
    for (int o = 1; o < blockDim.x; o <<= 1) {
        unsigned v = l >= o ? t[l - o] : 0;
        __syncthreads();
        t[l] += v;
        __syncthreads();
    }
    if (i < n)
        out[i] = t[l] - in[i];
    if (l == blockDim.x - 1)
        sums[blockIdx.x] = t[l];
}

__global__ void addb(unsigned *o, const unsigned *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] += b[blockIdx.x];
}

__global__ void flags(const unsigned *k, unsigned *f, int b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        f[i] = !(k[i] >> b & 1);
}

__global__ void scat(const unsigned *k, unsigned *o, const unsigned *f,
                     const unsigned *p, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        unsigned z = p[n - 1] + f[n - 1];
        o[f[i] ? p[i] : z + i - p[i]] = k[i];
    }
}

void t_sort(int s)
{
    int n = 2048;
    VI a(n);
    for (int i = 0; i < n; i++)
        a[i] = mix64(i + s);
    int *A = up(a);
    for (int k = 2; k <= n; k *= 2)
        for (int j = k / 2; j; j /= 2)
            bitonic<<<n / 256, 256>>>(A, j, k);
    VI got = down(A, n);
    std::sort(a.begin(), a.end());
    REQUIRE(got == a, "bitonic");
    dg(got);
    std::vector<unsigned> u(n);
    for (int i = 0; i < n; i++)
        u[i] = mix64(i * 3 + s) & 0xfff;
    unsigned *K = up(u), *O = up(u), *F = up(u), *P = up(u), *S, *S2, *S3;
    CUDA(cudaMalloc(&S, 64));
    CUDA(cudaMalloc(&S2, 64));
    CUDA(cudaMalloc(&S3, 64));
    for (int b = 0; b < 12; b++) {
        flags<<<8, 256>>>(K, F, b, n);
        scanblk<<<8, 256, 1024>>>(F, P, S, n);
        scanblk<<<1, 8, 32>>>(S, S2, S3, 8);
        addb<<<8, 256>>>(P, S2, n);
        scat<<<8, 256>>>(K, O, F, P, n);
        std::swap(K, O);
    }
    auto gu = down(K, n);
    std::sort(u.begin(), u.end());
    REQUIRE(gu == u, "radix");
    for (void *p :
         {(void *)O, (void *)F, (void *)P, (void *)S, (void *)S2, (void *)S3})
        cudaFree(p);
}

// FFT radix-2 double, float2 vector types
__global__ void fft(double2 *a, int n, int half)
{
    int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= n / 2)
        return;
    int k = t % half, b = t / half * half * 2 + k;
    double s, c;
    sincospi(-(double)k / half, &s, &c);
    double2 u = a[b], v = a[b + half];
    double2 w = make_double2(v.x * c - v.y * s, v.x * s + v.y * c);
    a[b] = make_double2(u.x + w.x, u.y + w.y);
    a[b + half] = make_double2(u.x - w.x, u.y - w.y);
}

void t_fft(int s)
{
    int n = 256;
    std::vector<double2> a(n), br(n);
    for (int i = 0; i < n; i++)
        a[i] = make_double2(rf(i + s), rf(i + s + 1));
    for (int i = 0; i < n; i++) {
        int r = 0;
        for (int k = 0; k < 8; k++)
            r |= (i >> k & 1) << (7 - k);
        br[r] = a[i];
    }
    double2 *A = up(br);
    for (int h = 1; h < n; h *= 2)
        fft<<<2, 64>>>(A, n, h);
    auto got = down(A, n);
    for (int k = 0; k < n; k += 17) {
        double x = 0, y = 0;
        for (int i = 0; i < n; i++) {
            double t = -2 * M_PI * k * i / n;
            x += a[i].x * cos(t) - a[i].y * sin(t);
            y += a[i].x * sin(t) + a[i].y * cos(t);
        }
        REQUIRE(fabs(x - got[k].x) < 1e-9 && fabs(y - got[k].y) < 1e-9,
                "fft %d", k);
    }
    dg(got);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 10);
    for (long s = 0; s < steps; s++) {
        t_bfs(s);
        t_nw(s);
        t_path(s);
        t_gauss(s);
        t_cg(s);
        t_sort(s);
        t_fft(s);
    }
    printf("digest %016llx\n", (unsigned long long)g);
    return 0;
}
