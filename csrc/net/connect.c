/* net/connect.c: Connecting: a TCP connection to an IP literal under way, without a Python socket.
 *
 * Loop.create_connection() begins one where asyncio would resolve nothing, make a socket and connect
 * it, as long as nobody can tell the difference (is_usual, below): else, and when connect() fails at
 * once, begin() returns None and asyncio's own code does it, or raises. The descriptor is ours until
 * complete() hands it to a transport; abandon() or the end of the object closes it. It is watched once,
 * one-shot, until it is writable; what the kernel has registered then serves the transport. Future and
 * error appear in the turn in which asyncio's would. Runs on the loop's thread. */
#include "net/transport.h"
#include "sched/task.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    PaMember member; // first
    PaPoll poll;
    PyObject *future;      // owned; NULL when connected at once, and after the end
    PyObject *host, *port; // owned: as given
    PaIpAddr peer;
    int fd; // ours to close; -1 once it is closed or the transport's
    bool poll_open;
} Connecting;

static inline PaState *
state(const Connecting *self)
{
    return self->member.loop->sched.st;
}

/* ---- whether asyncio's code would do just this */

/* A step is (owner, name, value): owner.name has to be value, as it was on import. The loop stands
 * where the owner is None, and for its methods their functions. 1, 0, or -1 with an exception. */
