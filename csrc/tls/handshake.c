/* tls/handshake.c: from connection_made() to the application's connection_made().
 *
 * OpenSSL alone decides whether a handshake, and the certificates in it, are good; what it refuses
 * ends the connection before the application has seen a byte. The time-out runs from the start and
 * is cancelled at the end, whatever that is. */
#include "tls/tls.h"

/* Whether OpenSSL could only say that nothing has come: in TLS the client speaks first. -1 with an
 * exception. */
static int
waits_for_client(PaTls *tls)
{
    if (!tls->server_side || !tls->codec_in_c) {
        return 0;
    }
    Py_ssize_t size = pa_tls_bio_size(tls, tls->incoming); /* read by streams before start_tls() */
    return size < 0 ? -1 : size == 0;
}

int
pa_tls_start_handshake(PaTls *tls)
{
    PaNames *names = &pa_tls_state(tls)->names;
    if (pa_tls_debug(tls)) {
        if (pa_tls_log_debug(tls, "%r starts SSL handshake") < 0) {
            return -1;
        }
        tls->handshake_start = pa_loop_time(tls->loop);
        if (tls->handshake_start == -1.0 && PyErr_Occurred()) {
            return -1;
        }
    }
    tls->state = PA_TLS_HANDSHAKE;
    tls->handshake_timer =
        pa_tls_call_later(tls, tls->handshake_timeout, names->_handshake_timed_out);
    if (tls->handshake_timer == NULL) {
        return -1;
    }
    int waiting = waits_for_client(tls);
    if (waiting != 0) {
        return waiting < 0 ? -1 : 0;
    }
    return pa_tls_do_handshake(tls);
}

int
pa_tls_handshake_timed_out(PaTls *tls)
{
    if (tls->state != PA_TLS_HANDSHAKE) {
        return 0;
    }
    PyObject *text = PyUnicode_FromFormat("SSL handshake is taking longer than %S seconds: "
                                          "aborting the connection",
                                          tls->handshake_timeout);
    PyObject *exc = text == NULL ? NULL : PyObject_CallOneArg(PyExc_ConnectionAbortedError, text);
    Py_XDECREF(text);
    if (exc == NULL) {
        return -1;
    }
    int result = pa_tls_fatal_error(tls, exc, "Fatal error on transport");
    Py_DECREF(exc);
    return result;
}

int
pa_tls_do_handshake(PaTls *tls)
{
    PaState *st = pa_tls_state(tls);
    PyObject *codec = Py_NewRef(tls->codec); /* OpenSSL may call into Python */
    PyObject *done =
        pa_tls_codec_call(tls, st->ssl.codec_do_handshake, st->names.do_handshake, &codec, 1);
    Py_DECREF(codec);
    if (done != NULL) {
        Py_DECREF(done);
        return pa_tls_handshake_done(tls, NULL);
    }
    if (pa_tls_wants_more(tls)) {
        return pa_tls_process_outgoing(tls);
    }
    if (!PyErr_ExceptionMatches(st->ssl.SSLError)) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    int result = pa_tls_handshake_done(tls, exc);
    Py_DECREF(exc);
    return result;
}

static int
handshake_failed(PaTls *tls, PyObject *exc)
{
    bool certificate = PyErr_GivenExceptionMatches(exc, pa_tls_state(tls)->ssl.CertificateError);
    tls->state = PA_TLS_UNWRAPPED;
    if (pa_tls_fatal_error(tls, exc,
                           certificate ? "SSL handshake failed on verifying the certificate"
                                       : "SSL handshake failed") < 0) {
        return -1;
    }
    return pa_tls_wake_waiter(tls, exc);
}

/* tls.extra[key] = sslobj.method() */
static int
keep_extra(PaTls *tls, PyObject *key)
{
    PyObject *value = PyObject_CallMethodNoArgs(tls->sslobj, key);
    int result = value == NULL ? -1 : PyDict_SetItem(tls->extra, key, value);
    Py_XDECREF(value);
    return result;
}

static int
keep_extras(PaTls *tls, PyObject *peercert)
{
    PaNames *names = &pa_tls_state(tls)->names;
    if (PyDict_SetItem(tls->extra, names->peercert, peercert) < 0 ||
        keep_extra(tls, names->cipher) < 0 || keep_extra(tls, names->compression) < 0) {
        return -1;
    }
    return PyDict_SetItem(tls->extra, names->ssl_object, tls->sslobj);
}

static int
log_duration(PaTls *tls)
{
    if (!pa_tls_debug(tls) || tls->handshake_start == 0.0) {
        return 0;
    }
    double now = pa_loop_time(tls->loop);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    PyObject *result = PyObject_CallMethod(pa_tls_state(tls)->asyncio.logger, "debug", "sOd",
                                           "%r: SSL handshake took %.1f ms", tls,
                                           (now - tls->handshake_start) * 1e3);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The application's connection_made(); an exception of it is the caller's, as in asyncio. */
static int
tell_app(PaTls *tls)
{
    if (tls->app != PA_TLS_APP_INIT || tls->app_protocol == NULL) {
        return 0;
    }
    tls->app = PA_TLS_APP_CONNECTED;
    PyObject *protocol = Py_NewRef(tls->app_protocol);
    tls->reading = true; /* what it writes leaves with the end of the handshake */
    int result =
        pa_tls_call(protocol, pa_tls_state(tls)->names.connection_made, tls->app_transport);
    tls->reading = false;
    Py_DECREF(protocol);
    return result;
}

int
pa_tls_handshake_done(PaTls *tls, PyObject *exc)
{
    pa_tls_cancel_timer(tls, &tls->handshake_timer);
    if (exc != NULL) {
        return handshake_failed(tls, exc);
    }
    tls->state = PA_TLS_WRAPPED;
    PyObject *peercert =
        PyObject_CallMethodNoArgs(tls->sslobj, pa_tls_state(tls)->names.getpeercert);
    if (peercert == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyObject *raised = PyErr_GetRaisedException();
        int result = handshake_failed(tls, raised);
        Py_DECREF(raised);
        return result;
    }
    int kept = log_duration(tls) < 0 ? -1 : keep_extras(tls, peercert);
    Py_DECREF(peercert);
    if (kept < 0 || tell_app(tls) < 0 || pa_tls_wake_waiter(tls, NULL) < 0) {
        return -1;
    }
    return pa_tls_read(tls);
}
