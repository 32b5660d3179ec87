/* tls/write.c: from the application's write() to ciphertext for the transport below.
 *
 * write() puts the bytes into the backlog. Over a SocketTransport what one callback or one batch
 * wrote is encrypted together, small pieces in common records, when the callback returns or before
 * the loop polls (pa_transport_flush_later); over any other transport, above the high-water mark,
 * and when no poll will come, it is encrypted inside write(). Order is kept; a piece of a record's
 * size or more is never copied. Plaintext goes nowhere but to OpenSSL. */
#include "tls/tls.h"

#include <string.h>

#define RECORD_SIZE       16384        // the most plaintext of a TLS record
#define MOST_DEFERRED     (128 * 1024) // plaintext that waits for the end of the callback or batch
#define CHUNKS_PER_RECORD 64           // small pieces put together into one record

/* ---- encryption */

/* What the next record is made of: a whole piece as it is, part of one, or several put together in
 * `scratch`. New reference to a buffer. */
static PyObject *
next_record(PaTls *tls, char *scratch)
{
    struct iovec iov[CHUNKS_PER_RECORD];
    int count = pa_queue_peek(&tls->backlog, iov, CHUNKS_PER_RECORD);
    PyObject *first = pa_queue_first(&tls->backlog);
    if (iov[0].iov_len >= RECORD_SIZE) {
        return pa_tls_open_view(tls, iov[0].iov_base, RECORD_SIZE, false);
    }
    if (count == 1) {
        return (size_t)PyBytes_GET_SIZE(first) == iov[0].iov_len
                   ? Py_NewRef(first)
                   : pa_tls_open_view(tls, iov[0].iov_base, (Py_ssize_t)iov[0].iov_len, false);
    }
    size_t filled = 0;
    for (int i = 0; i < count && filled < RECORD_SIZE; i++) {
        size_t room = RECORD_SIZE - filled;
        size_t part = iov[i].iov_len < room ? iov[i].iov_len : room;
        memcpy(scratch + filled, iov[i].iov_base, part);
        filled += part;
    }
    return pa_tls_open_view(tls, scratch, (Py_ssize_t)filled, false);
}

/* Encrypts one record's worth: bytes taken, 0 when OpenSSL waits for the peer, -1 with an
 * exception. */
static Py_ssize_t
encrypt_record(PaTls *tls)
{
    char scratch[RECORD_SIZE];
    PyObject *first = Py_NewRef(pa_queue_first(&tls->backlog)); /* OpenSSL may call into Python */
    PyObject *record = next_record(tls, scratch);
    PyObject *written = NULL;
    if (record != NULL) {
        PaState *st = pa_tls_state(tls);
        PyObject *args[] = {tls->codec, record};
        written = pa_tls_codec_call(tls, st->ssl.codec_write, st->names.write, args, 2);
    }
    pa_tls_close_view_steal(tls, record);
    Py_DECREF(first);
    if (written == NULL) {
        return PyErr_ExceptionMatches(PyExc_Exception) && pa_tls_wants_more(tls) ? 0 : -1;
    }
    Py_ssize_t count = PyLong_AsSsize_t(written);
    Py_DECREF(written);
    if (count > 0 && tls->backlog.size > 0) {
        size_t taken = (size_t)count < tls->backlog.size ? (size_t)count : tls->backlog.size;
        pa_queue_consume(&tls->backlog, taken);
    }
    return count;
}

static int
write_down(PaTls *tls, PyObject *data, bool more_follows)
{
    if (PyBytes_GET_SIZE(data) == 0) {
        return 0;
    }
    if (tls->socket == NULL) {
        return pa_tls_call(tls->transport, pa_tls_state(tls)->names.write, data);
    }
    return more_follows ? pa_transport_write_part(tls->socket, data)
                        : pa_transport_write(tls->socket, data);
}

/* Empties the outgoing BIO. */
static int
hand_down(PaTls *tls, bool more_follows)
{
    if (tls->ssl_writing_paused || tls->transport == NULL) {
        return 0;
    }
    PyObject *data = PyObject_CallOneArg(pa_tls_state(tls)->ssl.bio_read, tls->outgoing);
    if (data == NULL) {
        return -1;
    }
    int result = write_down(tls, data, more_follows);
    Py_DECREF(data);
    return result;
}

int
pa_tls_process_outgoing(PaTls *tls)
{
    return hand_down(tls, false) < 0 ? -1 : pa_tls_control_writing(tls);
}

/* Encrypts the backlog, and hands down all but the last record: 1 when that is to follow, 0 when OpenSSL
 * waits for the peer, -1 with an exception. */
static int
encrypt_backlog(PaTls *tls)
{
    while (tls->backlog.count > 0) {
        Py_ssize_t count = encrypt_record(tls);
        if (count <= 0) {
            return count < 0 ? -1 : 0;
        }
        if (tls->socket != NULL && tls->backlog.count > 0 && hand_down(tls, true) < 0) {
            return -1;
        }
    }
    return 1;
}

