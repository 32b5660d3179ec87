/* net/write.c: from write() to the kernel. The only file that sends.
 *
 * write() queues a reference to the bytes; what one callback or one batch wrote leaves as one
 * vectored system call: soon after the protocol's method returned, or before the loop polls
 * (flush.c). It leaves inside write() when the queue may stay above the high-water mark, when many
 * writes wait, when the data is not immutable bytes, and when no poll of this thread's loop will come.
 * A full socket sets write_blocked, and then nothing is sent until UV_WRITABLE. So, outside of these
 * functions, a queue that is not blocked is either empty or will be flushed. */
#include "net/syscalls.h"
#include "net/transport.h"

#include <errno.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/sockios.h> // SIOCOUTQ
#endif

/* Bytes above the high-water mark that may wait for the end of the batch, and those of all transports
 * that have such: memory that their program would otherwise have back sooner. */
#define MOST_DEFERRED        ((size_t)256 * 1024)
#define MOST_DEFERRED_IN_ALL ((size_t)4 * 1024 * 1024)

#define LARGE_WRITE ((Py_ssize_t)32 * 1024) // bytes whose memory is better used again soon

/* Writes that may wait: one that goes on writing without giving way learns by then that the peer has
 * gone. */
#define MOST_PIECES_WAITING 256

/* What a call that sends takes of SO_SNDBUF beside twice its bytes: a packet for the last few of them. */
#define CALL_OVERHEAD ((size_t)4 * 1024)

#ifdef IOV_MAX
#define CHUNKS_PER_CALL IOV_MAX
#else
#define CHUNKS_PER_CALL 1024
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef MSG_MORE
#define MSG_MORE 0
#endif

/* ---- sending */

/* The socket is sure to take that much less than before, until it is asked again. */
static void
took_room(PaTransport *t, size_t sent)
{
    size_t taken = sent + CALL_OVERHEAD;
    t->room = t->room > taken ? t->room - taken : 0;
}

static int
send_flags(const PaTransport *t)
{
    return MSG_DONTWAIT | MSG_NOSIGNAL | (t->more_follows ? MSG_MORE : 0);
}

/* After every system call that sends. */
static void
was_sent(PaTransport *t, ssize_t sent)
{
    t->deferred = false;
    if (t->room > 0) {
        took_room(t, sent < 0 ? 0 : (size_t)sent);
    }
}

/* Bytes sent, -1 with errno set. */
static ssize_t
send_piece(PaTransport *t, const char *data, size_t size)
{
    ssize_t sent;
    do {
        sent = pa_send(t->fd, data, size, send_flags(t));
    } while (sent < 0 && errno == EINTR);
    was_sent(t, sent);
    return sent;
}

