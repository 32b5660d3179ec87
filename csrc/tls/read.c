/* tls/read.c: from received ciphertext to the application's protocol.
 *
 * Everything that has come (incoming.c) is decrypted first and delivered at once: data before an error
 * of the stream, data before its end. What the application writes in its callback is encrypted after
 * it. */
#include "tls/tls.h"

#define RECORD_SIZE ((Py_ssize_t)16 * 1024) // the most plaintext of a TLS record

typedef enum { READ_ERROR = -1, READ_END, READ_NOTHING, READ_DATA } ReadResult;

/* ---- decrypting */

/* One read of up to `size` bytes: *data is a new bytes when there are any. */
static ReadResult
read_bytes(PaTls *tls, Py_ssize_t size, PyObject **data)
{
    *data = NULL;
    size = size < RECORD_SIZE ? size : RECORD_SIZE;
    PyObject *count = PyLong_FromSsize_t(size);
    if (count == NULL) {
        return READ_ERROR;
    }
    PyObject *args[] = {tls->codec, count};
    PyObject *got = PyObject_VectorcallMethod(pa_tls_state(tls)->names.read, args, 2, NULL);
    Py_DECREF(count);
    pa_tls_was_read(tls, got != NULL);
    if (got == NULL) {
        return pa_tls_wants_more(tls) ? READ_NOTHING : READ_ERROR;
    }
    if (!PyBytes_Check(got)) {
        PyErr_Format(PyExc_TypeError, "SSLObject.read() returned %.100s, not bytes",
                     Py_TYPE(got)->tp_name);
        Py_DECREF(got);
        return READ_ERROR;
    }
    Py_ssize_t length = PyBytes_GET_SIZE(got);
    if (length == 0) {
        Py_DECREF(got);
        return READ_END;
    }
    tls->more_decrypted = length == size;
    *data = got;
    return READ_DATA;
}

/* Steals data. */
static int
add_piece_steal(PyObject **first, PyObject **list, PyObject *data)
{
    if (*first == NULL) {
        *first = data;
        return 0;
    }
    if (*list == NULL) {
        *list = PyList_New(1);
        if (*list != NULL) {
            PyList_SET_ITEM(*list, 0, Py_NewRef(*first));
        }
    }
    int result = *list == NULL ? -1 : PyList_Append(*list, data);
    Py_DECREF(data);
    return result;
}

/* One read into `memory`: bytes read, 0 at close_notify; *result says which. */
static Py_ssize_t
read_into(PaTls *tls, char *memory, Py_ssize_t room, ReadResult *result)
{
    PyObject *view = pa_tls_open_view(tls, memory, room, true);
    PyObject *size = view == NULL ? NULL : PyLong_FromSsize_t(room);
    PyObject *got = NULL;
    if (size != NULL) {
        PaState *st = pa_tls_state(tls);
        PyObject *args[] = {tls->codec, size, view};
        got = pa_tls_codec_call(tls, st->ssl.codec_read, st->names.read, args, 3);
    }
    Py_XDECREF(size);
    pa_tls_close_view_steal(tls, view);
    pa_tls_was_read(tls, got != NULL);
    if (got == NULL) {
        *result = pa_tls_wants_more(tls) ? READ_NOTHING : READ_ERROR;
        return 0;
    }
    Py_ssize_t count = PyLong_AsSsize_t(got);
    Py_DECREF(got);
    *result = count < 0 ? READ_ERROR : count == 0 ? READ_END : READ_DATA;
    tls->more_decrypted = count == room || (count > 0 && tls->more_decrypted);
    return count;
}

/* Whether to look again after a read that found nothing: its record may have been one without data for
 * the application, such as a key update, and others have arrived behind it. */
static bool
look_again(PaTls *tls, ReadResult *result)
{
    if (*result != READ_NOTHING || tls->arrived_size == 0) {
        return false;
    }
    if (pa_tls_store_rest(tls) < 0) {
        *result = READ_ERROR;
        return false;
    }
    return true;
}

/* Reads while there is data and room. */
static Py_ssize_t
read_all_into(PaTls *tls, char *memory, Py_ssize_t room, ReadResult *result)
{
    Py_ssize_t filled = 0;
    *result = READ_NOTHING;
    while (filled < room) {
        Py_ssize_t size = pa_tls_readable(tls);
        if (size <= 0) {
            *result = size < 0 ? READ_ERROR : READ_NOTHING;
            break;
        }
        Py_ssize_t count = read_into(tls, memory + filled, room - filled, result);
        if (*result != READ_DATA && !look_again(tls, result)) {
            break;
        }
        filled += count;
    }
    return filled;
}

/* Everything into one bytes of up to `size`, without joining pieces: *data is new when there are any,
 * also before an error or the end. */
