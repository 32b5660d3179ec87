/* The least loop that calls Python protocols: a server of system calls, one thread on epoll, that
 * hands what it receives to the methods of a protocol, as every loop has to; or puts it into the
 * buffer of a StreamReader and sends into the coroutine that waits for it.
 *
 * An extension module. What asyncio promises besides is left out: no callbacks, no tasks, no contexts,
 * no flow control, no errors that a protocol hears of. So it serves clients only that have one message
 * under way, which the socket takes as a whole; anything else ends it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, EVENTS = 512 };

typedef struct {
    PyObject_HEAD
    PyObject *protocol;  /* owned; with streams the reader */
    PyObject *coroutine; /* owned; with streams what reads */
    int fd;
} Transport;

typedef struct Server Server;
struct Server {
    int epoll_fd, listener;
    bool tcp;
    PyObject *factory;                                        /* borrowed */
    int (*begin)(const Server *server, Transport *transport); /* 0, or -1 with an exception */
    ssize_t (*receive)(const Transport *transport); /* bytes, -1 with errno, -2 with an exception */
    PyObject *(*deliver)(const Transport *transport, Py_ssize_t count); /* new, or NULL */
    void (*end)(Transport *transport);
};

static char space[BUFFER_SIZE];
static PyObject *data_received, *get_buffer, *buffer_updated, *connection_made, *any_size;
static PyObject *reader_buffer, *reader_waiter, *set_result;

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

/* For is_closing(), which drain() calls, and close(), which the coroutine calls at its end. */
static PyObject *
transport_is_closing(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    Py_RETURN_FALSE;
}

static PyObject *
transport_close(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    Py_RETURN_NONE;
}

static void
transport_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Transport *)self)->protocol);
    Py_XDECREF(((Transport *)self)->coroutine);
    close(((Transport *)self)->fd);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef transport_methods[] = {
    {"write", transport_write, METH_O, "Send bytes at once."},
    {"is_closing", transport_is_closing, METH_NOARGS, "False: it ends when its client has gone."},
    {"close", transport_close, METH_NOARGS, "Nothing: likewise."},
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
    if (server->begin(server, transport) < 0 || watch(server, fd, transport) < 0) {
        Py_DECREF(transport);
        return -1;
    }
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

/* What object.name(arg) gives; takes over arg, which may be NULL with an exception. */
static PyObject *
call_steal(PyObject *object, PyObject *name, PyObject *arg)
{
    PyObject *result = arg == NULL ? NULL : PyObject_CallMethodOneArg(object, name, arg);
    Py_XDECREF(arg);
    return result;
}

static int
begin_protocol(const Server *server, Transport *transport)
{
    transport->protocol = PyObject_CallNoArgs(server->factory);
    PyObject *made = transport->protocol == NULL
                         ? NULL
                         : call_steal(transport->protocol, connection_made, Py_NewRef(transport));
    Py_XDECREF(made);
    return made == NULL ? -1 : 0;
}

static void
end_protocol(Transport *transport)
{
    PyObject_SetAttrString(transport->protocol, "transport", Py_None); /* else a cycle */
}

static ssize_t
receive(const Transport *transport)
{
    return recv(transport->fd, space, sizeof space, MSG_DONTWAIT);
}

static PyObject *
deliver(const Transport *transport, Py_ssize_t count)
{
    return call_steal(transport->protocol, data_received, PyBytes_FromStringAndSize(space, count));
}

/* ---- into the protocol's own buffer */

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

static PyObject *
deliver_buffered(const Transport *transport, Py_ssize_t count)
{
    return call_steal(transport->protocol, buffer_updated, PyLong_FromSsize_t(count));
}

/* ---- streams: factory(transport) gives (reader, coroutine), which waits for data */

static int
begin_stream(const Server *server, Transport *transport)
{
    PyObject *both = PyObject_CallOneArg(server->factory, (PyObject *)transport);
    if (both == NULL) {
        return -1;
    }
    int found = PyArg_ParseTuple(both, "OO", &transport->protocol, &transport->coroutine);
    Py_XINCREF(transport->protocol);
    Py_XINCREF(transport->coroutine);
    Py_DECREF(both);
    return found ? 0 : -1;
}

static void
end_stream(Transport *transport)
{
    Py_CLEAR(transport->coroutine); /* which closes it, and its writer holds the transport */
}

/* What StreamReader.feed_data() does, without what guards it. 0, or -1 with an exception. */
static int
feed(PyObject *reader, Py_ssize_t count)
{
    PyObject *buffer = PyObject_GetAttr(reader, reader_buffer);
    if (buffer == NULL) {
        return -1;
    }
    Py_ssize_t before = PyByteArray_GET_SIZE(buffer);
    int err = PyByteArray_Resize(buffer, before + count);
    if (err == 0) {
        memcpy(PyByteArray_AS_STRING(buffer) + before, space, (size_t)count);
    }
    Py_DECREF(buffer);
    return err;
}

static PyObject *
deliver_stream(const Transport *transport, Py_ssize_t count)
{
    PyObject *waiter = PyObject_GetAttr(transport->protocol, reader_waiter);
    PyObject *done = waiter == NULL || feed(transport->protocol, count) < 0
                         ? NULL
                         : PyObject_CallMethodOneArg(waiter, set_result, Py_None);
    Py_XDECREF(waiter);
    if (done == NULL) {
        return NULL;
    }
    Py_DECREF(done);
    PyObject *waits_for;
    PySendResult sent = PyIter_Send(transport->coroutine, Py_None, &waits_for);
    if (sent == PYGEN_RETURN) {
        Py_DECREF(waits_for);
        PyErr_SetString(PyExc_RuntimeError, "the coroutine ended before its client");
    }
    return sent == PYGEN_NEXT ? waits_for : NULL;
}

/* ---- the loop */

/* 0 or -1. The transport is gone if the client is. */
static int
serve_message(const Server *server, Transport *transport)
{
    ssize_t count = server->receive(transport);
    if (count == -2) {
        return -1;
    }
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN) {
            server->end(transport);
            PyErr_Clear();
            Py_DECREF(transport);
        }
        return 0;
    }
    PyObject *result = server->deliver(transport, count);
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