/* The same of several pieces. */
static ssize_t
send_vector(PaTransport *t, struct iovec *iov, int count)
{
    if (count == 1) {
        return send_piece(t, iov[0].iov_base, iov[0].iov_len);
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t sent;
    do {
        sent = sendmsg(t->fd, &message, send_flags(t));
    } while (sent < 0 && errno == EINTR);
    was_sent(t, sent);
    return sent;
}

static void
block(PaTransport *t)
{
    t->write_blocked = true;
    t->room = 0;
    pa_transport_watch(t, false);
}

/* Sends the queue, then `more` if it is given and all before it went out; *more_sent is how much of
 * it did. Blocks the queue when the socket is full. 0, or -1 with OSError. */
static int
send_queue(PaTransport *t, const Py_buffer *more, size_t *more_sent)
{
    struct iovec iov[CHUNKS_PER_CALL];
    size_t more_size = more == NULL ? 0 : (size_t)more->len;
    while (t->queue.size + more_size > 0) {
        int count = pa_queue_peek(&t->queue, iov, CHUNKS_PER_CALL - 1);
        size_t wanted = 0;
        for (int i = 0; i < count; i++) {
            wanted += iov[i].iov_len;
        }
        if (more_size > 0 && wanted == t->queue.size) {
            iov[count].iov_base = more->buf;
            iov[count].iov_len = more_size;
            count++;
            wanted += more_size;
        }
        ssize_t sent = send_vector(t, iov, count);
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        size_t left = sent < 0 ? 0 : (size_t)sent;
        bool full = left < wanted;
        size_t of_queue = left < t->queue.size ? left : t->queue.size;
        pa_queue_consume(&t->queue, of_queue);
        if (left > of_queue) {
            *more_sent = left - of_queue;
            more_size = 0;
        }
        if (full) {
            block(t);
            return 0;
        }
    }
    return 0;
}

/* The same for a queue of one piece, which is what most are. One call, also when the socket does not take
 * all: when the peer has closed, what it sent before has to be read before the next call fails. */
static int
send_only_piece(PaTransport *t)
{
    const char *piece = PyBytes_AS_STRING(pa_queue_first(&t->queue)) + t->queue.offset;
    ssize_t sent = send_piece(t, piece, t->queue.size);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (sent > 0) {
        pa_queue_consume(&t->queue, (size_t)sent);
    }
    if (t->queue.count > 0) {
        block(t);
    }
    return 0;
}

/* send_queue() has failed outside of a poll. asyncio would have failed inside write(), so what comes of
 * it does not run in the context of whoever happens to flush. */
static int
write_failed(PaTransport *t)
{
    static const char message[] = "Fatal write error on socket transport";
    if (!t->member.loop->flushing || t->read_context == NULL) {
        return pa_transport_failed(t, message);
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *context = Py_NewRef(t->read_context);
    bool entered = PyContext_Enter(context) == 0;
    if (!entered) {
        PyErr_Clear(); /* whoever runs the loop is in it already */
    }
    int result = pa_transport_fatal_error(t, exc, message);
    PyObject *raised = PyErr_GetRaisedException();
    if (entered && PyContext_Exit(context) < 0) {
        pa_write_unraisable((PyObject *)t);
    }
    PyErr_SetRaisedException(raised);
    Py_DECREF(context);
    Py_DECREF(exc);
    return result;
}

/* What before_flush() writes is sent by the flush that comes. */
int
pa_transport_fill(PaTransport *t)
{
    int (*fill)(PaTransport *) = t->before_flush;
    if (fill == NULL) {
        return 0;
    }
    bool nested = t->in_callback;
    t->before_flush = NULL;
    t->in_callback = true;
    int result = fill(t);
    t->in_callback = nested;
    return result;
}

int
pa_transport_flush(PaTransport *t)
{
    pa_transport_flush_unlink(t);
    if (pa_transport_fill(t) < 0) {
        return -1;
    }
    if (t->queue.count == 0 || t->write_blocked || t->conn_lost) {
        return 0;
    }
    int result = t->queue.count == 1 ? send_only_piece(t) : send_queue(t, NULL, NULL);
    if (result < 0) {
        return write_failed(t);
    }
    return t->write_blocked ? pa_transport_maybe_pause(t) : 0;
}

/* ---- flow control */

/* protocol.name(); what it raises is reported under `message`. */
static int
tell_protocol(PaTransport *t, PyObject *name, const char *message)
{
    PyObject *protocol = Py_NewRef(t->protocol);
    PyObject *result = PyObject_CallMethodNoArgs(protocol, name);
    Py_DECREF(protocol);
    if (result == NULL) {
        return pa_transport_report(t, message);
    }
    Py_DECREF(result);
    return 0;
}

int
pa_transport_maybe_pause(PaTransport *t)
{
    if (t->queue.size <= t->high_water || t->protocol_paused || t->protocol == NULL) {
        return 0;
    }
    t->protocol_paused = true;
    return tell_protocol(t, pa_transport_state(t)->names.pause_writing,
                         "protocol.pause_writing() failed");
}

int
pa_transport_maybe_resume(PaTransport *t)
{
    if (t->queue.size > t->low_water || !t->protocol_paused || t->protocol == NULL) {
        return 0;
    }
    t->protocol_paused = false;
    return tell_protocol(t, pa_transport_state(t)->names.resume_writing,
                         "protocol.resume_writing() failed");
}

/* ---- write() */

/* How much the socket is sure to take now, in bytes, if nobody makes its SO_SNDBUF smaller. The kernel
 * counts its own overhead against that too, at most as much again as the data. */
static size_t
socket_room(const PaTransport *t)
{
#ifdef SIOCOUTQ
    int waiting, space;
    socklen_t length = sizeof space;
    if (ioctl(t->fd, SIOCOUTQ, &waiting) < 0 ||
        getsockopt(t->fd, SOL_SOCKET, SO_SNDBUF, &space, &length) < 0 || space / 2 <= waiting) {
        return 0;
    }
    return (size_t)(space / 2 - waiting);
#else
    (void)t;
    return 0;
#endif
}

/* Whether the socket is sure to take the queue but for what the high-water mark allows. It is asked
 * when what is left of its last answer does not say so. */
static bool
fits(PaTransport *t)
{
    size_t above = t->queue.size - t->high_water;
    if (above > MOST_DEFERRED) {
        return false;
    }
    if (above > t->room) {
        t->room = socket_room(t);
    }
    return above <= t->room;
}

/* Whether the queue cannot stay above the high-water mark when it is sent: then the protocol does not
 * notice if that is later. Large answers that leave one after the other cost less than each behind
 * its handler, because their receiver stays awake; unless they are temporary, as the processor's caches
 * no longer hold them all by then, while memory that is freed now serves the next answer. What a
 * callback of the protocol writes leaves when it returns anyway. */
static bool
may_wait(PaTransport *t, bool temporary)
{
    if (t->queue.count >= MOST_PIECES_WAITING) {
        return false;
    }
    if (t->queue.size <= t->high_water) {
        return true;
    }
    PaLoop *loop = t->member.loop;
    bool too_much = !t->deferred && loop->flush_size + t->queue.size > MOST_DEFERRED_IN_ALL;
    if (t->in_callback || temporary || too_much || !fits(t)) {
        return false;
    }
    if (!t->deferred) {
        t->deferred = true;
        loop->flush_size += t->queue.size;
        pa_state_keep_freed_memory(loop->sched.st); /* several large blocks will be freed at once */
    }
    return true;
}

/* After something was queued, `temporary` if it is large and its memory is free when it is sent: now or
 * later? */
static int
queued(PaTransport *t, bool temporary)
{
    if (!t->write_blocked) {
        if (pa_transport_flush_will_come(t) && may_wait(t, temporary)) {
            if (!t->in_callback && !t->flush_linked) {
                pa_transport_flush_link(t);
            }
            return 0;
        }
        if (pa_transport_flush(t) < 0) {
            return -1;
        }
    }
    return pa_transport_maybe_pause(t);
}

/* Sends memory that may change after write() returns, behind what is queued; what the socket does
 * not take is copied. */
static int
write_view(PaTransport *t, const Py_buffer *view)
{
    size_t sent = 0;
    if (!t->write_blocked) {
        pa_transport_flush_unlink(t);
        if (send_queue(t, view, &sent) < 0) {
            return write_failed(t);
        }
    }
    Py_ssize_t left = view->len - (Py_ssize_t)sent;
    if (left == 0 || t->conn_lost) {
        return 0;
    }
    PyObject *rest = PyBytes_FromStringAndSize((char *)view->buf + sent, left);
    if (rest == NULL) {
        return -1;
    }
    int result = pa_queue_push(&t->queue, rest);
    Py_DECREF(rest);
    return result;
}

/* Writes any buffer but bytes. Memory that cannot be had contiguously fails as socket.send(). The
 * caller calls pa_transport_maybe_pause() when it has written all that it got. */
static int
write_buffer(PaTransport *t, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return write_failed(t);
    }
    int result = view.len == 0 ? 0 : write_view(t, &view);
    PyBuffer_Release(&view);
    return result;
}

static int
check_writable(PaTransport *t, const char *method)
{
    if (t->eof_written) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (t->empty_waiter != NULL) {
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
        return -1;
    }
    return 0;
}

/* Written to a lost connection: dropped, with a warning when the program does not notice. */
int
pa_transport_dropped(PaTransport *t)
{
    PaState *st = pa_transport_state(t);
    PyObject *threshold =
        PyObject_GetAttrString(st->asyncio.constants, "LOG_THRESHOLD_FOR_CONNLOST_WRITES");
    if (threshold == NULL) {
        return -1;
    }
    long limit = PyLong_AsLong(threshold);
    Py_DECREF(threshold);
    if (limit == -1 && PyErr_Occurred()) {
        return -1;
    }
    bool warn = (long)t->conn_lost >= limit;
    t->conn_lost++;
    if (!warn) {
        return 0;
    }
    PyObject *result =
        PyObject_CallMethod(st->asyncio.logger, "warning", "s", "socket.send() raised exception.");
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
refuse_type(PyObject *data)
{
#if PY_VERSION_HEX >= 0x030e0000
    const char *wanted = "a bytes, bytearray, or memoryview object";
#else
    const char *wanted = "a bytes-like object";
#endif
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, "data argument must be %s, not %R", wanted, name);
        Py_DECREF(name);
    }
}

