/* Let a disk fail and a clock be wrong, for a process that is started with LD_PRELOAD.
   EIO_OP (`read`, `write`, `fsync`, `open`, `list`, `stat`) fails with EIO (or the number EIO_NUMBER) on files
   whose path holds EIO_PATH; the clock is off by
   CLOCK_OFFSET seconds, and goes back by CLOCK_BACK seconds with each look. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_asked(const char *op) {
    const char *wanted = getenv("EIO_OP");
    return wanted && !strcmp(wanted, op);
}

static int fails_at(const char *path, const char *op) {
    const char *part = getenv("EIO_PATH"), *number = getenv("EIO_NUMBER");
    if (!is_asked(op) || !part || !path || !strstr(path, part)) return 0;
    errno = number ? atoi(number) : EIO;
    return 1;
}

static int fails(int fd, const char *op) {
    char link[64], path[4096];
    if (!is_asked(op)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return fails_at(path, op);
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

int open64(const char *path, int flags, ...) {
    NEXT(open64);
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return fails_at(path, "open") ? -1 : next(path, flags, mode);
}

DIR *opendir(const char *path) {
    NEXT(opendir);
    return fails_at(path, "list") ? NULL : next(path);
}

int stat64(const char *path, struct stat64 *to) {
    NEXT(stat64);
    return fails_at(path, "stat") ? -1 : next(path, to);
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