static int
is_usual_step(PaLoop *loop, PyObject *step)
{
    PyObject *owner = PyTuple_GET_ITEM(step, 0), *name = PyTuple_GET_ITEM(step, 1);
    PyObject *value = PyTuple_GET_ITEM(step, 2);
    PyObject *found = PyObject_GetAttr(owner == Py_None ? (PyObject *)loop : owner, name);
    if (found == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    PyObject *now = PyMethod_Check(found) ? PyMethod_GET_FUNCTION(found) : found;
    int usual = now == value;
    Py_DECREF(found);
    return usual;
}

/* Only called to build the arguments of an audit event, which is only done when there are hooks. */
static PyObject *
note_hooks(void *audited)
{
    *(bool *)audited = true;
    Py_RETURN_NONE;
}

/* Nothing of asyncio's way is overridden or patched, and nobody is told of its sockets: not the log
 * (debug mode), no audit hook. 1, 0, or -1 with an exception. */
static int
is_usual(PaLoop *loop, PyObject *steps)
{
    if (loop->sched.debug || loop->sched.closed) {
        return 0;
    }
    int usual = 1;
    for (Py_ssize_t i = 0; usual > 0 && i < PyTuple_GET_SIZE(steps); i++) {
        PyObject *step = PyTuple_GET_ITEM(steps, i);
        usual = PyTuple_Check(step) && PyTuple_GET_SIZE(step) == 3 ? is_usual_step(loop, step) : 0;
    }
    bool audited = false;
    if (usual > 0 && PySys_Audit("pyasync.connect", "O&", note_hooks, &audited) < 0) {
        return -1;
    }
    return audited ? 0 : usual;
}

/* ---- watching */

static void
on_poll_closed(PaPoll *poll)
{
    pa_loop_unlink((PaMember *)((char *)poll - offsetof(Connecting, poll)));
}

/* `goes_on`: a transport is to have the descriptor, and what the kernel has registered for it. */
static void
stop_watching(Connecting *self, bool goes_on)
{
    if (self->poll_open) {
        self->poll_open = false;
        self->poll.oneshot = goes_on;
        pa_poll_close(&self->poll, on_poll_closed);
    }
}

static void
loop_closing(PaMember *member)
{
    stop_watching((Connecting *)member, false);
}

/* ---- the outcome */

/* The address as asyncio writes it into the message. */
static PyObject *
address_of(const Connecting *self)
{
    return self->peer.sa.sa_family == AF_INET
               ? PyTuple_Pack(2, self->host, self->port)
               : Py_BuildValue("(OOii)", self->host, self->port, 0, 0);
}

/* Gives the future the error, unless it is done (cancelled). 0 or -1. */
static int
fail(Connecting *self, PyObject *future, int code)
{
    PaNames *names = &state(self)->names;
    PyObject *done = PyObject_CallMethodNoArgs(future, names->done);
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (is_done != 0) {
        return is_done < 0 ? -1 : 0;
    }
    PyObject *address = address_of(self);
    PyObject *exc = address == NULL ? NULL : pa_connect_error(code, address);
    PyObject *result =
        exc == NULL ? NULL : PyObject_CallMethodOneArg(future, names->set_exception, exc);
    Py_XDECREF(address);
    Py_XDECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The descriptor is writable, the attempt has ended; or nobody will tell when it does. */
static void
connect_ended(PaMember *member)
{
    Connecting *self = (Connecting *)member;
    int events = pa_poll_take(&self->poll);
    if (events == 0) {
        return; /* abandoned since */
    }
    int code = events & PA_POLL_GONE ? self->poll.refusal : 0;
    socklen_t length = sizeof(code);
    if (code == 0 && getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0) {
        code = errno;
    }
    stop_watching(self, code == 0);
    PyObject *future = Py_NewRef(self->future);
    int result = code == 0 ? pa_future_wake(state(self), future) : fail(self, future, code);
    Py_DECREF(future);
    if (result < 0) {
        pa_loop_callback_failed(member->loop, "Exception in callback of a connection being made");
    }
}

static void
on_ready(PaPoll *poll, int events)
{
    Connecting *self = (Connecting *)((char *)poll - offsetof(Connecting, poll));
    pa_poll_queue(poll, &self->member, events);
}

static const PaMemberKind connecting_kind = {connect_ended, loop_closing};

/* ---- beginning */

static int
open_socket(int family)
{
#ifdef __linux__
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
#else
    int fd = socket(family, SOCK_STREAM, IPPROTO_TCP);
    if (fd >= 0) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return fd;
#endif
}

/* A new descriptor whose connection is under way (*connected false) or made; -1 when that is not to
 * be had. */
static int
start(const PaAddr *address, socklen_t length, bool *connected)
{
    int fd = open_socket(address->sa.sa_family);
    if (fd < 0) {
        return -1;
    }
    *connected = connect(fd, &address->sa, length) == 0;
    if (!*connected && errno != EINPROGRESS && errno != EINTR) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Whether the loop still has something of an earlier file with this number, which was closed behind
 * its back. 1, 0, or -1 with MemoryError. */
static int
is_haunted(PaLoop *loop, int fd)
{
    pa_fdwatch_forget(loop, fd);
    PaFdSlot *slot = pa_loop_fd_slot(loop, fd);
    return slot == NULL ? -1 : slot->transport != NULL || slot->watch != NULL || slot->poll != NULL;
}

static int
watch(Connecting *self)
{
    PaLoop *loop = self->member.loop;
    self->future = PyObject_CallMethodNoArgs((PyObject *)loop, state(self)->names.create_future);
    if (self->future == NULL || pa_loop_check_closed(loop) < 0 ||
        pa_poll_open(&self->poll, loop, self->fd, on_ready) < 0) {
        return -1;
    }
    self->poll_open = self->poll.oneshot = true;
    self->member.kind = &connecting_kind;
    pa_loop_link(loop, &self->member);
    pa_poll_watch(&self->poll, UV_WRITABLE);
    return 0;
}

PyDoc_STRVAR(
    begin_doc,
    "begin(loop, host, port, steps, /)\n--\n\n"
    "Connect to host, an IP literal, and port, a number, if asyncio would do no more.\n\n"
    "steps are (owner, name, value) for what asyncio would go through: each owner's\n"
    "attribute has to be the value still; None as owner means the loop. Returns None when\n"
    "asyncio's own code has to do it: other arguments, another value, debug mode, audit\n"
    "hooks, or a connect that fails at once.");

static PyObject *
connecting_begin(PyObject *cls, PyObject *const *args, Py_ssize_t nargs)
{
    PaState *st = pa_state_of_type((PyTypeObject *)cls);
    if (st == NULL || nargs != 4 || !PyObject_TypeCheck(args[0], st->loop_type) ||
        !PyTuple_Check(args[3])) {
        return PyErr_Format(PyExc_TypeError, "begin() takes a loop, host, port and a tuple");
    }
    PaLoop *loop = (PaLoop *)args[0];
    PaAddr address;
    socklen_t length = pa_addr_from_literal(&address, args[1], args[2]);
    int usual = length == 0 ? 0 : is_usual(loop, args[3]);
    bool connected;
    int fd = usual <= 0 ? -1 : start(&address, length, &connected);
    if (fd < 0) {
        return usual < 0 ? NULL : Py_NewRef(Py_None);
    }
    int haunted = is_haunted(loop, fd);
    Connecting *self =
        haunted != 0 ? NULL : (Connecting *)st->connecting_type->tp_alloc(st->connecting_type, 0);
    if (self == NULL) {
        close(fd);
        return haunted > 0 ? Py_NewRef(Py_None) : NULL;
    }
    self->fd = fd;
    self->member.loop = (PaLoop *)Py_NewRef(loop);
    self->host = Py_NewRef(args[1]);
    self->port = Py_NewRef(args[2]);
    (void)pa_addr_keep_ip(&self->peer, &address.sa);
    if (!connected && watch(self) < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* ---- the end */

/* The peer is the address connected to, except that the kernel takes this host for "any", which may
 * be an IPv4 address in IPv6 form, too. NULL: to be asked for. */
static const struct sockaddr *
known_peer(const Connecting *self)
{
    const struct in6_addr *in6 = &self->peer.in6.sin6_addr;
    bool any = self->peer.sa.sa_family == AF_INET
                   ? self->peer.in.sin_addr.s_addr == htonl(INADDR_ANY)
                   : IN6_IS_ADDR_UNSPECIFIED(in6) || IN6_IS_ADDR_V4MAPPED(in6);
    return any ? NULL : &self->peer.sa;
}

PyDoc_STRVAR(complete_doc,
             "complete($self, protocol, waiter, context, /)\n--\n\n"
             "Return the SocketTransport of the connection, which owns it from then on.\n\n"
             "waiter is a future that gets None as its result after connection_made(); context is\n"
             "the transport's from Python 3.15 on, else None. Raises RuntimeError when not\n"
             "connected or when the loop is closed.");

static PyObject *
connecting_complete(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Connecting *self = (Connecting *)op;
    if (nargs != 3) {
        return PyErr_Format(PyExc_TypeError, "complete() takes 3 arguments, got %zd", nargs);
    }
    if (self->fd < 0 || self->poll_open) {
        PyErr_SetString(PyExc_RuntimeError, "there is no connection to complete");
        return NULL;
    }
    if (pa_loop_check_closed(self->member.loop) < 0) {
        return NULL;
    }
    int fd = self->fd;
    self->fd = -1;
    PaConnectionInfo info = {
        .family = self->peer.sa.sa_family,
        .type = SOCK_STREAM,
        .proto = IPPROTO_TCP,
        .peer = known_peer(self),
        .peer_length = sizeof(self->peer),
        .server = Py_None,
        .waiter = args[1],
        .context = args[2],
    };
    return pa_transport_of_connection_steal(self->member.loop, fd, &info, args[0]);
}

static void
close_descriptor(Connecting *self)
{
    stop_watching(self, false);
    if (self->fd >= 0) {
        close(self->fd);
        self->fd = -1;
    }
}

PyDoc_STRVAR(abandon_doc,
             "abandon($self, /)\n--\n\n"
             "Close the descriptor, unless it is a transport's, and forget the future.");

static PyObject *
connecting_abandon(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Connecting *self = (Connecting *)op;
    close_descriptor(self);
    Py_CLEAR(self->future); /* whose exception's traceback has the coroutine, and that us */
    Py_RETURN_NONE;
}

/* ---- the object */

static int
connecting_traverse(PyObject *op, visitproc visit, void *arg)
{
    Connecting *self = (Connecting *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->member.loop);
    Py_VISIT(self->future);
    return 0;
}

static int
connecting_clear(PyObject *op)
{
    Py_CLEAR(((Connecting *)op)->future);
    return 0;
}

static void
connecting_dealloc(PyObject *op)
{
    Connecting *self = (Connecting *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    close_descriptor(self); /* the loop holds a reference while the poll is open */
    connecting_clear(op);
    Py_CLEAR(self->host);
    Py_CLEAR(self->port);
    Py_CLEAR(self->member.loop);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(
    connecting_doc,
    "A connection being made for Loop.create_connection(): await its future unless that is\n"
    "None, then call complete(), or abandon() when that is not to be.");

static PyMethodDef methods[] = {
    {"begin", (PyCFunction)(void (*)(void))connecting_begin, METH_FASTCALL | METH_CLASS, begin_doc},
    {"complete", (PyCFunction)(void (*)(void))connecting_complete, METH_FASTCALL, complete_doc},
    {"abandon", connecting_abandon, METH_NOARGS, abandon_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"future", T_OBJECT, offsetof(Connecting, future), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)connecting_doc},
    {Py_tp_dealloc, connecting_dealloc},
    {Py_tp_traverse, connecting_traverse},
    {Py_tp_clear, connecting_clear},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "pyasync._core.Connecting",
    .basicsize = sizeof(Connecting),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

int
pa_connecting_init_type(PyObject *module, PaState *st)
{
    st->connecting_type = pa_add_type(module, &spec, NULL);
    return st->connecting_type == NULL ? -1 : 0;
}
