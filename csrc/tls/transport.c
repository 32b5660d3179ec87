/* tls/transport.c: the transport that the application sees over TLS.
 *
 * A real asyncio.Transport. Nothing is decided here: every method unpacks its arguments and asks the
 * TLS protocol, which lives at least as long. */
#include "base/keywords.h"
#include "tls/tls.h"

static PaTlsTransport *
self_of(PyObject *self)
{
    return (PaTlsTransport *)self;
}

static PaTls *
tls_of(PyObject *self)
{
    return self_of(self)->tls;
}

static PyObject *
none_or_error(int result)
{
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *
pa_tls_transport_new(PaTls *tls)
{
    PyTypeObject *type = pa_tls_state(tls)->tls_transport_type;
    PaTlsTransport *self = (PaTlsTransport *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->loop = Py_NewRef((PyObject *)tls->loop);
        self->tls = (PaTls *)Py_NewRef((PyObject *)tls);
    }
    return (PyObject *)self;
}

/* ---- writing */

PyDoc_STRVAR(
    write_doc,
    "write($self, data)\n--\n\n"
    "Send bytes, a bytearray or a memoryview, encrypted; never blocks.\n\n"
    "Above the high-water mark the protocol's pause_writing() is called. Data for a closed\n"
    "connection is dropped. Raises TypeError for other types. Stands for asyncio's\n"
    "WriteTransport.write().");

static PyObject *
transport_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data = pa_only_argument("write", "data", args, nargs, kwnames);
    if (data == NULL) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyObject *name = PyType_GetName(Py_TYPE(data));
        if (name != NULL) {
            PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %U", name);
            Py_DECREF(name);
        }
        return NULL;
    }
    int truth = PyObject_IsTrue(data);
    return none_or_error(truth > 0 ? pa_tls_write(tls_of(self), data) : truth);
}

PyDoc_STRVAR(writelines_doc, "writelines($self, list_of_data)\n--\n\n"
                             "Send an iterable of buffers, encrypted.\n\n"
                             "Raises TypeError for an item without a length. Stands for asyncio's\n"
                             "WriteTransport.writelines().");

static PyObject *
transport_writelines(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *lines = pa_only_argument("writelines", "list_of_data", args, nargs, kwnames);
    if (lines == NULL) {
        return NULL;
    }
    return none_or_error(pa_tls_writelines(tls_of(self), lines));
}

PyDoc_STRVAR(write_eof_doc, "write_eof($self, /)\n--\n\n"
                            "Raise NotImplementedError: TLS has no half-closed connections.\n\n"
                            "Stands for asyncio's WriteTransport.write_eof().");

static PyObject *
transport_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

PyDoc_STRVAR(can_write_eof_doc, "can_write_eof($self, /)\n--\n\n"
                                "Return False.\n\n"
                                "Stands for asyncio's WriteTransport.can_write_eof().");

static PyObject *
transport_can_write_eof(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_FALSE;
}

static PyObject *
size_or_error(Py_ssize_t size)
{
    return size < 0 ? NULL : PyLong_FromSsize_t(size);
}

PyDoc_STRVAR(get_write_buffer_size_doc,
             "get_write_buffer_size($self, /)\n--\n\n"
             "Return the number of bytes that the transport below has not been given yet.\n\n"
             "Stands for asyncio's WriteTransport.get_write_buffer_size().");

static PyObject *
transport_get_write_buffer_size(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!tls_of(self)->encrypting && pa_tls_flush_pending(tls_of(self)) < 0) {
        return NULL;
    }
    return size_or_error(pa_tls_write_size(tls_of(self)));
}

PyDoc_STRVAR(get_write_buffer_limits_doc,
             "get_write_buffer_limits($self, /)\n--\n\n"
             "Return the low- and high-water marks of the write queue, in bytes.\n\n"
             "Stands for asyncio's WriteTransport.get_write_buffer_limits().");

static PyObject *
transport_get_write_buffer_limits(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("nn", (Py_ssize_t)tls_of(self)->write_low,
                         (Py_ssize_t)tls_of(self)->write_high);
}

static int
parse_limits(PyObject *args, PyObject *kwargs, const char *format, long fallback, size_t *high,
             size_t *low)
{
    static char *keywords[] = {"high", "low", NULL};
    PyObject *high_object = Py_None, *low_object = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, keywords, &high_object, &low_object)) {
        return -1;
    }
    return pa_water_marks(high_object, low_object, fallback, high, low);
}

