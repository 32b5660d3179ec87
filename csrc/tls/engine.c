/* tls/engine.c: the type of the TLS protocol: construction, what the transport below calls, errors.
 *
 * The application's transport exists from construction on. The two keep each other alive until
 * connection_lost(), which lets go of everything that the connection needed and cancels the timers.
 * Runs on the loop's thread. */
#include "tls/tls.h"

#define READ_HIGH  ((size_t)256 * 1024)
#define WRITE_HIGH ((size_t)512 * 1024)

/* ---- helpers of the other files */

bool
pa_tls_wants_more(PaTls *tls)
{
    PaSsl *ssl = &pa_tls_state(tls)->ssl;
    if (!PyErr_ExceptionMatches(ssl->SSLWantReadError) &&
        !PyErr_ExceptionMatches(ssl->SSLSyscallError)) {
        return false;
    }
    PyErr_Clear();
    return true;
}

Py_ssize_t
pa_tls_bio_size(PaTls *tls, PyObject *bio)
{
    PyObject *pending = PyObject_GetAttr(bio, pa_tls_state(tls)->names.pending);
    if (pending == NULL) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(pending);
    Py_DECREF(pending);
    return size;
}

PyObject *
pa_tls_open_view(PaTls *tls, char *memory, Py_ssize_t size, bool writable)
{
    if (!tls->codec_in_c) {
        return PyMemoryView_FromMemory(memory, size, writable ? PyBUF_WRITE : PyBUF_READ);
    }
    return writable ? pa_window_open_writable(pa_tls_state(tls), memory, size)
                    : pa_window_open(pa_tls_state(tls), memory, size);
}

void
pa_tls_close_view_steal(PaTls *tls, PyObject *view)
{
    PaState *st = pa_tls_state(tls);
    if (view != NULL && Py_TYPE(view) == st->window_type) {
        pa_window_close_steal(st, view);
        return;
    }
    Py_XDECREF(view);
}

void
pa_tls_mark_closed(PaTls *tls)
{
    if (tls->app_transport != NULL) {
        ((PaTlsTransport *)tls->app_transport)->closed = true;
    }
}

void
pa_tls_release(PaTls *tls)
{
    PyDict_Clear(tls->extra);
    Py_CLEAR(tls->codec);
    Py_CLEAR(tls->sslobj);
    Py_CLEAR(tls->sslcontext);
}

int
pa_tls_call_soon(PaTls *tls, PyObject *obj, PyObject *name, PyObject *arg)
{
    PyObject *method = PyObject_GetAttr(obj, name);
    if (method == NULL) {
        return -1;
    }
    int result = pa_loop_call_soon(tls->loop, method, &arg, arg != NULL, NULL);
    Py_DECREF(method);
    return result;
}

PyObject *
pa_tls_call_later(PaTls *tls, PyObject *timeout, PyObject *name)
{
    PyObject *method = PyObject_GetAttr((PyObject *)tls, name);
    if (method == NULL) {
        return NULL;
    }
    PyObject *args[] = {(PyObject *)tls->loop, timeout, method};
    PyObject *timer = PyObject_VectorcallMethod(pa_tls_state(tls)->names.call_later, args, 3, NULL);
    Py_DECREF(method);
    return timer;
}

void
pa_tls_cancel_timer(PaTls *tls, PyObject **timer)
{
    PyObject *handle = *timer;
    if (handle == NULL) {
        return;
    }
    *timer = NULL;
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *done = PyObject_CallMethodNoArgs(handle, pa_tls_state(tls)->names.cancel);
    if (done == NULL) {
        pa_write_unraisable(handle);
    }
    Py_XDECREF(done);
    Py_DECREF(handle);
    PyErr_SetRaisedException(raised);
}

int
pa_tls_log_debug(PaTls *tls, const char *format)
{
    PyObject *done = PyObject_CallMethod(pa_tls_state(tls)->asyncio.logger, "debug", "sO", format,
                                         (PyObject *)tls);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
pa_tls_wake_waiter(PaTls *tls, PyObject *exc)
{
    PyObject *waiter = tls->waiter;
    if (waiter == NULL) {
        return 0;
    }
    PaNames *names = &pa_tls_state(tls)->names;
    tls->waiter = NULL;
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, names->cancelled);
    int result = cancelled == NULL ? -1 : PyObject_IsTrue(cancelled);
    Py_XDECREF(cancelled);
    if (result == 0) {
        bool failed = exc != NULL && exc != Py_None;
        result = pa_tls_call(waiter, failed ? names->set_exception : names->set_result,
                             failed ? exc : Py_None);
    }
    Py_DECREF(waiter);
    return result < 0 ? -1 : 0;
}

