/* The part of the CUDA driver API that the C guests use, declared by ourselves:
 * no CUDA toolkit is needed to build them. With -DLINKED libcuda is a library to
 * link with, otherwise load_driver() looks everything up by dlopen. */
#ifndef GPUCKPT_DRIVER_H
#define GPUCKPT_DRIVER_H

#include "guest.h"
#include <dlfcn.h>

typedef int CUdevice;
typedef int CUresult;
typedef struct context *CUcontext;
typedef struct module *CUmodule;
typedef struct function *CUfunction;
typedef struct stream *CUstream;
typedef struct event *CUevent;
typedef unsigned long long CUdeviceptr;

/* name as exported, arguments */
#define DRIVER_API(F)                                                          \
    F(cuInit, (unsigned))                                                      \
    F(cuDriverGetVersion, (int *))                                             \
    F(cuDeviceGetCount, (int *))                                               \
    F(cuDeviceGet, (CUdevice *, int))                                          \
    F(cuDeviceGetName, (char *, int, CUdevice))                                \
    F(cuDeviceTotalMem_v2, (size_t *, CUdevice))                               \
    F(cuDeviceGetAttribute, (int *, int, CUdevice))                            \
    F(cuCtxCreate_v2, (CUcontext *, unsigned, CUdevice))                       \
    F(cuCtxDestroy_v2, (CUcontext))                                            \
    F(cuCtxGetCurrent, (CUcontext *))                                          \
    F(cuCtxPushCurrent_v2, (CUcontext))                                        \
    F(cuCtxPopCurrent_v2, (CUcontext *))                                       \
    F(cuCtxSynchronize, (void))                                                \
    F(cuModuleLoadData, (CUmodule *, const void *))                            \
    F(cuModuleUnload, (CUmodule))                                              \
    F(cuModuleGetFunction, (CUfunction *, CUmodule, const char *))             \
    F(cuModuleGetGlobal_v2, (CUdeviceptr *, size_t *, CUmodule, const char *)) \
    F(cuMemAlloc_v2, (CUdeviceptr *, size_t))                                  \
    F(cuMemFree_v2, (CUdeviceptr))                                             \
    F(cuMemGetInfo_v2, (size_t *, size_t *))                                   \
    F(cuMemcpyHtoD_v2, (CUdeviceptr, const void *, size_t))                    \
    F(cuMemcpyDtoH_v2, (void *, CUdeviceptr, size_t))                          \
    F(cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))           \
    F(cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))     \
    F(cuMemsetD32Async, (CUdeviceptr, unsigned, size_t, CUstream))             \
    F(cuStreamCreate, (CUstream *, unsigned))                                  \
    F(cuStreamQuery, (CUstream))                                               \
    F(cuStreamSynchronize, (CUstream))                                         \
    F(cuStreamWaitEvent, (CUstream, CUevent, unsigned))                        \
    F(cuStreamDestroy_v2, (CUstream))                                          \
    F(cuEventCreate, (CUevent *, unsigned))                                    \
    F(cuEventRecord, (CUevent, CUstream))                                      \
    F(cuEventDestroy_v2, (CUevent))                                            \
    F(cuGetErrorName, (CUresult, const char **))                               \
    F(cuLaunchKernel,                                                          \
      (CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
       unsigned, CUstream, void **, void **))

#ifdef LINKED
#define DECLARE(name, args) extern CUresult name args;
DRIVER_API(DECLARE)
static void load_driver(void) {}
#else
#define DECLARE(name, args) static CUresult(*name) args;
DRIVER_API(DECLARE)
static void load_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    REQUIRE(library, "%s", dlerror());
#define LOOK_UP(name, args)                                                    \
    *(void **)&name = dlsym(library, #name);                                   \
    REQUIRE(name, "the driver lacks " #name);
    DRIVER_API(LOOK_UP)
}
#endif

#define CU(call)                                                               \
    do {                                                                       \
        CUresult guest_status = (call);                                        \
        const char *guest_name = "unknown";                                    \
        if (guest_status)                                                      \
            cuGetErrorName(guest_status, &guest_name);                         \
        REQUIRE(guest_status == 0, "%s", guest_name);                          \
    } while (0)

#endif
