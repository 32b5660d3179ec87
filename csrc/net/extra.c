/* net/extra.c: get_extra_info(): the socket object and the two addresses, made when first asked for.
 *
 * The addresses are fetched while the descriptor is certainly open and kept in the transport, so
 * that they can be had after the close too; the Python objects are made on demand. An accepted
 * connection has no Python socket until somebody wants one, which then owns the descriptor. */
#include "net/transport.h"

/* ---- addresses */

/* Keeps an address in the transport if it is an IP address, else its object in the dict. */
static int
keep_address(PaTransport *t, PaIpAddr *ip, PyObject *name, const struct sockaddr *sa,
             socklen_t length)
{
    if (length >= sizeof(sa_family_t) && pa_addr_keep_ip(ip, sa)) {
        return 0;
    }
    PyObject *address = pa_addr_to_object(sa, length);
    if (address == NULL) {
        return PyErr_Occurred() ? -1 : 0; /* a family for the socket object to tell, on demand */
    }
    int result = -1;
    if (t->extra != NULL || (t->extra = PyDict_New()) != NULL) {
        result = PyDict_SetItem(t->extra, name, address);
    }
    Py_DECREF(address);
    return result;
}

/* An address that the kernel does not give is None, as for asyncio. */
static int
keep_none(PaTransport *t, PyObject *name)
{
    if (t->extra == NULL && (t->extra = PyDict_New()) == NULL) {
        return -1;
    }
    return PyDict_SetItem(t->extra, name, Py_None);
}

int
pa_transport_keep_addresses(PaTransport *t, const struct sockaddr *peer, socklen_t length)
{
    PaNames *names = &pa_transport_state(t)->names;
    PaAddr address;
    socklen_t size = sizeof(address);
    int kept = getsockname(t->fd, &address.sa, &size) == 0
                   ? keep_address(t, &t->local, names->sockname, &address.sa, size)
                   : keep_none(t, names->sockname);
    if (kept < 0) {
        return -1;
    }
    if (peer != NULL) {
        return keep_address(t, &t->peer, names->peername, peer, length);
    }
    int given = t->extra == NULL ? 0 : PyDict_Contains(t->extra, names->peername);
    if (given != 0) {
        return given < 0 ? -1 : 0;
    }
    size = sizeof(address);
    return getpeername(t->fd, &address.sa, &size) == 0
               ? keep_address(t, &t->peer, names->peername, &address.sa, size)
               : keep_none(t, names->peername);
}

static PyObject *
make_address(PaTransport *t, const PaIpAddr *ip, PyObject *method)
{
    if (ip->sa.sa_family != AF_UNSPEC) {
        return pa_addr_to_object(&ip->sa, sizeof(*ip));
    }
    PyObject *sock = pa_transport_socket(t);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *address = PyObject_CallMethodNoArgs(sock, method);
    Py_DECREF(sock);
    if (address == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        address = Py_NewRef(Py_None);
    }
    return address;
}

/* ---- the socket object */

/* Part of a socket's type, by which Python notes that it does not block, with no system call. */
#ifdef SOCK_NONBLOCK
#define NON_BLOCKING SOCK_NONBLOCK
#else
#define NON_BLOCKING 0
#endif

/* socket.socket(family, type, proto[, fileno]) */
static PyObject *
call_socket(PaState *st, const int *values, int count)
{
    PyObject *numbers[4] = {NULL};
    PyObject *sock = NULL;
    for (int i = 0; i < count; i++) {
        if ((numbers[i] = PyLong_FromLong(values[i])) == NULL) {
            goto done;
        }
    }
    sock = PyObject_Vectorcall(st->asyncio.socket, numbers, (size_t)count, NULL);
done:
    for (int i = 0; i < count; i++) {
        Py_XDECREF(numbers[i]);
    }
    return sock;
}

PyObject *
pa_socket_new(PaState *st, int family, int type, int proto, int fd)
{
    const int values[] = {family, type | NON_BLOCKING, proto, fd};
    PyObject *sock = call_socket(st, values, fd >= 0 ? 4 : 3);
    if (sock == NULL || (fd >= 0 && NON_BLOCKING != 0)) {
        return sock;
    }
    PyObject *result = fd >= 0 ? PyObject_CallMethodOneArg(sock, st->names.setblocking, Py_False)
                               : PyObject_CallMethodNoArgs(sock, st->names.close);
    if (result == NULL) {
        Py_DECREF(sock); /* which closes fd */
        return NULL;
    }
    Py_DECREF(result);
    return sock;
}

PyObject *
pa_transport_socket(PaTransport *t)
{
    if (t->sock == NULL) {
        /* It owns the descriptor from here; asked after the close, it is closed as well. */
        t->sock = pa_socket_new(pa_transport_state(t), t->family, t->type, t->proto,
                                t->lost ? -1 : t->fd);
    }
    return Py_XNewRef(t->sock);
}

/* ---- in the place of get_extra_info() */

PyObject *
pa_extra_info_replaced(PaState *st, PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *found = PyObject_GetAttr(st->asyncio.BaseTransport, st->names.get_extra_info);
    if (found == NULL || found == st->asyncio.get_extra_info) {
        Py_XDECREF(found);
        return NULL;
    }
    descrgetfunc bind = Py_TYPE(found)->tp_descr_get; /* of a function; a mock has none */
    PyObject *method =
        bind == NULL ? Py_NewRef(found) : bind(found, self, (PyObject *)Py_TYPE(self));
    PyObject *result = method == NULL ? NULL : PyObject_Call(method, args, kwargs);
    Py_XDECREF(method);
    Py_DECREF(found);
    return result;
}

/* ---- the dict */

static PyObject *
make_value(PaTransport *t, PyObject *name)
{
    PaState *st = pa_transport_state(t);
    if (name == st->names.peername) {
        return make_address(t, &t->peer, st->names.getpeername);
    }
    if (name == st->names.sockname) {
        return make_address(t, &t->local, st->names.getsockname);
    }
    PyObject *sock = pa_transport_socket(t);
    if (sock == NULL) {
        return NULL;
    }
    PyObject *wrapped = PyObject_CallOneArg(st->asyncio.TransportSocket, sock);
    Py_DECREF(sock);
    return wrapped;
}

/* The value of one of our three names, made if it is not in the dict. New reference. */
static PyObject *
get_or_make(PaTransport *t, PyObject *name)
{
    if (t->extra == NULL && (t->extra = PyDict_New()) == NULL) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(t->extra, name);
    if (value != NULL || PyErr_Occurred()) {
        return Py_XNewRef(value);
    }
    value = make_value(t, name);
    if (value != NULL && PyDict_SetItem(t->extra, name, value) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

PyObject *
pa_transport_extra_get(PaTransport *t, PyObject *name)
{
    PaNames *names = &pa_transport_state(t)->names;
    PyObject *ours[] = {names->socket, names->peername, names->sockname};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(ours); i++) {
        if (name == ours[i] || (PyUnicode_Check(name) && PyUnicode_Compare(name, ours[i]) == 0)) {
            return get_or_make(t, ours[i]);
        }
    }
    return t->extra == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(t->extra, name));
}

PyObject *
pa_transport_extra_dict(PaTransport *t)
{
    PaNames *names = &pa_transport_state(t)->names;
    PyObject *ours[] = {names->socket, names->sockname, names->peername};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(ours); i++) {
        PyObject *value = get_or_make(t, ours[i]);
        if (value == NULL) {
            return NULL;
        }
        Py_DECREF(value);
    }
    return t->extra;
}
