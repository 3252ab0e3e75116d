/* Let a disk fail and a clock be wrong, for a process that is started with LD_PRELOAD.
   EIO_OP (`read`, `write`, `fsync`) fails with EIO on files whose path holds EIO_PATH; the clock is off by
   CLOCK_OFFSET seconds, and goes back by CLOCK_BACK seconds with each look. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int fails(int fd, const char *op) {
    const char *wanted = getenv("EIO_OP"), *part = getenv("EIO_PATH");
    char link[64], path[4096];
    if (!wanted || !part || strcmp(wanted, op)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (!strstr(path, part)) return 0;
    errno = EIO;
    return 1;
}

ssize_t read(int fd, void *to, size_t n) {
    NEXT(read);
    return fails(fd, "read") ? -1 : next(fd, to, n);
}

ssize_t pread64(int fd, void *to, size_t n, off64_t at) {
    NEXT(pread64);
    return fails(fd, "read") ? -1 : next(fd, to, n, at);
}

ssize_t write(int fd, const void *from, size_t n) {
    NEXT(write);
    return fails(fd, "write") ? -1 : next(fd, from, n);
}

int fsync(int fd) {
    NEXT(fsync);
    return fails(fd, "fsync") ? -1 : next(fd);
}

int clock_gettime(clockid_t id, struct timespec *to) {
    static long long looks;
    const char *offset = getenv("CLOCK_OFFSET"), *back = getenv("CLOCK_BACK");
    NEXT(clock_gettime);
    int done = next(id, to);
    if (id != CLOCK_REALTIME) return done;
    if (offset) to->tv_sec += atoll(offset);
    if (back) to->tv_sec -= atoll(back) * ++looks;
    return done;
}
