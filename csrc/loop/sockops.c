/* loop/sockops.c: how the loop's sock_*() operations on bare sockets begin.
 *
 * Each checks its arguments, makes a SocketOperation and lets it attempt at once. The coroutines
 * around this are in pyasync/loop.py: they await the operation, which waits only when the attempt
 * would have blocked (sockwait.c), and take its result. Plain sockets are read and written in C, any
 * other object through its methods. */
#include "base/addr.h"
#include "loop/sockop.h"

/* In debug mode a socket that may block is refused. */
static int
check_blocking(PaLoop *loop, PyObject *sock)
{
    PyObject *timeout = PyObject_CallMethodNoArgs(sock, loop->sched.st->names.gettimeout);
    PyObject *zero = PyLong_FromLong(0);
    int blocking =
        timeout == NULL || zero == NULL ? -1 : PyObject_RichCompareBool(timeout, zero, Py_NE);
    Py_XDECREF(timeout);
    Py_XDECREF(zero);
    if (blocking > 0) {
        PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    }
    return blocking == 0 ? 0 : -1;
}

/* The operation, args[0] being the socket, after checks of it and of the number of arguments. */
static PaSockOp *
prepare(PyObject *self, PyObject *const *args, Py_ssize_t nargs, int wanted, PyObject *method,
        int event)
{
    PaLoop *loop = (PaLoop *)self;
    const PaState *st = loop->sched.st;
    if (nargs != wanted) {
        PyErr_Format(PyExc_TypeError, "%d arguments are wanted, got %zd", wanted, nargs);
        return NULL;
    }
    if (!pa_sock_is_plain(st, args[0])) {
        PyObject *done = PyObject_CallOneArg(st->asyncio.check_ssl_socket, args[0]);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    if (loop->sched.debug && check_blocking(loop, args[0]) < 0) {
        return NULL;
    }
    return pa_sockop_new(loop, args, nargs, method, event);
}

/* For an exception that is raised. */
static PyObject *
give_up_steal(PaSockOp *op)
{
    PyObject *exc = PyErr_GetRaisedException();
    Py_DECREF(op);
    PyErr_SetRaisedException(exc);
    return NULL;
}

/* Sets an attempt that runs no Python code. */
static inline void
try_in_c(PaSockOp *op, PaSockAttempt attempt)
{
    op->attempt = attempt;
    op->needs_context = false;
}

/* The operation, after its first attempt; NULL for NULL. */
static PyObject *
begin_steal(PaSockOp *op)
{
    if (op == NULL) {
        return NULL;
    }
    PyObject *result = op->attempt(op);
    if (result != NULL) {
        pa_sockop_done_steal(op, result);
    }
    else if (PyErr_Occurred()) {
        return give_up_steal(op);
    }
    return (PyObject *)op;
}

static inline PaNames *
names_of(PyObject *self)
{
    return &((PaLoop *)self)->sched.st->names;
}

static inline bool
is_plain(const PaSockOp *op)
{
    return pa_sock_is_plain(pa_sockop_state(op), op->sock);
}

static PyObject *
start_recv(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = prepare(self, args, nargs, 2, names_of(self)->recv, UV_READABLE);
    if (op != NULL && is_plain(op) && PyLong_CheckExact(args[1])) {
        int overflow;
        long size = PyLong_AsLongAndOverflow(args[1], &overflow);
        if (size > 0 && size <= PA_READ_BUFFER_SIZE) {
            op->size = size;
            try_in_c(op, pa_sock_attempt_recv);
        }
    }
    return begin_steal(op);
}

static PyObject *
start_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = prepare(self, args, nargs, 2, names_of(self)->recv_into, UV_READABLE);
    if (op == NULL) {
        return NULL;
    }
    bool writable = PyByteArray_CheckExact(args[1]) ||
                    (PyMemoryView_Check(args[1]) && !PyMemoryView_GET_BUFFER(args[1])->readonly &&
                     PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(args[1]), 'C'));
    if (writable && is_plain(op) && PyObject_Size(args[1]) > 0) {
        try_in_c(op, pa_sock_attempt_recv_into);
    }
    return PyErr_Occurred() ? give_up_steal(op) : begin_steal(op);
}

static PyObject *
start_recvfrom(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_steal(prepare(self, args, nargs, 2, names_of(self)->recvfrom, UV_READABLE));
}