/* ---- errors */

/* What was written before had left by now if it had been encrypted at once. */
static int
send_written(PaTls *tls)
{
    if (tls->state == PA_TLS_WRAPPED && tls->backlog.count > 0 && pa_tls_flush(tls) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* there is a reason already why the connection ends */
    }
    return tls->socket == NULL ? 0 : pa_transport_flush(tls->socket);
}

int
pa_tls_force_close(PaTls *tls, PyObject *exc)
{
    if (tls->transport == NULL) {
        return 0;
    }
    PyObject *transport = Py_NewRef(tls->transport);
    PyObject *raised = PyErr_GetRaisedException();
    int result = send_written(tls);
    if (result == 0) {
        result = pa_tls_call(transport, pa_tls_state(tls)->names._force_close, exc);
    }
    Py_DECREF(transport);
    if (result < 0) {
        Py_XDECREF(raised);
        return -1;
    }
    PyErr_SetRaisedException(raised);
    return 0;
}

int
pa_tls_abort(PaTls *tls, PyObject *exc)
{
    int result = pa_tls_force_close(tls, exc);
    tls->state = PA_TLS_UNWRAPPED;
    return result;
}

static int
log_error(PaTls *tls, PyObject *exc, const char *message)
{
    PyObject *method =
        PyObject_GetAttr(pa_tls_state(tls)->asyncio.logger, pa_tls_state(tls)->names.debug);
    PyObject *args = Py_BuildValue("sOs", "%r: %s", tls, message);
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exc);
    PyObject *done = NULL;
    if (method != NULL && args != NULL && kwargs != NULL) {
        done = PyObject_Call(method, args, kwargs);
    }
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
report(PaTls *tls, PyObject *exc, const char *message, PyObject *transport)
{
    PaNames *names = &pa_tls_state(tls)->names;
    PyObject *extra = Py_BuildValue("{O:O, O:O}", names->transport,
                                    transport == NULL ? Py_None : transport, names->protocol, tls);
    if (extra == NULL) {
        return -1;
    }
    pa_loop_report(tls->loop, message, exc, extra);
    Py_DECREF(extra);
    return 0;
}

int
pa_tls_fatal_error(PaTls *tls, PyObject *exc, const char *message)
{
    if (pa_tls_force_close(tls, exc) < 0) {
        return -1;
    }
    if (PyErr_GivenExceptionMatches(exc, PyExc_OSError)) {
        return pa_tls_debug(tls) ? log_error(tls, exc, message) : 0;
    }
    if (PyErr_GivenExceptionMatches(exc, pa_tls_state(tls)->asyncio.CancelledError)) {
        return 0;
    }
    return report(tls, exc, message, tls->transport);
}

int
pa_tls_failed(PaTls *tls, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (!PyErr_GivenExceptionMatches(exc, PyExc_Exception)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int result = pa_tls_fatal_error(tls, exc, message);
    Py_DECREF(exc);
    return result;
}

int
pa_tls_report(PaTls *tls, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int result = report(tls, exc, message, tls->app_transport);
    Py_DECREF(exc);
    return result;
}

/* ---- construction */

/* An attribute that is kept. */
typedef struct {
    PyObject **slot;
    PyObject **owner;
    const char *name;
} PaWanted;

/* In their order, as an owner may be one of them. */
static int
get_wanted(const PaWanted *wanted, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        Py_XSETREF(*wanted[i].slot, PyObject_GetAttrString(*wanted[i].owner, wanted[i].name));
        if (*wanted[i].slot == NULL) {
            return -1;
        }
    }
    return 0;
}

