/* net/listener.c: Listener: accepts connections on a listening socket and makes their transports.
 *
 * One for every socket of an asyncio Server. The listening socket stays the server's; the listener
 * only watches it. With `accepted` (TLS) each connection goes to that callable as (socket, address)
 * instead of becoming a transport here. When descriptors or memory run out, accepting stops and is
 * tried again after asyncio's ACCEPT_RETRY_DELAY. Runs on the loop's thread. */
#include "net/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    PaMember member; // first
    PaPoll poll;
    PyObject *factory;  // owned: protocol_factory()
    PyObject *sock;     // owned
    PyObject *server;   // owned, or None
    PyObject *accepted; // owned, or NULL
    PyObject *context;  // owned: each connection begins in a copy of it
    int backlog;        // most connections accepted in one turn
    int family, type, proto;
    bool open;
} PaListener;

static inline PaState *
state(const PaListener *self)
{
    return self->member.loop->sched.st;
}

/* ---- one connection */

static int
log_connection(PaListener *self, PyObject *address, PyObject *sock)
{
    PyObject *result =
        PyObject_CallMethod(state(self)->asyncio.logger, "debug", "sOOO",
                            "%r got a new connection from %r: %r", self->server, address, sock);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The socket and the address as sock.accept() gives them, which only debug mode and TLS need at
 * once. Takes fd over on every path. */
static int
make_socket_steal(PaListener *self, int fd, const PaAddr *peer, socklen_t length, PyObject **sock,
                  PyObject **address)
{
    PaState *st = state(self);
    *sock = pa_socket_new(st, self->family, self->type, self->proto, fd);
    if (*sock == NULL) {
        return -1;
    }
    *address = pa_addr_to_object(&peer->sa, length);
    if (*address == NULL && !PyErr_Occurred()) {
        *address = PyObject_CallMethodNoArgs(*sock, st->names.getpeername);
    }
    if (*address == NULL) {
        return -1;
    }
    return self->member.loop->sched.debug ? log_connection(self, *address, *sock) : 0;
}

/* The error of a factory or a transport: asyncio tells it in debug mode only. */
static void
report_failure(PaListener *self, PyObject *protocol)
{
    PaLoop *loop = self->member.loop;
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        pa_loop_callback_failed(loop, "Exit while accepting a connection");
        return;
    }
    if (loop->sched.debug) {
        PyObject *extra = PyDict_New();
        if (extra != NULL && protocol != NULL) {
            (void)PyDict_SetItem(extra, state(self)->names.protocol, protocol);
        }
        pa_loop_report(loop, "Error on transport creation for incoming connection", exc, extra);
        Py_XDECREF(extra);
    }
    Py_DECREF(exc);
}

/* Closes a socket that nobody has taken, at once and without the collector's warning. */
static void
discard(PaListener *self, PyObject *sock)
{
    PyObject *result = PyObject_CallMethodNoArgs(sock, state(self)->names.close);
    if (result == NULL) {
        pa_write_unraisable(sock);
    }
    Py_XDECREF(result);
}

/* Calls the factory and makes the transport. Takes fd over, unless sock has it, on every path. */
static void
make_transport_steal(PaListener *self, int fd, PyObject *sock, const PaAddr *peer, socklen_t length,
                     PyObject *context)
{
    PaConnectionInfo info = {
        .family = self->family,
        .type = self->type,
        .proto = self->proto,
        .peer = &peer->sa,
        .peer_length = length,
        .sock = sock,
        .server = self->server,
        .context = PY_VERSION_HEX >= 0x030f0000 ? context : NULL,
    };
    PyObject *protocol = PyObject_CallNoArgs(self->factory);
    PyObject *transport = NULL;
    if (protocol != NULL) {
        transport = pa_transport_of_connection_steal(self->member.loop, fd, &info, protocol);
    }
    else if (sock == NULL) {
        close(fd);
    }
    if (transport == NULL) {
        report_failure(self, protocol);
        if (sock != NULL) {
            discard(self, sock);
        }
    }
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
}

