/* sched/step.c: one step of a task: send into the coroutine, act on what comes out.
 *
 * A coroutine yields None (run me again), a future it waits for, or something that it must not;
 * it returns, raises, or is cancelled. Order and texts of all that are asyncio's. Whatever is
 * called may run any code, so nothing of the task is kept in locals across a call without a
 * reference. */
#include "sched/step.h"
#include "sched/future.h"
#include "sched/ring.h"
#include "sched/wakeup.h"

int
pa_task_step_soon(PaState *st, PaTask *task, PyObject *exc)
{
    PaSched *sched = task->sched;
    if (pa_sched_is_direct(sched)) {
        return pa_ring_push(&sched->ring, PA_ENTRY_STEP, (PyObject *)task, exc);
    }
    PyObject *step = pa_step_callable_new(st, task, exc);
    if (step == NULL) {
        return -1;
    }
    int err = pa_call_soon(st, task->loop, step, NULL, task->context);
    Py_DECREF(step);
    return err;
}

/* Throws RuntimeError(message) into the coroutine in its next step. */
static int
fail_soon(PaState *st, PaTask *task, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyObject *message = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (message == NULL) {
        return -1;
    }
    PyObject *exc = PyObject_CallOneArg(PyExc_RuntimeError, message);
    Py_DECREF(message);
    if (exc == NULL) {
        return -1;
    }
    int err = pa_task_step_soon(st, task, exc);
    Py_DECREF(exc);
    return err;
}

/* ---- waiting for a future */

/* The task has been cancelled in the very step that made it wait: cancel what it waits for. */
static int
cancel_waiter(PaState *st, PaTask *task, PyObject *future)
{
    PyObject *msg = Py_NewRef(task->cancel_msg == NULL ? Py_None : task->cancel_msg);
    PyObject *answer = PyObject_CallMethodOneArg(future, st->names.cancel, msg);
    Py_DECREF(msg);
    int cancelled = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (cancelled > 0) {
        task->must_cancel = 0;
    }
    return cancelled < 0 ? -1 : 0;
}

/* Steals future. */
static int
set_waiter_steal(PaState *st, PaTask *task, PyObject *future)
{
    PyObject *old = task->waiter;
    task->waiter = future;
    int err = 0;
    if (task->must_cancel) {
        Py_INCREF(future);
        err = cancel_waiter(st, task, future);
        Py_DECREF(future);
    }
    Py_XDECREF(old);
    return err;
}

static int
fail_other_loop(PaState *st, PaTask *task, PyObject *future)
{
    return fail_soon(st, task, "Task %R got Future %R attached to a different loop", task, future);
}

static int
fail_plain_yield(PaState *st, PaTask *task, PyObject *future)
{
    return fail_soon(st, task, "yield was used instead of yield from in task %R with %R", task,
                     future);
}

