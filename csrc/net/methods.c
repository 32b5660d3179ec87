/* net/methods.c: what Python sees of transports: asyncio's methods, and the private attributes that
 * the standard library (start_tls, sendfile, sslproto, streams) reads.
 *
 * Nothing is decided here: every function unpacks its arguments and calls transport.c, write.c or
 * extra.c. */
#include "base/keywords.h"
#include "net/transport.h"
#include "sched/task.h"

static inline PaTransport *
cast(PyObject *self)
{
    return (PaTransport *)self;
}

static PyObject *
none_or_error(int result)
{
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- writing */

PyDoc_STRVAR(write_doc,
             "write($self, data)\n--\n\n"
             "Send bytes, a bytearray or a memoryview; never blocks.\n\n"
             "What the socket doesn't take is queued; above the high-water mark the protocol's\n"
             "pause_writing() is called. Data for a lost connection is dropped. Raises TypeError\n"
             "for other types, RuntimeError after write_eof(). Stands for asyncio's\n"
             "WriteTransport.write().");

static PyObject *
transport_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data = pa_only_argument("write", "data", args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    return none_or_error(pa_transport_write(cast(self), data));
}

PyDoc_STRVAR(
    writelines_doc,
    "writelines($self, list_of_data)\n--\n\n"
    "Send an iterable of buffers, in one system call where possible.\n\n"
    "Raises TypeError for an item that is no buffer, RuntimeError after write_eof(). Stands\n"
    "for asyncio's WriteTransport.writelines().");

static PyObject *
transport_writelines(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *lines = pa_only_argument("writelines", "list_of_data", args, nargs, kwnames);
    if (lines == NULL) {
        return NULL;
    }
    return none_or_error(pa_transport_writelines(cast(self), lines));
}

PyDoc_STRVAR(write_eof_doc,
             "write_eof($self, /)\n--\n\n"
             "Close the writing half once the queue is sent; data may still be received.\n\n"
             "Raises OSError when the socket can't be shut down. Stands for asyncio's\n"
             "WriteTransport.write_eof().");

static PyObject *
transport_write_eof(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_write_eof(cast(self)));
}

PyDoc_STRVAR(can_write_eof_doc, "can_write_eof($self, /)\n--\n\n"
                                "Return True: sockets can be half-closed.\n\n"
                                "Stands for asyncio's WriteTransport.can_write_eof().");

static PyObject *
transport_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(get_write_buffer_size_doc,
             "get_write_buffer_size($self, /)\n--\n\n"
             "Return the number of bytes that the socket has not taken yet.\n\n"
             "Stands for asyncio's WriteTransport.get_write_buffer_size().");

static PyObject *
transport_get_write_buffer_size(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pa_transport_flush(cast(self)) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(cast(self)->queue.size);
}

PyDoc_STRVAR(get_write_buffer_limits_doc,
             "get_write_buffer_limits($self, /)\n--\n\n"
             "Return the low- and high-water marks of the write queue, in bytes.\n\n"
             "Stands for asyncio's WriteTransport.get_write_buffer_limits().");

static PyObject *
transport_get_write_buffer_limits(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("nn", (Py_ssize_t)cast(self)->low_water,
                         (Py_ssize_t)cast(self)->high_water);
}

/* The marks as asyncio computes them, with its errors for what is no number. New references. */
static int
complete_limits(PyObject **high, PyObject **low, long fallback)
{
    PyObject *four = PyLong_FromLong(4);
    if (four == NULL) {
        *high = *low = NULL;
        return -1;
    }
    if (*high != Py_None) {
        *high = Py_NewRef(*high);
    }
    else {
        *high = *low == Py_None ? PyLong_FromLong(fallback) : PyNumber_Multiply(four, *low);
    }
    if (*low != Py_None) {
        *low = Py_NewRef(*low);
    }
    else {
        *low = *high == NULL ? NULL : PyNumber_FloorDivide(*high, four);
    }
    Py_DECREF(four);
    return *high == NULL || *low == NULL ? -1 : 0;
}

/* Queue sizes are no longer than this, so that a higher mark may be clipped. */
static int
as_water_mark(PyObject *number, size_t *mark)
{
    PyObject *whole = PyNumber_Long(number);
    if (whole == NULL) {
        return -1;
    }
    *mark = (size_t)PyNumber_AsSsize_t(whole, NULL);
    Py_DECREF(whole);
    return PyErr_Occurred() ? -1 : 0;
}