PyDoc_STRVAR(set_write_buffer_limits_doc,
             "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
             "Set the marks of the write queue, in bytes; None means the default.\n\n"
             "From high on the protocol's pause_writing() is called, at or below low its\n"
             "resume_writing(). Raises ValueError unless high >= low >= 0. Stands for asyncio's\n"
             "WriteTransport.set_write_buffer_limits().");

static PyObject *
transport_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PaTls *tls = tls_of(self);
    size_t high, low;
    if (parse_limits(args, kwargs, "|OO:set_write_buffer_limits", 512 * 1024, &high, &low) < 0 ||
        (!tls->encrypting && pa_tls_flush_pending(tls) < 0)) {
        return NULL;
    }
    tls->write_high = high;
    tls->write_low = low;
    return none_or_error(pa_tls_control_writing(tls));
}

/* ---- reading */

PyDoc_STRVAR(is_reading_doc, "is_reading($self, /)\n--\n\n"
                             "Return True unless paused.\n\n"
                             "Stands for asyncio's ReadTransport.is_reading().");

static PyObject *
transport_is_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(!tls_of(self)->app_reading_paused);
}

PyDoc_STRVAR(pause_reading_doc, "pause_reading($self, /)\n--\n\n"
                                "Stop calling data_received() until resume_reading().\n\n"
                                "Stands for asyncio's ReadTransport.pause_reading().");

static PyObject *
transport_pause_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    tls_of(self)->app_reading_paused = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(resume_reading_doc, "resume_reading($self, /)\n--\n\n"
                                 "Go on receiving after pause_reading(), from the next turn on.\n\n"
                                 "Does nothing when not paused. Stands for asyncio's\n"
                                 "ReadTransport.resume_reading().");

static PyObject *
transport_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaTls *tls = tls_of(self);
    if (!tls->app_reading_paused) {
        Py_RETURN_NONE;
    }
    tls->app_reading_paused = false;
    return none_or_error(
        pa_tls_call_soon(tls, (PyObject *)tls, pa_tls_state(tls)->names._resumed, NULL));
}

PyDoc_STRVAR(set_read_buffer_limits_doc,
             "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
             "Set the marks of the ciphertext that waits while reading is paused, in bytes.\n\n"
             "None means the default. From high on the transport below stops reading, at or below\n"
             "low it goes on. Raises ValueError unless high >= low >= 0. Stands for the method of\n"
             "asyncio's TLS transport.");

static PyObject *
transport_set_read_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PaTls *tls = tls_of(self);
    size_t high, low;
    if (parse_limits(args, kwargs, "|OO:set_read_buffer_limits", 256 * 1024, &high, &low) < 0) {
        return NULL;
    }
    tls->read_high = high;
    tls->read_low = low;
    return none_or_error(pa_tls_control_reading(tls));
}

PyDoc_STRVAR(get_read_buffer_limits_doc,
             "get_read_buffer_limits($self, /)\n--\n\n"
             "Return the low- and high-water marks of set_read_buffer_limits(), in bytes.");

static PyObject *
transport_get_read_buffer_limits(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("nn", (Py_ssize_t)tls_of(self)->read_low,
                         (Py_ssize_t)tls_of(self)->read_high);
}

PyDoc_STRVAR(get_read_buffer_size_doc, "get_read_buffer_size($self, /)\n--\n\n"
                                       "Return the bytes of ciphertext that wait to be decrypted.");

static PyObject *
transport_get_read_buffer_size(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return size_or_error(pa_tls_bio_size(tls_of(self), tls_of(self)->incoming));
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
    return none_or_error(pa_tls_set_app_protocol(tls_of(self), protocol));
}

PyDoc_STRVAR(get_protocol_doc, "get_protocol($self, /)\n--\n\n"
                               "Return the protocol; None once the connection is lost.\n\n"
                               "Stands for asyncio's BaseTransport.get_protocol().");

static PyObject *
transport_get_protocol(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = tls_of(self)->app_protocol;
    return Py_NewRef(protocol == NULL ? Py_None : protocol);
}

PyDoc_STRVAR(
    get_extra_info_doc,
    "get_extra_info($self, /, name, default=None)\n--\n\n"
    "Return information on the connection.\n\n"
    "'sslcontext', and after the handshake 'ssl_object', 'peercert', 'cipher' and\n"
    "'compression'; everything else is asked of the transport below. Stands for asyncio's\n"
    "BaseTransport.get_extra_info().");

