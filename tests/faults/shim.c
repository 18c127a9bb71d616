/* A disk that fails at one operation: loaded before libc (LD_PRELOAD), it counts what changes files below one folder.

   A process that is killed leaves the disk as it is. So does one whose disk takes nothing from some operation on, and
   that one can be started again in the same process, a thousand times a minute. FREEZE and TEAR do so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FREEZE, TEAR, ONCE, FULL };

static char below[PATH_MAX], last[2 * PATH_MAX + 64];
static int armed, mode, error_number;
static long fatal;
static atomic_long counted;

void faults_arm(const char *folder, int which, long at, int number) {
    snprintf(below, sizeof below, "%s/", folder);
    mode = which;
    fatal = at;
    error_number = number;
    counted = 0;
    last[0] = 0;
    armed = 1;
}
long faults_disarm(void) { armed = 0; return counted; }
const char *faults_last(void) { return last; }

static int concerns(const char *path) { return !strncmp(path, below, strlen(below)); }

static void place(int directory, const char *path, char *whole) {
    char link[64], base[PATH_MAX] = "";
    if (path[0] == '/') {
        snprintf(whole, 2 * PATH_MAX, "%s", path);
        return;
    }
    if (directory == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) base[0] = 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        if (readlink(link, base, sizeof base - 1) < 0) base[0] = 0;
    }
    snprintf(whole, 2 * PATH_MAX, "%s/%s", base, path);
}

/* Whether the operation fails, and how: 0 it does not, 1 it does, 2 half of it is done. */
static int fails(const char *name, const char *path, int grows) {
    long number;
    if (!armed || !concerns(path)) return 0;
    number = atomic_fetch_add(&counted, 1);
    if (mode == COUNT || number < fatal || (number > fatal && mode == ONCE) || (mode == FULL && !grows)) return 0;
    if (!last[0]) snprintf(last, sizeof last, "%s %s", name, path);
    errno = mode == FREEZE || mode == TEAR ? EIO : error_number;
    return (mode == TEAR || mode == FULL) && number == fatal ? 2 : 1;
}
static int fails_at(const char *name, int directory, const char *path, int grows) {
    char whole[2 * PATH_MAX];
    if (!armed || !path) return 0;
    place(directory, path, whole);
    return fails(name, whole, grows);
}
static int fails_of(const char *name, int file, int grows) {
    char link[64], path[PATH_MAX];
    ssize_t size;
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return fails(name, path, grows);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) ((flags) & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR))

#define OPEN(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                \
        va_list more; mode_t bits = 0;                                                          \
        REAL(name);                                                                             \
        if (flags & (O_CREAT | O_TMPFILE)) { va_start(more, flags); bits = va_arg(more, mode_t); va_end(more); } \
        if (WRITES(flags) && fails_at("open", AT_FDCWD, path, flags & O_CREAT)) return -1;      \
        return real(path, flags, bits);                                                         \
    }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                                            \
    int name(int directory, const char *path, int flags, ...) {                                 \
        va_list more; mode_t bits = 0;                                                          \
        REAL(name);                                                                             \
        if (flags & (O_CREAT | O_TMPFILE)) { va_start(more, flags); bits = va_arg(more, mode_t); va_end(more); } \
        if (WRITES(flags) && fails_at("open", directory, path, flags & O_CREAT)) return -1;     \
        return real(directory, path, flags, bits);                                              \
    }
OPENAT(openat)
OPENAT(openat64)
#define FOPEN(name)                                                                             \
    FILE *name(const char *path, const char *how) {                                             \
        REAL(name);                                                                             \
        if (strpbrk(how, "wa+") && fails_at("fopen", AT_FDCWD, path, 1)) return NULL;           \
        return real(path, how);                                                                 \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    switch (fails_of("write", file, 1)) {
        case 0: return real(file, data, size);
        case 2: if (size > 1) return real(file, data, size / 2);
    }
    return -1;
}
#define PWRITE(name, offset_type)                                                               \
    ssize_t name(int file, const void *data, size_t size, offset_type at) {                     \
        REAL(name);                                                                             \
        switch (fails_of("pwrite", file, 1)) {                                                  \
            case 0: return real(file, data, size, at);                                          \
            case 2: if (size > 1) return real(file, data, size / 2, at);                        \
        }                                                                                       \
        return -1;                                                                              \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)
ssize_t writev(int file, const struct iovec *pieces, int n) { REAL(writev); return fails_of("writev", file, 1) ? -1 : real(file, pieces, n); }
ssize_t sendfile(int out, int in, off_t *at, size_t n) {
    static ssize_t (*real)(int, int, off_t *, size_t);
    if (!real) real = (ssize_t (*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile");
    return fails_of("sendfile", out, 1) ? -1 : real(out, in, at, n);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t n) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) real = (ssize_t (*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64");
    return fails_of("sendfile", out, 1) ? -1 : real(out, in, at, n);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
    REAL(copy_file_range);
    return fails_of("copy_file_range", out, 1) ? -1 : real(in, from, out, to, n, flags);
}
int fsync(int file) { REAL(fsync); return fails_of("fsync", file, 0) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); return fails_of("fdatasync", file, 0) ? -1 : real(file); }
int ftruncate(int file, off_t size) { REAL(ftruncate); return fails_of("ftruncate", file, 0) ? -1 : real(file, size); }
int ftruncate64(int file, off64_t size) { REAL(ftruncate64); return fails_of("ftruncate", file, 0) ? -1 : real(file, size); }
int truncate(const char *path, off_t size) { REAL(truncate); return fails_at("truncate", AT_FDCWD, path, 0) ? -1 : real(path, size); }
int truncate64(const char *path, off64_t size) { REAL(truncate64); return fails_at("truncate", AT_FDCWD, path, 0) ? -1 : real(path, size); }
int rename(const char *from, const char *to) { REAL(rename); return fails_at("rename", AT_FDCWD, to, 0) ? -1 : real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); return fails_at("rename", b, to, 0) ? -1 : real(a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(renameat2); return fails_at("rename", b, to, 0) ? -1 : real(a, from, b, to, flags); }
int link(const char *from, const char *to) { REAL(link); return fails_at("link", AT_FDCWD, to, 1) ? -1 : real(from, to); }
int symlink(const char *from, const char *to) { REAL(symlink); return fails_at("symlink", AT_FDCWD, to, 1) ? -1 : real(from, to); }
int unlink(const char *path) { REAL(unlink); return fails_at("unlink", AT_FDCWD, path, 0) ? -1 : real(path); }
int unlinkat(int directory, const char *path, int flags) { REAL(unlinkat); return fails_at("unlink", directory, path, 0) ? -1 : real(directory, path, flags); }
int rmdir(const char *path) { REAL(rmdir); return fails_at("rmdir", AT_FDCWD, path, 0) ? -1 : real(path); }
int mkdir(const char *path, mode_t bits) { REAL(mkdir); return fails_at("mkdir", AT_FDCWD, path, 1) ? -1 : real(path, bits); }
int mkdirat(int directory, const char *path, mode_t bits) { REAL(mkdirat); return fails_at("mkdir", directory, path, 1) ? -1 : real(directory, path, bits); }