static int
write_other(PaTransport *t, PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        refuse_type(data);
        return -1;
    }
    if (check_writable(t, "write") < 0) {
        return -1;
    }
    int truth = PyObject_IsTrue(data);
    if (truth <= 0) {
        return truth;
    }
    if (t->conn_lost) {
        return pa_transport_dropped(t);
    }
    return write_buffer(t, data) < 0 ? -1 : pa_transport_maybe_pause(t);
}

int
pa_transport_write(PaTransport *t, PyObject *data)
{
    if (!PyBytes_CheckExact(data)) {
        return write_other(t, data);
    }
    if (t->eof_written || t->empty_waiter != NULL) {
        return check_writable(t, "write");
    }
    if (PyBytes_GET_SIZE(data) == 0) {
        return 0;
    }
    if (t->conn_lost) {
        return pa_transport_dropped(t);
    }
    bool temporary = PyBytes_GET_SIZE(data) >= LARGE_WRITE &&
                     PyUnstable_Object_IsUniqueReferencedTemporary(data);
    return pa_queue_push(&t->queue, data) < 0 ? -1 : queued(t, temporary);
}

int
pa_transport_write_part(PaTransport *t, PyObject *bytes)
{
    if (t->conn_lost) {
        return 0; /* the last part counts as the write that was dropped */
    }
    return check_writable(t, "write") < 0 ? -1 : pa_queue_push(&t->queue, bytes);
}