/* Imports what is needed of the ssl module, once. RuntimeError when Python has none. */
static int
import_ssl(PaState *st)
{
    if (st->ssl.wrap_bio_keywords != NULL) { /* the last of them */
        return 0;
    }
    PyObject *module = PyImport_ImportModule("ssl");
    if (module == NULL) {
        if (PyErr_ExceptionMatches(PyExc_ImportError)) {
            PyErr_SetString(PyExc_RuntimeError, "stdlib ssl module not available");
        }
        return -1;
    }
    PaSsl *ssl = &st->ssl;
    const PaWanted wanted[] = {
        {&ssl->MemoryBIO, &module, "MemoryBIO"},
        {&ssl->bio_read, &ssl->MemoryBIO, "read"},
        {&ssl->bio_write, &ssl->MemoryBIO, "write"},
        {&ssl->SSLObject, &module, "SSLObject"},
        {&ssl->SSLError, &module, "SSLError"},
        {&ssl->SSLWantReadError, &module, "SSLWantReadError"},
        {&ssl->SSLSyscallError, &module, "SSLSyscallError"},
        {&ssl->CertificateError, &module, "CertificateError"},
    };
    int result = get_wanted(wanted, Py_ARRAY_LENGTH(wanted));
    Py_DECREF(module);
    if (result < 0) {
        return -1;
    }
    ssl->wrap_bio_keywords = PyTuple_Pack(2, st->names.server_side, st->names.server_hostname);
    return ssl->wrap_bio_keywords == NULL ? -1 : 0;
}

/* A time-out in seconds, the constant's value for None. New reference. */
static PyObject *
check_timeout(PaState *st, PyObject *given, const char *name, PyObject *constant)
{
    if (given == Py_None) {
        return PyObject_GetAttr(st->asyncio.constants, constant);
    }
    PyObject *zero = PyLong_FromLong(0);
    int wrong = zero == NULL ? -1 : PyObject_RichCompareBool(given, zero, Py_LE);
    Py_XDECREF(zero);
    if (wrong > 0) {
        PyErr_Format(PyExc_ValueError, "%s should be a positive number, got %S", name, given);
    }
    return wrong == 0 ? Py_NewRef(given) : NULL;
}

/* The context given, or a new one of the default settings for a client. New reference. */
static PyObject *
choose_context(PyObject *given, bool server_side, bool named)
{
    int truth = PyObject_IsTrue(given);
    if (truth != 0) {
        return truth < 0 ? NULL : Py_NewRef(given);
    }
    if (server_side) {
        PyErr_SetString(PyExc_ValueError, "Server side SSL needs a valid SSLContext");
        return NULL;
    }
    /* looked up now, as asyncio does: programs put their own default in its place */
    PyObject *module = PyImport_ImportModule("ssl");
    PyObject *context =
        module == NULL ? NULL : PyObject_CallMethod(module, "create_default_context", NULL);
    Py_XDECREF(module);
    if (context != NULL && !named &&
        PyObject_SetAttrString(context, "check_hostname", Py_False) < 0) {
        Py_CLEAR(context);
    }
    return context;
}

/* sslcontext.wrap_bio(incoming, outgoing, server_side=..., server_hostname=hostname) */
static PyObject *
wrap_bio(PaTls *tls, PyObject *hostname)
{
    PyObject *args[] = {tls->sslcontext, tls->incoming, tls->outgoing,
                        tls->server_side ? Py_True : Py_False, hostname};
    PaState *st = pa_tls_state(tls);
    return PyObject_VectorcallMethod(st->names.wrap_bio, args, 3, st->ssl.wrap_bio_keywords);
}

/* Whether the object is the C one of an ssl.SSLObject, whose type nobody can change; the first that is
 * seen says which type that is. -1 with an exception. */
static int
is_in_c(PaSsl *ssl, PyObject *codec)
{
    PyTypeObject *type = Py_TYPE(codec);
    if (ssl->codec_type == NULL && PyType_HasFeature(type, Py_TPFLAGS_IMMUTABLETYPE)) {
        PyObject *owner = (PyObject *)type;
        const PaWanted wanted[] = {
            {&ssl->codec_do_handshake, &owner, "do_handshake"},
            {&ssl->codec_read, &owner, "read"},
            {&ssl->codec_write, &owner, "write"},
        };
        if (get_wanted(wanted, Py_ARRAY_LENGTH(wanted)) < 0) {
            return -1;
        }
        ssl->codec_type = Py_NewRef(owner);
    }
    return (PyObject *)type == ssl->codec_type;
}

/* ssl.SSLObject passes reads and writes on to the object in its attribute _sslobj: so do we, unless
 * it is of a class of the user's. */
