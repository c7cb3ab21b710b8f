/* Regular files: written, appended, read, truncated, renamed positions, shared
 * offsets by dup, a file that only grows and is rolled back by a restart. Works
 * in the folder it is told (argv[2]) and leaves its files there. */
#define _GNU_SOURCE
#include "../guest.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long steps = guest_steps(argc, argv, 500);
    REQUIRE(argc > 2 && chdir(argv[2]) == 0, "a folder as second argument");
    int random_access = open("random", O_RDWR | O_CREAT | O_TRUNC, 0640);
    int log = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    int reader = open("random", O_RDONLY | O_CLOEXEC);
    int twin = dup(random_access);
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY), entropy = open("/dev/urandom", O_RDONLY);
    FILE *stream = fopen("stream", "w+");
    REQUIRE(random_access >= 0 && log >= 0 && reader >= 0 && twin >= 0 && zero >= 0 && null >= 0 && entropy >= 0 && stream,
            "open");
    static unsigned char model[65536];
    size_t log_size = 0, high_water = 0;
    digest_t log_digest = DIGEST_START;
    long line_position = 0;
    for (long s = 0; s < steps; s++) {
        uint64_t r = mix64((uint64_t)s);
        size_t at = r % 60000, len = 1 + (r >> 32) % 3000;
        unsigned char bytes[4096];
        for (size_t i = 0; i < len; i++)
            model[at + i] = bytes[i] = (unsigned char)(r + i);
        high_water = at + len > high_water ? at + len : high_water;
        REQUIRE(lseek(random_access, (off_t)at, SEEK_SET) == (off_t)at, "lseek");
        REQUIRE(write(twin, bytes, len) == (ssize_t)len, "write through the twin"); /* one offset for both */
        REQUIRE(lseek(random_access, 0, SEEK_CUR) == (off_t)(at + len), "the offset is not shared");
        int n = snprintf((char *)bytes, sizeof bytes, "line %ld %016llx\n", s, (unsigned long long)r);
        REQUIRE(write(log, bytes, (size_t)n) == n, "append");
        log_digest = digest_add(log_digest, bytes, (size_t)n);
        log_size += (size_t)n;
        struct stat st;
        REQUIRE(fstat(log, &st) == 0 && st.st_size == (off_t)log_size, "the log has %lld bytes, expected %zu",
                (long long)st.st_size, log_size);
        REQUIRE(fputs((char *)bytes, stream) >= 0, "fputs");
        if (s % 10 == 9) { /* read a line back in the middle of the stream */
            char line[256], want[256];
            REQUIRE(fseek(stream, line_position, SEEK_SET) == 0 && fgets(line, sizeof line, stream), "fgets");
            snprintf(want, sizeof want, "line %ld %016llx\n", s / 10, (unsigned long long)mix64((uint64_t)(s / 10)));
            REQUIRE(strcmp(line, want) == 0, "%s", line);
            line_position = ftell(stream);
            REQUIRE(fseek(stream, 0, SEEK_END) == 0, "fseek");
        }
        ssize_t got = read(reader, bytes, 100);
        if (got == 0)
            lseek(reader, 0, SEEK_SET);
        REQUIRE(read(zero, bytes, 16) == 16 && bytes[7] == 0 && write(null, bytes, 16) == 16, "/dev/zero, /dev/null");
        REQUIRE(read(entropy, bytes, 16) == 16, "/dev/urandom");
        if (s % 5 == 0)
            pause_us(12000);
        progress(s, steps);
    }
    static unsigned char out[65536];
    REQUIRE(pread(reader, out, sizeof out, 0) == (ssize_t)high_water, "the size of `random`");
    REQUIRE(memcmp(out, model, high_water) == 0, "the content of `random`");
    REQUIRE((fcntl(log, F_GETFL) & O_APPEND) && fcntl(reader, F_GETFD) == FD_CLOEXEC, "descriptor flags");
    fclose(stream);
    digest_t d = DIGEST_START;
    int again = open("log", O_RDONLY);
    ssize_t n;
    size_t total = 0;
    while ((n = read(again, out, sizeof out)) > 0) {
        d = digest_add(d, out, (size_t)n);
        total += (size_t)n;
    }
    REQUIRE(total == log_size && d == log_digest, "the log's content (%zu of %zu bytes)", total, log_size);
    return guest_end(digest_add(d, model, sizeof model));
}