/* The size may be 0: that of the buffer. */
static PyObject *
start_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = prepare(self, args, nargs, 3, names_of(self)->recvfrom_into, UV_READABLE);
    if (op == NULL) {
        return NULL;
    }
    int given = PyObject_IsTrue(args[2]);
    Py_ssize_t size = given == 0 ? PyObject_Size(args[1]) : 0;
    if (given < 0 || size < 0) {
        return give_up_steal(op);
    }
    if (!given) {
        PyObject *count = PyLong_FromSsize_t(size);
        if (count == NULL) {
            return give_up_steal(op);
        }
        Py_SETREF(op->args[1], count);
    }
    return begin_steal(op);
}

/* Nothing is to be checked or held for it. */
static inline bool
is_simple_sendall(const PaSched *sched, PyObject *const *args, Py_ssize_t nargs)
{
    return nargs == 2 && PyBytes_CheckExact(args[1]) && pa_sock_is_plain(sched->st, args[0]) &&
           !sched->debug;
}

/* The operation, to go on behind the first bytes, which were sent. */
static PyObject *
send_rest(PyObject *self, PyObject *const *args, Py_ssize_t sent)
{
    PaSockOp *op = pa_sockop_new((PaLoop *)self, args, 2, names_of(self)->send, UV_WRITABLE);
    if (op == NULL || PyObject_GetBuffer(args[1], &op->view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(op);
        return NULL;
    }
    op->has_view = true;
    op->sent = sent;
    try_in_c(op, pa_sock_attempt_send);
    return (PyObject *)op;
}

/* None when a simple one was done at once: the usual way needs no operation. */
static PyObject *
start_sendall(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const PaSched *sched = &((PaLoop *)self)->sched;
    if (is_simple_sendall(sched, args, nargs)) {
        Py_ssize_t size = PyBytes_GET_SIZE(args[1]);
        Py_ssize_t sent = pa_sock_send(sched->st, args[0], PyBytes_AS_STRING(args[1]), size);
        if (sent < 0 || sent < size) {
            return sent < 0 ? NULL : send_rest(self, args, sent);
        }
        Py_RETURN_NONE;
    }
    PaSockOp *op = prepare(self, args, nargs, 2, names_of(self)->send, UV_WRITABLE);
    if (op == NULL || !PyObject_CheckBuffer(args[1])) {
        return begin_steal(op); /* raises what the socket has to say */
    }
    if (!is_plain(op)) {
        op->attempt = pa_sock_attempt_send_method;
        return begin_steal(op);
    }
    if (PyObject_GetBuffer(args[1], &op->view, PyBUF_SIMPLE) < 0) {
        return give_up_steal(op);
    }
    op->has_view = true;
    try_in_c(op, pa_sock_attempt_send);
    return begin_steal(op);
}

static PyObject *
start_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return begin_steal(prepare(self, args, nargs, 3, names_of(self)->sendto, UV_WRITABLE));
}

static PyObject *
start_accept(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = prepare(self, args, nargs, 1, names_of(self)->accept, UV_READABLE);
    if (op != NULL) {
        op->attempt = pa_sock_attempt_accept;
    }
    return begin_steal(op);
}

/* NotImplemented when the address may have to be resolved, or the socket is not plain. */
static PyObject *
start_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = prepare(self, args, nargs, 2, names_of(self)->connect, UV_WRITABLE);
    if (op == NULL) {
        return NULL;
    }
    int family, type, proto, is_address = 0;
    PaAddr address;
    if (is_plain(op)) {
        if (pa_socket_numbers(pa_sockop_state(op), op->sock, &family, &type, &proto) < 0) {
            return give_up_steal(op);
        }
        is_address = pa_addr_from_object(&address, family, op->args[0]);
    }
    if (is_address == 0) {
        Py_DECREF(op);
        Py_RETURN_NOTIMPLEMENTED;
    }
    op->attempt = pa_sock_attempt_connect;
    return begin_steal(op);
}

#define METHOD(name) ((PyCFunction)(void (*)(void))(name)), METH_FASTCALL, NULL

PyMethodDef pa_loop_sock_methods[] = {
    {"_start_recv", METHOD(start_recv)},
    {"_start_recv_into", METHOD(start_recv_into)},
    {"_start_recvfrom", METHOD(start_recvfrom)},
    {"_start_recvfrom_into", METHOD(start_recvfrom_into)},
    {"_start_sendall", METHOD(start_sendall)},
    {"_start_sendto", METHOD(start_sendto)},
    {"_start_accept", METHOD(start_accept)},
    {"_start_connect", METHOD(start_connect)},
    {NULL, NULL, 0, NULL},
};