static int
set_codec(PaTls *tls)
{
    PaState *st = pa_tls_state(tls);
    PyObject *below = NULL;
    int in_c = 0;
    if (Py_TYPE(tls->sslobj) == (PyTypeObject *)st->ssl.SSLObject) {
        if (PyObject_GetOptionalAttr(tls->sslobj, st->names._sslobj, &below) < 0) {
            return -1;
        }
        in_c = below == NULL ? 0 : is_in_c(&st->ssl, below);
    }
    if (in_c < 0) {
        Py_DECREF(below);
        return -1;
    }
    tls->codec_in_c = in_c > 0;
    tls->codec = Py_NewRef(in_c > 0 ? below : tls->sslobj);
    Py_XDECREF(below);
    return 0;
}

static int
set_up(PaTls *tls, PyObject *given_context, PyObject *hostname)
{
    PaState *st = pa_tls_state(tls);
    int named = PyObject_IsTrue(hostname);
    if (named < 0) {
        return -1;
    }
    tls->sslcontext = choose_context(given_context, tls->server_side, named);
    if (tls->sslcontext == NULL) {
        return -1;
    }
    tls->extra = PyDict_New();
    if (tls->extra == NULL ||
        PyDict_SetItem(tls->extra, st->names.sslcontext, tls->sslcontext) < 0 ||
        (tls->incoming = PyObject_CallNoArgs(st->ssl.MemoryBIO)) == NULL ||
        (tls->outgoing = PyObject_CallNoArgs(st->ssl.MemoryBIO)) == NULL) {
        return -1;
    }
    tls->sslobj = wrap_bio(tls, named && !tls->server_side ? hostname : Py_None);
    if (tls->sslobj == NULL || set_codec(tls) < 0) {
        return -1;
    }
    tls->app_transport = pa_tls_transport_new(tls);
    return tls->app_transport == NULL ? -1 : 0;
}

static PyObject *
tls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",
                               "app_protocol",
                               "sslcontext",
                               "waiter",
                               "server_side",
                               "server_hostname",
                               "call_connection_made",
                               "ssl_handshake_timeout",
                               "ssl_shutdown_timeout",
                               NULL};
    PyObject *loop, *protocol, *context, *waiter, *hostname = Py_None;
    PyObject *handshake = Py_None, *shutdown = Py_None;
    int server_side = 0, call_made = 1;
    PaState *st = pa_state_of_type(type);
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOO|pOpOO:SSLProtocol", keywords,
                                     st->loop_type, &loop, &protocol, &context, &waiter,
                                     &server_side, &hostname, &call_made, &handshake, &shutdown) ||
        import_ssl(st) < 0) {
        return NULL;
    }
    PaTls *tls = (PaTls *)type->tp_alloc(type, 0);
    if (tls == NULL) {
        return NULL;
    }
    tls->loop = (PaLoop *)Py_NewRef(loop);
    tls->waiter = waiter == Py_None ? NULL : Py_NewRef(waiter);
    tls->server_side = server_side;
    tls->app = call_made ? PA_TLS_APP_INIT : PA_TLS_APP_CONNECTED;
    tls->read_high = READ_HIGH;
    tls->read_low = READ_HIGH / 4;
    tls->write_high = WRITE_HIGH;
    tls->write_low = WRITE_HIGH / 4;
    tls->handshake_timeout =
        check_timeout(st, handshake, "ssl_handshake_timeout", st->names.SSL_HANDSHAKE_TIMEOUT);
    if (tls->handshake_timeout != NULL) {
        tls->shutdown_timeout =
            check_timeout(st, shutdown, "ssl_shutdown_timeout", st->names.SSL_SHUTDOWN_TIMEOUT);
    }
    if (tls->shutdown_timeout == NULL || pa_tls_set_app_protocol(tls, protocol) < 0 ||
        set_up(tls, context, hostname) < 0) {
        pa_tls_mark_closed(tls);
        Py_DECREF(tls);
        return NULL;
    }
    return (PyObject *)tls;
}

int
pa_tls_set_app_protocol(PaTls *tls, PyObject *protocol)
{
    PaState *st = pa_tls_state(tls);
    int buffered = PyObject_IsInstance(protocol, st->asyncio.BufferedProtocol);
    if (buffered < 0) {
        return -1;
    }
    tls->app_kind = buffered                            ? PA_PROTOCOL_BUFFERED
                    : pa_stream_recognise(st, protocol) ? PA_PROTOCOL_STREAM
                                                        : PA_PROTOCOL_PLAIN;
    Py_XSETREF(tls->app_protocol, Py_NewRef(protocol));
    return 0;
}

/* ---- what the transport below calls */

