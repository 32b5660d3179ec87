/* loop/sockattempt.c: what the socket operations try, at once and whenever the descriptor is ready.
 *
 * Plain sockets are read and written here, any other object through its methods. Nothing waits: the
 * descriptor's own blocking mode is left as it is. */
#include "base/addr.h"
#include "loop/sockop.h"

#include <errno.h>
#include <sys/socket.h>

int
pa_sock_descriptor(const PaState *st, PyObject *sock)
{
    PyObject *number = st->socket_fileno != NULL && pa_sock_is_plain(st, sock)
                           ? st->socket_fileno(sock, NULL)
                           : PyObject_CallMethodNoArgs(sock, st->names.fileno);
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

PyObject *
pa_sock_attempt_recv(PaSockOp *op)
{
    int fd = pa_sock_descriptor(pa_sockop_state(op), op->sock);
    char *buffer = fd < 0 ? NULL : pa_loop_read_buffer(op->member.loop);
    if (buffer == NULL) {
        return NULL;
    }
    ssize_t received = receive(fd, buffer, (size_t)op->size);
    return received < 0 ? blocked_or_raise() : PyBytes_FromStringAndSize(buffer, received);
}

PyObject *
pa_sock_attempt_recv_into(PaSockOp *op)
{
    int fd = pa_sock_descriptor(pa_sockop_state(op), op->sock);
    Py_buffer view;
    if (fd < 0 || PyObject_GetBuffer(op->args[0], &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    ssize_t received = receive(fd, view.buf, (size_t)view.len);
    int code = errno;
    PyBuffer_Release(&view);
    errno = code;
    return received < 0 ? blocked_or_raise() : PyLong_FromSsize_t(received);
}

Py_ssize_t
pa_sock_send(const PaState *st, PyObject *sock, const void *data, Py_ssize_t size)
{
    int fd = pa_sock_descriptor(st, sock);
    if (fd < 0) {
        return -1;
    }
    ssize_t sent;
    do {
        sent = send(fd, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        blocked_or_raise();
        return PyErr_Occurred() ? -1 : 0;
    }
    return sent;
}

PyObject *
pa_sock_attempt_send(PaSockOp *op)
{
    Py_ssize_t sent = pa_sock_send(pa_sockop_state(op), op->sock, (char *)op->view.buf + op->sent,
                                   op->view.len - op->sent);
    if (sent < 0) {
        return NULL;
    }
    op->sent += sent;
    return op->sent == op->view.len ? Py_NewRef(Py_None) : NULL;
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
PyObject *
pa_sock_attempt_method(PaSockOp *op)
{
    PyObject *args[3] = {op->sock, op->args[0], op->args[1]};
    PyObject *result = PyObject_VectorcallMethod(op->method, args, (size_t)op->nargs + 1, NULL);
    return result != NULL ? result : blocked_or_raised();
}

/* sock.send() of what is left, for a socket that is not plain. */
PyObject *
pa_sock_attempt_send_method(PaSockOp *op)
{
    PyObject *whole = PyMemoryView_FromObject(op->args[0]);
    PyObject *bytes = whole == NULL ? NULL : PyObject_CallMethod(whole, "cast", "s", "B");
    PyObject *rest =
        bytes == NULL ? NULL : PySequence_GetSlice(bytes, op->sent, PyObject_Size(bytes));
    Py_ssize_t left = rest == NULL ? 0 : PyObject_Size(rest);
    PyObject *count = NULL;
    if (rest != NULL) {
        count = PyObject_CallMethodOneArg(op->sock, pa_sockop_state(op)->names.send, rest);
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
    op->sent += sent;
    return sent == left ? Py_NewRef(Py_None) : NULL;
}

/* (connection, address), the connection non-blocking. */
PyObject *
pa_sock_attempt_accept(PaSockOp *op)
{
    PyObject *accepted = pa_sock_attempt_method(op);
    if (accepted == NULL) {
        return NULL;
    }
    PyObject *connection = PySequence_GetItem(accepted, 0);
    PyObject *done = NULL;
    if (connection != NULL) {
        done =
            PyObject_CallMethodOneArg(connection, pa_sockop_state(op)->names.setblocking, Py_False);
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
attempt_connected(PaSockOp *op)
{
    int fd = pa_sock_descriptor(pa_sockop_state(op), op->sock), code = 0;
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
    PyObject *exc = pa_connect_error(code, op->args[0]);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return NULL;
}

/* sock.connect(address) */
PyObject *
pa_sock_attempt_connect(PaSockOp *op)
{
    PyObject *result = pa_sock_attempt_method(op);
    if (result == NULL && !PyErr_Occurred()) {
        op->attempt = attempt_connected;
    }
    return result;
}
