/* A wall clock that can be stepped from outside: LD_PRELOAD this into a process. STEP_CLOCK_FILE names a file of eight
 * bytes, a signed offset in nanoseconds (native order), which is added to CLOCK_REALTIME from the moment that it is
 * written. All other clocks stay as they are, as with a real step. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t NS = 1000000000;
static int64_t none;
static volatile int64_t *offset_ns = &none;
static int (*real_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("STEP_CLOCK_FILE");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (file < 0)
        return;
    void *map = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED)
        offset_ns = map;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (real_gettime == NULL) /* asked before the constructor ran */
        real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real_gettime(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t at = now->tv_sec * NS + now->tv_nsec + *offset_ns;
        now->tv_sec = at / NS;
        now->tv_nsec = at % NS;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (where != NULL)
        *where = at.tv_sec;
    return at.tv_sec;
}