static PaTls *
cast(PyObject *self)
{
    return (PaTls *)self;
}

static PyObject *
none_or_error(int result)
{
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
feed(PyObject *self, const char *data, Py_ssize_t size)
{
    return pa_tls_feed(cast(self), data, size);
}

static PyObject *
tls_connection_made(PyObject *self, PyObject *transport)
{
    PaTls *tls = cast(self);
    if (tls->codec == NULL) { /* pa_tls_release(): its connection is over */
        PyErr_SetString(PyExc_RuntimeError, "connection_made() of a TLS connection that was lost");
        return NULL;
    }
    Py_XSETREF(tls->transport, Py_NewRef(transport));
    bool ours = Py_TYPE(transport) == pa_tls_state(tls)->socket_transport_type;
    tls->socket = ours ? (PaTransport *)transport : NULL;
    return none_or_error(pa_tls_start_handshake(tls));
}

static int
lose(PaTls *tls, PyObject *exc)
{
    pa_queue_clear(&tls->backlog);
    tls->conn_lost++;
    pa_tls_mark_closed(tls);
    pa_tls_cancel_timer(tls, &tls->shutdown_timer);
    pa_tls_cancel_timer(tls, &tls->handshake_timer);
    int result = 0;
    if (tls->state != PA_TLS_HANDSHAKE && tls->app_protocol != NULL &&
        (tls->app == PA_TLS_APP_CONNECTED || tls->app == PA_TLS_APP_EOF)) {
        tls->app = PA_TLS_APP_LOST;
        result =
            pa_tls_call_soon(tls, tls->app_protocol, pa_tls_state(tls)->names.connection_lost, exc);
    }
    tls->state = PA_TLS_UNWRAPPED;
    tls->socket = NULL;
    Py_CLEAR(tls->transport);
    if (tls->app_transport != NULL && ((PaTlsTransport *)tls->app_transport)->closed_twice) {
        pa_tls_release(tls);
    }
    Py_CLEAR(tls->app_transport);
    Py_CLEAR(tls->app_protocol);
    return result < 0 ? -1 : pa_tls_wake_waiter(tls, exc);
}

static PyObject *
tls_connection_lost(PyObject *self, PyObject *exc)
{
    return none_or_error(lose(cast(self), exc));
}

static PyObject *
tls_data_received(PyObject *self, PyObject *data)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    int result = pa_tls_feed(cast(self), view.buf, view.len);
    PyBuffer_Release(&view);
    return none_or_error(result);
}

static PyObject *
tls_eof_received(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    int keep_open = pa_tls_eof_received(cast(self));
    if (keep_open < 0) {
        return NULL;
    }
    return Py_NewRef(keep_open ? Py_True : Py_None);
}

static PyObject *
tls_pause_writing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    cast(self)->ssl_writing_paused = true;
    Py_RETURN_NONE;
}

static PyObject *
tls_resume_writing(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    cast(self)->ssl_writing_paused = false;
    return none_or_error(pa_tls_process_outgoing(cast(self)));
}

/* ---- what the loop calls: timers, and what was scheduled */

static PyObject *
tls_handshake_timed_out(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_tls_handshake_timed_out(cast(self)));
}

static PyObject *
tls_shutdown_timed_out(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_tls_shutdown_timed_out(cast(self)));
}

static PyObject *
tls_do_read(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_tls_read(cast(self)));
}

static PyObject *
tls_resumed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return none_or_error(pa_tls_resumed(cast(self)));
}

/* ---- the object */

static int
tls_traverse(PyObject *self, visitproc visit, void *arg)
{
    PaTls *tls = cast(self);
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(tls->loop);
    Py_VISIT(tls->transport);
    Py_VISIT(tls->app_protocol);
    Py_VISIT(tls->app_transport);
    Py_VISIT(tls->waiter);
    Py_VISIT(tls->sslcontext);
    Py_VISIT(tls->sslobj);
    Py_VISIT(tls->codec);
    Py_VISIT(tls->incoming);
    Py_VISIT(tls->outgoing);
    Py_VISIT(tls->extra);
    Py_VISIT(tls->handshake_timeout);
    Py_VISIT(tls->shutdown_timeout);
    Py_VISIT(tls->handshake_timer);
    Py_VISIT(tls->shutdown_timer);
    return pa_queue_traverse(&tls->backlog, visit, arg);
}

