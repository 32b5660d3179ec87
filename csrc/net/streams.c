/* net/streams.c: feeding asyncio's StreamReader from C.
 *
 * A protocol that is exactly asyncio.StreamReaderProtocol with an exact asyncio.StreamReader gets
 * its bytes put where StreamReader.feed_data() would put them, with the same flow control, without
 * the Python calls in between. The truth stays in the reader's own attributes, which are looked up
 * where the interpreter has them if that is known (base/inlinevalues.h). Whatever is not as
 * expected (an overridden method, a missing attribute, end of file fed before) makes
 * pa_stream_feed() return 0, and the protocol's data_received() is called as for any other. */
#include "net/transport.h"
#include "sched/task.h"

#include <string.h>

/* Places of a reader's attributes: all that StreamReader.__init__() sets, in its order. */
enum { LIMIT, LOOP, BUFFER, END, WAITER, EXCEPTION, TRANSPORT, PAUSED, READER_ATTRIBUTES };
/* And of the protocol's. */
enum { READER_REFERENCE, PROTOCOL_ATTRIBUTES };

/* An attribute of the reader: new reference, or NULL with an exception. */
static inline PyObject *
get(PaState *st, PyObject *reader, int which, PyObject *name)
{
    return pa_inline_get(&st->stream_reader_places, reader, which, name);
}

static inline int
set(PaState *st, PyObject *reader, int which, PyObject *name, PyObject *value)
{
    return pa_inline_set(&st->stream_reader_places, reader, which, name, value);
}

/* Whether obj.name is still the function that its class has from asyncio. */
static bool
is_original(PyObject *obj, PyObject *name, PyObject *original)
{
    PyObject *method = PyObject_GetAttr(obj, name);
    if (method == NULL) {
        PyErr_Clear();
        return false;
    }
    bool same = PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == original;
    Py_DECREF(method);
    return same;
}

/* The class may be patched at any time, an instance until it becomes a transport's protocol. */
static bool
class_unchanged(PaState *st)
{
    PyTypeObject *type = (PyTypeObject *)st->asyncio.StreamReaderProtocol;
    return type->tp_version_tag == st->stream_version && st->stream_version != 0;
}

/* Where readers have their attributes, as long as their class has asyncio's feed_data(). 0 or -1. */
static int
find_reader_places(PaState *st)
{
    PaNames *names = &st->names;
    PyTypeObject *type = (PyTypeObject *)st->asyncio.StreamReader;
    PyObject *attributes[] = {names->_limit,  names->_loop,      names->_buffer,    names->_eof,
                              names->_waiter, names->_exception, names->_transport, names->_paused};
    PaInlinePlaces *places = &st->stream_reader_places;
    if (places->version != 0 && places->version == type->tp_version_tag) {
        return 0;
    }
    places->version = 0;
    PyObject *method = PyObject_GetAttr((PyObject *)type, names->feed_data);
    Py_XDECREF(method);
    if (method != st->asyncio.stream_feed_data) {
        return method == NULL ? -1 : 0;
    }
    return pa_inline_find(places, type, attributes, READER_ATTRIBUTES);
}

static int
find_places(PaState *st)
{
    PyTypeObject *type = (PyTypeObject *)st->asyncio.StreamReaderProtocol;
    PaInlinePlaces *places = &st->stream_protocol_places;
    if (places->version != st->stream_version &&
        pa_inline_find(places, type, &st->names._stream_reader_wr, PROTOCOL_ATTRIBUTES) < 0) {
        return -1;
    }
    return find_reader_places(st);
}

bool
pa_stream_recognise(PaState *st, PyObject *protocol)
{
    PyTypeObject *type = (PyTypeObject *)st->asyncio.StreamReaderProtocol;
    if (Py_TYPE(protocol) != type ||
        !is_original(protocol, st->names.data_received, st->asyncio.stream_data_received)) {
        return false;
    }
    st->stream_version = type->tp_version_tag; /* 0 when the interpreter has run out of them */
    if (find_places(st) < 0) {
        PyErr_Clear(); /* it goes without them */
    }
    return true;
}

/* Whether the reader has the attributes that its class gave it and no other, such as a method of its
 * own; false too where that cannot be seen. */
