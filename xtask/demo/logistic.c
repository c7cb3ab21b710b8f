/* The program of `cargo xtask demo`: iterates x = 3.9 x (1 - x) over a vector in device
 * memory and prints a digest now and then. It knows nothing of gpuckpt. Only CUDA's driver
 * API and PTX text are used, so that a plain C compiler builds it; the declarations stand
 * here because NVIDIA's header need not be installed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
CUresult cuInit(unsigned);
CUresult cuDeviceGet(CUdevice *, int);
CUresult cuDeviceGetName(char *, int, CUdevice);
CUresult cuCtxCreate_v2(CUcontext *, unsigned, CUdevice);
CUresult cuModuleLoadData(CUmodule *, const void *);
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *);
CUresult cuMemAlloc_v2(CUdeviceptr *, size_t);
CUresult cuMemcpyHtoD_v2(CUdeviceptr, const void *, size_t);
CUresult cuMemcpyDtoH_v2(void *, CUdeviceptr, size_t);
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, CUstream, void **, void **);
CUresult cuCtxSynchronize(void);

enum { COUNT = 1 << 14, BLOCK = 128, ROUNDS = 16, STEPS = 40, NAP_US = 100000 };

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry logistic(.param .u64 vector, .param .u32 count, .param .u32 rounds)\n"
    "{\n"
    "    .reg .pred %p<3>;\n    .reg .b32 %r<8>;\n    .reg .f32 %f<6>;\n    .reg .b64 %rd<5>;\n"
    "    ld.param.u64 %rd1, [vector];\n"
    "    ld.param.u32 %r1, [count];\n"
    "    ld.param.u32 %r2, [rounds];\n"
    "    mov.u32 %r3, %ctaid.x;\n"
    "    mov.u32 %r4, %ntid.x;\n"
    "    mov.u32 %r5, %tid.x;\n"
    "    mad.lo.s32 %r6, %r3, %r4, %r5;\n"
    "    setp.ge.u32 %p1, %r6, %r1;\n"
    "    @%p1 bra done;\n"
    "    cvta.to.global.u64 %rd2, %rd1;\n"
    "    mul.wide.u32 %rd3, %r6, 4;\n"
    "    add.s64 %rd4, %rd2, %rd3;\n"
    "    ld.global.f32 %f1, [%rd4];\n"
    "again:\n"
    "    mov.f32 %f2, 0f3F800000;\n"    /* 1.0 */
    "    sub.f32 %f3, %f2, %f1;\n"
    "    mul.f32 %f4, %f1, 0f4079999A;\n" /* 3.9 */
    "    mul.f32 %f1, %f4, %f3;\n"
    "    add.s32 %r2, %r2, -1;\n"
    "    setp.ne.s32 %p2, %r2, 0;\n"
    "    @%p2 bra again;\n"
    "    st.global.f32 [%rd4], %f1;\n"
    "done:\n"
    "    ret;\n"
    "}\n";

static void check(CUresult result, const char *what)
{
    if (result != 0) {
        fprintf(stderr, "%s failed with CUDA error %d\n", what, result);
        exit(1);
    }
}
#define CHECK(call) check(call, #call)

static float host[COUNT];

/* FNV-1a over the vector's bytes. */
static uint64_t digest(CUdeviceptr vector)
{
    CHECK(cuMemcpyDtoH_v2(host, vector, sizeof host));
    const unsigned char *bytes = (const unsigned char *)host;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof host; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

int main(void)
{
    CUdevice device;
    CUcontext context;
    CUmodule module;
    CUfunction kernel;
    CUdeviceptr vector;
    char name[64];

    CHECK(cuInit(0));
    CHECK(cuDeviceGet(&device, 0));
    CHECK(cuDeviceGetName(name, sizeof name, device));
    CHECK(cuCtxCreate_v2(&context, 0, device));
    CHECK(cuModuleLoadData(&module, ptx));
    CHECK(cuModuleGetFunction(&kernel, module, "logistic"));
    CHECK(cuMemAlloc_v2(&vector, sizeof host));
    for (int i = 0; i < COUNT; i++)
        host[i] = (float)(i + 1) / (COUNT + 1);
    CHECK(cuMemcpyHtoD_v2(vector, host, sizeof host));
    printf("on %s, vector at device address %#llx\n", name, vector);

    for (int step = 1; step <= STEPS; step++) {
        unsigned count = COUNT, rounds = ROUNDS;
        void *arguments[] = {&vector, &count, &rounds};
        CHECK(cuLaunchKernel(kernel, COUNT / BLOCK, 1, 1, BLOCK, 1, 1, 0, NULL, arguments, NULL));
        CHECK(cuCtxSynchronize());
        if (step % 4 == 0) {
            printf("step %2d of %d: digest %016llx\n", step, STEPS,
                   (unsigned long long)digest(vector));
            fflush(stdout);
        }
        usleep(NAP_US);
    }
    return 0;
}