static void
connection_steal(PaListener *self, int fd, const PaAddr *peer, socklen_t length, PyObject *context)
{
    PyObject *sock = NULL, *address = NULL;
    bool want_socket = self->accepted != NULL || self->member.loop->sched.debug;
    if (want_socket && make_socket_steal(self, fd, peer, length, &sock, &address) < 0) {
        report_failure(self, NULL);
    }
    else if (self->accepted == NULL) {
        make_transport_steal(self, fd, sock, peer, length, context);
    }
    else {
        PyObject *result = PyObject_CallFunctionObjArgs(self->accepted, sock, address, NULL);
        if (result == NULL) {
            report_failure(self, NULL);
            discard(self, sock);
        }
        Py_XDECREF(result);
    }
    Py_XDECREF(sock);
    Py_XDECREF(address);
}

static void
connection_in_context_steal(PaListener *self, int fd, const PaAddr *peer, socklen_t length)
{
    PyObject *context = PyContext_Copy(self->context);
    if (context == NULL || PyContext_Enter(context) < 0) {
        close(fd);
        report_failure(self, NULL);
        Py_XDECREF(context);
        return;
    }
    connection_steal(self, fd, peer, length, context);
    if (PyContext_Exit(context) < 0) {
        pa_write_unraisable((PyObject *)self);
    }
    Py_DECREF(context);
}

/* ---- accepting */

