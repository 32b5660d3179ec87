/* net/syscalls.h: recv() and send(), straight from the kernel where the C library is slow.
 *
 * A thread can be cancelled in the library's functions of these names, and from glibc 2.41 on every
 * call pays for that: 1-2% of an echo. Nobody cancels a thread that runs Python. Where somebody has
 * put a function of his own in the place of the library's (LD_PRELOAD, a sanitizer), that one is
 * called. */
#ifndef PA_NET_SYSCALLS_H
#define PA_NET_SYSCALLS_H

#include "base/compat.h" // first: Python.h decides which system interfaces are declared

#include <sys/types.h>

/* As recv(2) and send(2), errno included; set when this library is loaded. */
extern ssize_t (*pa_recv)(int fd, void *buffer, size_t size, int flags);
extern ssize_t (*pa_send)(int fd, const void *data, size_t size, int flags);

#endif