static int
check_limits(PyObject *high, PyObject *low, size_t *high_water, size_t *low_water)
{
    PyObject *zero = PyLong_FromLong(0);
    int ordered = zero == NULL ? -1 : PyObject_RichCompareBool(high, low, Py_GE);
    if (ordered > 0) {
        ordered = PyObject_RichCompareBool(low, zero, Py_GE);
    }
    Py_XDECREF(zero);
    if (ordered == 0) {
        PyErr_Format(PyExc_ValueError, "high (%R) must be >= low (%R) must be >= 0", high, low);
    }
    if (ordered <= 0) {
        return -1;
    }
    return as_water_mark(high, high_water) < 0 ? -1 : as_water_mark(low, low_water);
}

int
pa_water_marks(PyObject *high, PyObject *low, long fallback, size_t *high_water, size_t *low_water)
{
    int result = complete_limits(&high, &low, fallback);
    if (result == 0) {
        result = check_limits(high, low, high_water, low_water);
    }
    Py_XDECREF(high);
    Py_XDECREF(low);
    return result;
}

PyDoc_STRVAR(set_write_buffer_limits_doc,
             "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
             "Set the marks of the write queue, in bytes; None means the default.\n\n"
             "Above high the protocol's pause_writing() is called, at or below low its\n"
             "resume_writing(). Raises ValueError unless high >= low >= 0. Stands for asyncio's\n"
             "WriteTransport.set_write_buffer_limits().");

static PyObject *
transport_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"high", "low", NULL};
    PyObject *high = Py_None, *low = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", keywords, &high,
                                     &low)) {
        return NULL;
    }
    PaTransport *t = cast(self);
    size_t high_water, low_water;
    if (pa_water_marks(high, low, 64 * 1024, &high_water, &low_water) < 0 ||
        pa_transport_flush(t) < 0) {
        return NULL;
    }
    t->high_water = high_water;
    t->low_water = low_water;
    return none_or_error(pa_transport_maybe_pause(t));
}

/* ---- reading */

PyDoc_STRVAR(pause_reading_doc, "pause_reading($self, /)\n--\n\n"
                                "Stop calling data_received() until resume_reading().\n\n"
                                "Does nothing when paused or closing. Stands for asyncio's\n"
                                "ReadTransport.pause_reading().");

static PyObject *
transport_pause_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_pause_reading(cast(self)));
}

PyDoc_STRVAR(resume_reading_doc, "resume_reading($self, /)\n--\n\n"
                                 "Go on receiving after pause_reading().\n\n"
                                 "Does nothing when not paused. Stands for asyncio's\n"
                                 "ReadTransport.resume_reading().");

static PyObject *
transport_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_resume_reading(cast(self)));
}

PyDoc_STRVAR(is_reading_doc, "is_reading($self, /)\n--\n\n"
                             "Return True while neither paused nor closing.\n\n"
                             "Stands for asyncio's ReadTransport.is_reading().");

static PyObject *
transport_is_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(!cast(self)->closing && !cast(self)->paused);
}

static PyObject *
transport_schedule_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_schedule_reading(cast(self)));
}

static PyObject *
transport_start_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_start_reading(cast(self)));
}

static PyObject *
transport_read_ready(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_ready(cast(self), UV_READABLE));
}

static PyObject *
transport_write_ready(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_ready(cast(self), UV_WRITABLE));
}

/* ---- protocol and information */

PyDoc_STRVAR(set_protocol_doc, "set_protocol($self, protocol)\n--\n\n"
                               "Give the connection to another protocol, plain or buffered.\n\n"
                               "Stands for asyncio's BaseTransport.set_protocol().");

static PyObject *
transport_set_protocol(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *protocol = pa_only_argument("set_protocol", "protocol", args, nargs, kwnames);
    if (protocol == NULL) {
        return NULL;
    }
    return none_or_error(pa_transport_set_protocol(cast(self), protocol));
}

static PyObject *
object_or_none(PyObject *obj)
{
    return Py_NewRef(obj == NULL ? Py_None : obj);
}

PyDoc_STRVAR(get_protocol_doc, "get_protocol($self, /)\n--\n\n"
                               "Return the protocol; None once the connection is lost.\n\n"
                               "Stands for asyncio's BaseTransport.get_protocol().");

static PyObject *
transport_get_protocol(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return object_or_none(cast(self)->protocol);
}

PyDoc_STRVAR(get_extra_info_doc,
             "get_extra_info($self, /, name, default=None)\n--\n\n"
             "Return information on the connection: 'socket', 'sockname', 'peername'.\n\n"
             "default is returned for other names. Stands for asyncio's\n"
             "BaseTransport.get_extra_info().");