/* The parts that were handed down leave, though no last one follows. Keeps a raised exception. */
static int
send_parts(PaTls *tls)
{
    if (tls->socket == NULL) {
        return 0;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int result = pa_transport_flush(tls->socket);
    if (exc != NULL) {
        PyErr_SetRaisedException(exc); /* of two, the first */
    }
    return result;
}

int
pa_tls_flush(PaTls *tls)
{
    if (tls->encrypting) {
        return 0;
    }
    tls->encrypting = true;
    int encrypted = encrypt_backlog(tls);
    tls->encrypting = false;
    int result = encrypted < 0 ? -1 : pa_tls_process_outgoing(tls);
    bool whole = encrypted > 0 && result == 0;
    return whole || send_parts(tls) == 0 ? result : -1;
}

int
pa_tls_flush_pending(PaTls *tls)
{
    if (tls->backlog.count == 0 ||
        (tls->state != PA_TLS_WRAPPED && tls->state != PA_TLS_FLUSHING)) {
        return 0;
    }
    return pa_tls_flush(tls) < 0 ? pa_tls_failed(tls, "Fatal error on SSL protocol") : 0;
}

/* The SocketTransport below is about to send. */
static int
before_flush(PaTransport *socket)
{
    PyObject *protocol = socket->protocol;
    if (protocol == NULL || Py_TYPE(protocol) != pa_transport_state(socket)->feed.type) {
        return 0;
    }
    Py_INCREF(protocol);
    int result = pa_tls_flush_pending((PaTls *)protocol);
    Py_DECREF(protocol);
    return result;
}

/* ---- flow control of the application */

Py_ssize_t
pa_tls_write_size(PaTls *tls)
{
    Py_ssize_t encrypted = pa_tls_bio_size(tls, tls->outgoing);
    return encrypted < 0 ? -1 : encrypted + (Py_ssize_t)tls->backlog.size;
}

static int
tell_app(PaTls *tls, PyObject *name, const char *message)
{
    if (tls->app_protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(tls->app_protocol);
    int result = pa_tls_call(protocol, name, NULL);
    Py_DECREF(protocol);
    return result < 0 ? pa_tls_report(tls, message) : 0;
}

int
pa_tls_control_writing(PaTls *tls)
{
    PaNames *names = &pa_tls_state(tls)->names;
    Py_ssize_t size = (Py_ssize_t)tls->backlog.size;
    if (tls->ssl_writing_paused || tls->transport == NULL) { /* else the outgoing BIO is empty */
        size = pa_tls_write_size(tls);
        if (size < 0) {
            return -1;
        }
    }
    if ((size_t)size >= tls->write_high && !tls->app_writing_paused) {
        tls->app_writing_paused = true;
        return tell_app(tls, names->pause_writing, "protocol.pause_writing() failed");
    }
    if ((size_t)size <= tls->write_low && tls->app_writing_paused) {
        tls->app_writing_paused = false;
        return tell_app(tls, names->resume_writing, "protocol.resume_writing() failed");
    }
    return 0;
}

/* ---- write() */

int
pa_tls_push(PaTls *tls, PyObject *data)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    if (bytes == NULL) {
        return -1;
    }
    int result = PyBytes_GET_SIZE(bytes) == 0 ? 0 : pa_queue_push(&tls->backlog, bytes);
    Py_DECREF(bytes);
    return result;
}

/* After something was pushed: encrypt now, or soon? */
static int
pushed(PaTls *tls)
{
    if (tls->state != PA_TLS_WRAPPED) {
        return 0; /* the end of the handshake will */
    }
    bool small = tls->backlog.size < MOST_DEFERRED && tls->backlog.size < tls->write_high;
    if (small && (tls->reading || tls->encrypting)) {
        return 0;
    }
    if (small && tls->socket != NULL && pa_transport_flush_later(tls->socket, before_flush)) {
        return 0;
    }
    return pa_tls_flush_pending(tls);
}

/* Written to a connection that is closing or closed: dropped, with a warning in the end. */
static int
dropped(PaTls *tls)
{
    PaState *st = pa_tls_state(tls);
    PyObject *threshold =
        PyObject_GetAttrString(st->asyncio.constants, "LOG_THRESHOLD_FOR_CONNLOST_WRITES");
    long limit = threshold == NULL ? -1 : PyLong_AsLong(threshold);
    Py_XDECREF(threshold);
    if (limit == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (tls->conn_lost++ < limit) {
        return 0;
    }
    PyObject *done =
        PyObject_CallMethod(st->asyncio.logger, "warning", "s", "SSL connection is closed");
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static bool
takes_writes(const PaTls *tls)
{
    return tls->state == PA_TLS_WRAPPED || tls->state == PA_TLS_HANDSHAKE;
}

int
pa_tls_write(PaTls *tls, PyObject *data)
{
    if (!takes_writes(tls)) {
        return dropped(tls);
    }
    return pa_tls_push(tls, data) < 0 ? -1 : pushed(tls);
}

/* An item that has a length but is no buffer fails where asyncio would hand it to OpenSSL. */
static int
push_line(PaTls *tls, PyObject *line)
{
    if (PyObject_CheckBuffer(line)) {
        return pa_tls_push(tls, line);
    }
    if (PyObject_Size(line) < 0) {
        return -1;
    }
    PyErr_Format(PyExc_TypeError, "a bytes-like object is required, not '%.100s'",
                 Py_TYPE(line)->tp_name);
    return pa_tls_failed(tls, "Fatal error on SSL protocol");
}

int
pa_tls_writelines(PaTls *tls, PyObject *lines)
{
    if (!takes_writes(tls)) {
        return dropped(tls);
    }
    PyObject *iterator = PyObject_GetIter(lines);
    if (iterator == NULL) {
        return -1;
    }
    int result = 0;
    PyObject *line;
    while (result == 0 && (line = PyIter_Next(iterator)) != NULL) {
        result = push_line(tls, line);
        Py_DECREF(line);
    }
    Py_DECREF(iterator);
    return result < 0 || PyErr_Occurred() ? -1 : pushed(tls);
}
