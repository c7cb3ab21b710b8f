/* Programs that use a library of NVIDIA's by hand: it is loaded from the file that
 * the command line names, and its functions are declared by ourselves. */
#ifndef GPUCKPT_LIBRARY_H
#define GPUCKPT_LIBRARY_H

#include "kit.h"

enum { NOT_HERE = 77 };

static CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *, CUdevice);
static CUresult (*cuCtxSetCurrent)(CUcontext);

/* The library, and the context that the runtime inside it uses. */
GUEST_UNUSED static void *library_and_context(const char *path)
{
    load_driver();
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    REQUIRE(driver, "%s", dlerror());
    *(void **)&cuDevicePrimaryCtxRetain = dlsym(driver, "cuDevicePrimaryCtxRetain");
    *(void **)&cuCtxSetCurrent = dlsym(driver, "cuCtxSetCurrent");
    REQUIRE(cuDevicePrimaryCtxRetain && cuCtxSetCurrent, "the driver lacks primary contexts");
    const char *first = getenv("KIT_FIRST"); /* a library that it needs */
    if (first && !dlopen(first, RTLD_NOW | RTLD_GLOBAL)) {
        fprintf(stderr, "cannot load %s: %s\n", first, dlerror());
        exit(NOT_HERE);
    }
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "cannot load %s: %s\n", path, dlerror());
        exit(NOT_HERE);
    }
    CUdevice device;
    CUcontext context;
    CU(cuInit(0));
    CU(cuDeviceGet(&device, 0));
    CU(cuDevicePrimaryCtxRetain(&context, device));
    CU(cuCtxSetCurrent(context));
    return library;
}

/* A function of the library. */
#define FUNCTION(library, name)                                                \
    do {                                                                       \
        *(void **)&name = dlsym(library, #name);                               \
        REQUIRE(name, "the library lacks " #name);                             \
    } while (0)

/* A call that answers 0 when it worked. */
#define SAID_0(call)                                                           \
    do {                                                                       \
        int library_status = (call);                                           \
        REQUIRE(library_status == 0, "status %d", library_status);             \
    } while (0)

#endif