static bool
has_no_other_attributes(PaState *st, PyObject *reader)
{
    PaInlinePlaces *places = &st->stream_reader_places;
    PaInlineValues *known = pa_inline_known(places, reader);
    bool seen = known != NULL && known->used == READER_ATTRIBUTES;
    for (int i = 0; seen && i < READER_ATTRIBUTES; i++) {
        seen = known->values[places->at[i]] != NULL;
    }
    return seen;
}

/* Whether the reader's feed_data() is asyncio's. */
static bool
is_plain_reader(PaState *st, PyObject *reader)
{
    return has_no_other_attributes(st, reader) ||
           (Py_TYPE(reader) == (PyTypeObject *)st->asyncio.StreamReader &&
            is_original(reader, st->names.feed_data, st->asyncio.stream_feed_data));
}

/* The reader that the protocol feeds: 1 with a new reference, or NULL when it is gone and the data
 * is to be dropped; 0 when this is not asyncio's arrangement. */
static int
find_reader(PaState *st, PyObject *protocol, PyObject **reader)
{
    *reader = NULL;
    PyObject *ref = pa_inline_get(&st->stream_protocol_places, protocol, READER_REFERENCE,
                                  st->names._stream_reader_wr);
    if (ref == NULL) {
        PyErr_Clear();
        return 0;
    }
    int found = 0;
    if (ref == Py_None) {
        found = 1;
    }
    else if (PyWeakref_CheckRefExact(ref)) {
        found = pa_weakref_get(ref, reader) >= 0;
    }
    Py_DECREF(ref);
    if (*reader != NULL && !is_plain_reader(st, *reader)) {
        Py_CLEAR(*reader);
        found = 0;
    }
    return found;
}

/* Appends to the reader's bytearray. 1, 0 when there is none to append to, -1 with an exception. */
static int
append(PaState *st, PyObject *reader, const char *data, Py_ssize_t size, Py_ssize_t *total)
{
    PyObject *buffer = get(st, reader, BUFFER, st->names._buffer);
    if (buffer == NULL) {
        PyErr_Clear();
        return 0;
    }
    int result = 0;
    if (PyByteArray_CheckExact(buffer)) {
        Py_ssize_t old = PyByteArray_GET_SIZE(buffer);
        result = PyByteArray_Resize(buffer, old + size) < 0 ? -1 : 1;
        if (result > 0) {
            memcpy(PyByteArray_AS_STRING(buffer) + old, data, (size_t)size);
            *total = old + size;
        }
    }
    Py_DECREF(buffer);
    return result;
}

/* What StreamReader._wakeup_waiter() does. */
static int
wake(PaState *st, PyObject *reader)
{
    PyObject *waiter = get(st, reader, WAITER, st->names._waiter);
    if (waiter == NULL) {
        return -1;
    }
    int result = 0;
    if (waiter != Py_None) {
        result = set(st, reader, WAITER, st->names._waiter, Py_None);
        if (result == 0) {
            result = pa_future_wake(st, waiter);
        }
    }
    Py_DECREF(waiter);
    return result;
}

/* transport.pause_reading() of whatever transport the reader knows; 1 when it paused, 0 when that
 * cannot pause. */
