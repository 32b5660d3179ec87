/* loop/signals.c: signals reach a sleeping loop through the wake-up descriptor.
 *
 * While the loop runs on the main thread, signal.set_wakeup_fd() points at a pipe that libuv
 * polls: a signal ends the poll, Python's own handlers run (Ctrl-C raises out of run_forever()),
 * and each number read from the pipe goes to loop._handle_signal(), where add_signal_handler()
 * callbacks are found. Reading numbers, instead of trusting signal handlers, keeps
 * add_signal_handler() working after the application called signal.signal() for the same signal. */
#include "loop/loop.h"
#include "loop/poll.h"

#include <fcntl.h>
#include <unistd.h>

static void
deliver(PaLoop *loop, const unsigned char *numbers, ssize_t count)
{
    if (PyErr_CheckSignals() < 0) {
        pa_loop_keep_exit(loop); // whatever it is, it ends the run: asyncio's select() raises it
    }
    for (ssize_t i = 0; i < count; i++) {
        PyObject *number = PyLong_FromLong(numbers[i]);
        PyObject *reply = number == NULL
                              ? NULL
                              : PyObject_CallMethodOneArg(
                                    (PyObject *)loop, loop->sched.st->names._handle_signal, number);
        Py_XDECREF(number);
        Py_XDECREF(reply);
        if (reply == NULL) {
            pa_loop_callback_failed(loop, "Exception in a signal handler");
        }
    }
}

static void
signal_ready(uv_poll_t *uv, int Py_UNUSED(status), int Py_UNUSED(events))
{
    PaLoop *loop = uv->data;
    pa_loop_enter(loop);
    unsigned char numbers[512];
    ssize_t count;
    while ((count = read(loop->signal_fds[0], numbers, sizeof(numbers))) > 0) {
        deliver(loop, numbers, count);
        if (count < (ssize_t)sizeof(numbers)) {
            break;
        }
    }
}

static int
open_pipe(PaLoop *loop)
{
    int err = uv_pipe(loop->signal_fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);
    if (err == 0) {
        err = uv_poll_init(&loop->uv, &loop->signal_poll, loop->signal_fds[0]);
        if (err < 0) {
            close(loop->signal_fds[0]);
            close(loop->signal_fds[1]);
        }
    }
    if (err < 0) {
        loop->signal_fds[0] = loop->signal_fds[1] = -1;
        return pa_uv_error(err);
    }
    loop->signal_poll.data = loop;
    loop->signal_poll_open = true;
    pa_loop_handle_opened(loop);
    uv_poll_start(&loop->signal_poll, UV_READABLE, signal_ready);
    loop->uv_due = true;
    return 0;
}

/* 1 on the main thread of the main interpreter, where set_wakeup_fd() is allowed; 0 or -1. */
static int
is_main_thread(PaLoop *loop)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        return 0;
    }
    PyObject *thread = PyObject_CallNoArgs(loop->sched.st->asyncio.main_thread);
    PyObject *ident = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    Py_XDECREF(thread);
    if (ident == NULL) {
        return -1;
    }
    unsigned long number = PyLong_AsUnsignedLongMask(ident);
    Py_DECREF(ident);
    return number == PyThread_get_thread_ident();
}

static PyObject *
set_wakeup_fd(PaLoop *loop, PyObject *fd)
{
    PyObject *stack[2] = {fd, Py_False};
    PyObject *kwnames = Py_BuildValue("(s)", "warn_on_full_buffer");
    PyObject *old = kwnames == NULL ? NULL
                                    : PyObject_Vectorcall(loop->sched.st->asyncio.set_wakeup_fd,
                                                          stack, 1, kwnames);
    Py_XDECREF(kwnames);
    return old;
}

int
pa_loop_arm_signals(PaLoop *loop)
{
    int main_thread = is_main_thread(loop);
    if (main_thread <= 0) {
        return main_thread;
    }
    if (!loop->signal_poll_open && open_pipe(loop) < 0) {
        return -1;
    }
    PyObject *fd = PyLong_FromLong(loop->signal_fds[1]);
    PyObject *old = fd == NULL ? NULL : set_wakeup_fd(loop, fd);
    Py_XDECREF(fd);
    if (old == NULL) {
        return -1;
    }
    if (loop->old_wakeup_fd != NULL && PyLong_AsLong(old) == loop->signal_fds[1]) {
        Py_DECREF(old); // armed already: what was there before us is known
        return 0;
    }
    Py_XSETREF(loop->old_wakeup_fd, old);
    return 0;
}

void
pa_loop_disarm_signals(PaLoop *loop)
{
    if (loop->old_wakeup_fd == NULL || loop->hold_signals) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *old = loop->old_wakeup_fd;
    loop->old_wakeup_fd = NULL;
    PyObject *ours = set_wakeup_fd(loop, old);
    if (ours == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        /* the foreign descriptor was closed meanwhile */
        PyErr_Clear();
        PyObject *none = PyLong_FromLong(-1);
        ours = none == NULL ? NULL : set_wakeup_fd(loop, none);
        Py_XDECREF(none);
    }
    pa_write_unraisable((PyObject *)loop);
    Py_XDECREF(ours);
    Py_DECREF(old);
    PyErr_SetRaisedException(raised);
}

PyObject *
pa_loop_hold_signals(PyObject *self, PyObject *flag)
{
    PaLoop *loop = (PaLoop *)self;
    int hold = PyObject_IsTrue(flag);
    if (hold < 0 || (hold && pa_loop_arm_signals(loop) < 0)) {
        return NULL;
    }
    loop->hold_signals = hold;
    if (!hold && loop->sched.thread_id == 0) {
        pa_loop_disarm_signals(loop);
    }
    Py_RETURN_NONE;
}