static int
call_add_done_callback(PaState *st, PyObject *future, PyObject *callback, PyObject *context)
{
    PyObject *method = PyObject_GetAttr(future, st->names.add_done_callback);
    if (method == NULL) {
        return -1;
    }
    PyObject *args[] = {callback, context};
    PyObject *result = PyObject_Vectorcall(method, args, 1, st->kwnames.context);
    Py_DECREF(method);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* A future whose struct and methods we know. Steals it. */
static int
wait_for_exact_steal(PaState *st, PaTask *task, PyObject *future)
{
    PaFuture *fut = (PaFuture *)future;
    PyObject *wakeup = NULL;
    int err = -1;
    if (fut->loop != task->loop) {
        err = fail_other_loop(st, task, future);
        goto done;
    }
    if (!fut->blocking) {
        err = fail_plain_yield(st, task, future);
        goto done;
    }
    if (pa_future_add_awaiter(st, future, task) < 0) {
        goto done;
    }
    fut->blocking = 0;
    wakeup = pa_wakeup_new(st, task);
    if (wakeup == NULL) {
        goto done;
    }
    err = fut->status == PA_PENDING ? pa_future_append_callback(fut, wakeup, task->context)
                                    : call_add_done_callback(st, future, wakeup, task->context);
    Py_DECREF(wakeup);
    if (err == 0) {
        return set_waiter_steal(st, task, future);
    }
done:
    Py_DECREF(future);
    return err;
}

/* asyncio.futures._get_loop(): new reference or NULL. */
static PyObject *
get_loop_of(PaState *st, PyObject *future)
{
    PyObject *method;
    if (PyObject_GetOptionalAttr(future, st->names.get_loop, &method) < 0) {
        return NULL;
    }
    if (method == NULL) {
        return PyObject_GetAttr(future, st->names._loop);
    }
    PyObject *loop = PyObject_CallNoArgs(method);
    Py_DECREF(method);
    return loop;
}

/* Anything else with _asyncio_future_blocking. Steals it. */
static int
wait_for_any_steal(PaState *st, PaTask *task, PyObject *future, int blocking)
{
    int err = -1;
    PyObject *wakeup = NULL;
    PyObject *loop = get_loop_of(st, future);
    if (loop == NULL) {
        goto done;
    }
    if (loop != task->loop) {
        err = fail_other_loop(st, task, future);
        goto done;
    }
    if (!blocking) {
        err = fail_plain_yield(st, task, future);
        goto done;
    }
    if (pa_future_add_awaiter(st, future, task) < 0 ||
        PyObject_SetAttr(future, st->names._asyncio_future_blocking, Py_False) < 0) {
        goto done;
    }
    wakeup = pa_wakeup_new(st, task);
    if (wakeup == NULL) {
        goto done;
    }
    if (call_add_done_callback(st, future, wakeup, task->context) == 0) {
        err = set_waiter_steal(st, task, Py_NewRef(future));
    }
done:
    Py_XDECREF(loop);
    Py_XDECREF(wakeup);
    Py_DECREF(future);
    return err;
}

/* ---- what a coroutine yields */

/* Steals obj, which is neither the task, nor None, nor a future of a known type. */
static int
handle_unknown_steal(PaState *st, PaTask *task, PyObject *obj)
{
    PyObject *attribute;
    int err = -1;
    if (PyObject_GetOptionalAttr(obj, st->names._asyncio_future_blocking, &attribute) < 0) {
        Py_DECREF(obj);
        return -1;
    }
    if (attribute != NULL && attribute != Py_None) {
        int blocking = PyObject_IsTrue(attribute);
        Py_DECREF(attribute);
        if (blocking < 0) {
            Py_DECREF(obj);
            return -1;
        }
        return wait_for_any_steal(st, task, obj, blocking);
    }
    Py_XDECREF(attribute);
    int is_generator = PyObject_IsInstance(obj, (PyObject *)&PyGen_Type);
    if (is_generator > 0) {
        err = fail_soon(st, task,
                        "yield was used instead of yield from for generator in task %R with %R",
                        task, obj);
    }
    else if (is_generator == 0) {
        err = fail_soon(st, task, "Task got bad yield: %R", obj);
    }
    Py_DECREF(obj);
    return err;
}

static int
handle_yield_steal(PaState *st, PaTask *task, PyObject *obj)
{
    if (obj == Py_None) {
        Py_DECREF(obj);
        return pa_task_step_soon(st, task, NULL);
    }
    if (obj == (PyObject *)task) {
        int err = fail_soon(st, task, "Task cannot await on itself: %R", task);
        Py_DECREF(obj);
        return err;
    }
    if (pa_is_exact_future(st, obj)) {
        return wait_for_exact_steal(st, task, obj);
    }
    return handle_unknown_steal(st, task, obj);
}

/* ---- how a coroutine ends */

/* False, with InvalidStateError, when somebody completed the task while its coroutine ran. */
static bool
is_still_pending(PaState *st, PaTask *task)
{
    if (task->status == PA_PENDING) {
        return true;
    }
    PyErr_SetString(st->asyncio.InvalidStateError, "invalid state");
    return false;
}

/* A task that is done leaves all_tasks() before its callbacks are scheduled. */
static int
finish_cancelled(PaState *st, PaTask *task, PyObject *msg)
{
    if (task->status != PA_PENDING) {
        return 0;
    }
    pa_task_unregister(task);
    return pa_future_finish_cancelled(st, task->sched, (PaFuture *)task, msg);
}

static int
finish_return(PaState *st, PaTask *task, PyObject *result)
{
    if (task->must_cancel) {
        /* Cancelled right before it returned. */
        task->must_cancel = 0;
        return finish_cancelled(st, task, task->cancel_msg);
    }
    if (!is_still_pending(st, task)) {
        return -1;
    }
    pa_task_unregister(task);
    return pa_future_finish_result(st, task->sched, (PaFuture *)task, result);
}

/* Steals exc. */
static int
finish_raise_steal(PaState *st, PaTask *task, PyObject *exc)
{
    if (PyErr_GivenExceptionMatches(exc, st->asyncio.CancelledError)) {
        Py_XSETREF(task->cancelled_exc, exc); // raised when the task is awaited
        return finish_cancelled(st, task, NULL);
    }
    int err = -1;
    if (is_still_pending(st, task)) {
        pa_task_unregister(task);
        err = pa_future_finish_exception(st, task->sched, (PaFuture *)task, exc);
    }
    if (err == 0 && pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    Py_DECREF(exc);
    return err;
}

/* ---- the step */

/* coro.throw(exc) with the outcome in the form of PyIter_Send(). */
static PySendResult
throw_into(PaState *st, PyObject *coro, PyObject *exc, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, st->names.throw, exc);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (!PyErr_Occurred()) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return PYGEN_ERROR;
    }
    PyObject *stop = PyErr_GetRaisedException();
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    *result = Py_NewRef(value == NULL ? Py_None : value);
    Py_DECREF(stop);
    return PYGEN_RETURN;
}