static ReadResult
read_all(PaTls *tls, Py_ssize_t size, PyObject **data)
{
    ReadResult result;
    *data = pa_spare_bytes_new(&tls->loop->spare_bytes, size);
    if (*data == NULL) {
        return READ_ERROR;
    }
    Py_ssize_t filled = read_all_into(tls, PyBytes_AS_STRING(*data), size, &result);
    PyObject *exc = PyErr_GetRaisedException();
    if (filled == 0) {
        Py_CLEAR(*data);
    }
    else if (filled < size && pa_spare_bytes_cut(data, filled) < 0) {
        Py_XDECREF(exc);
        return READ_ERROR;
    }
    PyErr_SetRaisedException(exc);
    return result;
}

/* Decrypts all that is there: *first is its first piece, and *list has all pieces when there are
 * more than one. What came before an error is there too. */
static ReadResult
decrypt(PaTls *tls, PyObject **first, PyObject **list)
{
    *first = *list = NULL;
    Py_ssize_t size;
    while ((size = pa_tls_readable(tls)) > 0) {
        PyObject *data;
        /* A class of the user's could keep the memory that it reads into. */
        ReadResult result =
            !tls->codec_in_c ? read_bytes(tls, size, &data) : read_all(tls, size, &data);
        if (data != NULL && add_piece_steal(first, list, data) < 0) {
            return READ_ERROR;
        }
        bool over = result == READ_ERROR || result == READ_END || data == NULL;
        if (over && !look_again(tls, &result)) {
            return result;
        }
    }
    return size < 0 ? READ_ERROR : READ_NOTHING;
}

/* ---- delivering */

/* protocol.name(arg), after which what it wrote is still to be encrypted. New reference. */
static PyObject *
call_app(PaTls *tls, PyObject *name, PyObject *arg)
{
    PyObject *args[] = {Py_NewRef(tls->app_protocol), arg};
    bool nested = tls->reading;
    tls->reading = true;
    PyObject *result = PyObject_VectorcallMethod(name, args, arg == NULL ? 1 : 2, NULL);
    tls->reading = nested;
    Py_DECREF(args[0]);
    return result;
}