static PyObject *
transport_get_extra_info(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PaTls *tls = tls_of(self);
    PyObject *name, *fallback = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", keywords, &name,
                                     &fallback)) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(tls->extra, name);
    if (value != NULL || PyErr_Occurred()) {
        return Py_XNewRef(value);
    }
    if (tls->transport == NULL) {
        return Py_NewRef(fallback);
    }
    PyObject *transport = Py_NewRef(tls->transport);
    PyObject *call[] = {transport, name, fallback};
    value = PyObject_VectorcallMethod(pa_tls_state(tls)->names.get_extra_info, call, 3, NULL);
    Py_DECREF(transport);
    return value;
}

/* ---- closing */

PyDoc_STRVAR(is_closing_doc, "is_closing($self, /)\n--\n\n"
                             "Return True when closing or closed.\n\n"
                             "Stands for asyncio's BaseTransport.is_closing().");

static PyObject *
transport_is_closing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self_of(self)->closed) {
        Py_RETURN_TRUE;
    }
#if PY_VERSION_HEX >= 0x030e0000
    PaTls *tls = tls_of(self);
    /* Nobody has put another method there. */
    if (tls->socket != NULL && tls->socket->dict == NULL) {
        return PyBool_FromLong(tls->socket->closing);
    }
    if (tls->transport != NULL) {
        PyObject *transport = Py_NewRef(tls->transport);
        PyObject *closing =
            PyObject_CallMethodNoArgs(transport, pa_tls_state(tls)->names.is_closing);
        Py_DECREF(transport);
        return closing;
    }
#endif
    Py_RETURN_FALSE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\n"
                        "Send what was written and close_notify, then call connection_lost().\n\n"
                        "Waits for the peer's close_notify no longer than ssl_shutdown_timeout.\n"
                        "Stands for asyncio's BaseTransport.close().");

static PyObject *
transport_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self_of(self)->closed) {
        self_of(self)->closed_twice = true;
        if (tls_of(self)->transport == NULL) {
            pa_tls_release(tls_of(self));
        }
        Py_RETURN_NONE;
    }
    self_of(self)->closed = true;
    return none_or_error(pa_tls_start_shutdown(tls_of(self)));
}

PyDoc_STRVAR(abort_doc, "abort($self, /)\n--\n\n"
                        "Drop what is queued and close; connection_lost(None) is called soon.\n\n"
                        "Stands for asyncio's WriteTransport.abort().");

static PyObject *
transport_abort(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    self_of(self)->closed = true;
    return none_or_error(pa_tls_abort(tls_of(self), Py_None));
}

static PyObject *
transport_force_close(PyObject *self, PyObject *exc)
{
    self_of(self)->closed = true;
    return none_or_error(pa_tls_abort(tls_of(self), exc));
}

/* CPython's tests put data behind what is written without it being sent. */
static PyObject *
transport_append_write_backlog(PyObject *self, PyObject *data)
{
    return none_or_error(pa_tls_push(tls_of(self), data));
}

/* ---- the object */

static PyObject *
get_protocol_paused(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(tls_of(self)->app_writing_paused);
}

static void
transport_finalize(PyObject *self)
{
    if (self_of(self)->closed) {
        return;
    }
    self_of(self)->closed = true;
    PyObject *raised = PyErr_GetRaisedException();
    if (PyErr_WarnEx(PyExc_ResourceWarning,
                     "unclosed transport <asyncio._SSLProtocolTransport object>", 1) < 0) {
        PyErr_WriteUnraisable(self);
    }
    PyErr_SetRaisedException(raised);
}

static int
transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (int i = 0; i < PA_ASYNCIO_SLOTS; i++) {
        Py_VISIT(self_of(self)->asyncio_slots[i]);
    }
    Py_VISIT(self_of(self)->dict);
    Py_VISIT(self_of(self)->loop);
    Py_VISIT(self_of(self)->tls);
    return 0;
}

/* The TLS protocol stays until the end: every method looks at it, and its own tp_clear breaks the
 * cycle. */
