// Managed memory: host and kernels write the same addresses in turn, with hints, copies, fills
// and a linked list whose nodes both follow.
#include "../cuda/cuda_guest.h"

struct Node {
    unsigned value;
    Node *next;
};

__global__ void turn(unsigned *values, unsigned n, unsigned step)
{
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        values[i] = values[i] * 1664525u + step + i;
}

__global__ void follow(Node *node, unsigned step)
{
    for (; node; node = node->next)
        node->value ^= step * 2654435761u + (node->value >> 3);
}

static const unsigned N = 300, NODES = 20;

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 2000);
    int device, has;
    CUDA(cudaGetDevice(&device));
    CUDA(cudaDeviceGetAttribute(&has, cudaDevAttrManagedMemory, device));
    REQUIRE(has == 1, "managed memory: %d", has);
    unsigned *values, model[N], list_model[NODES];
    CUDA(cudaMallocManaged(&values, N * sizeof *values));
    Node *list = nullptr;
    for (unsigned i = 0; i < NODES; i++) {
        Node *node;
        CUDA(cudaMallocManaged(&node, sizeof *node, cudaMemAttachHost));
        *node = {i, list};
        list_model[NODES - 1 - i] = i;
        list = node;
    }
    cudaStream_t stream;
    CUDA(cudaStreamCreate(&stream));
    CUDA(cudaStreamAttachMemAsync(stream, values));
    cudaMemLocation here = {cudaMemLocationTypeDevice, {device}};
    cudaMemLocation host = {cudaMemLocationTypeHost, {0}};
    CUDA(cudaMemAdvise(values, N * sizeof *values, cudaMemAdviseSetPreferredLocation, here));
    for (unsigned i = 0; i < N; i++)
        values[i] = model[i] = (unsigned)mix64(i);
    digest_t digest = DIGEST_START;
    for (long step = 0; step < steps; step++) {
        unsigned s = (unsigned)step;
        CUDA(cudaMemPrefetchAsync(values, N * sizeof *values, here, 0, stream));
        turn<<<2, 64, 0, stream>>>(values, N, s);
        follow<<<1, 1, 0, stream>>>(list, s);
        LAUNCHED();
        CUDA(cudaMemPrefetchAsync(values, N * sizeof *values, host, 0, stream));
        CUDA(cudaStreamSynchronize(stream));
        for (unsigned i = 0; i < N; i++) {
            model[i] = model[i] * 1664525u + s + i;
            REQUIRE(values[i] == model[i], "step %ld, value %u", step, i);
        }
        unsigned at = 0;
        for (Node *node = list; node; node = node->next, at++) {
            list_model[at] ^= s * 2654435761u + (list_model[at] >> 3);
            REQUIRE(node->value == list_model[at], "step %ld, node %u", step, at);
        }
        values[s % N] = model[s % N] += 7;
        if (s % 8 == 3) {
            CUDA(cudaMemset(values, 0x11, 16));
            CUDA(cudaMemcpy(values + 4, model + 8, 16, cudaMemcpyHostToDevice));
            CUDA(cudaMemcpy(values + 40, values, 80, cudaMemcpyDefault));
            for (unsigned i = 0; i < 4; i++) {
                model[i] = 0x11111111u;
                model[4 + i] = model[8 + i];
            }
            for (unsigned i = 0; i < 20; i++)
                model[40 + i] = model[i];
        }
        if (s % 32 == 5) { // a node goes, another comes
            Node *node = list->next;
            list->next = node->next;
            CUDA(cudaFree(node));
            CUDA(cudaMallocManaged(&node, sizeof *node));
            *node = {list_model[1], list->next};
            list->next = node;
            cudaPointerAttributes about;
            CUDA(cudaPointerGetAttributes(&about, node));
            REQUIRE(about.type == cudaMemoryTypeManaged && about.devicePointer == node,
                    "type %d", about.type);
        }
        digest = digest_add(digest, values, N * sizeof *values);
        progress(step, steps);
    }
    return guest_end(digest);
}