static int
accept_one(int listening, PaAddr *peer, socklen_t *length)
{
    *length = sizeof(*peer);
#ifdef __linux__
    return accept4(listening, &peer->sa, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int fd = accept(listening, &peer->sa, length);
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return fd;
#endif
}

static int
schedule_retry(PaListener *self)
{
    PaState *st = state(self);
    PyObject *delay = PyObject_GetAttrString(st->asyncio.constants, "ACCEPT_RETRY_DELAY");
    PyObject *resume =
        delay == NULL ? NULL : PyObject_GetAttr((PyObject *)self, st->names._start_reading);
    PyObject *timer = NULL;
    if (resume != NULL) {
        timer = PyObject_CallMethodObjArgs((PyObject *)self->member.loop, st->names.call_later,
                                           delay, resume, NULL);
    }
    Py_XDECREF(delay);
    Py_XDECREF(resume);
    Py_XDECREF(timer);
    return timer == NULL ? -1 : 0;
}

/* The system is out of something: the socket would stay readable, so it is left alone for a while. */
static void
out_of_resources(PaListener *self)
{
    PaState *st = state(self);
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *exc = PyErr_GetRaisedException();
    pa_poll_watch(&self->poll, 0);
    PyObject *wrapped = PyObject_CallOneArg(st->asyncio.TransportSocket, self->sock);
    PyObject *extra = wrapped == NULL ? NULL : Py_BuildValue("{O:O}", st->names.socket, wrapped);
    if (extra != NULL) {
        pa_loop_report(self->member.loop, "socket.accept() out of system resource", exc, extra);
    }
    Py_XDECREF(extra);
    Py_XDECREF(wrapped);
    Py_DECREF(exc);
    if (PyErr_Occurred() || schedule_retry(self) < 0) {
        pa_loop_callback_failed(self->member.loop, "Cannot retry socket.accept()");
    }
}

/* accept() has failed; true when there may be more connections behind. */
static bool
accept_failed(PaListener *self)
{
    switch (errno) {
    case EINTR:
    case ECONNABORTED:
        return true;
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        out_of_resources(self);
        return false;
    default:
        PyErr_SetFromErrno(PyExc_OSError);
        pa_loop_callback_failed(self->member.loop, "Exception in socket.accept()");
        return false;
    }
}

static void
on_ready(PaPoll *poll, int events)
{
    PaListener *self = (PaListener *)((char *)poll - offsetof(PaListener, poll));
    if (events & PA_POLL_GONE) {
        return; /* closed behind the server's back: nothing to accept, nobody to tell */
    }
    pa_poll_queue(poll, &self->member, events);
}

static void
accept_connections(PaMember *member)
{
    PaListener *self = (PaListener *)member;
    if (pa_poll_take(&self->poll) == 0) {
        return;
    }
    for (int i = 0; i <= self->backlog && self->open; i++) {
        PaAddr peer;
        socklen_t length;
        int fd = accept_one(self->poll.fd, &peer, &length);
        if (fd >= 0) {
            connection_in_context_steal(self, fd, &peer, length);
        }
        else if (!accept_failed(self)) {
            break;
        }
    }
}

/* ---- the object */

static void
on_poll_closed(PaPoll *poll)
{
    pa_loop_unlink((PaMember *)((char *)poll - offsetof(PaListener, poll)));
}

static void
loop_closing(PaMember *member)
{
    PaListener *self = (PaListener *)member;
    if (self->open) {
        self->open = false;
        pa_poll_close(&self->poll, on_poll_closed);
    }
}

static const PaMemberKind listener_kind = {accept_connections, loop_closing};

static int
start(PaListener *self)
{
    if (pa_socket_numbers(state(self), self->sock, &self->family, &self->type, &self->proto) < 0) {
        return -1;
    }
    int fd = PyObject_AsFileDescriptor(self->sock);
    PaLoop *loop = self->member.loop;
    if (fd < 0 || pa_loop_check_closed(loop) < 0 ||
        pa_poll_open(&self->poll, loop, fd, on_ready) < 0) {
        return -1;
    }
    self->open = true;
    self->member.kind = &listener_kind;
    pa_loop_link(loop, &self->member);
    if (pa_poll_watch_now(&self->poll, UV_READABLE) < 0) {
        loop_closing(&self->member);
        return -1;
    }
    return 0;
}

static PyObject *
listener_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",    "protocol_factory", "sock",    "server",
                               "backlog", "accepted",         "context", NULL};
    PyObject *loop, *factory, *sock, *server;
    PyObject *accepted = Py_None, *context = Py_None;
    int backlog;
    PaState *st = pa_state_of_type(type);
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOi|OO:Listener", keywords,
                                                   st->loop_type, &loop, &factory, &sock, &server,
                                                   &backlog, &accepted, &context)) {
        return NULL;
    }
    PaListener *self = (PaListener *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->member.loop = (PaLoop *)Py_NewRef(loop);
    self->factory = Py_NewRef(factory);
    self->sock = Py_NewRef(sock);
    self->server = Py_NewRef(server);
    self->accepted = accepted == Py_None ? NULL : Py_NewRef(accepted);
    self->backlog = backlog;
    self->context = context == Py_None ? PyContext_CopyCurrent() : Py_NewRef(context);
    if (self->context == NULL || start(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
listener_traverse(PyObject *op, visitproc visit, void *arg)
{
    PaListener *self = (PaListener *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->member.loop);
    Py_VISIT(self->factory);
    Py_VISIT(self->sock);
    Py_VISIT(self->server);
    Py_VISIT(self->accepted);
    Py_VISIT(self->context);
    return 0;
}

static int
listener_clear(PyObject *op)
{
    PaListener *self = (PaListener *)op;
    Py_CLEAR(self->factory);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->server);
    Py_CLEAR(self->accepted);
    Py_CLEAR(self->context);
    return 0;
}

static void
listener_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    listener_clear(op);
    Py_CLEAR(((PaListener *)op)->member.loop);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Stop accepting; the listening socket itself stays open.");

static PyObject *
listener_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    loop_closing((PaMember *)self);
    Py_RETURN_NONE;
}

static PyObject *
listener_start_reading(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PaListener *self = (PaListener *)op;
    if (self->open && pa_poll_watch_now(&self->poll, UV_READABLE) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"close", listener_close, METH_NOARGS, close_doc},
    {"_start_reading", listener_start_reading, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    listener_doc,
    "Listener(loop, protocol_factory, sock, server, backlog, accepted=None, context=None)\n"
    "--\n\n"
    "Accepts the connections of a listening socket until close().\n\n"
    "Each gets a protocol of protocol_factory() and a SocketTransport; with accepted,\n"
    "accepted(socket, address) is called instead. At most backlog connections are accepted\n"
    "per turn of the loop. Raises OSError when the descriptor cannot be watched. Stands for\n"
    "what asyncio's loop._start_serving() sets up.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)listener_doc},
    {Py_tp_new, listener_new},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "pyasync._core.Listener",
    .basicsize = sizeof(PaListener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int
pa_listener_init_type(PyObject *module, PaState *st)
{
    st->listener_type = pa_add_type(module, &spec, NULL);
    return st->listener_type == NULL ? -1 : 0;
}
