/* A journal of everything a process does to the files below $CUT_DIR that a power cut could undo.
 *
 * Preloaded. Each call goes through to the C library first; what it changed is then appended to $CUT_LOG as
 * kind, path length, second path length, offset, data length, path, second path, data. A write to descriptor
 * 199 is a mark of the program's own: "this is acknowledged". The enumeration of cuts happens offline.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define MARK_FD 199
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int ours(const char *path) {
    const char *dir = getenv("CUT_DIR");
    return dir && path && !strncmp(path, dir, strlen(dir)) && !strstr(path, " (deleted)") && !strstr(path, "-shm");
}

static void put(char kind, const char *path, const char *other, uint64_t offset, const void *data, uint32_t size) {
    static int log = -1;
    uint32_t lengths[2] = {strlen(path), other ? strlen(other) : 0};
    struct iovec parts[] = {{&kind, 1}, {lengths, 8}, {&offset, 8}, {&size, 4}, {(void *)path, lengths[0]},
                            {(void *)other, lengths[1]}, {(void *)data, data ? size : 0}};
    pthread_mutex_lock(&turn);
    if (log < 0) log = open(getenv("CUT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (writev(log, parts, 7) < 0) abort();
    pthread_mutex_unlock(&turn);
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    buffer[length > 0 ? length : 0] = 0;
    return buffer;
}

static const char *absolute(const char *path, char *buffer) {
    if (path[0] == '/') return path;
    if (!getcwd(buffer, PATH_MAX / 2)) return path;
    strcat(strcat(buffer, "/"), path);
    return buffer;
}

#define OPEN(name, type) \
int name(const char *path, int flags, ...) { \
    REAL(name); char buffer[PATH_MAX]; va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    int fresh = (flags & O_CREAT) && ours(absolute(path, buffer)) && access(path, F_OK); \
    int fd = real(path, flags, mode); \
    if (fd >= 0 && fresh) put('c', absolute(path, buffer), 0, 0, 0, 0); \
    if (fd >= 0 && !fresh && (flags & O_TRUNC) && ours(absolute(path, buffer))) put('t', absolute(path, buffer), 0, 0, 0, 0); \
    return fd; }
OPEN(open, int)
OPEN(open64, int)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(pwrite64); char path[PATH_MAX];
    ssize_t done = real(fd, data, size, offset);
    if (done > 0 && ours(path_of(fd, path))) put('w', path, 0, offset, data, done);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write); char path[PATH_MAX];
    if (fd == MARK_FD) { put('m', "", 0, 0, data, size); return size; }
    ssize_t done = real(fd, data, size);
    if (done > 0 && ours(path_of(fd, path))) put('w', path, 0, lseek(fd, 0, SEEK_CUR) - done, data, done);
    return done;
}

#define SYNC(name) int name(int fd) { REAL(name); char path[PATH_MAX]; int result = real(fd); \
    if (!result && ours(path_of(fd, path))) put('s', path, 0, 0, 0, 0); \
    return result; }
SYNC(fsync)
SYNC(fdatasync)

#define CUT(name, offset_type) int name(int fd, offset_type size) { REAL(name); char path[PATH_MAX]; \
    int result = real(fd, size); if (!result && ours(path_of(fd, path))) put('t', path, 0, size, 0, 0); \
    return result; }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)

int truncate64(const char *path, off64_t size) {
    REAL(truncate64); char buffer[PATH_MAX]; int result = real(path, size);
    if (!result && ours(absolute(path, buffer))) put('t', absolute(path, buffer), 0, size, 0, 0);
    return result;
}
int truncate(const char *path, off_t size) { return truncate64(path, size); }

int unlink(const char *path) {
    REAL(unlink); char buffer[PATH_MAX]; int result = real(path);
    if (!result && ours(absolute(path, buffer))) put('u', absolute(path, buffer), 0, 0, 0, 0);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(rename); char one[PATH_MAX], two[PATH_MAX]; int result = real(from, to);
    if (!result && ours(absolute(to, two))) put('r', absolute(from, one), absolute(to, two), 0, 0, 0);
    return result;
}