/* The loop, the SSL objects and the extras stay until the end: methods look at them. */
static int
tls_clear(PyObject *self)
{
    PaTls *tls = cast(self);
    tls->socket = NULL;
    tls->state = PA_TLS_UNWRAPPED;
    Py_CLEAR(tls->transport);
    Py_CLEAR(tls->app_protocol);
    Py_CLEAR(tls->app_transport);
    Py_CLEAR(tls->waiter);
    Py_CLEAR(tls->handshake_timer);
    Py_CLEAR(tls->shutdown_timer);
    pa_queue_clear(&tls->backlog);
    return 0;
}

static void
tls_dealloc(PyObject *self)
{
    PaTls *tls = cast(self);
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (tls->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    tls_clear(self);
    Py_CLEAR(tls->sslcontext);
    Py_CLEAR(tls->codec);
    Py_CLEAR(tls->sslobj);
    Py_CLEAR(tls->incoming);
    Py_CLEAR(tls->outgoing);
    Py_CLEAR(tls->extra);
    Py_CLEAR(tls->handshake_timeout);
    Py_CLEAR(tls->shutdown_timeout);
    Py_CLEAR(tls->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- type */

static PyMethodDef tls_methods[] = {
    {"connection_made", tls_connection_made, METH_O, NULL},
    {"connection_lost", tls_connection_lost, METH_O, NULL},
    {"data_received", tls_data_received, METH_O, NULL},
    {"eof_received", tls_eof_received, METH_NOARGS, NULL},
    {"pause_writing", tls_pause_writing, METH_NOARGS, NULL},
    {"resume_writing", tls_resume_writing, METH_NOARGS, NULL},
    {"_handshake_timed_out", tls_handshake_timed_out, METH_NOARGS, NULL},
    {"_shutdown_timed_out", tls_shutdown_timed_out, METH_NOARGS, NULL},
    {"_do_read", tls_do_read, METH_NOARGS, NULL},
    {"_resumed", tls_resumed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name) offsetof(PaTls, name)

static PyMemberDef tls_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, FIELD(weakrefs), READONLY, NULL},
    {"_loop", T_OBJECT, FIELD(loop), READONLY, NULL},
    {"_transport", T_OBJECT, FIELD(transport), READONLY, NULL},
    {"_app_protocol", T_OBJECT, FIELD(app_protocol), READONLY, NULL},
    {"_app_transport", T_OBJECT, FIELD(app_transport), READONLY, NULL},
    {"_sslcontext", T_OBJECT, FIELD(sslcontext), READONLY, NULL},
    {"_sslobj", T_OBJECT, FIELD(sslobj), READONLY, NULL},
    {"_incoming", T_OBJECT, FIELD(incoming), READONLY, NULL},
    {"_outgoing", T_OBJECT, FIELD(outgoing), READONLY, NULL},
    {"_extra", T_OBJECT, FIELD(extra), READONLY, NULL},
    {"_app_reading_paused", T_BOOL, FIELD(app_reading_paused), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(tls_doc,
             "SSLProtocol(loop, app_protocol, sslcontext, waiter, server_side=False,\n"
             "            server_hostname=None, call_connection_made=True,\n"
             "            ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n"
             "--\n\n"
             "Protocol that speaks TLS with a transport, for the protocol of an application.\n\n"
             "Time-outs are in seconds; waiter is a future for the end of the handshake, or None.\n"
             "Stands for asyncio.sslproto.SSLProtocol. Raises ValueError for a server without a\n"
             "context or a time-out that isn't positive, RuntimeError without the ssl module.");

static PyType_Slot tls_slots[] = {
    {Py_tp_doc, (void *)tls_doc}, {Py_tp_new, tls_new},
    {Py_tp_dealloc, tls_dealloc}, {Py_tp_traverse, tls_traverse},
    {Py_tp_clear, tls_clear},     {Py_tp_methods, tls_methods},
    {Py_tp_members, tls_members}, {0, NULL},
};

static PyType_Spec tls_spec = {
    .name = "pyasync._core.SSLProtocol",
    .basicsize = sizeof(PaTls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = tls_slots,
};

int
pa_tls_init_types(PyObject *module, PaState *st)
{
    PyTypeObject *type = pa_add_type(module, &tls_spec, st->asyncio.Protocol);
    if (type == NULL) {
        return -1;
    }
    st->feed.type = type;
    st->feed.function = feed;
    return pa_window_init_type(module, st) < 0 ? -1 : pa_tls_transport_init_type(module, st);
}