static int
deliver(PaTls *tls, PyObject *data)
{
    if (tls->app_protocol == NULL) {
        return 0;
    }
    PaState *st = pa_tls_state(tls);
    if (tls->app_kind == PA_PROTOCOL_STREAM) {
        PyObject *protocol = Py_NewRef(tls->app_protocol);
        int fed = pa_stream_feed(st, protocol, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
        Py_DECREF(protocol);
        if (fed != 0) {
            return fed < 0 ? -1 : 0;
        }
    }
    PyObject *result = call_app(tls, st->names.data_received, data);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Joins the pieces, if they are several, and delivers. Steals both. */
static int
deliver_steal(PaTls *tls, PyObject *first, PyObject *list)
{
    if (list != NULL) {
        PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
        PyObject *joined =
            empty == NULL ? NULL
                          : PyObject_CallMethodOneArg(empty, pa_tls_state(tls)->names.join, list);
        Py_XDECREF(empty);
        Py_DECREF(list);
        Py_XSETREF(first, joined);
        if (first == NULL) {
            return -1;
        }
    }
    int result = first == NULL ? 0 : deliver(tls, first);
    Py_XDECREF(first);
    return result;
}

int
pa_tls_app_eof(PaTls *tls)
{
    if (tls->app != PA_TLS_APP_CONNECTED || tls->app_protocol == NULL) {
        return 0;
    }
    PaState *st = pa_tls_state(tls);
    tls->app = PA_TLS_APP_EOF;
    PyObject *keep = call_app(tls, st->names.eof_received, NULL);
    int keep_open = keep == NULL ? -1 : PyObject_IsTrue(keep);
    Py_XDECREF(keep);
    if (keep_open > 0) {
        PyObject *done =
            PyObject_CallMethod(st->asyncio.logger, "warning", "s",
                                "returning true from eof_received() has no effect when using ssl");
        Py_XDECREF(done);
        keep_open = done == NULL ? -1 : 0;
    }
    if (keep_open == 0) {
        return 0;
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int result = pa_tls_fatal_error(tls, exc, "Error calling eof_received()");
    Py_DECREF(exc);
    return result;
}

/* The peer has sent close_notify. */
static int
peer_closed(PaTls *tls)
{
    return pa_tls_app_eof(tls) < 0 ? -1 : pa_tls_start_shutdown(tls);
}

static int
read_plain(PaTls *tls)
{
    PyObject *first, *list;
    ReadResult result = decrypt(tls, &first, &list);
    PyObject *exc = result == READ_ERROR ? PyErr_GetRaisedException() : NULL;
    if (deliver_steal(tls, first, list) < 0) {
        Py_XDECREF(exc);
        return -1;
    }
    if (exc != NULL) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    return result == READ_END ? peer_closed(tls) : 0;
}

/* ---- buffered protocols */

/* protocol.get_buffer(hint). New reference. */
static PyObject *
get_buffer(PaTls *tls)
{
    Py_ssize_t stored = pa_tls_bio_size(tls, tls->incoming);
    PyObject *hint = stored < 0 ? NULL : PyLong_FromSsize_t(stored + (Py_ssize_t)tls->arrived_size);
    PyObject *buffer = NULL;
    if (hint != NULL) {
        buffer = call_app(tls, pa_tls_state(tls)->names.get_buffer, hint);
    }
    Py_XDECREF(hint);
    return buffer;
}

static int
buffer_updated(PaTls *tls, Py_ssize_t filled)
{
    PyObject *count = PyLong_FromSsize_t(filled);
    PyObject *done = NULL;
    if (count != NULL && tls->app_protocol != NULL) {
        done = call_app(tls, pa_tls_state(tls)->names.buffer_updated, count);
    }
    Py_XDECREF(count);
    Py_XDECREF(done);
    return done == NULL && PyErr_Occurred() ? -1 : 0;
}

static int
read_buffered(PaTls *tls)
{
    Py_ssize_t size = pa_tls_readable(tls);
    if (size <= 0 || tls->app_protocol == NULL) {
        return size < 0 ? -1 : 0;
    }
    PyObject *buffer = get_buffer(tls);
    Py_buffer view;
    if (buffer == NULL || PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        Py_XDECREF(buffer);
        return -1;
    }
    if (view.len == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        PyBuffer_Release(&view);
        Py_DECREF(buffer);
        return -1;
    }
    ReadResult result;
    Py_ssize_t filled = read_all_into(tls, view.buf, view.len, &result);
    bool full = filled == view.len;
    PyBuffer_Release(&view);
    Py_DECREF(buffer);
    PyObject *exc = result == READ_ERROR ? PyErr_GetRaisedException() : NULL;
    int failed = 0;
    if (full && exc == NULL) {
        tls->more_decrypted = true;
        failed = pa_tls_call_soon(tls, (PyObject *)tls, pa_tls_state(tls)->names._do_read, NULL);
    }
    if (failed == 0 && filled > 0) {
        failed = buffer_updated(tls, filled);
    }
    if (failed < 0 || exc != NULL) {
        if (failed == 0) {
            PyErr_SetRaisedException(exc);
        }
        else {
            Py_XDECREF(exc);
        }
        return -1;
    }
    return result == READ_END ? peer_closed(tls) : 0;
}

/* ---- all of it */

int
pa_tls_control_reading(PaTls *tls)
{
    Py_ssize_t size = pa_tls_bio_size(tls, tls->incoming);
    if (size < 0 || tls->transport == NULL) {
        return size < 0 ? -1 : 0;
    }
    PaNames *names = &pa_tls_state(tls)->names;
    if ((size_t)size >= tls->read_high && !tls->ssl_reading_paused) {
        tls->ssl_reading_paused = true;
        return pa_tls_call(tls->transport, names->pause_reading, NULL);
    }
    if ((size_t)size <= tls->read_low && tls->ssl_reading_paused) {
        tls->ssl_reading_paused = false;
        return pa_tls_call(tls->transport, names->resume_reading, NULL);
    }
    return 0;
}

/* What has arrived and was not looked at is not lost, whatever has happened. */
static int
keep_rest(PaTls *tls, int result)
{
    if (tls->arrived_size == 0) {
        return result;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int stored = pa_tls_store_rest(tls);
    if (exc == NULL) {
        return stored;
    }
    if (stored < 0) {
        PyErr_Clear();
    }
    PyErr_SetRaisedException(exc);
    return result;
}

int
pa_tls_read(PaTls *tls)
{
    if (tls->state != PA_TLS_WRAPPED && tls->state != PA_TLS_FLUSHING) {
        return 0;
    }
    bool paused = tls->app_reading_paused;
    int result = 0;
    if (!paused) {
        result = tls->app_kind == PA_PROTOCOL_BUFFERED ? read_buffered(tls) : read_plain(tls);
    }
    result = keep_rest(tls, result);
    if (result == 0) {
        result = pa_tls_flush(tls);
    }
    /* The BIO was emptied, unless somebody has paused. */
    if (result == 0 && (tls->app_reading_paused || tls->ssl_reading_paused ||
                        tls->app_kind == PA_PROTOCOL_BUFFERED || tls->read_high == 0)) {
        result = pa_tls_control_reading(tls);
    }
    return result < 0 ? pa_tls_failed(tls, "Fatal error on SSL protocol") : 0;
}
