/* guest.h and the one macro that the runtime-API guests need. */
#ifndef GPUCKPT_CUDA_GUEST_H
#define GPUCKPT_CUDA_GUEST_H

#include "../guest.h"
#include <cuda_runtime.h>

#define CUDA(call)                                                             \
    do {                                                                       \
        cudaError_t guest_status = (call);                                     \
        REQUIRE(guest_status == cudaSuccess, "%s: %s",                         \
                cudaGetErrorName(guest_status),                                \
                cudaGetErrorString(guest_status));                             \
    } while (0)

#define LAUNCHED() CUDA(cudaGetLastError())

#endif
