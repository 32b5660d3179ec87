/* tls/shutdown.c: the end of a connection, from either side.
 *
 * close() of the application and close_notify of the peer lead through FLUSHING (decrypted data is
 * delivered, what was written is sent) to SHUTDOWN (close_notify is exchanged), bounded by the
 * shutdown time-out; then the transport below is closed. An end of the stream below without
 * close_notify goes the same way, but waits for nothing more of the peer. */
#include "tls/tls.h"

int
pa_tls_start_shutdown(PaTls *tls)
{
    if (tls->state == PA_TLS_FLUSHING && tls->eof_received && tls->app_reading_paused) {
        /* The peer has gone and nobody will ever read what it sent last. */
        pa_tls_mark_closed(tls);
        tls->state = PA_TLS_SHUTDOWN;
        return pa_tls_do_shutdown(tls);
    }
    if (tls->state != PA_TLS_WRAPPED && tls->state != PA_TLS_HANDSHAKE) {
        return 0;
    }
    pa_tls_mark_closed(tls);
    if (tls->state == PA_TLS_HANDSHAKE) {
        return pa_tls_abort(tls, Py_None);
    }
    tls->state = PA_TLS_FLUSHING;
    tls->shutdown_timer =
        pa_tls_call_later(tls, tls->shutdown_timeout, pa_tls_state(tls)->names._shutdown_timed_out);
    return tls->shutdown_timer == NULL ? -1 : pa_tls_do_flush(tls);
}

int
pa_tls_shutdown_timed_out(PaTls *tls)
{
    if (tls->state != PA_TLS_FLUSHING && tls->state != PA_TLS_SHUTDOWN) {
        return 0;
    }
    PyObject *exc = PyObject_CallFunction(PyExc_TimeoutError, "s", "SSL shutdown timed out");
    if (exc == NULL) {
        return -1;
    }
    int result = pa_tls_force_close(tls, exc);
    Py_DECREF(exc);
    return result;
}

int
pa_tls_do_flush(PaTls *tls)
{
    if (pa_tls_read(tls) < 0) {
        return -1;
    }
    if (tls->state != PA_TLS_FLUSHING) { /* aborted, or shut down, by whom that called */
        return 0;
    }
    tls->state = PA_TLS_SHUTDOWN;
    return pa_tls_do_shutdown(tls);
}

/* exc is borrowed, NULL after a good exchange. */
static int
shutdown_done(PaTls *tls, PyObject *exc)
{
    pa_tls_cancel_timer(tls, &tls->shutdown_timer);
    if (exc != NULL) {
        return pa_tls_fatal_error(tls, exc, "Fatal error on transport");
    }
    if (tls->transport == NULL) {
        return 0;
    }
    return pa_tls_call_soon(tls, tls->transport, pa_tls_state(tls)->names.close, NULL);
}

int
pa_tls_do_shutdown(PaTls *tls)
{
    PaState *st = pa_tls_state(tls);
    if (!tls->eof_received && pa_tls_call(tls->sslobj, st->names.unwrap, NULL) < 0) {
        if (pa_tls_wants_more(tls)) {
            return pa_tls_process_outgoing(tls);
        }
        if (!PyErr_ExceptionMatches(st->ssl.SSLError)) {
            return -1;
        }
        PyObject *exc = PyErr_GetRaisedException();
        int result = shutdown_done(tls, exc);
        Py_DECREF(exc);
        return result;
    }
    if (pa_tls_process_outgoing(tls) < 0 || pa_tls_app_eof(tls) < 0) {
        return -1;
    }
    return shutdown_done(tls, NULL);
}

static int
eof_by_state(PaTls *tls)
{
    switch ((PaTlsState)tls->state) {
    case PA_TLS_HANDSHAKE: {
        PyObject *exc = PyObject_CallNoArgs(PyExc_ConnectionResetError);
        int result = exc == NULL ? -1 : pa_tls_handshake_done(tls, exc);
        Py_XDECREF(exc);
        return result;
    }
    case PA_TLS_WRAPPED:
        tls->state = PA_TLS_FLUSHING;
        return tls->app_reading_paused ? 1 : pa_tls_do_flush(tls);
    case PA_TLS_FLUSHING:
        if (pa_tls_flush(tls) < 0) {
            return -1;
        }
        tls->state = PA_TLS_SHUTDOWN;
        return pa_tls_do_shutdown(tls);
    case PA_TLS_SHUTDOWN:
        return pa_tls_do_shutdown(tls);
    case PA_TLS_UNWRAPPED:
        break;
    }
    return 0;
}

int
pa_tls_eof_received(PaTls *tls)
{
    tls->eof_received = true;
    int result = pa_tls_debug(tls) ? pa_tls_log_debug(tls, "%r received EOF") : 0;
    if (result == 0) {
        result = eof_by_state(tls);
    }
    if (result < 0 && PyErr_ExceptionMatches(PyExc_Exception) && tls->transport != NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        if (pa_tls_call(tls->transport, pa_tls_state(tls)->names.close, NULL) < 0) {
            pa_write_unraisable((PyObject *)tls);
        }
        PyErr_SetRaisedException(exc);
    }
    return result;
}
