/* Makes chosen system calls fail as network file systems do. For LD_PRELOAD.
 *
 * The file $FAULTS has lines "CALL ERRNO PART": CALL (fsync, utime, link, rename, write) fails with
 * ERRNO for paths that contain PART. "linkdone" makes the link and answers ERRNO all the same: a
 * request that was sent again. Read at every call, so that a test turns faults on and off.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fault(const char *call, const char *path)
{
    const char *table = getenv("FAULTS");
    char name[32], part[256];
    int number, found = 0, saved = errno;
    FILE *file = table && path ? fopen(table, "r") : NULL;
    while (file && !found && fscanf(file, "%31s %d %255s", name, &number, part) == 3)
        if (!strcmp(name, call) && strstr(path, part))
            found = number;
    if (file)
        fclose(file);
    errno = found ? found : saved;
    return found;
}

static int fd_fault(const char *call, int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return fault(call, path);
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int fsync(int fd)
{
    return fd_fault("fsync", fd) ? -1 : REAL("fsync", int (*)(int))(fd);
}

int utimensat(int at, const char *path, const struct timespec times[2], int flags)
{
    if (fault("utime", path))
        return -1;
    return REAL("utimensat", int (*)(int, const char *, const struct timespec *, int))(
        at, path, times, flags);
}

static int linked(int answer, const char *to)
{
    return answer == 0 && fault("linkdone", to) ? -1 : answer;
}

int link(const char *from, const char *to)
{
    if (fault("link", to))
        return -1;
    return linked(REAL("link", int (*)(const char *, const char *))(from, to), to);
}

int linkat(int at, const char *from, int to_at, const char *to, int flags)
{
    if (fault("link", to))
        return -1;
    return linked(REAL("linkat", int (*)(int, const char *, int, const char *, int))(
        at, from, to_at, to, flags), to);
}
