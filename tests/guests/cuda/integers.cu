// Integer intrinsics of every kind, video instructions and 128-bit arithmetic.
#include "cuda_guest.h"
#include <vector>
typedef unsigned u;
typedef unsigned long long ull;
typedef long long ll;
#define NO 40

__global__ void k(const ull *a, const ull *b, ull *o, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    ull A = a[i], B = b[i];
    u x = A, y = B, z = A >> 32;
    int sx = x, sy = y;
    ull *p = o + (size_t)i * NO;
    p[0] = __popc(x) + 100 * __popcll(A);
    p[1] = __clz(x) + 100 * __clzll(A);
    p[2] = __ffs(x) + 100 * __ffsll(A);
    p[3] = __brev(x);
    p[4] = __brevll(A);
    p[5] = __byte_perm(x, y, z);
    p[6] = __funnelshift_l(x, y, z);
    p[7] = __funnelshift_rc(x, y, z);
    p[8] = __umulhi(x, y);
    p[9] = __mulhi(sx, sy);
    p[10] = __umul64hi(A, B);
    p[11] = __mul64hi(A, B);
    p[12] = __umul24(x, y);
    p[13] = __mul24(sx, sy);
    p[14] = __sad(sx, sy, z);
    p[15] = __usad(x, y, z);
    p[16] = __hadd(sx, sy);
    p[17] = __urhadd(x, y);
    p[18] = __dp4a((int)x, (int)y, (int)z);
    p[19] = __dp4a(x, y, z);
    p[20] = __dp2a_lo((int)x, (int)y, (int)z);
    p[21] = __vadd4(x, y);
    p[22] = __vabsdiffu4(x, y);
    p[23] = __vmaxs2(x, y);
    p[24] = __vcmpgtu4(x, y);
    p[25] = __vavgu4(x, y);
    p[26] = __vsadu4(x, y);
    p[27] = y ? x / y : 0;
    p[28] = sy ? (sx == (int)0x80000000 && sy == -1 ? 0 : sx % sy) : 0;
    p[29] = B ? A / B : 0;
    p[30] = (ll)B ? (ll)A % (ll)B : 0;
    unsigned __int128 w = (unsigned __int128)A * B + A;
    p[31] = w >> 64;
    p[32] = w;
    p[33] = (ull)((__int128)(ll)A >> (B & 127));
    p[34] = (u)(w / ((unsigned __int128)(B >> 20) + 1));
    short h = x;
    signed char c = y;
    p[35] = (ull)(h * c) + (unsigned short)(x + y) * (unsigned char)z;
    p[36] = (x >> (y & 31)) | (u)(sx >> (z & 31)) << 3;
    p[37] = min(sx, sy) + (ull)max(x, y) + abs(sx) + llabs((ll)B);
    p[38] = __vsubss2(x, y);
    p[39] = (A << (y & 63)) ^ ((ll)B >> (x & 63));
}

