/* Four threads under mutexes, spinlocks and a barrier, with malloc churn. */
#include "../guest.h"
#include <pthread.h>

enum { THREADS = 4, LIVE = 64, ROUND = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_spinlock_t spin;
static uint64_t shared_sum, spun, contended;
static digest_t digests[THREADS];
static long steps;

struct block {
    unsigned char *bytes;
    size_t len;
    unsigned char fill;
};

static void check(const struct block *b)
{
    for (size_t i = 0; i < b->len; i++)
        REQUIRE(b->bytes[i] == (unsigned char)(b->fill + i), "byte %zu of %zu", i, b->len);
}

static void *run(void *arg)
{
    long id = (long)arg;
    struct block live[LIVE];
    memset(live, 0, sizeof live);
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int k = 0; k < ROUND; k++) {
            uint64_t r = mix64((uint64_t)(id * 1000003 + s * ROUND + k));
            struct block *b = &live[r % LIVE];
            if (b->bytes) {
                check(b);
                d = digest_u64(d, b->len + b->fill);
            }
            size_t len = r >> 32 & 1023;
            if (r % 509 == 0)
                len += 300000; /* a mapping of its own */
            if (b->bytes && r & 64) {
                b->bytes = realloc(b->bytes, len + 1);
            } else {
                free(b->bytes);
                b->bytes = malloc(len + 1);
            }
            REQUIRE(b->bytes, "out of memory");
            b->len = len;
            b->fill = (unsigned char)(r >> 8);
            for (size_t i = 0; i < len; i++)
                b->bytes[i] = (unsigned char)(b->fill + i);
            pthread_mutex_lock(&lock);
            shared_sum += r & 0xff;
            contended++;
            pthread_mutex_unlock(&lock);
            pthread_spin_lock(&spin);
            spun++;
            pthread_spin_unlock(&spin);
        }
        pthread_barrier_wait(&barrier);
        if (id == 0)
            progress(s, steps);
    }
    for (int i = 0; i < LIVE; i++) {
        if (live[i].bytes)
            check(&live[i]);
        free(live[i].bytes);
    }
    digests[id] = d;
    return NULL;
}

int main(int argc, char **argv)
{
    steps = guest_steps(argc, argv, 300);
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
    for (long i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, run, (void *)i) == 0, "pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint64_t all = (uint64_t)THREADS * ROUND * (uint64_t)steps;
    REQUIRE(contended == all && spun == all, "counted %llu and %llu of %llu", (unsigned long long)contended,
            (unsigned long long)spun, (unsigned long long)all);
    digest_t d = digest_add(DIGEST_START, digests, sizeof digests);
    return guest_end(digest_u64(d, shared_sum));
}