/* The CancelledError to throw into a task with must_cancel, given what it would get otherwise.
 * New reference or NULL. */
static PyObject *
take_cancellation(PaState *st, PaTask *task, PyObject *exc)
{
    if (exc != NULL && PyErr_GivenExceptionMatches(exc, st->asyncio.CancelledError)) {
        Py_INCREF(exc);
    }
    else if (task->cancelled_exc != NULL) {
        exc = task->cancelled_exc;
        task->cancelled_exc = NULL;
    }
    else if (task->cancel_msg == NULL || task->cancel_msg == Py_None) {
        exc = PyObject_CallNoArgs(st->asyncio.CancelledError);
    }
    else {
        exc = PyObject_CallOneArg(st->asyncio.CancelledError, task->cancel_msg);
    }
    if (exc != NULL) {
        task->must_cancel = 0;
    }
    return exc;
}

static PySendResult
advance(PaState *st, PaTask *task, PyObject *exc, PyObject **result)
{
    PyObject *coro = Py_NewRef(task->coro);
    *result = NULL;
    PySendResult outcome =
        exc == NULL ? PyIter_Send(coro, Py_None, result) : throw_into(st, coro, exc, result);
    Py_DECREF(coro);
    return outcome;
}

int
pa_task_step(PaState *st, PaTask *task, PyObject *exc)
{
    if (task->status != PA_PENDING) {
        PyErr_Format(st->asyncio.InvalidStateError, "__step(): already done: %R %R", task,
                     exc == NULL ? Py_None : exc);
        return -1;
    }
    if (task->coro == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "uninitialized Task object");
        return -1;
    }
    PyObject *cancellation = NULL;
    if (task->must_cancel) {
        exc = cancellation = take_cancellation(st, task, exc);
        if (exc == NULL) {
            return -1;
        }
    }
    Py_CLEAR(task->waiter);
    PyObject *result;
    PySendResult outcome = advance(st, task, exc, &result);
    Py_XDECREF(cancellation);
    if (outcome == PYGEN_NEXT) {
        return handle_yield_steal(st, task, result);
    }
    if (outcome == PYGEN_ERROR) {
        PyObject *raised = PyErr_GetRaisedException();
        return finish_raise_steal(st, task, raised);
    }
    int err = finish_return(st, task, result);
    Py_DECREF(result);
    return err;
}
