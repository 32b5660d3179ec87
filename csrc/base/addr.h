/* base/addr.h: socket addresses between the kernel's form and Python's.
 *
 * Python's form is that of the socket module on the same interpreter: (host, port) for IPv4,
 * (host, port, flowinfo, scope_id) for IPv6, str or bytes (abstract) for unix sockets. */
#ifndef PA_BASE_ADDR_H
#define PA_BASE_ADDR_H

#include "base/state.h" // first: Python.h decides which system interfaces are declared

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Any address that pa_addr_to_object() understands; big enough for the kernel to write to. */
typedef union {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    struct sockaddr_storage storage;
} PaAddr;

/* An IP address small enough to be kept for every connection; family AF_UNSPEC when there is none. */
typedef union {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} PaIpAddr;

/* Copies an IPv4 or IPv6 address; false, with *ip made empty, for any other family. */
bool pa_addr_keep_ip(PaIpAddr *ip, const struct sockaddr *sa);

/* New reference: the address as Python has it; None for no address (length 0). For a family that
 * is not listed above: NULL without an exception. NULL with an exception on error. */
PyObject *pa_addr_to_object(const struct sockaddr *sa, socklen_t length);

/* Reads an address whose meaning is plain: an IP literal and numbers in range, or a path in ASCII.
 * Returns its length; 0, without an exception, for anything else, which the socket object of Python
 * has to resolve or refuse. */
socklen_t pa_addr_from_object(PaAddr *addr, int family, PyObject *obj);

/* Reads an IP literal and a port in range, as pa_addr_from_object() reads a tuple of them. */
socklen_t pa_addr_from_literal(PaAddr *addr, PyObject *host, PyObject *port);

/* The attributes family, type and proto of a Python socket. 0, or -1 with an exception. */
int pa_socket_numbers(PaState *st, PyObject *sock, int *family, int *type, int *proto);

#endif
