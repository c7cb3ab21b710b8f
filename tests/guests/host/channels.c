/* Pairs of sockets of all kinds, with data in flight and threads that wait in them, and
 * descriptors that receive signals, watched by epoll: what an event loop is made of. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LONG = 70000 };

static int wake[2], talk[2];

/* Answers on a pair, blocked in recv most of the time. */
static void *echo(void *arg)
{
    uint64_t word;
    while (read(talk[1], &word, sizeof word) == sizeof word) {
        word = mix64(word);
        REQUIRE(write(talk[1], &word, sizeof word) == sizeof word, "an answer");
    }
    return arg;
}

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 400);
    int stream[2], datagram[2], packet[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, talk) == 0, "socketpair");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, wake) == 0, "socketpair");
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0, "socketpair");
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, datagram) == 0, "socketpair");
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet) == 0, "socketpair");
    struct timeval limit = {20, 0};
    REQUIRE(setsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0, "setsockopt");

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = signals}, ready;
    REQUIRE(signals >= 0 && epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &event) == 0, "epoll");
    event = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = wake[0]};
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, wake[0], &event) == 0, "epoll");
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, echo, NULL) == 0, "pthread_create");

    static unsigned char sent[LONG], got[LONG];
    digest_t d = DIGEST_START;
    for (long s = 0; s < steps; s++) {
        for (int i = 0; i < LONG; i++)
            sent[i] = (unsigned char)(s + i * 7);
        REQUIRE(write(stream[0], sent, LONG) == LONG && write(stream[1], sent, 5) == 5, "in flight");
        for (int i = 1; i < 4; i++) {
            REQUIRE(send(datagram[i & 1], sent, (size_t)i * 10, 0) == i * 10, "a datagram");
            REQUIRE(send(packet[0], sent, (size_t)i * 100, 0) == i * 100, "a packet");
        }
        uint64_t word = (uint64_t)s, answer;
        REQUIRE(write(talk[0], &word, 8) == 8, "a question");
        REQUIRE(sigqueue(getpid(), s & 1 ? SIGUSR1 : SIGRTMIN + 1, (union sigval){.sival_int = (int)s}) == 0, "sigqueue");
        REQUIRE(epoll_wait(epoll, &ready, 1, 20000) == 1 && ready.data.fd == signals, "the signal is not seen");
        pause_us(3000);
        struct signalfd_siginfo info;
        REQUIRE(read(signals, &info, sizeof info) == sizeof info && info.ssi_int == (int)s, "signal %d", info.ssi_int);
        REQUIRE(read(signals, &info, sizeof info) < 0 && errno == EAGAIN, "one signal");
        REQUIRE(read(talk[0], &answer, 8) == 8 && answer == mix64((uint64_t)s), "the answer");
        size_t have = 0;
        while (have < LONG) {
            ssize_t n = read(stream[1], got + have, LONG - have);
            REQUIRE(n > 0, "the stream ends");
            have += (size_t)n;
        }
        REQUIRE(memcmp(sent, got, LONG) == 0 && read(stream[0], got, LONG) == 5, "the stream");
        for (int i = 1; i < 4; i++) {
            REQUIRE(recv(datagram[!(i & 1)], got, LONG, 0) == i * 10, "datagram %d", i);
            REQUIRE(recv(packet[1], got, LONG, 0) == i * 100, "packet %d", i);
        }
        REQUIRE(recv(datagram[0], got, LONG, 0) < 0 && errno == EAGAIN, "no more datagrams");
        REQUIRE(write(wake[1], "w", 1) == 1 && epoll_wait(epoll, &ready, 1, 20000) == 1 && ready.data.fd == wake[0],
                "the loop is not woken");
        REQUIRE(read(wake[0], got, LONG) == 1, "woken once");
        d = digest_u64(d, answer);
        progress(s, steps);
    }
    struct timeval seen;
    socklen_t length = sizeof seen;
    REQUIRE(getsockopt(stream[1], SOL_SOCKET, SO_RCVTIMEO, &seen, &length) == 0 && seen.tv_sec == 20, "the timeout");
    REQUIRE(shutdown(talk[0], SHUT_WR) == 0 && pthread_join(thread, NULL) == 0, "the thread's end");
    return guest_end(d);
}
