// C++ exceptions across deep frames and threads, with destructors counted,
// thread-local objects, exception_ptr handed over, and threads that come and go.
#include "../guest.h"
#include <exception>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Counted {
    static thread_local long alive;
    std::string text;
    explicit Counted(long v) : text(std::to_string(v) + " is a string that needs the heap") { alive++; }
    ~Counted() { alive--; }
};
thread_local long Counted::alive = 0;

struct Deep : std::runtime_error {
    long depth;
    Deep(long d, const std::string &what) : std::runtime_error(what), depth(d) {}
};

static long descend(long depth, long bottom, uint64_t seed)
{
    Counted here(depth);
    if (depth == bottom) {
        if (seed % 3 == 0)
            throw Deep(depth, here.text);
        if (seed % 3 == 1)
            throw std::string(here.text);
        throw (long)depth;
    }
    try {
        return descend(depth + 1, bottom, seed) + 1;
    } catch (const std::string &s) {
        if (depth % 4 == 0)
            throw Deep(depth, s); // changes its type on the way up
        throw;
    }
}

static digest_t one(digest_t d, uint64_t seed)
{
    try {
        descend(0, 5 + (long)(seed % 20), seed);
        REQUIRE(false, "nothing was thrown");
    } catch (const Deep &e) {
        d = digest_add(d, e.what(), strlen(e.what()));
        d = digest_u64(d, (uint64_t)e.depth);
    } catch (long v) {
        d = digest_u64(d, (uint64_t)v);
    }
    REQUIRE(Counted::alive == 0, "%ld objects survived", Counted::alive);
    return d;
}

static std::mutex lock;
static long finished;

static digest_t work(int id, long steps)
{
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        d = one(d, mix64((uint64_t)id * 7919 + (uint64_t)s));
        if (s % 8 == 0) { // a thread of its own throws, this one gets it
            std::future<long> f = std::async(std::launch::async, [s]() -> long {
                Counted c(s);
                throw std::out_of_range(c.text);
            });
            try {
                f.get();
                REQUIRE(false, "the future had no exception");
            } catch (const std::out_of_range &e) {
                d = digest_add(d, e.what(), strlen(e.what()));
            }
        }
        std::lock_guard<std::mutex> hold(lock);
        progress(finished++, steps * 3);
    }
    return d;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 3000);
    std::vector<std::thread> threads;
    digest_t digests[3];
    for (int i = 0; i < 3; i++)
        threads.emplace_back([i, steps, &digests] { digests[i] = work(i, steps); });
    for (std::thread &t : threads)
        t.join();
    return guest_end(digest_add(DIGEST_START, digests, sizeof digests));
}