static int
pause_transport(PaState *st, PyObject *transport)
{
    if (Py_TYPE(transport) == st->socket_transport_type &&
        ((PaTransport *)transport)->dict == NULL) {
        return pa_transport_pause_reading((PaTransport *)transport) < 0 ? -1 : 1;
    }
    PyObject *result = PyObject_CallMethodNoArgs(transport, st->names.pause_reading);
    if (result != NULL) {
        Py_DECREF(result);
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* The reader holds more than twice its limit: it stops its transport, unless it has already. */
static int
pause_reader(PaState *st, PyObject *reader)
{
    PaNames *names = &st->names;
    PyObject *transport = get(st, reader, TRANSPORT, names->_transport);
    PyObject *paused = transport == NULL ? NULL : get(st, reader, PAUSED, names->_paused);
    int result = paused == NULL ? -1 : PyObject_IsTrue(paused);
    if (result == 0 && transport != Py_None) {
        int stopped = pause_transport(st, transport);
        if (stopped < 0) {
            result = -1;
        }
        else if (stopped) {
            result = set(st, reader, PAUSED, names->_paused, Py_True);
        }
        else {
            result = set(st, reader, TRANSPORT, names->_transport, Py_None);
        }
    }
    Py_XDECREF(paused);
    Py_XDECREF(transport);
    return result < 0 ? -1 : 0;
}

static int
check_limit(PaState *st, PyObject *reader, Py_ssize_t total)
{
    PyObject *limit = get(st, reader, LIMIT, st->names._limit);
    if (limit == NULL) {
        return -1;
    }
    int overflow = 0;
    long long value =
        PyLong_CheckExact(limit) ? PyLong_AsLongLongAndOverflow(limit, &overflow) : -1;
    bool above;
    if (value >= 0 && value <= PY_SSIZE_T_MAX / 2) {
        above = total > 2 * (Py_ssize_t)value;
    }
    else if (overflow > 0 || value > 0) {
        above = false;
    }
    else {
        double number = PyFloat_AsDouble(limit);
        above = (double)total > 2 * number;
        if (PyErr_Occurred()) {
            Py_DECREF(limit);
            return -1;
        }
    }
    Py_DECREF(limit);
    return above ? pause_reader(st, reader) : 0;
}

/* Bytes have been put into the reader's buffer, which holds `total` now. */
static int
appended(PaState *st, PyObject *reader, Py_ssize_t total)
{
    return wake(st, reader) < 0 ? -1 : check_limit(st, reader, total);
}

/* Whether the reader takes data: it has not been fed the end of file. */
static bool
is_open(PaState *st, PyObject *reader)
{
    PyObject *eof = get(st, reader, END, st->names._eof);
    PyErr_Clear();
    Py_XDECREF(eof);
    return eof == Py_False;
}

static int
feed(PaState *st, PyObject *reader, const char *data, Py_ssize_t size)
{
    Py_ssize_t total = 0;
    int result = is_open(st, reader) ? append(st, reader, data, size, &total) : 0;
    return result > 0 && appended(st, reader, total) < 0 ? -1 : result;
}

/* The protocol's reader as find_reader() gives it, unless the protocol is not to be trusted. */
static int
trusted_reader(PaState *st, PyObject *protocol, PyObject **reader)
{
    *reader = NULL;
    if (!class_unchanged(st) && !pa_stream_recognise(st, protocol)) {
        return 0;
    }
    return find_reader(st, protocol, reader);
}

int
pa_stream_feed(PaState *st, PyObject *protocol, const char *data, Py_ssize_t size)
{
    PyObject *reader;
    if (!trusted_reader(st, protocol, &reader)) {
        return 0;
    }
    if (reader == NULL) {
        return 1; /* nobody can read it any more */
    }
    int result = feed(st, reader, data, size);
    Py_DECREF(reader);
    return result;
}

/* Makes room in an empty buffer; one that holds something would be copied to grow. */
static int
reserve(PaStreamRoom *room, Py_ssize_t size)
{
    if (!PyByteArray_CheckExact(room->buffer) || PyByteArray_GET_SIZE(room->buffer) != 0) {
        return 0;
    }
    if (PyByteArray_Resize(room->buffer, size) < 0) {
        bool exported = PyErr_ExceptionMatches(PyExc_BufferError);
        if (exported) {
            PyErr_Clear();
        }
        return exported ? 0 : -1;
    }
    room->memory = PyByteArray_AS_STRING(room->buffer);
    return 1;
}

static void
release(PaStreamRoom *room)
{
    Py_CLEAR(room->buffer);
    Py_CLEAR(room->reader);
}

int
pa_stream_reserve(PaState *st, PyObject *protocol, Py_ssize_t size, PaStreamRoom *room)
{
    room->buffer = NULL;
    if (!trusted_reader(st, protocol, &room->reader) || room->reader == NULL) {
        return 0;
    }
    int result = 0;
    if (is_open(st, room->reader)) {
        room->buffer = get(st, room->reader, BUFFER, st->names._buffer);
        if (room->buffer == NULL) {
            PyErr_Clear();
        }
        else {
            result = reserve(room, size);
        }
    }
    if (result <= 0) {
        release(room);
    }
    return result;
}

int
pa_stream_received(PaState *st, PaStreamRoom *room, Py_ssize_t received)
{
    int result = PyByteArray_Resize(room->buffer, received < 0 ? 0 : received);
    if (result == 0 && received > 0) {
        result = appended(st, room->reader, received);
    }
    release(room);
    return result;
}
