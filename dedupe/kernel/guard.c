/* Reading a mapped file whose disk fails, or that someone has cut short, raises SIGBUS, which would kill the process.
 *
 * For addresses inside a guarded mapping the handler puts a page of zeros in the failing one's place and lets the
 * instruction run again. Zeros are wrong bytes, and that is enough: whatever comes out of a log is compared (encoder)
 * or checked (decoder) before anyone trusts it. Every other SIGBUS goes to whoever handled it before.
 *
 * Only what is safe in a signal handler: a fixed table, atomics, and mmap, which is a bare system call in every libc
 * for Linux.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum { REGIONS = 4096 };

static struct {
    uintptr_t start; /* 0: free */
    size_t length;
    uint64_t *fault;
} region[REGIONS];
static uint32_t used; /* regions that have ever been taken */
static uintptr_t page_mask;
static struct sigaction before;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER; /* who adds and removes; the handler waits for nobody */

static int replace(uintptr_t address)
{
    uint32_t count = __atomic_load_n(&used, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < count; i++) {
        uintptr_t start = __atomic_load_n(&region[i].start, __ATOMIC_ACQUIRE);
        uintptr_t page = address & page_mask;
        uint64_t number;
        if (!start || address < start || address - start >= region[i].length)
            continue;
        if (mmap((void *)page, ~page_mask + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == MAP_FAILED)
            return 0;
        number = __atomic_fetch_add(&region[i].fault[0], 1, __ATOMIC_RELAXED);
        __atomic_store_n(&region[i].fault[1 + number % BL_FAULTS], page - start, __ATOMIC_RELEASE);
        return 1;
    }
    return 0;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    if (!replace((uintptr_t)info->si_addr))
        sigaction(SIGBUS, &before, NULL); /* the instruction runs again and meets that one */
}

static int install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (page_mask)
        return BL_OK;
    if (sigemptyset(&action.sa_mask) || sigaction(SIGBUS, &action, &before))
        return BL_RESERVED;
    page_mask = ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    return BL_OK;
}

static int add(const void *start, size_t length, uint64_t *fault)
{
    for (uint32_t i = 0; i < REGIONS; i++)
        if (!region[i].start) {
            region[i].length = length;
            region[i].fault = fault;
            __atomic_store_n(&region[i].start, (uintptr_t)start, __ATOMIC_RELEASE);
            if (i >= used)
                __atomic_store_n(&used, i + 1, __ATOMIC_RELEASE);
            return BL_OK;
        }
    return BL_LENGTH;
}

int bl_guard_add(const void *start, size_t length, uint64_t *fault)
{
    int status;

    pthread_mutex_lock(&changing);
    status = install();
    if (status == BL_OK)
        status = add(start, length, fault);
    pthread_mutex_unlock(&changing);
    return status;
}

void bl_guard_remove(const void *start)
{
    pthread_mutex_lock(&changing);
    for (uint32_t i = 0; i < used; i++)
        if (region[i].start == (uintptr_t)start)
            __atomic_store_n(&region[i].start, 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&changing);
}