static int pc(ull v)
{
    return __builtin_popcountll(v);
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 1);
    const int n = 20000;
    digest_t g = DIGEST_START;
    int bad = 0, nb[NO] = {0};
    for (long s = 0; s < steps; s++) {
        std::vector<ull> a(n), b(n), o((size_t)n * NO);
        for (int i = 0; i < n; i++) {
            a[i] = mix64(i + s);
            b[i] = mix64(a[i]) >> (i % 64);
            if (i % 7 == 0)
                a[i] >>= i % 61;
            if (i % 101 == 0)
                a[i] = 0;
            if (i % 103 == 0)
                b[i] = ~0ull;
        }
        ull *da, *db, *d;
        CUDA(cudaMalloc(&da, n * 8));
        CUDA(cudaMalloc(&db, n * 8));
        CUDA(cudaMalloc(&d, n * 8 * NO));
        CUDA(cudaMemcpy(da, a.data(), n * 8, cudaMemcpyHostToDevice));
        CUDA(cudaMemcpy(db, b.data(), n * 8, cudaMemcpyHostToDevice));
        k<<<(n + 255) / 256, 256>>>(da, db, d, n);
        LAUNCHED();
        CUDA(cudaMemcpy(o.data(), d, n * 8 * NO, cudaMemcpyDeviceToHost));
        g = digest_add(g, o.data(), n * 8 * NO);
        CUDA(cudaFree(da));
        CUDA(cudaFree(db));
        CUDA(cudaFree(d));
        for (int i = 0; i < n; i++) {
            ull A = a[i], B = b[i];
            u x = A, y = B, z = A >> 32;
            int sx = x, sy = y;
            ull *p = &o[(size_t)i * NO];
#define E(j, e)                                                                \
    {                                                                          \
        ull w = (ull)(e);                                                      \
        if (p[j] != w && !nb[j]++) {                                           \
            bad++;                                                             \
            printf("p[%d] A=%llx B=%llx got %llx want %llx\n", j, A, B, p[j],  \
                   w);                                                         \
        }                                                                      \
    }
            E(0, pc(x) + 100 * pc(A))
            E(1,
              (x ? __builtin_clz(x) : 32) + 100 * (A ? __builtin_clzll(A) : 64))
                E(2, __builtin_ffs(x) + 100 * __builtin_ffsll(A))
            {
                u r = 0;
                for (int k = 0; k < 32; k++)
                    r |= (x >> k & 1) << (31 - k);
                E(3, r)
            }
            {
                ull r = 0;
                for (int k = 0; k < 64; k++)
                    r |= (A >> k & 1) << (63 - k);
                E(4, r)
            }
            {
                ull t = (ull)y << 32 | x;
                u r = 0;
                for (int k = 0; k < 4; k++) {
                    r |= (u)((t >> (8 * ((z >> (4 * k)) & 7))) & 255)
                         << (8 * k);
                }
                E(5, r)
            } /* device form clears msb mode */
            {
                ull t = (ull)y << 32 | x;
                E(6, (u)((t << (z & 31)) >> 32)) int c = z > 31 ? 32 : z;
                E(7, (u)(c == 32 ? t >> 32 : t >> c))
            }
            E(8, (ull)x * y >> 32)
            E(9, (ull)(ll)(int)(((ll)sx * sy) >> 32))
                E(10, (ull)((unsigned __int128)A * B >> 64))
                    E(11, (ull)((__int128)(ll)A * (ll)B >> 64))
                        E(12, (u)((ull)(x & 0xffffff) * (y & 0xffffff)))
            {
                int aa = (int)(x << 8) >> 8, bb = (int)(y << 8) >> 8;
                E(13, (ull)(ll)(int)((ll)aa * bb))
            }
            E(14, (u)((sx > sy ? (u)sx - (u)sy : (u)sy - (u)sx) + z))
            E(15, (u)((x > y ? x - y : y - x) + z))
                E(16, (ull)(ll)(int)(((ll)sx + sy) >> 1))
                    E(17, (u)(((ull)x + y + 1) >> 1))
            {
                int r = z;
                u ru = z;
                for (int k = 0; k < 4; k++) {
                    r += (int)(signed char)(x >> 8 * k) *
                         (signed char)(y >> 8 * k);
                    ru += (x >> 8 * k & 255) * (y >> 8 * k & 255);
                }
                E(18, (ll)r) E(19, ru) int r2 = z;
                for (int k = 0; k < 2; k++)
                    r2 += (int)(short)(x >> 16 * k) * (signed char)(y >> 8 * k);
                E(20, (ll)r2)
            }
            {
                u r = 0, r2 = 0, r3 = 0, r4 = 0, sd = 0;
                for (int k = 0; k < 4; k++) {
                    u m = x >> 8 * k & 255, q = y >> 8 * k & 255;
                    r |= ((m + q) & 255) << 8 * k;
                    r2 |= (m > q ? m - q : q - m) << 8 * k;
                    r3 |= (m > q ? 255u : 0) << 8 * k;
                    r4 |= ((m + q + 1) >> 1) << 8 * k;
                    sd += m > q ? m - q : q - m;
                }
                E(21, r) E(22, r2) E(24, r3) E(25, r4) E(26, sd)
            }
            {
                u r = 0;
                for (int k = 0; k < 2; k++) {
                    short m = x >> 16 * k, q = y >> 16 * k;
                    r |= (u)(unsigned short)(m > q ? m : q) << 16 * k;
                }
                E(23, r)
            }
            E(27, y ? x / y : 0)
            E(28,
              sy ? (ull)(ll)(sx == (int)0x80000000 && sy == -1 ? 0 : sx % sy)
                 : 0) E(29, B ? A / B
                              : 0) if (!((ll)A == (ll)0x8000000000000000ll &&
                                         (ll)B == -1))
                E(30, (ll)B ? (ull)((ll)A % (ll)B) : 0) unsigned __int128 w128 =
                    (unsigned __int128)A * B + A;
            E(31, (w128 >> 64))
            E(32, w128) E(33, ((__int128)(ll)A >> (B & 127)))
                E(34, (u)(w128 / ((unsigned __int128)(B >> 20) + 1))) short h =
                    x;
            signed char c = y;
            E(35, (ull)(h * c) + (unsigned short)(x + y) * (unsigned char)z)
            E(36, (x >> (y & 31)) | (u)(sx >> (z & 31)) << 3)
            {
                ull W = (ull)(ll)(sx < sy ? sx : sy) + (x > y ? x : y) +
                        (ull)(ll)(int)(sx < 0 ? 0u - x : x) +
                        (ull)((ll)B < 0 ? 0 - B : B);
                E(37, W)
            }
            {
                u r = 0;
                for (int k = 0; k < 2; k++) {
                    int m = (short)(x >> 16 * k), q = (short)(y >> 16 * k);
                    int d = m - q;
                    d = d > 32767 ? 32767 : d < -32768 ? -32768 : d;
                    r |= (u)(unsigned short)d << 16 * k;
                }
                E(38, r)
            }
            E(39, (A << (y & 63)) ^ (ull)((ll)B >> (x & 63)))
        }
    }
    printf("bad %d digest %016llx\n", bad, (unsigned long long)g);
    return bad != 0;
}