/* How it is served, by the name of its style. False with ValueError if there is none. */
static bool
choose(Server *server, const char *style)
{
    server->begin = begin_protocol;
    server->receive = receive;
    server->deliver = deliver;
    server->end = end_protocol;
    if (strcmp(style, "buffered") == 0) {
        server->receive = receive_buffered;
        server->deliver = deliver_buffered;
    }
    else if (strcmp(style, "streams") == 0) {
        server->begin = begin_stream;
        server->deliver = deliver_stream;
        server->end = end_stream;
    }
    else if (strcmp(style, "protocol") != 0) {
        PyErr_Format(PyExc_ValueError, "no style of echo: %s", style);
        return false;
    }
    return true;
}

static PyObject *
serve(PyObject *module, PyObject *args)
{
    Server server;
    int tcp;
    const char *style;
    (void)module;
    if (!PyArg_ParseTuple(args, "iOps", &server.listener, &server.factory, &tcp, &style) ||
        !choose(&server, style)) {
        return NULL;
    }
    server.tcp = tcp;
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll_fd < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    run(&server);
    close(server.epoll_fd);
    return NULL;
}

static PyMethodDef functions[] = {
    {"serve", serve, METH_VARARGS, "serve(listener, factory, tcp, style): serve for ever."},
    {0},
};
static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "bare_loop", .m_size = -1, .m_methods = functions};

/* 0, or -1 with an exception. */
static int
make_names(void)
{
    struct {
        PyObject **name;
        const char *text;
    } names[] = {
        {&data_received, "data_received"},   {&get_buffer, "get_buffer"},
        {&buffer_updated, "buffer_updated"}, {&connection_made, "connection_made"},
        {&reader_buffer, "_buffer"},         {&reader_waiter, "_waiter"},
        {&set_result, "set_result"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i].name = PyUnicode_InternFromString(names[i].text);
        if (*names[i].name == NULL) {
            return -1;
        }
    }
    any_size = PyLong_FromLong(-1);
    return any_size == NULL ? -1 : 0;
}

PyMODINIT_FUNC
PyInit_bare_loop(void)
{
    transport_type = (PyTypeObject *)PyType_FromSpec(&transport_spec);
    return transport_type == NULL || make_names() < 0 ? NULL : PyModule_Create(&definition);
}
