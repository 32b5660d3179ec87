/* loop/sockops.c: the loop's sock_*() operations on bare sockets.
 *
 * Each begins with an attempt at once. If that would block, a SocketOperation watches the descriptor
 * and repeats the attempt in a Handle, as asyncio does: what is ready in the same turn may still
 * cancel it, and then nothing has been received. The coroutines around this are in pyasync/loop.py:
 * they await operation.future and call operation.end(). A second operation on a descriptor replaces
 * the first, which then waits until it is cancelled. Plain sockets are read and written here, any
 * other object through its methods. */
#include "base/addr.h"
#include "loop/loop.h"
#include "sched/handle.h"

#include <errno.h>
#include <structmember.h> // PyMemberDef of 3.11
#include <sys/socket.h>

typedef struct Call Call;

/* The result as a new reference; NULL without an exception when it would block, NULL with one. */
typedef PyObject *(*Attempt)(Call *call);

/* What is to be done: on the stack for the first attempt, then in the operation. */
struct Call {
    PaLoop *loop;
    PyObject *sock;
    PyObject *args[3];
    int nargs;
    PyObject *method; // interned name, for attempt_method()
    Attempt attempt;
    int event;       // UV_READABLE or UV_WRITABLE: what to wait for
    Py_ssize_t size; // most to receive
    Py_buffer view;  // of the data being sent, when has_view
    Py_ssize_t sent;
    bool has_view;
};

typedef struct {
    PyObject_HEAD
    Call call;        // owns loop, sock and args
    PyObject *future; // owned
    PyObject *handle; // owned, NULL when it does not wait
    int fd;
} Operation;

static inline PaState *
call_state(const Call *call)
{
    return call->loop->sched.st;
}

static void
release_view(Call *call)
{
    if (call->has_view) {
        call->has_view = false;
        PyBuffer_Release(&call->view);
    }
}

/* ---- attempts */

/* The descriptor that the socket has now; -1 with OSError once it is closed. */
static int
descriptor(const Call *call)
{
    PyObject *number = PyObject_CallMethodNoArgs(call->sock, call_state(call)->names.fileno);
    long fd = number == NULL ? -1 : PyLong_AsLong(number);
    Py_XDECREF(number);
    if (fd < 0 && !PyErr_Occurred()) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return (int)fd;
}

/* Raises errno, unless it says "not now". */
static PyObject *
blocked_or_raise(void)
{
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return NULL;
}