static PyObject *
transport_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;
    PyObject *value = pa_extra_info_replaced(pa_transport_state(cast(self)), self, args, kwargs);
    if (value != NULL || PyErr_Occurred() ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", keywords, &name,
                                     &fallback)) {
        return value;
    }
    value = pa_transport_extra_get(cast(self), name);
    if (value == NULL && !PyErr_Occurred()) {
        value = Py_NewRef(fallback);
    }
    return value;
}

/* ---- closing */

PyDoc_STRVAR(is_closing_doc, "is_closing($self, /)\n--\n\n"
                             "Return True when closing or closed.\n\n"
                             "Stands for asyncio's BaseTransport.is_closing().");

static PyObject *
transport_is_closing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(cast(self)->closing);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Stop receiving, send what is queued, then call connection_lost(None).\n\n"
                        "Stands for asyncio's BaseTransport.close().");

static PyObject *
transport_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_close(cast(self)));
}

PyDoc_STRVAR(abort_doc, "abort($self, /)\n--\n\n"
                        "Drop what is queued and close; connection_lost(None) is called soon.\n\n"
                        "Stands for asyncio's WriteTransport.abort().");

static PyObject *
transport_abort(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_transport_abort(cast(self)));
}

static PyObject *
transport_force_close(PyObject *self, PyObject *exc)
{
    /* As abort(): asyncio would have tried by now to send what was written before. */
    if (pa_transport_flush(cast(self)) < 0) {
        return NULL;
    }
    return none_or_error(pa_transport_force_close(cast(self), exc));
}

static PyObject *
transport_fatal_error(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"exc", "message", NULL};
    const char *message = "Fatal error on transport";
    PyObject *exc;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s:_fatal_error", keywords, &exc, &message)) {
        return NULL;
    }
    return none_or_error(pa_transport_fatal_error(cast(self), exc, message));
}

static PyObject *
transport_call_connection_lost(PyObject *self, PyObject *exc)
{
    return none_or_error(pa_transport_lose(cast(self), exc));
}

/* ---- repr */

static bool
has_live_loop(const PaTransport *t)
{
    return !t->lost && !t->member.loop->sched.closed;
}

PyObject *
pa_transport_repr(PyObject *self)
{
    PaTransport *t = cast(self);
    PyObject *name = PyType_GetName(Py_TYPE(self));
    if (name == NULL) {
        return NULL;
    }
    const char *state = t->lost ? " closed" : t->closing ? " closing" : "";
    PyObject *text;
    if (has_live_loop(t)) {
        text = PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name, state,
                                    t->fd, t->reading ? "polling" : "idle",
                                    t->write_blocked ? "polling" : "idle", t->queue.size);
    }
    else {
        text = PyUnicode_FromFormat("<%U%s fd=%d>", name, state, t->fd);
    }
    Py_DECREF(name);
    return text;
}

/* ---- private attributes */

static PyObject *
get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    return object_or_none(cast(self)->lost ? NULL : (PyObject *)cast(self)->member.loop);
}

static PyObject *
get_sock(PyObject *self, void *Py_UNUSED(closure))
{
    return cast(self)->lost ? Py_NewRef(Py_None) : pa_transport_socket(cast(self));
}

static PyObject *
get_extra(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(pa_transport_extra_dict(cast(self)));
}

static PyObject *
get_protocol(PyObject *self, void *Py_UNUSED(closure))
{
    return object_or_none(cast(self)->protocol);
}

