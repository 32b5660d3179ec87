/* net/syscalls.c: whether recv() and send() are those of a slow glibc, and what is called then. See
 * syscalls.h. */
#include "net/syscalls.h"

#include <sys/socket.h>

ssize_t (*pa_recv)(int fd, void *buffer, size_t size, int flags) = recv;
ssize_t (*pa_send)(int fd, const void *data, size_t size, int flags) = send;

/* Where the kernel has always had these calls: elsewhere they came late, or are one of another name. */
#if defined(__linux__) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static ssize_t
straight_recv(int fd, void *buffer, size_t size, int flags)
{
    return syscall(SYS_recvfrom, fd, buffer, size, flags, NULL, NULL);
}

static ssize_t
straight_send(int fd, const void *data, size_t size, int flags)
{
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

/* glibc 2.41 or newer. */
static bool
is_libc_slow(void)
{
    unsigned int major, minor;
    int found = sscanf(gnu_get_libc_version(), "%u.%u", &major, &minor);
    return found == 2 && (major > 2 || minor >= 41);
}

/* Whether the function comes from where getpid() does, which nobody replaces. */
static bool
is_of_libc(void *function)
{
    Dl_info found, libc;
    return dladdr(function, &found) != 0 && dladdr((void *)getpid, &libc) != 0 &&
           found.dli_fbase == libc.dli_fbase;
}

/* Before any thread can call them. */
__attribute__((constructor)) static void
choose(void)
{
    if (is_libc_slow() && is_of_libc((void *)recv) && is_of_libc((void *)send)) {
        pa_recv = straight_recv;
        pa_send = straight_send;
    }
}

#endif
