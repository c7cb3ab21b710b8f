/* Pipes inside the process: full, half read, packet mode, moved between threads,
 * with content in them at all times; eventfd, epoll (level and edge triggered)
 * and timerfd beside them. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int there[2], back[2], packets[2], parked[2];
static long steps;

/* Echoes what comes through `there`, changed, into `back`. */
static void *echo(void *arg)
{
    (void)arg;
    for (;;) {
        uint64_t v;
        ssize_t n = read(there[0], &v, sizeof v);
        if (n == 0)
            break;
        REQUIRE(n == sizeof v, "read gave %zd", n);
        v = mix64(v);
        REQUIRE(write(back[1], &v, sizeof v) == sizeof v, "write");
    }
    close(back[1]);
    return NULL;
}

int main(int argc, char **argv)
{
    steps = guest_steps(argc, argv, 1500);
    REQUIRE(pipe(there) == 0 && pipe(back) == 0, "pipe");
    REQUIRE(pipe2(packets, O_DIRECT | O_NONBLOCK) == 0, "pipe2");
    REQUIRE(pipe2(parked, O_CLOEXEC) == 0, "pipe2");
    REQUIRE(fcntl(parked[0], F_SETPIPE_SZ, 128 * 1024) > 0, "F_SETPIPE_SZ");
    unsigned char parcel[100000];
    for (size_t i = 0; i < sizeof parcel; i++)
        parcel[i] = (unsigned char)mix64(i);
    REQUIRE(write(parked[1], parcel, sizeof parcel) == (ssize_t)sizeof parcel, "write of the parcel");
    int high = fcntl(there[1], F_DUPFD_CLOEXEC, 97);
    REQUIRE(high >= 97, "F_DUPFD_CLOEXEC");
    close(there[1]);

    int counter = eventfd(5, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec every = {{0, 5000000}, {0, 5000000}};
    REQUIRE(timerfd_settime(timer, 0, &every, NULL) == 0, "timerfd_settime");
    int level = epoll_create1(EPOLL_CLOEXEC), edge = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1122334455667788ull};
    REQUIRE(epoll_ctl(level, EPOLL_CTL_ADD, counter, &event) == 0, "epoll_ctl");
    event.data.u64 = 2;
    REQUIRE(epoll_ctl(level, EPOLL_CTL_ADD, timer, &event) == 0, "epoll_ctl");
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = 3;
    REQUIRE(epoll_ctl(edge, EPOLL_CTL_ADD, packets[0], &event) == 0, "epoll_ctl");

    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, echo, NULL) == 0, "pthread_create");
    digest_t d = DIGEST_START;
    uint64_t ticks = 0;
    long taken = 0;
    for (long s = 0; s < steps; s++) {
        uint64_t v = (uint64_t)s, w;
        REQUIRE(write(high, &v, sizeof v) == sizeof v, "write");
        if (s >= 10) { /* ten values are always under way */
            REQUIRE(read(back[0], &w, sizeof w) == sizeof w, "read");
            REQUIRE(w == mix64((uint64_t)taken++), "the echo came out of order");
            d = digest_u64(d, w);
        }
        /* Packets keep their borders. */
        char packet[64];
        int len = 1 + (int)(mix64((uint64_t)s) % 60);
        memset(packet, 'a' + (int)(s % 26), (size_t)len);
        REQUIRE(write(packets[1], packet, (size_t)len) == len, "write of a packet");
        if (s >= 3) {
            int want = 1 + (int)(mix64((uint64_t)(s - 3)) % 60);
            ssize_t n = read(packets[0], packet, sizeof packet);
            REQUIRE(n == want && packet[0] == 'a' + (s - 3) % 26, "packet of %zd, expected %d", n, want);
        }
        struct epoll_event got[4];
        int n = epoll_wait(level, got, 4, 1000);
        REQUIRE(n >= 1, "epoll_wait gave %d", n);
        int saw_counter = 0;
        for (int i = 0; i < n; i++) {
            if (got[i].data.u64 == 2 && read(timer, &w, sizeof w) == sizeof w)
                ticks += w;
            saw_counter += got[i].data.u64 == 0x1122334455667788ull;
        }
        REQUIRE(saw_counter == 1, "the eventfd is not ready");
        v = 2;
        REQUIRE(write(counter, &v, sizeof v) == sizeof v, "eventfd");
        if (s % 64 == 63) {
            REQUIRE(read(counter, &w, sizeof w) == sizeof w && w >= 128, "eventfd holds %llu", (unsigned long long)w);
            d = digest_u64(d, w);
            v = 5;
            REQUIRE(write(counter, &v, sizeof v) == sizeof v, "eventfd");
        }
        if (s % 500 == 0) {
            n = epoll_wait(edge, got, 4, 0);
            REQUIRE(n == 1 && got[0].data.u64 == 3, "the edge-triggered set gave %d", n);
        }
        if (s % 4 == 0)
            pause_us(1500);
        progress(s, steps);
    }
    close(high);
    uint64_t w;
    while (read(back[0], &w, sizeof w) == sizeof w) {
        REQUIRE(w == mix64((uint64_t)taken++), "the echo came out of order");
        d = digest_u64(d, w);
    }
    REQUIRE(taken == steps, "%ld values came back", taken);
    pthread_join(thread, NULL);
    unsigned char out[100000];
    size_t have = 0;
    while (have < sizeof out) {
        ssize_t n = read(parked[0], out + have, sizeof out - have);
        REQUIRE(n > 0, "the parcel is short");
        have += (size_t)n;
    }
    REQUIRE(memcmp(out, parcel, sizeof out) == 0, "the parcel changed");
    for (int i = 0; i < 3; i++)
        REQUIRE(read(semaphore, &w, sizeof w) == sizeof w && w == 1, "the semaphore");
    REQUIRE(read(semaphore, &w, sizeof w) < 0 && errno == EAGAIN, "the semaphore had more than 3");
    REQUIRE(ticks > 0, "the timerfd never expired");
    REQUIRE(fcntl(parked[0], F_GETFD) == FD_CLOEXEC && fcntl(packets[0], F_GETFL) & O_NONBLOCK, "descriptor flags");
    return guest_end(d);
}