static ssize_t
receive(int fd, void *buffer, size_t size)
{
    ssize_t received;
    do {
        received = recv(fd, buffer, size, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    return received;
}

static PyObject *
attempt_recv(Call *call)
{
    int fd = descriptor(call);
    char *buffer = fd < 0 ? NULL : pa_loop_read_buffer(call->loop);
    if (buffer == NULL) {
        return NULL;
    }
    ssize_t received = receive(fd, buffer, (size_t)call->size);
    return received < 0 ? blocked_or_raise() : PyBytes_FromStringAndSize(buffer, received);
}

static PyObject *
attempt_recv_into(Call *call)
{
    int fd = descriptor(call);
    Py_buffer view;
    if (fd < 0 || PyObject_GetBuffer(call->args[0], &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    ssize_t received = receive(fd, view.buf, (size_t)view.len);
    int code = errno;
    PyBuffer_Release(&view);
    errno = code;
    return received < 0 ? blocked_or_raise() : PyLong_FromSsize_t(received);
}

/* socket.send() of what is left. Bytes sent, -1 with errno set. */
static ssize_t
send_rest(const Call *call, int fd)
{
    ssize_t sent;
    do {
        sent = send(fd, (char *)call->view.buf + call->sent, (size_t)(call->view.len - call->sent),
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

static PyObject *
attempt_send(Call *call)
{
    int fd = descriptor(call);
    if (fd < 0) {
        return NULL;
    }
    ssize_t sent = send_rest(call, fd);
    if (sent < 0) {
        return blocked_or_raise();
    }
    call->sent += sent;
    return call->sent == call->view.len ? Py_NewRef(Py_None) : NULL;
}

/* NULL either way; an exception that says "not now" is cleared. */
static PyObject *
blocked_or_raised(void)
{
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
    }
    return NULL;
}

/* sock.method(*args) */
static PyObject *
attempt_method(Call *call)
{
    PyObject *args[4] = {call->sock, call->args[0], call->args[1], call->args[2]};
    PyObject *result = PyObject_VectorcallMethod(call->method, args, (size_t)call->nargs + 1, NULL);
    return result != NULL ? result : blocked_or_raised();
}

/* sock.send() of what is left, for a socket that is not plain. */
static PyObject *
attempt_send_method(Call *call)
{
    PyObject *whole = PyMemoryView_FromObject(call->args[0]);
    PyObject *bytes = whole == NULL ? NULL : PyObject_CallMethod(whole, "cast", "s", "B");
    PyObject *rest =
        bytes == NULL ? NULL : PySequence_GetSlice(bytes, call->sent, PyObject_Size(bytes));
    Py_ssize_t left = rest == NULL ? 0 : PyObject_Size(rest);
    PyObject *count = NULL;
    if (rest != NULL) {
        count = PyObject_CallMethodOneArg(call->sock, call_state(call)->names.send, rest);
    }
    Py_XDECREF(whole);
    Py_XDECREF(bytes);
    Py_XDECREF(rest);
    if (count == NULL) {
        return blocked_or_raised();
    }
    Py_ssize_t sent = PyLong_AsSsize_t(count);
    Py_DECREF(count);
    if (sent < 0) {
        return NULL;
    }
    call->sent += sent;
    return sent == left ? Py_NewRef(Py_None) : NULL;
}

/* (connection, address), the connection non-blocking. */
static PyObject *
attempt_accept(Call *call)
{
    PyObject *accepted = attempt_method(call);
    if (accepted == NULL) {
        return NULL;
    }
    PyObject *connection = PySequence_GetItem(accepted, 0);
    PyObject *done = NULL;
    if (connection != NULL) {
        done = PyObject_CallMethodOneArg(connection, call_state(call)->names.setblocking, Py_False);
        Py_DECREF(connection);
    }
    if (done == NULL) {
        Py_CLEAR(accepted);
    }
    Py_XDECREF(done);
    return accepted;
}

PyObject *
pa_connect_error(int code, PyObject *address)
{
    PyObject *message = PyUnicode_FromFormat("Connect call failed %S", address);
    PyObject *exc =
        message == NULL ? NULL : PyObject_CallFunction(PyExc_OSError, "iO", code, message);
    Py_XDECREF(message);
    return exc;
}

/* How a connect that could not be completed at once has ended. */
static PyObject *
attempt_connected(Call *call)
{
    int fd = descriptor(call), code = 0;
    socklen_t length = sizeof(code);
    if (fd < 0) {
        return NULL;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (code == 0) {
        Py_RETURN_NONE;
    }
    PyObject *exc = pa_connect_error(code, call->args[0]);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return NULL;
}

/* sock.connect(address) */
static PyObject *
attempt_connect(Call *call)
{
    PyObject *result = attempt_method(call);
    if (result == NULL && !PyErr_Occurred()) {
        call->attempt = attempt_connected;
    }
    return result;
}

/* ---- the operation: a callable, to be run when the descriptor is ready */

static int
operation_stop(Operation *op)
{
    release_view(&op->call);
    PyObject *handle = op->handle;
    op->handle = NULL;
    int result = 0;
    if (handle != NULL) {
        result = pa_fdwatch_remove(op->call.loop, op->fd, op->call.event, handle);
        Py_DECREF(handle);
    }
    return result;
}

/* Completes the future with the result, or with the raised exception. */
static int
operation_finish_steal(Operation *op, PyObject *result)
{
    PaNames *names = &call_state(&op->call)->names;
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *done = NULL;
    if (operation_stop(op) == 0) {
        done = exc == NULL ? PyObject_CallMethodOneArg(op->future, names->set_result, result)
                           : PyObject_CallMethodOneArg(op->future, names->set_exception, exc);
    }
    Py_XDECREF(result);
    Py_XDECREF(exc);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Another attempt, unless the future was cancelled meanwhile. 0, or -1 with an exit raised. */
static int
operation_run(Operation *op)
{
    PyObject *done = PyObject_CallMethodNoArgs(op->future, call_state(&op->call)->names.done);
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (is_done != 0 || op->handle == NULL) {
        return is_done < 0 ? -1 : 0;
    }
    PyObject *result = op->call.attempt(&op->call);
    if (result == NULL && (!PyErr_Occurred() || pa_sched_is_exit_raised())) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return operation_finish_steal(op, result);
}

static PyObject *
operation_call(PyObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Py_INCREF(self);
    int result = operation_run((Operation *)self);
    Py_DECREF(self);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(end_doc, "end($self, /)\n--\n\n"
                      "Watch the descriptor no more, and give back the caller's buffer.");

static PyObject *
operation_end(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (operation_stop((Operation *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
operation_traverse(PyObject *self, visitproc visit, void *arg)
{
    Operation *op = (Operation *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->call.loop);
    Py_VISIT(op->call.sock);
    for (int i = 0; i < op->call.nargs; i++) {
        Py_VISIT(op->call.args[i]);
    }
    if (op->call.has_view) {
        Py_VISIT(op->call.view.obj);
    }
    Py_VISIT(op->future);
    Py_VISIT(op->handle);
    return 0;
}

static int
operation_clear(PyObject *self)
{
    Operation *op = (Operation *)self;
    release_view(&op->call);
    Py_CLEAR(op->handle);
    Py_CLEAR(op->future);
    Py_CLEAR(op->call.sock);
    while (op->call.nargs > 0) {
        PyObject *arg = op->call.args[--op->call.nargs];
        Py_DECREF(arg);
    }
    return 0;
}

static void
operation_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    operation_clear(self);
    Py_CLEAR(((Operation *)self)->call.loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- starting */

/* An operation that waits for its descriptor. Moves the call's view into it. */
static PyObject *
operation_new(Call *call)
{
    int fd = descriptor(call);
    PyTypeObject *type = call_state(call)->socket_operation_type;
    Operation *op = fd < 0 ? NULL : (Operation *)type->tp_alloc(type, 0);
    if (op == NULL) {
        return NULL;
    }
    op->call = *call;
    call->has_view = false;
    Py_INCREF(call->loop);
    Py_INCREF(call->sock);
    for (int i = 0; i < call->nargs; i++) {
        Py_INCREF(call->args[i]);
    }
    op->fd = fd;
    PyObject *loop = (PyObject *)call->loop;
    op->future = PyObject_CallMethodNoArgs(loop, call_state(call)->names.create_future);
    if (op->future != NULL) {
        op->handle = pa_fdwatch_add(call->loop, fd, call->event, (PyObject *)op);
    }
    if (op->handle == NULL) {
        Py_CLEAR(op);
    }
    return (PyObject *)op;
}

/* The result of the first attempt, or the operation that goes on with it. */
static PyObject *
begin(Call *call)
{
    PyObject *result = call->attempt(call);
    if (result == NULL && !PyErr_Occurred()) {
        result = operation_new(call);
    }
    PyObject *exc = PyErr_GetRaisedException();
    release_view(call);
    PyErr_SetRaisedException(exc);
    return result;
}

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

static inline bool
is_plain(PaLoop *loop, PyObject *sock)
{
    return (PyObject *)Py_TYPE(sock) == loop->sched.st->asyncio.socket;
}

/* Checks the socket and the number of arguments, args[0] being the socket. */
static int
prepare(Call *call, PyObject *self, PyObject *const *args, Py_ssize_t nargs, int wanted, int event)
{
    PaLoop *loop = (PaLoop *)self;
    if (nargs != wanted) {
        PyErr_Format(PyExc_TypeError, "%d arguments are wanted, got %zd", wanted, nargs);
        return -1;
    }
    *call = (Call){.loop = loop, .sock = args[0], .nargs = wanted - 1, .event = event};
    for (int i = 1; i < wanted; i++) {
        call->args[i - 1] = args[i];
    }
    call->attempt = attempt_method;
    if (!is_plain(loop, args[0])) {
        PyObject *done = PyObject_CallOneArg(loop->sched.st->asyncio.check_ssl_socket, args[0]);
        if (done == NULL) {
            return -1;
        }
        Py_DECREF(done);
    }
    return loop->sched.debug ? check_blocking(loop, args[0]) : 0;
}

static PyObject *
start_recv(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 2, UV_READABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.recv;
    if (is_plain(call.loop, call.sock) && PyLong_CheckExact(args[1])) {
        int overflow;
        long size = PyLong_AsLongAndOverflow(args[1], &overflow);
        if (size > 0 && size <= PA_READ_BUFFER_SIZE) {
            call.size = size;
            call.attempt = attempt_recv;
        }
    }
    return begin(&call);
}

static PyObject *
start_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 2, UV_READABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.recv_into;
    bool writable = PyByteArray_CheckExact(args[1]) ||
                    (PyMemoryView_Check(args[1]) && !PyMemoryView_GET_BUFFER(args[1])->readonly &&
                     PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(args[1]), 'C'));
    if (writable && is_plain(call.loop, call.sock) && PyObject_Size(args[1]) > 0) {
        call.attempt = attempt_recv_into;
    }
    return PyErr_Occurred() ? NULL : begin(&call);
}

static PyObject *
start_recvfrom(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 2, UV_READABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.recvfrom;
    return begin(&call);
}

/* The size may be 0: that of the buffer. */
static PyObject *
start_recvfrom_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 3, UV_READABLE) < 0) {
        return NULL;
    }
    int given = PyObject_IsTrue(args[2]);
    Py_ssize_t size = given == 0 ? PyObject_Size(args[1]) : 0;
    if (given < 0 || size < 0) {
        return NULL;
    }
    PyObject *count = given ? Py_NewRef(args[2]) : PyLong_FromSsize_t(size);
    if (count == NULL) {
        return NULL;
    }
    call.args[1] = count;
    call.method = call_state(&call)->names.recvfrom_into;
    PyObject *result = begin(&call);
    Py_DECREF(count);
    return result;
}

static PyObject *
start_sendall(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 2, UV_WRITABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.send;
    if (!PyObject_CheckBuffer(args[1])) {
        return begin(&call); /* raises what the socket has to say */
    }
    if (!is_plain(call.loop, call.sock)) {
        call.attempt = attempt_send_method;
        return begin(&call);
    }
    if (PyObject_GetBuffer(args[1], &call.view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    call.has_view = true;
    call.attempt = attempt_send;
    return begin(&call);
}

static PyObject *
start_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 3, UV_WRITABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.sendto;
    return begin(&call);
}

static PyObject *
start_accept(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 1, UV_READABLE) < 0) {
        return NULL;
    }
    call.method = call_state(&call)->names.accept;
    call.attempt = attempt_accept;
    return begin(&call);
}

/* NotImplemented when the address may have to be resolved, or the socket is not plain. */
static PyObject *
start_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    Call call;
    if (prepare(&call, self, args, nargs, 2, UV_WRITABLE) < 0) {
        return NULL;
    }
    int family, type, proto;
    PaAddr address;
    if (!is_plain(call.loop, call.sock)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (pa_socket_numbers(call_state(&call), call.sock, &family, &type, &proto) < 0) {
        return NULL;
    }
    if (pa_addr_from_object(&address, family, call.args[0]) == 0) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    call.method = call_state(&call)->names.connect;
    call.attempt = attempt_connect;
    return begin(&call);
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

/* ---- type */

PyDoc_STRVAR(operation_doc,
             "A sock_*() operation that would have blocked: await its future, then call end().");

static PyMethodDef operation_methods[] = {
    {"end", operation_end, METH_NOARGS, end_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef operation_members[] = {
    {"future", T_OBJECT_EX, offsetof(Operation, future), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_doc, (void *)operation_doc}, {Py_tp_call, operation_call},
    {Py_tp_dealloc, operation_dealloc}, {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},     {Py_tp_methods, operation_methods},
    {Py_tp_members, operation_members}, {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "pyasync._core.SocketOperation",
    .basicsize = sizeof(Operation),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = operation_slots,
};

int
pa_socket_operation_init_type(PyObject *module, PaState *st)
{
    st->socket_operation_type = pa_add_type(module, &operation_spec, NULL);
    return st->socket_operation_type == NULL ? -1 : 0;
}
