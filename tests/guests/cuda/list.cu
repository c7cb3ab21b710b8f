// A linked list whose pointers live in device memory: every node is a block of
// its own, nodes are freed and made again, kernels walk and relink.
#include "cuda_guest.h"
#include <vector>

struct Node {
    Node *next;
    unsigned long long value;
    unsigned pad[12];
};

__global__ void walk(Node *head, unsigned long long *sum, unsigned key)
{
    unsigned long long total = 0, place = 1;
    for (Node *n = head; n; n = n->next) {
        n->value = n->value * 6364136223846793005ull + key;
        total += n->value * place++;
    }
    *sum = total;
}

__global__ void push(Node **head, Node *node, unsigned long long value)
{
    node->value = value;
    node->next = *head;
    *head = node;
}

// Unlinks the node after the PLACE-th and stores its address for the host.
__global__ void unlink(Node **head, int place, Node **victim)
{
    Node *n = *head;
    for (int i = 0; i < place; i++)
        n = n->next;
    *victim = n->next;
    n->next = n->next->next;
}

__global__ void walk_from(Node **head, unsigned long long *sum, unsigned key)
{
    unsigned long long total = 0, place = 1;
    for (Node *n = *head; n; n = n->next) {
        n->value = n->value * 6364136223846793005ull + key;
        total += n->value * place++;
    }
    *sum = total;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 150);
    Node **head, **victim;
    unsigned long long *sum;
    CUDA(cudaMalloc(&head, sizeof *head));
    CUDA(cudaMalloc(&victim, sizeof *victim));
    CUDA(cudaMalloc(&sum, sizeof *sum));
    CUDA(cudaMemset(head, 0, sizeof *head));
    std::vector<unsigned long long> model; // front of the list at the end
    digest_t g = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int k = 0; k < 2; k++) {
            Node *node;
            CUDA(cudaMalloc(&node, sizeof *node));
            push<<<1, 1>>>(head, node, mix64(2 * s + k));
            LAUNCHED();
            model.push_back(mix64(2 * s + k));
        }
        if (model.size() > 40) { // the pointer to free comes out of device memory
            int place = (int)(mix64(s) % (model.size() - 1));
            unlink<<<1, 1>>>(head, place, victim);
            LAUNCHED();
            Node *dead;
            CUDA(cudaMemcpy(&dead, victim, sizeof dead, cudaMemcpyDeviceToHost));
            CUDA(cudaFree(dead));
            model.erase(model.end() - 2 - place);
            if (model.size() > 40) {
                unlink<<<1, 1>>>(head, 0, victim);
                CUDA(cudaMemcpy(&dead, victim, sizeof dead, cudaMemcpyDeviceToHost));
                CUDA(cudaFree(dead));
                model.erase(model.end() - 2);
            }
        }
        walk_from<<<1, 1>>>(head, sum, (unsigned)s);
        LAUNCHED();
        unsigned long long want = 0, place = 1, got;
        for (size_t i = model.size(); i-- > 0;) {
            model[i] = model[i] * 6364136223846793005ull + (unsigned)s;
            want += model[i] * place++;
        }
        CUDA(cudaMemcpy(&got, sum, sizeof got, cudaMemcpyDeviceToHost));
        REQUIRE(got == want, "step %ld: %llu, expected %llu", s, got, want);
        g = digest_u64(g, got);
        progress(s, steps);
    }
    Node *first; // walked once more from a pointer that the host holds
    CUDA(cudaMemcpy(&first, head, sizeof first, cudaMemcpyDeviceToHost));
    walk<<<1, 1>>>(first, sum, 1);
    unsigned long long last;
    CUDA(cudaMemcpy(&last, sum, sizeof last, cudaMemcpyDeviceToHost));
    while (first) {
        Node node;
        CUDA(cudaMemcpy(&node, first, sizeof node, cudaMemcpyDeviceToHost));
        g = digest_u64(g, node.value);
        CUDA(cudaFree(first));
        first = node.next;
    }
    return guest_end(digest_u64(g, last));
}