/* ---- writelines() */

#if PY_VERSION_HEX >= 0x030c0000
/* A list of exact bytes and contiguous-or-not memoryviews of everything else; TypeError before
 * anything is written if an item is no buffer. New reference. */
static PyObject *
collect_lines(PyObject *lines)
{
    PyObject *list = PySequence_List(lines);
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *line = PyList_GET_ITEM(list, i);
        if (PyBytes_CheckExact(line)) {
            continue;
        }
        PyObject *view = PyMemoryView_FromObject(line);
        if (view == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SetItem(list, i, view);
    }
    return list;
}

int
pa_transport_writelines(PaTransport *t, PyObject *lines)
{
    if (check_writable(t, "writelines") < 0) {
        return -1;
    }
    int truth = PyObject_IsTrue(lines);
    if (truth <= 0) {
        return truth;
    }
    PyObject *list = collect_lines(lines);
    if (list == NULL) {
        return -1;
    }
    int result = t->conn_lost ? pa_transport_dropped(t) : 0;
    for (Py_ssize_t i = 0; result == 0 && !t->conn_lost && i < PyList_GET_SIZE(list); i++) {
        PyObject *line = PyList_GET_ITEM(list, i);
        if (!PyBytes_CheckExact(line)) {
            result = write_buffer(t, line);
        }
        else if (PyBytes_GET_SIZE(line) > 0) {
            result = pa_queue_push(&t->queue, line);
        }
    }
    Py_DECREF(list);
    return result < 0 || t->conn_lost || t->queue.count == 0 ? result : queued(t, false);
}
#else
/* asyncio's own of 3.11 joins the lines and writes the result. */
int
pa_transport_writelines(PaTransport *t, PyObject *lines)
{
    PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *joined =
        empty == NULL ? NULL
                      : PyObject_CallMethodOneArg(empty, pa_transport_state(t)->names.join, lines);
    Py_XDECREF(empty);
    if (joined == NULL) {
        return -1;
    }
    int result = pa_transport_write(t, joined);
    Py_DECREF(joined);
    return result;
}
#endif

/* ---- the end of writing, and the writable event */

static int
shut_writing(PaTransport *t)
{
    if (shutdown(t->fd, SHUT_WR) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

int
pa_transport_write_eof(PaTransport *t)
{
    if (t->closing || t->eof_written) {
        return 0;
    }
    if (pa_transport_flush(t) < 0) {
        return -1;
    }
    if (t->closing) {
        return 0;
    }
    t->eof_written = true;
    return t->queue.count == 0 ? shut_writing(t) : 0;
}

static int
tell_empty_waiter(PaTransport *t, PyObject *name, PyObject *arg)
{
    if (t->empty_waiter == NULL) {
        return 0;
    }
    PyObject *result = PyObject_CallMethodOneArg(t->empty_waiter, name, arg);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
write_ready_failed(PaTransport *t)
{
    PyObject *exc = PyErr_GetRaisedException();
    int result = -1;
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(Py_NewRef(exc));
    }
    else if (pa_transport_fatal_error(t, exc, "Fatal write error on socket transport") == 0) {
        result = tell_empty_waiter(t, pa_transport_state(t)->names.set_exception, exc);
    }
    Py_DECREF(exc);
    return result;
}

/* The queue has drained: now what had to wait for it. */
static int
drained(PaTransport *t)
{
    pa_transport_watch(t, false);
    if (tell_empty_waiter(t, pa_transport_state(t)->names.set_result, Py_None) < 0) {
        return -1;
    }
    if (t->closing) {
        t->conn_lost++;
        return pa_transport_lose(t, Py_None);
    }
    return t->eof_written ? shut_writing(t) : 0;
}

int
pa_transport_write_ready(PaTransport *t)
{
    if (t->conn_lost) {
        return 0;
    }
    t->write_blocked = false;
    if (send_queue(t, NULL, NULL) < 0) {
        return write_ready_failed(t);
    }
    t->in_callback = true; /* what resume_writing() writes is sent below */
    int result = pa_transport_maybe_resume(t);
    t->in_callback = false;
    if (result < 0 || pa_transport_flush(t) < 0) {
        return -1;
    }
    if (t->queue.count > 0 || t->conn_lost) {
        return 0;
    }
    return drained(t);
}
