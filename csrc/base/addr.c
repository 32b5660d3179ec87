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

/* An int from 0 to `most`; -1 for anything else. */
static long
number_from(PyObject *obj, long most)
{
    if (!PyLong_CheckExact(obj)) {
        return -1;
    }
    int overflow;
    long number = PyLong_AsLongAndOverflow(obj, &overflow);
    return overflow || number < 0 || number > most ? -1 : number;
}

/* The same of item `index` of a tuple, 0 when the tuple is too short. */
static long
number_at(PyObject *tuple, Py_ssize_t index, long most)
{
    return index < PyTuple_GET_SIZE(tuple) ? number_from(PyTuple_GET_ITEM(tuple, index), most) : 0;
}

/* The characters of a non-empty ASCII str without zeros, or NULL. */
static const char *
plain_text(PyObject *obj, Py_ssize_t *length)
{
    if (!PyUnicode_CheckExact(obj) || !PyUnicode_IS_ASCII(obj)) {
        return NULL;
    }
    const char *text = (const char *)PyUnicode_1BYTE_DATA(obj);
    *length = PyUnicode_GET_LENGTH(obj);
    return *length == 0 || strlen(text) != (size_t)*length ? NULL : text;
}

/* The length of the address of a literal of the family; 0 when it is none. */
static socklen_t
ip_from_pair(PaAddr *addr, int family, PyObject *literal, PyObject *number)
{
    Py_ssize_t length;
    const char *host = plain_text(literal, &length);
    long port = number_from(number, 0xffff);
    if (host == NULL || port < 0) {
        return 0;
    }
    memset(addr, 0, sizeof(PaIpAddr));
    addr->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET) {
        addr->in.sin_port = htons((uint16_t)port);
        return inet_pton(AF_INET, host, &addr->in.sin_addr) == 1 ? sizeof(addr->in) : 0;
    }
    addr->in6.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, host, &addr->in6.sin6_addr) == 1 ? sizeof(addr->in6) : 0;
}

socklen_t
pa_addr_from_literal(PaAddr *addr, PyObject *host, PyObject *port)
{
    socklen_t length = ip_from_pair(addr, AF_INET, host, port);
    return length != 0 ? length : ip_from_pair(addr, AF_INET6, host, port);
}

static socklen_t
ip_from_tuple(PaAddr *addr, int family, PyObject *tuple)
{
    Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    Py_ssize_t most = family == AF_INET ? 2 : 4;
    if (size < 2 || size > most) {
        return 0;
    }
    long flow = number_at(tuple, 2, 0xfffff), scope = number_at(tuple, 3, 0x7fffffff);
    if (flow < 0 || scope < 0) {
        return 0;
    }
    socklen_t length =
        ip_from_pair(addr, family, PyTuple_GET_ITEM(tuple, 0), PyTuple_GET_ITEM(tuple, 1));
    if (family == AF_INET6 && length != 0) {
        addr->in6.sin6_flowinfo = htonl((uint32_t)flow);
        addr->in6.sin6_scope_id = (uint32_t)scope;
    }
    return length;
}

static socklen_t
unix_from_path(PaAddr *addr, PyObject *path)
{
    Py_ssize_t length;
    const char *text = plain_text(path, &length);
    if (text == NULL || (size_t)length >= sizeof(addr->un.sun_path)) {
        return 0;
    }
    addr->un.sun_family = AF_UNIX;
    memcpy(addr->un.sun_path, text, (size_t)length + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + 1);
}

socklen_t
pa_addr_from_object(PaAddr *addr, int family, PyObject *obj)
{
    if (family == AF_UNIX) {
        return unix_from_path(addr, obj);
    }
    if ((family == AF_INET || family == AF_INET6) && PyTuple_CheckExact(obj)) {
        return ip_from_tuple(addr, family, obj);
    }
    return 0;
}

/* sock.name. The class socket.socket makes an enum member of each number, which takes longer than
 * all the rest: its base class has them as they are. */
static PyObject *
socket_attribute(PaState *st, PyObject *sock, PyObject *name)
{
    if ((PyObject *)Py_TYPE(sock) != st->asyncio.socket) {
        return PyObject_GetAttr(sock, name);
    }
    PyObject *base = (PyObject *)Py_TYPE(sock)->tp_base;
    PyObject *descr = PyObject_GetAttr(base, name);
    if (descr == NULL) {
        return NULL;
    }
    descrgetfunc get = Py_TYPE(descr)->tp_descr_get;
    PyObject *value = get == NULL ? PyObject_GetAttr(sock, name) : get(descr, sock, base);
    Py_DECREF(descr);
    return value;
}

int
pa_socket_numbers(PaState *st, PyObject *sock, int *family, int *type, int *proto)
{
    PyObject *names[] = {st->names.family, st->names.type, st->names.proto};
    int *values[] = {family, type, proto};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        PyObject *number = socket_attribute(st, sock, names[i]);
        if (number == NULL) {
            return -1;
        }
        *values[i] = (int)PyLong_AsLong(number);
        Py_DECREF(number);
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}
