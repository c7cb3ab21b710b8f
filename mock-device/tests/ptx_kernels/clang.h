// What clang needs to compile guests.cu without NVIDIA's headers.
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __constant__ __attribute__((constant))
#define __noinline__ __attribute__((noinline))
#define BUILTIN __device__ static inline __attribute__((always_inline))

struct ThreadIdx {
    __declspec(property(get = gx)) unsigned x;
    __declspec(property(get = gy)) unsigned y;
    BUILTIN unsigned gx() { return __nvvm_read_ptx_sreg_tid_x(); }
    BUILTIN unsigned gy() { return __nvvm_read_ptx_sreg_tid_y(); }
};
struct BlockIdx {
    __declspec(property(get = gx)) unsigned x;
    __declspec(property(get = gy)) unsigned y;
    BUILTIN unsigned gx() { return __nvvm_read_ptx_sreg_ctaid_x(); }
    BUILTIN unsigned gy() { return __nvvm_read_ptx_sreg_ctaid_y(); }
};
struct BlockDim {
    __declspec(property(get = gx)) unsigned x;
    __declspec(property(get = gy)) unsigned y;
    BUILTIN unsigned gx() { return __nvvm_read_ptx_sreg_ntid_x(); }
    BUILTIN unsigned gy() { return __nvvm_read_ptx_sreg_ntid_y(); }
};
struct GridDim {
    __declspec(property(get = gx)) unsigned x;
    BUILTIN unsigned gx() { return __nvvm_read_ptx_sreg_nctaid_x(); }
};
extern const __attribute__((device, weak)) ThreadIdx threadIdx;
extern const __attribute__((device, weak)) BlockIdx blockIdx;
extern const __attribute__((device, weak)) BlockDim blockDim;
extern const __attribute__((device, weak)) GridDim gridDim;

BUILTIN int __shfl_down_sync(unsigned m, int v, int d) { return __nvvm_shfl_sync_down_i32(m, v, d, 31); }
BUILTIN int __shfl_xor_sync(unsigned m, int v, int d) { return __nvvm_shfl_sync_bfly_i32(m, v, d, 31); }
BUILTIN void __syncwarp() { __nvvm_bar_warp_sync(0xffffffffu); }
BUILTIN unsigned __ballot_sync(unsigned m, int p) { return __nvvm_vote_ballot_sync(m, p); }
BUILTIN int __any_sync(unsigned m, int p) { return __nvvm_vote_any_sync(m, p); }
BUILTIN int __all_sync(unsigned m, int p) { return __nvvm_vote_all_sync(m, p); }
BUILTIN unsigned __match_any_sync(unsigned m, int v) { return __nvvm_match_any_sync_i32(m, v); }
BUILTIN unsigned __activemask() { return __nvvm_activemask(); }
BUILTIN int __syncthreads_count(int p) { return __nvvm_bar0_popc(p); }
BUILTIN int __syncthreads_or(int p) { return __nvvm_bar0_or(p); }
BUILTIN void __threadfence() { __nvvm_membar_gl(); }
BUILTIN void __trap() { __builtin_trap(); }
BUILTIN int __popc(int v) { return __builtin_popcount(v); }
BUILTIN int __clz(int v) { return v ? __builtin_clz(v) : 32; }
BUILTIN int __brev(int v) { return __builtin_bitreverse32(v); }
BUILTIN long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }

template <class T> BUILTIN T atomicAdd(T *p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
BUILTIN float atomicAdd(float *p, float v) { return __nvvm_atom_add_gen_f(p, v); }
BUILTIN double atomicAdd(double *p, double v) { return __nvvm_atom_add_gen_d(p, v); }
BUILTIN int atomicMax(int *p, int v) { return __nvvm_atom_max_gen_i(p, v); }
BUILTIN unsigned atomicMin(unsigned *p, unsigned v) { return __nvvm_atom_min_gen_ui(p, v); }
BUILTIN unsigned atomicInc(unsigned *p, unsigned v) { return __nvvm_atom_inc_gen_ui(p, v); }
BUILTIN unsigned atomicXor(unsigned *p, unsigned v) { return __nvvm_atom_xor_gen_i((int *)p, v); }
BUILTIN int atomicExch(int *p, int v) { return __nvvm_atom_xchg_gen_i(p, v); }
BUILTIN int atomicCAS(int *p, int c, int v) { return __nvvm_atom_cas_gen_i(p, c, v); }
