/* The least loop that calls Python protocols: a server of system calls, one thread on epoll, that
 * hands what it receives to the methods of a protocol, as every loop has to.
 *
 * An extension module. What asyncio promises besides is left out: no callbacks, no contexts, no flow
 * control, no errors that a protocol hears of. So it serves clients only that have one message under
 * way, which the socket takes as a whole; anything else ends it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, EVENTS = 512 };

typedef struct {
    PyObject_HEAD
    PyObject *protocol; /* owned */
    int fd;
} Transport;

typedef struct {
    int epoll_fd, listener;
    bool tcp, buffered;
    PyObject *factory; /* borrowed */
} Server;

static char space[BUFFER_SIZE];
static PyObject *data_received, *get_buffer, *buffer_updated, *connection_made, *any_size;

static PyObject *
transport_write(PyObject *self, PyObject *data)
{
    if (!PyBytes_CheckExact(data)) {
        PyErr_SetString(PyExc_TypeError, "this transport takes bytes");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    int fd = ((Transport *)self)->fd;
    ssize_t sent = send(fd, PyBytes_AS_STRING(data), (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != size && (sent >= 0 || errno == EAGAIN)) {
        PyErr_SetString(PyExc_RuntimeError, "the socket did not take a message as a whole");
        return NULL;
    }
    Py_RETURN_NONE; /* a client that has gone is found when its socket is read */
}

static void
transport_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Transport *)self)->protocol);
    close(((Transport *)self)->fd);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef transport_methods[] = {
    {"write", transport_write, METH_O, "Send bytes at once."},
    {0},
};
static PyType_Slot transport_slots[] = {
    {Py_tp_methods, transport_methods},
    {Py_tp_dealloc, transport_dealloc},
    {0, NULL},
};
static PyType_Spec transport_spec = {
    .name = "bare_loop.Transport",
    .basicsize = sizeof(Transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transport_slots,
};
static PyTypeObject *transport_type;

static int
watch(const Server *server, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* The connection keeps the transport alive until its end. 0 or -1. */
static int
serve_connection(const Server *server, int fd)
{
    int on = 1;
    if (server->tcp && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        close(fd);
        return -1;
    }
    Transport *transport = (Transport *)transport_type->tp_alloc(transport_type, 0);
    if (transport == NULL) {
        close(fd);
        return -1;
    }
    transport->fd = fd;
    transport->protocol = PyObject_CallNoArgs(server->factory);
    PyObject *made = transport->protocol == NULL
                         ? NULL
                         : PyObject_CallMethodOneArg(transport->protocol, connection_made,
                                                     (PyObject *)transport);
    if (made == NULL || watch(server, fd, transport) < 0) {
        Py_XDECREF(made);
        Py_DECREF(transport);
        return -1;
    }
    Py_DECREF(made);
    return 0;
}

static int
accept_all(const Server *server)
{
    int fd;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (serve_connection(server, fd) < 0) {
            return -1;
        }
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

/* What protocol.name(arg) gives; takes over arg, which may be NULL with an exception. */
static PyObject *
call_steal(PyObject *protocol, PyObject *name, PyObject *arg)
{
    PyObject *result = arg == NULL ? NULL : PyObject_CallMethodOneArg(protocol, name, arg);
    Py_XDECREF(arg);
    return result;
}

/* Bytes received into the protocol's own buffer, -1 with errno, -2 with an exception. */
static ssize_t
receive_buffered(const Transport *transport)
{
    PyObject *buffer = call_steal(transport->protocol, get_buffer, Py_NewRef(any_size));
    Py_buffer view;
    if (buffer == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        Py_XDECREF(buffer);
        return -2;
    }
    ssize_t count = recv(transport->fd, view.buf, (size_t)view.len, MSG_DONTWAIT);
    int code = errno;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    errno = code;
    return count;
}

/* 0 or -1. The transport is gone if the client is. */
static int
serve_message(const Server *server, Transport *transport)
{
    ssize_t count = server->buffered ? receive_buffered(transport)
                                     : recv(transport->fd, space, sizeof space, MSG_DONTWAIT);
    if (count == -2) {
        return -1;
    }
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) {
            PyObject_SetAttrString(transport->protocol, "transport", Py_None); /* else a cycle */
            PyErr_Clear();
            Py_DECREF(transport);
        }
        return 0;
    }
    PyObject *result = server->buffered ? call_steal(transport->protocol, buffer_updated,
                                                     PyLong_FromSsize_t(count))
                                        : call_steal(transport->protocol, data_received,
                                                     PyBytes_FromStringAndSize(space, count));
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Serves for ever; returns with an exception. */
static void
run(const Server *server)
{
    struct epoll_event events[EVENTS];
    int err = watch(server, server->listener, NULL);
    while (err == 0) {
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = epoll_wait(server->epoll_fd, events, EVENTS, -1);
        Py_END_ALLOW_THREADS
        for (int i = 0; err == 0 && i < count; i++) {
            err = events[i].data.ptr == NULL ? accept_all(server)
                                             : serve_message(server, events[i].data.ptr);
        }
    }
}

static PyObject *
serve(PyObject *module, PyObject *args)
{
    Server server;
    int tcp, buffered;
    (void)module;
    if (!PyArg_ParseTuple(args, "iOpp", &server.listener, &server.factory, &tcp, &buffered)) {
        return NULL;
    }
    server.tcp = tcp;
    server.buffered = buffered;
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll_fd < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    run(&server);
    close(server.epoll_fd);
    return NULL;
}

static PyMethodDef functions[] = {
    {"serve", serve, METH_VARARGS, "serve(listener, factory, tcp, buffered): serve for ever."},
    {0},
};
static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "bare_loop", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC
PyInit_bare_loop(void)
{
    data_received = PyUnicode_InternFromString("data_received");
    get_buffer = PyUnicode_InternFromString("get_buffer");
    buffer_updated = PyUnicode_InternFromString("buffer_updated");
    connection_made = PyUnicode_InternFromString("connection_made");
    any_size = PyLong_FromLong(-1);
    transport_type = (PyTypeObject *)PyType_FromSpec(&transport_spec);
    if (data_received == NULL || get_buffer == NULL || buffer_updated == NULL ||
        connection_made == NULL || any_size == NULL || transport_type == NULL) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
