/* sched/resume.c: everything around a step: from the ring, from a callable, eagerly.
 *
 * From the ring the task is entered lazily (current.c) and its context is switched here. The
 * callables, used by foreign loops and in debug mode, run in a context that the loop has set, and
 * enter and leave the task as asyncio does, errors included. */
#include "sched/future.h"
#include "sched/step.h"
#include "sched/task.h"

/* What the future that the task waited for has come to: 0 with *exc NULL for a result, 0 with a
 * new reference for an exception, -1 on error. */
static int
get_outcome(PaState *st, PyObject *future, PyObject **exc)
{
    *exc = NULL;
    PyObject *result;
    if (pa_is_exact_future(st, future)) {
        PaFuture *fut = (PaFuture *)future;
        if (fut->status == PA_FINISHED && fut->exception == NULL) {
            fut->log_tb = 0;
            return 0;
        }
        result = pa_future_result(st, fut);
    }
    else {
        result = PyObject_CallMethodNoArgs(future, st->names.result);
    }
    if (result == NULL) {
        *exc = PyErr_GetRaisedException();
    }
    Py_XDECREF(result);
    return 0;
}

/* ---- from the ring */

/* Enter, switch the context, step. Any failure leaves no task entered. */
static int
run_in_context(PaSched *sched, PaTask *task, PyObject *exc)
{
    int err = pa_sched_enter_task(sched, (PyObject *)task);
    if (err < 0) {
        return -1;
    }
    PyObject *context = Py_NewRef(task->context);
    err = PyContext_Enter(context);
    if (err == 0) {
        err = pa_task_step(sched->st, task, exc);
        if (err == 0) {
            err = PyContext_Exit(context);
        }
        else {
            PyObject *raised = PyErr_GetRaisedException();
            if (PyContext_Exit(context) < 0) {
                pa_write_unraisable(context);
            }
            PyErr_SetRaisedException(raised);
        }
    }
    Py_DECREF(context);
    if (err < 0) {
        pa_sched_leave_task(sched);
    }
    return err;
}

int
pa_task_run_step(PaSched *sched, PyObject *task, PyObject *exc)
{
    return run_in_context(sched, (PaTask *)task, exc);
}

int
pa_task_run_wakeup(PaSched *sched, PyObject *task, PyObject *future)
{
    PyObject *exc;
    PaTask *self = (PaTask *)task;
    if (pa_future_discard_awaiter(sched->st, future, self) < 0 ||
        get_outcome(sched->st, future, &exc) < 0) {
        pa_sched_leave_task(sched);
        return -1;
    }
    int err = run_in_context(sched, self, exc);
    Py_XDECREF(exc);
    return err;
}

/* ---- from a callable */

/* Calls _enter_task(loop, task) or _leave_task(loop, task). */
static int
call_hook(PyObject *hook, PyObject *loop, PaTask *task)
{
    PyObject *args[] = {loop, (PyObject *)task};
    PyObject *result = PyObject_Vectorcall(hook, args, 2, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_task_enter_and_step(PaState *st, PaTask *task, PyObject *exc)
{
    if (task->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    PyObject *loop = Py_NewRef(task->loop);
    int err = call_hook(st->asyncio._enter_task, loop, task);
    if (err == 0) {
        err = pa_task_step(st, task, exc);
        PyObject *raised = PyErr_GetRaisedException();
        if (call_hook(st->asyncio._leave_task, loop, task) < 0) {
            err = -1;
            if (raised != NULL) {
                PyObject *second = PyErr_GetRaisedException();
                PyException_SetContext(second, raised);
                raised = second;
            }
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    Py_DECREF(loop);
    return err;
}

int
pa_task_enter_and_wake(PaState *st, PaTask *task, PyObject *future)
{
    PyObject *exc;
    if (pa_future_discard_awaiter(st, future, task) < 0 || get_outcome(st, future, &exc) < 0) {
        return -1;
    }
    int err = pa_task_enter_and_step(st, task, exc);
    Py_XDECREF(exc);
    return err;
}

/* ---- eagerly */

#if PY_VERSION_HEX >= 0x030c0000

/* Swaps the current task of loop for `task`; what it was (new reference, None for nothing). */
static PyObject *
swap_current(PaState *st, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {loop, task};
    return PyObject_Vectorcall(st->asyncio._swap_current_task, args, 2, NULL);
}

/* Up to 3.13 tasks that run eagerly are kept in a set of their own until they first suspend. */
static int
register_eager(PaState *st, PaTask *task)
{
#if PY_VERSION_HEX >= 0x030e0000
    return pa_task_register(st, task);
#else
    PyObject *result = PyObject_CallOneArg(st->asyncio._register_eager_task, (PyObject *)task);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
#endif
}

static int
unregister_eager(PaState *st, PaTask *task)
{
#if PY_VERSION_HEX >= 0x030e0000
    (void)st, (void)task;
    return 0;
#else
    PyObject *result = PyObject_CallOneArg(st->asyncio._unregister_eager_task, (PyObject *)task);
    Py_XDECREF(result);
    if (result != NULL && task->status == PA_PENDING) {
        return pa_task_register(st, task);
    }
    return result == NULL ? -1 : 0;
#endif
}

static int
step_in_own_context(PaState *st, PaTask *task)
{
    PyObject *context = Py_NewRef(task->context);
    int err = PyContext_Enter(context);
    if (err == 0) {
        err = pa_task_step(st, task, NULL);
        PyObject *raised = PyErr_GetRaisedException();
        if (PyContext_Exit(context) < 0) {
            err = -1;
        }
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    Py_DECREF(context);
    return err;
}

int
pa_task_eager_start(PaState *st, PaTask *task)
{
    PyObject *loop = Py_NewRef(task->loop);
    PyObject *outer = swap_current(st, loop, (PyObject *)task);
    int err = outer == NULL ? -1 : register_eager(st, task);
    if (err == 0) {
        err = step_in_own_context(st, task);
    }
    if (outer != NULL) {
        PyObject *raised = PyErr_GetRaisedException();
        PyObject *inner = swap_current(st, loop, outer);
        if (inner == NULL || unregister_eager(st, task) < 0) {
            err = -1;
        }
        Py_XDECREF(inner);
        Py_DECREF(outer);
        if (raised != NULL) {
            PyErr_SetRaisedException(raised);
        }
    }
    if (task->status != PA_PENDING) {
        Py_CLEAR(task->coro);
    }
    Py_DECREF(loop);
    return err;
}

#else

int
pa_task_eager_start(PaState *st, PaTask *task)
{
    (void)st, (void)task;
    PyErr_SetString(PyExc_SystemError, "eager tasks need Python 3.12");
    return -1;
}

#endif
