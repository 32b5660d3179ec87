/* base/addr.c: kernel socket addresses as the objects that Python's socket module makes of them.
 *
 * Only the families whose form this file knows are converted; for others the caller asks a Python
 * socket object. Nothing here blocks or resolves names. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <string.h>

bool
pa_addr_keep_ip(PaIpAddr *ip, const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        memcpy(&ip->in, sa, sizeof(ip->in));
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(&ip->in6, sa, sizeof(ip->in6));
        return true;
    }
    ip->sa.sa_family = AF_UNSPEC;
    return false;
}

static PyObject *
ipv4_to_object(const struct sockaddr_in *in)
{
    char host[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("si", host, (int)ntohs(in->sin_port));
}

static PyObject *
ipv6_to_object(const struct sockaddr_in6 *in6)
{
    char host[INET6_ADDRSTRLEN];
    if (inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host)) == NULL) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return Py_BuildValue("siII", host, (int)ntohs(in6->sin6_port),
                         (unsigned int)ntohl(in6->sin6_flowinfo), (unsigned int)in6->sin6_scope_id);
}

static PyObject *
unix_to_object(const struct sockaddr_un *un, socklen_t length)
{
    size_t offset = offsetof(struct sockaddr_un, sun_path);
    size_t path_length = length > offset ? length - offset : 0;
#ifdef __linux__
    /* The name of the abstract namespace is exactly these bytes, zeros included. */
    if (path_length > 0 && un->sun_path[0] == '\0') {
        return PyBytes_FromStringAndSize(un->sun_path, (Py_ssize_t)path_length);
    }
#endif
    /* A path that fills sun_path has no terminating zero. */
    size_t end = strnlen(un->sun_path, path_length);
    return PyUnicode_DecodeFSDefaultAndSize(un->sun_path, (Py_ssize_t)end);
}

PyObject *
pa_addr_to_object(const struct sockaddr *sa, socklen_t length)
{
    if (length == 0) {
        Py_RETURN_NONE;
    }
    switch (sa->sa_family) {
    case AF_INET:
        return ipv4_to_object((const struct sockaddr_in *)sa);
    case AF_INET6:
        return ipv6_to_object((const struct sockaddr_in6 *)sa);
    case AF_UNIX:
        return unix_to_object((const struct sockaddr_un *)sa, length);
    default:
        return NULL;
    }
}
