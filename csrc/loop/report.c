/* loop/report.c: errors that have no caller: to the loop's exception handler, or out of
 * run_forever() when they are exits; libuv codes to OSError. */
#include "loop/loop.h"

#include <errno.h>

/* What is to end run_forever() waits here until the I/O callback has returned; the first one wins. */
static void
keep_exit_steal(PaLoop *loop, PyObject *exc)
{
    if (loop->pending_exit == NULL) {
        loop->pending_exit = exc;
    }
    else {
        Py_DECREF(exc);
    }
}

int
pa_loop_raise_kept_exit(PaLoop *loop)
{
    if (loop->pending_exit == NULL) {
        return 0;
    }
    PyObject *exc = loop->pending_exit;
    loop->pending_exit = NULL;
    PyErr_SetRaisedException(exc);
    return -1;
}

void
pa_loop_keep_exit(PaLoop *loop)
{
    keep_exit_steal(loop, PyErr_GetRaisedException());
}

void
pa_loop_report(PaLoop *loop, const char *message, PyObject *exc, PyObject *extra)
{
    PaNames *names = &loop->sched.st->names;
    PyObject *reply = NULL;
    PyObject *context = Py_BuildValue("{O:s, O:O}", names->message, message, names->exception, exc);
    if (context != NULL && (extra == NULL || PyDict_Update(context, extra) == 0)) {
        reply =
            pa_call_method_handling(exc, (PyObject *)loop, names->call_exception_handler, context);
    }
    Py_XDECREF(context);
    if (reply == NULL && pa_sched_is_exit_raised()) {
        pa_loop_keep_exit(loop);
    }
    else {
        pa_write_unraisable((PyObject *)loop);
    }
    Py_XDECREF(reply);
}

void
pa_loop_callback_failed(PaLoop *loop, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (exc == NULL) {
        return;
    }
    if (pa_is_exit(exc)) {
        keep_exit_steal(loop, exc);
        return;
    }
    pa_loop_report(loop, message, exc, NULL);
    Py_DECREF(exc);
}

int
pa_uv_error(int err)
{
    if (err == UV_ENOMEM) {
        PyErr_NoMemory();
        return -1;
    }
    errno = -err; // on Unix a libuv code is the negated errno
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
