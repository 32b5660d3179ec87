/* net/read.c: from a readable descriptor to the protocol. The only file that receives.
 *
 * A read goes into the loop's shared buffer and is copied into a bytes of its size
 * (base/sparebytes.h), or into the buffer of asyncio's stream reader (streams.c). After a large one
 * the connection's next read goes straight into a bytes of the largest size, which is shrunk,
 * or into the reader's buffer; when less came than messages have, the rest is asked for at
 * once. Buffered protocols receive into their own memory. A read that filled its buffer is
 * followed by another, unless a callback was scheduled meanwhile, whose turn in asyncio comes
 * first, and a few times at most, so that one busy connection cannot starve the others. A
 * transport whose max_size the application has set reads as asyncio does, by the socket's
 * recv(). What the protocol wrote meanwhile is sent when its method returns, or soon after
 * (flush.c). */
#include "net/syscalls.h"
#include "net/transport.h"

#include <errno.h>
#include <sys/socket.h>

#define READS_PER_EVENT 4
enum { LARGE_READ = 32 * 1024 }; // bytes
/* What a read came to: the rest of this file goes by it. */
typedef enum { READ_DONE, READ_AGAIN, READ_EXIT = -1 } ReadOutcome;

/* Bytes received, 0 at the end of the stream, -1 with errno set. */
static ssize_t
receive(PaTransport *t, void *buffer, size_t size)
{
    if (t->read_error != 0) {
        errno = t->read_error;
        t->read_error = 0;
        return -1;
    }
    ssize_t received;
    do {
        received = pa_recv(t->fd, buffer, size, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    return received;
}

static ReadOutcome
outcome(int result)
{
    return result < 0 ? READ_EXIT : READ_DONE;
}

/* receive() has failed: nothing to read yet, or the end of the connection. */
static ReadOutcome
receive_failed(PaTransport *t)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return READ_DONE;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
}

/* Sends what a method of the protocol wrote, or has it sent soon if it has not failed. The exception
 * that it raised stays; 0, or -1 with an exit raised instead. */
static int
flush_callback(PaTransport *t, bool failed)
{
    if ((t->queue.count == 0 || t->write_blocked) && t->before_flush == NULL) {
        return 0;
    }
    if (!failed && pa_transport_flush_in_group(t)) {
        return 0;
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_transport_flush(t) < 0) {
        Py_XDECREF(exc);
        return -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return 0;
}

/* protocol.name(*args) with the writes of the method collected; they are sent before an exception
 * of the method is dealt with, as asyncio would have sent them by then. New reference or NULL with
 * the exception of the method, or of an exit during the flush. */
static PyObject *
call_protocol(PaTransport *t, PyObject *name, PyObject *arg)
{
    PyObject *args[] = {Py_NewRef(t->protocol), arg};
    t->in_callback = true;
    PyObject *result = PyObject_VectorcallMethod(name, args, arg == NULL ? 1 : 2, NULL);
    t->in_callback = false;
    Py_DECREF(args[0]);
    if (flush_callback(t, result == NULL) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

static ReadOutcome
read_eof(PaTransport *t)
{
    if (pa_transport_debug(t) && pa_transport_log_debug(t, "%r received EOF") < 0) {
        return READ_EXIT;
    }
    PyObject *result = call_protocol(t, pa_transport_state(t)->names.eof_received, NULL);
    int keep_open = -1;
    if (result != NULL) {
        keep_open = PyObject_IsTrue(result);
        Py_DECREF(result);
    }
    if (keep_open < 0) {
        return outcome(pa_transport_failed(t, "Fatal error: protocol.eof_received() call failed."));
    }
    if (keep_open) {
        t->reading = false;
        pa_transport_watch(t, true);
        return READ_DONE;
    }
    return outcome(pa_transport_close(t));
}

/* ---- protocols that take bytes */

static ReadOutcome
deliver_steal(PaTransport *t, PyObject *data)
{
    PyObject *result = call_protocol(t, pa_transport_state(t)->names.data_received, data);
    Py_DECREF(data);
    if (result == NULL) {
        return outcome(
            pa_transport_failed(t, "Fatal error: protocol.data_received() call failed."));
    }
    Py_DECREF(result);
    return READ_DONE;
}

/* To a protocol in C. */
static ReadOutcome
deliver_fed(PaTransport *t, const char *buffer, Py_ssize_t size)
{
    PyObject *protocol = Py_NewRef(t->protocol);
    t->in_callback = true;
    int fed = pa_transport_state(t)->feed.function(protocol, buffer, size);
    t->in_callback = false;
    Py_DECREF(protocol);
    if (flush_callback(t, fed < 0) < 0 || fed < 0) {
        return outcome(
            pa_transport_failed(t, "Fatal error: protocol.buffer_updated() call failed."));
    }
    return READ_DONE;
}

static ReadOutcome
deliver_copy(PaTransport *t, const char *buffer, Py_ssize_t size)
{
    if (t->kind == PA_PROTOCOL_FEED) {
        return deliver_fed(t, buffer, size);
    }
    if (t->kind == PA_PROTOCOL_STREAM) {
        int fed = pa_stream_feed(pa_transport_state(t), t->protocol, buffer, size);
        if (fed < 0) {
            return outcome(
                pa_transport_failed(t, "Fatal error: protocol.data_received() call failed."));
        }
        if (fed) {
            return READ_DONE;
        }
    }
    PyObject *data = pa_spare_bytes_fill(&t->member.loop->spare_bytes, buffer, size);
    if (data == NULL) {
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    return deliver_steal(t, data);
}

/* ---- large reads */

/* Remembers how long messages are: as the longest of late, not at all when little comes. */
static void
note_read(PaTransport *t, ssize_t received)
{
    uint32_t faded = t->large_read - t->large_read / 8, now = (uint32_t)received;
    t->large_read = received < LARGE_READ ? 0 : now > faded ? now : faded;
}

/* Less came than messages have: the rest of one often comes while its beginning is copied, and is
 * received behind it, so that there is one answer to send and not two. Returns how much there is. */
static size_t
receive_rest(PaTransport *t, char *buffer, size_t received)
{
    ssize_t more = receive(t, buffer + received, PA_READ_BUFFER_SIZE - received);
    if (more < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        t->read_error = (uint8_t)errno;
    }
    return more > 0 ? received + (size_t)more : received;
}

/* Received into the bytes that the protocol gets. */
static ReadOutcome
read_bytes(PaTransport *t)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, PA_READ_BUFFER_SIZE);
    if (data == NULL) {
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    ssize_t received = receive(t, PyBytes_AS_STRING(data), PA_READ_BUFFER_SIZE);
    if (received <= 0) {
        int code = errno;
        Py_DECREF(data);
        errno = code;
        return received == 0 ? read_eof(t) : receive_failed(t);
    }
    if ((size_t)received < t->large_read) {
        received = (ssize_t)receive_rest(t, PyBytes_AS_STRING(data), (size_t)received);
    }
    note_read(t, received);
    if (_PyBytes_Resize(&data, received) < 0) {
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    ReadOutcome delivered = deliver_steal(t, data);
    return delivered == READ_DONE && received == PA_READ_BUFFER_SIZE ? READ_AGAIN : delivered;
}

/* Received at the end of a StreamReader's buffer, if that can be; see pa_stream_reserve(). */
static ReadOutcome
read_stream(PaTransport *t)
{
    PaState *st = pa_transport_state(t);
    PaStreamRoom room;
    int reserved = pa_stream_reserve(st, t->protocol, PA_READ_BUFFER_SIZE, &room);
    if (reserved == 0) {
        t->large_read = 0;
        return READ_AGAIN;
    }
    ssize_t received = reserved < 0 ? -1 : receive(t, room.memory, PA_READ_BUFFER_SIZE);
    int code = errno;
    if (reserved < 0 || pa_stream_received(st, &room, received) < 0) {
        return outcome(
            pa_transport_failed(t, "Fatal error: protocol.data_received() call failed."));
    }
    errno = code;
    if (received <= 0) {
        return received == 0 ? read_eof(t) : receive_failed(t);
    }
    note_read(t, received);
    return received == PA_READ_BUFFER_SIZE ? READ_AGAIN : READ_DONE;
}

/* ---- a read of any size */

static ReadOutcome
read_data(PaTransport *t)
{
    char *buffer = pa_loop_read_buffer(t->member.loop);
    if (buffer == NULL) {
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    ssize_t received = receive(t, buffer, PA_READ_BUFFER_SIZE);
    if (received <= 0) {
        return received == 0 ? read_eof(t) : receive_failed(t);
    }
    if (received >= LARGE_READ) {
        pa_state_keep_freed_memory(pa_transport_state(t));
        note_read(t, received);
    }
    ReadOutcome delivered = deliver_copy(t, buffer, received);
    return delivered == READ_DONE && received == PA_READ_BUFFER_SIZE ? READ_AGAIN : delivered;
}

/* ---- a read as large as the application wants it */

bool
pa_would_block(void)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        return false;
    }
    PyErr_Clear();
    return true;
}

bool
pa_transport_has_max_size(PaTransport *t)
{
    if (t->dict == NULL) {
        return false;
    }
    int set = PyDict_Contains(t->dict, pa_transport_state(t)->names.max_size);
    if (set < 0) {
        PyErr_Clear(); /* raised again by who gets the attribute */
    }
    return set != 0;
}

PyObject *
pa_transport_receive_max_size(PaTransport *t, PyObject *name)
{
    PyObject *max_size = PyObject_GetAttr((PyObject *)t, pa_transport_state(t)->names.max_size);
    PyObject *sock = max_size == NULL ? NULL : pa_transport_socket(t);
    PyObject *received = NULL;
    if (sock != NULL) {
        received = PyObject_CallMethodOneArg(sock, name, max_size);
        if (received == NULL) {
            (void)pa_would_block();
        }
    }
    Py_XDECREF(max_size);
    Py_XDECREF(sock);
    return received;
}

static ReadOutcome
read_max_size(PaTransport *t)
{
    pa_loop_poll_soon(t->member.loop); /* what is more than that stays in the socket */
    PyObject *data = pa_transport_receive_max_size(t, pa_transport_state(t)->names.recv);
    int some = data == NULL ? -1 : PyObject_IsTrue(data);
    if (some > 0 && !t->conn_lost) {
        return deliver_steal(t, data);
    }
    Py_XDECREF(data);
    if (some < 0 && PyErr_Occurred()) {
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    return some == 0 && !t->conn_lost ? read_eof(t) : READ_DONE;
}

/* ---- buffered protocols */

/* protocol.get_buffer(-1), which must not be empty. New reference. */
static PyObject *
get_buffer(PaTransport *t)
{
    PyObject *hint = PyLong_FromLong(-1);
    if (hint == NULL) {
        return NULL;
    }
    PyObject *buffer = call_protocol(t, pa_transport_state(t)->names.get_buffer, hint);
    Py_DECREF(hint);
    if (buffer == NULL) {
        return NULL;
    }
    Py_ssize_t size = PyObject_Size(buffer);
    if (size == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (size <= 0) {
        Py_CLEAR(buffer);
    }
    return buffer;
}

static int
view_writable(PyObject *buffer, Py_buffer *view)
{
    if (PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) == 0) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "recv_into() argument 1 must be read-write bytes-like object, not %.50s",
                 Py_TYPE(buffer)->tp_name);
    return -1;
}

static ReadOutcome
updated(PaTransport *t, Py_ssize_t received)
{
    PyObject *count = PyLong_FromSsize_t(received);
    PyObject *result = NULL;
    if (count != NULL) {
        result = call_protocol(t, pa_transport_state(t)->names.buffer_updated, count);
        Py_DECREF(count);
    }
    if (result == NULL) {
        return outcome(
            pa_transport_failed(t, "Fatal error: protocol.buffer_updated() call failed."));
    }
    Py_DECREF(result);
    return READ_DONE;
}

static ReadOutcome
read_buffered(PaTransport *t)
{
    PyObject *buffer = get_buffer(t);
    if (buffer == NULL) {
        return outcome(pa_transport_failed(t, "Fatal error: protocol.get_buffer() call failed."));
    }
    if (t->conn_lost) { /* get_buffer() aborted: the descriptor still waits for its close */
        Py_DECREF(buffer);
        return READ_DONE;
    }
    Py_buffer view;
    if (view_writable(buffer, &view) < 0) {
        Py_DECREF(buffer);
        return outcome(pa_transport_failed(t, "Fatal read error on socket transport"));
    }
    Py_ssize_t room = view.len;
    ssize_t received = receive(t, view.buf, (size_t)room);
    int code = errno;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    if (received < 0) {
        errno = code;
        return receive_failed(t);
    }
    if (received == 0) {
        return read_eof(t);
    }
    ReadOutcome delivered = updated(t, received);
    return delivered == READ_DONE && received == room ? READ_AGAIN : delivered;
}

static ReadOutcome
read_once(PaTransport *t)
{
    if (t->kind == PA_PROTOCOL_BUFFERED) {
        return read_buffered(t);
    }
    if (pa_transport_has_max_size(t) && t->kind != PA_PROTOCOL_FEED && t->read_error == 0) {
        return read_max_size(t);
    }
    if (t->large_read != 0 && t->kind == PA_PROTOCOL_PLAIN) {
        return read_bytes(t);
    }
    if (t->large_read != 0 && t->kind == PA_PROTOCOL_STREAM) {
        return read_stream(t);
    }
    return read_data(t);
}

int
pa_transport_read_ready(PaTransport *t)
{
    const PaRing *ring = &t->member.loop->sched.ring;
    size_t scheduled = pa_ring_count(ring);
    for (int i = 0; i < READS_PER_EVENT && t->reading && !t->conn_lost; i++) {
        ReadOutcome result = read_once(t);
        if (result != READ_AGAIN) {
            return result == READ_EXIT ? -1 : 0;
        }
        if (pa_ring_count(ring) > scheduled) {
            break;
        }
    }
    pa_loop_poll_soon(t->member.loop);
    return 0;
}