static int
transport_clear(PyObject *self)
{
    for (int i = 0; i < PA_ASYNCIO_SLOTS; i++) {
        Py_CLEAR(self_of(self)->asyncio_slots[i]);
    }
    Py_CLEAR(self_of(self)->dict);
    Py_CLEAR(self_of(self)->loop);
    return 0;
}

static void
transport_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (self_of(self)->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    transport_clear(self);
    Py_CLEAR(self_of(self)->tls);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- type */

#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function)), METH_VARARGS | METH_KEYWORDS

static PyMethodDef transport_methods[] = {
    {"write", (PyCFunction)(void (*)(void))transport_write, METH_FASTCALL | METH_KEYWORDS,
     write_doc},
    {"writelines", (PyCFunction)(void (*)(void))transport_writelines, METH_FASTCALL | METH_KEYWORDS,
     writelines_doc},
    {"write_eof", transport_write_eof, METH_NOARGS, write_eof_doc},
    {"can_write_eof", transport_can_write_eof, METH_NOARGS, can_write_eof_doc},
    {"get_write_buffer_size", transport_get_write_buffer_size, METH_NOARGS,
     get_write_buffer_size_doc},
    {"get_write_buffer_limits", transport_get_write_buffer_limits, METH_NOARGS,
     get_write_buffer_limits_doc},
    {"set_write_buffer_limits", KEYWORDS(transport_set_write_buffer_limits),
     set_write_buffer_limits_doc},
    {"is_reading", transport_is_reading, METH_NOARGS, is_reading_doc},
    {"pause_reading", transport_pause_reading, METH_NOARGS, pause_reading_doc},
    {"resume_reading", transport_resume_reading, METH_NOARGS, resume_reading_doc},
    {"get_read_buffer_size", transport_get_read_buffer_size, METH_NOARGS, get_read_buffer_size_doc},
    {"get_read_buffer_limits", transport_get_read_buffer_limits, METH_NOARGS,
     get_read_buffer_limits_doc},
    {"set_read_buffer_limits", KEYWORDS(transport_set_read_buffer_limits),
     set_read_buffer_limits_doc},
    {"set_protocol", (PyCFunction)(void (*)(void))transport_set_protocol,
     METH_FASTCALL | METH_KEYWORDS, set_protocol_doc},
    {"get_protocol", transport_get_protocol, METH_NOARGS, get_protocol_doc},
    {"get_extra_info", KEYWORDS(transport_get_extra_info), get_extra_info_doc},
    {"is_closing", transport_is_closing, METH_NOARGS, is_closing_doc},
    {"close", transport_close, METH_NOARGS, close_doc},
    {"abort", transport_abort, METH_NOARGS, abort_doc},
    {"_force_close", transport_force_close, METH_O, NULL},
    {"_test__append_write_backlog", transport_append_write_backlog, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef transport_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_protocol_paused", get_protocol_paused, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PaTlsTransport, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(PaTlsTransport, dict), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(PaTlsTransport, loop), READONLY, NULL},
    {"_ssl_protocol", T_OBJECT, offsetof(PaTlsTransport, tls), READONLY, NULL},
    {"_closed", T_BOOL, offsetof(PaTlsTransport, closed), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(transport_doc, "Transport of a TLS connection; made by the loop.\n\n"
                            "Stands for the transport of asyncio.sslproto.");

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, (void *)transport_doc},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_finalize, transport_finalize},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_methods, transport_methods},
    {Py_tp_getset, transport_getset},
    {Py_tp_members, transport_members},
    {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "pyasync._core._SSLProtocolTransport",
    .basicsize = sizeof(PaTlsTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transport_slots,
};

int
pa_tls_transport_init_type(PyObject *module, PaState *st)
{
    st->tls_transport_type = pa_add_type(module, &transport_spec, st->asyncio.FlowControlMixin);
    if (st->tls_transport_type == NULL) {
        return -1;
    }
    PyObject *type = (PyObject *)st->tls_transport_type;
    PyObject *mode_class = PyObject_GetAttrString(st->asyncio.constants, "_SendfileMode");
    PyObject *mode = mode_class == NULL ? NULL : PyObject_GetAttrString(mode_class, "FALLBACK");
    int result = mode == NULL ? -1 : PyObject_SetAttrString(type, "_sendfile_compatible", mode);
    Py_XDECREF(mode_class);
    Py_XDECREF(mode);
    return result < 0 ? -1 : PyObject_SetAttrString(type, "_start_tls_compatible", Py_True);
}