static PyObject *
get_protocol_connected(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static PyObject *
get_server(PyObject *self, void *Py_UNUSED(closure))
{
    return object_or_none(cast(self)->server);
}

static PyObject *
get_empty_waiter(PyObject *self, void *Py_UNUSED(closure))
{
    return object_or_none(cast(self)->empty_waiter);
}

static PyObject *
get_high_water(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(cast(self)->high_water);
}

static PyObject *
get_low_water(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(cast(self)->low_water);
}

#define FIELD(name) offsetof(PaTransport, name)

PyMemberDef pa_transport_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, FIELD(weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, FIELD(dict), READONLY, NULL},
    {"_sock_fd", T_INT, FIELD(fd), READONLY, NULL},
    {"_conn_lost", T_UINT, FIELD(conn_lost), READONLY, NULL},
    {"_closing", T_BOOL, FIELD(closing), READONLY, NULL},
    {"_paused", T_BOOL, FIELD(paused), READONLY, NULL},
    {"_eof", T_BOOL, FIELD(eof_written), READONLY, NULL},
    {"_protocol_paused", T_BOOL, FIELD(protocol_paused), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyGetSetDef pa_transport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_loop", get_loop, NULL, NULL, NULL},
    {"_sock", get_sock, NULL, NULL, NULL},
    {"_extra", get_extra, NULL, NULL, NULL},
    {"_protocol", get_protocol, NULL, NULL, NULL},
    {"_protocol_connected", get_protocol_connected, NULL, NULL, NULL},
    {"_server", get_server, NULL, NULL, NULL},
    {"_empty_waiter", get_empty_waiter, NULL, NULL, NULL},
    {"_high_water", get_high_water, NULL, NULL, NULL},
    {"_low_water", get_low_water, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function)), METH_VARARGS | METH_KEYWORDS

/* Of every transport. */
/* clang-format off */
#define COMMON_METHODS                                                                             \
    {"get_write_buffer_size", transport_get_write_buffer_size, METH_NOARGS,                        \
     get_write_buffer_size_doc},                                                                   \
    {"get_write_buffer_limits", transport_get_write_buffer_limits, METH_NOARGS,                    \
     get_write_buffer_limits_doc},                                                                 \
    {"set_write_buffer_limits", KEYWORDS(transport_set_write_buffer_limits),                       \
     set_write_buffer_limits_doc},                                                                 \
    {"pause_reading", transport_pause_reading, METH_NOARGS, pause_reading_doc},                    \
    {"is_reading", transport_is_reading, METH_NOARGS, is_reading_doc},                             \
    {"set_protocol", (PyCFunction)(void (*)(void))transport_set_protocol,                          \
     METH_FASTCALL | METH_KEYWORDS, set_protocol_doc},                                             \
    {"get_protocol", transport_get_protocol, METH_NOARGS, get_protocol_doc},                       \
    {"get_extra_info", KEYWORDS(transport_get_extra_info), get_extra_info_doc},                    \
    {"is_closing", transport_is_closing, METH_NOARGS, is_closing_doc},                             \
    {"close", transport_close, METH_NOARGS, close_doc},                                            \
    {"abort", transport_abort, METH_NOARGS, abort_doc},                                            \
    {"_schedule_reading", transport_schedule_reading, METH_NOARGS, NULL},                          \
    {"_start_reading", transport_start_reading, METH_NOARGS, NULL},                                \
    {"_read_ready", transport_read_ready, METH_NOARGS, NULL},                                      \
    {"_write_ready", transport_write_ready, METH_NOARGS, NULL},                                    \
    {"_force_close", transport_force_close, METH_O, NULL},                                         \
    {"_fatal_error", KEYWORDS(transport_fatal_error), NULL},                                       \
    {"_call_connection_lost", transport_call_connection_lost, METH_O, NULL}
/* clang-format on */

PyMethodDef pa_transport_methods[] = {
    COMMON_METHODS,
    {"write", (PyCFunction)(void (*)(void))transport_write, METH_FASTCALL | METH_KEYWORDS,
     write_doc},
    {"writelines", (PyCFunction)(void (*)(void))transport_writelines, METH_FASTCALL | METH_KEYWORDS,
     writelines_doc},
    {"write_eof", transport_write_eof, METH_NOARGS, write_eof_doc},
    {"can_write_eof", transport_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"resume_reading", transport_resume_reading, METH_NOARGS, resume_reading_doc},
    {"_make_empty_waiter", pa_transport_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", pa_transport_reset_empty_waiter, METH_NOARGS, NULL},
    {"_sendfile_at_once", pa_transport_sendfile_at_once, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    sendto_doc,
    "sendto($self, /, data, addr=None)\n--\n\n"
    "Send one datagram of bytes, a bytearray or a memoryview; never blocks.\n\n"
    "addr is where to, as the socket module writes it; None on a connected endpoint. What the\n"
    "socket doesn't take is queued; above the high-water mark the protocol's pause_writing() is\n"
    "called. Network errors go to error_received(). Raises TypeError for other types,\n"
    "ValueError for an address other than that of the connection. Stands for asyncio's\n"
    "DatagramTransport.sendto().");

PyMethodDef pa_datagram_methods[] = {
    COMMON_METHODS,
    {"sendto", (PyCFunction)(void (*)(void))pa_datagram_sendto, METH_FASTCALL | METH_KEYWORDS,
     sendto_doc},
    {"resume_reading", pa_datagram_resume_reading, METH_NOARGS, resume_reading_doc},
    {NULL, NULL, 0, NULL},
};
