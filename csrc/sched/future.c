/* sched/future.c: pyasync.Future: completing a future and scheduling what waits for it.
 *
 * State lives in the fields of asyncio.Future (layout.h); methods that are not hot are the base's.
 * On a loop of ours that is in direct mode, callbacks go straight into the ring: a task's wake-up
 * as (task, future), anything else as (future, callback, context). Any other loop is asked through
 * call_soon().
 * Callbacks are moved out of the future before the first one is scheduled, because an evil
 * call_soon() may do anything to it. */
#include "sched/future.h"
#include "sched/handle.h"
#include "sched/step.h"
#include "sched/task.h"
#include "sched/wakeup.h"

int
pa_call_soon(PaState *st, PyObject *loop, PyObject *callback, PyObject *arg, PyObject *context)
{
    PyObject *stack[4] = {loop, callback};
    size_t count = 2;
    if (arg != NULL) {
        stack[count++] = arg;
    }
    stack[count] = context;
    PyObject *handle = PyObject_VectorcallMethod(
        st->names.call_soon, stack, count | PY_VECTORCALL_ARGUMENTS_OFFSET, st->kwnames.context);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

/* ---- scheduling callbacks */

/* A wake-up may become a ring entry only if running the task from there is what calling it in
 * `context` would do. */
static inline bool
is_direct_wakeup(PaState *st, PaSched *sched, PyObject *callback, PyObject *context)
{
    if (!Py_IS_TYPE(callback, st->wakeup_type)) {
        return false;
    }
    PaTask *task = ((PaTaskCallable *)callback)->task;
    return task != NULL && task->sched == sched && task->context == context;
}

/* callback and context are stolen on every path. */
static int
schedule_callback_steal(PaState *st, PaSched *sched, PaFuture *fut, PyObject *callback,
                        PyObject *context)
{
    int err;
    if (!pa_sched_is_direct(sched)) {
        PyObject *loop = Py_NewRef(fut->loop);
        err = pa_call_soon(st, loop, callback, (PyObject *)fut, context);
        Py_DECREF(loop);
    }
    else if (is_direct_wakeup(st, sched, callback, context)) {
        PyObject *task = (PyObject *)((PaTaskCallable *)callback)->task;
        err = pa_ring_push(&sched->ring, PA_ENTRY_WAKEUP, task, (PyObject *)fut);
        Py_DECREF(context);
        pa_wakeup_release_steal(st, callback);
        return err;
    }
    else {
        err =
            pa_ring_push_steal(&sched->ring, PA_ENTRY_CALLBACK, (PyObject *)fut, callback, context);
        if (err == 0) {
            return 0;
        }
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return err;
}

static int
schedule_more_callbacks(PaState *st, PaSched *sched, PaFuture *fut, PyObject *callbacks)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(callbacks); i++) {
        PyObject *pair = PyList_GET_ITEM(callbacks, i);
        PyObject *callback = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
        PyObject *context = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
        if (schedule_callback_steal(st, sched, fut, callback, context) < 0) {
            return -1;
        }
        if (fut->loop == NULL) {
            break; // cleared by the garbage collector meanwhile
        }
    }
    return 0;
}

/* Everything that waits for a future that has just become done, in order. After an error the
 * rest is dropped, as asyncio does. */
static int
schedule_callbacks(PaState *st, PaSched *sched, PaFuture *fut)
{
    int err = 0;
    PyObject *more = fut->callbacks;
    fut->callbacks = NULL;
    if (fut->callback0 != NULL) {
        PyObject *callback = fut->callback0;
        PyObject *context = fut->context0;
        fut->callback0 = NULL;
        fut->context0 = NULL;
        err = schedule_callback_steal(st, sched, fut, callback, context);
    }
    if (more != NULL) {
        if (err == 0 && fut->loop != NULL) {
            err = schedule_more_callbacks(st, sched, fut, more);
        }
        Py_DECREF(more);
    }
    return err;
}

int
pa_future_append_callback(PaFuture *fut, PyObject *callback, PyObject *context)
{
    if (fut->callback0 == NULL && fut->callbacks == NULL) {
        fut->callback0 = Py_NewRef(callback);
        fut->context0 = Py_NewRef(context);
        return 0;
    }
    PyObject *pair = PyTuple_Pack(2, callback, context);
    if (pair == NULL) {
        return -1;
    }
    int err = -1;
    if (fut->callbacks == NULL) {
        fut->callbacks = PyList_New(0);
    }
    if (fut->callbacks != NULL) {
        err = PyList_Append(fut->callbacks, pair);
    }
    Py_DECREF(pair);
    return err;
}

/* ---- completing */

int
pa_future_finish_result(PaState *st, PaSched *sched, PaFuture *fut, PyObject *result)
{
    fut->result = Py_NewRef(result);
    fut->status = PA_FINISHED;
    return schedule_callbacks(st, sched, fut);
}

int
pa_future_finish_exception(PaState *st, PaSched *sched, PaFuture *fut, PyObject *exc)
{
    fut->exception = Py_NewRef(exc);
    fut->exception_tb = PyException_GetTraceback(exc);
    fut->status = PA_FINISHED;
    if (schedule_callbacks(st, sched, fut) < 0) {
        return -1;
    }
    fut->log_tb = 1;
    return 0;
}

int
pa_future_finish_cancelled(PaState *st, PaSched *sched, PaFuture *fut, PyObject *msg)
{
    fut->log_tb = 0;
    fut->status = PA_CANCELLED;
    Py_XSETREF(fut->cancel_msg, Py_XNewRef(msg));
    return schedule_callbacks(st, sched, fut);
}

int
pa_future_wake(PaState *st, PyObject *future)
{
    PyObject *result;
    if (pa_is_exact_future(st, future) && ((PaFuture *)future)->status != PA_PENDING) {
        return 0;
    }
    if (Py_IS_TYPE(future, st->future_type) && st->overlay) {
        PaFuture *fut = (PaFuture *)future;
        return fut->loop == NULL ? 0 : pa_future_finish_result(st, fut->sched, fut, Py_None);
    }
    result = PyObject_CallMethodNoArgs(future, st->names.done);
    int done = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (done != 0) {
        return done < 0 ? -1 : 0;
    }
    result = PyObject_CallMethodOneArg(future, st->names.set_result, Py_None);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- construction */

static int
setup_by_base(PaState *st, PaFuture *self, PyObject *loop)
{
    int err = -1;
    PyObject *args = PyTuple_New(0);
    PyObject *kwargs = PyDict_New();
    if (args != NULL && kwargs != NULL && PyDict_SetItem(kwargs, st->names.loop, loop) == 0) {
        err = ((PyTypeObject *)st->asyncio.Future)->tp_init((PyObject *)self, args, kwargs);
    }
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return err;
}

int
pa_future_setup(PaState *st, PaFuture *self, PyObject *loop, PaSched *known, PaSched **sched)
{
    if (known == NULL) {
        known = pa_sched_of(st, loop);
    }
    if (known == NULL || known->debug || self->loop != NULL) {
        /* A foreign loop, a source traceback to take, or a second __init__(). */
        int err = setup_by_base(st, self, loop);
        *sched = self->loop == NULL ? NULL : pa_sched_of(st, self->loop);
        return err;
    }
    self->status = PA_PENDING;
    self->log_tb = 0;
    self->blocking = 0;
#if PY_VERSION_HEX >= 0x030e0000
    self->is_task = 0;
    self->awaited_by_is_set = 0;
#endif
    self->loop = Py_NewRef(loop);
    *sched = known;
    return 0;
}

PyObject *
pa_future_new(PaSched *sched)
{
    PaState *st = sched->st;
    if (!st->overlay) {
        PyObject *loop = sched->loop;
        return PyObject_Vectorcall(st->asyncio.Future, &loop, 0, st->kwnames.loop);
    }
    PyObject *self = pa_future_alloc(&st->future_freelist, st->future_type);
    if (self == NULL) {
        return NULL;
    }
    PaFuture *fut = (PaFuture *)self;
    if (pa_future_setup(st, fut, sched->loop, sched, &fut->sched) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

static int
future_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop", NULL};
    PaFuture *self = (PaFuture *)op;
    PyObject *loop = Py_None;
    PaState *st = pa_state_of(op);
    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:Future", keywords, &loop)) {
        return -1;
    }
    return pa_future_setup(st, self, loop, NULL, &self->sched);
}

/* ---- methods */

/* 0 when the future is pending, -1 with the exception that asyncio raises. */
static int
check_pending(PaState *st, PaFuture *self)
{
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return -1;
    }
    if (self->status != PA_PENDING) {
        PyErr_SetString(st->asyncio.InvalidStateError, "invalid state");
        return -1;
    }
    return 0;
}

static inline PaState *
state_of_future(PaFuture *self)
{
    return self->sched != NULL ? self->sched->st : pa_state_of((PyObject *)self);
}

PyDoc_STRVAR(set_result_doc, "set_result($self, result, /)\n--\n\n"
                             "Completes the future with a result and schedules its callbacks.\n\n"
                             "Raises InvalidStateError when it is done already. "
                             "asyncio.Future.set_result().");

static PyObject *
future_set_result(PyObject *op, PyObject *result)
{
    PaFuture *self = (PaFuture *)op;
    PaState *st = state_of_future(self);
    if (st == NULL || check_pending(st, self) < 0 ||
        pa_future_finish_result(st, self->sched, self, result) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(set_exception_doc,
             "set_exception($self, exception, /)\n--\n\n"
             "Completes the future with an exception and schedules its callbacks.\n\n"
             "Raises InvalidStateError when it is done already, TypeError for anything but an\n"
             "exception. asyncio.Future.set_exception().");

static PyObject *
future_set_exception(PyObject *op, PyObject *exc)
{
    PaFuture *self = (PaFuture *)op;
    PaState *st = state_of_future(self);
    if (st == NULL) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(exc) || PyErr_GivenExceptionMatches(exc, PyExc_StopIteration)) {
        return pa_future_call_base(st, op, st->names.set_exception, exc);
    }
    if (check_pending(st, self) < 0 || pa_future_finish_exception(st, self->sched, self, exc) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /, msg=None)\n--\n\n"
                         "Cancels the future and schedules its callbacks; False when it is done "
                         "already.\n\nasyncio.Future.cancel().");

static PyObject *
future_cancel(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaFuture *self = (PaFuture *)op;
    PyObject *msg = Py_None;
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs + nkw == 1 &&
        (nkw == 0 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "msg") == 0)) {
        msg = args[0];
    }
    else if (nargs + nkw > 0) {
        PyErr_Format(PyExc_TypeError, "cancel() takes at most 1 argument, 'msg' (%zd given)",
                     nargs + nkw);
        return NULL;
    }
    PaState *st = state_of_future(self);
    if (st == NULL) {
        return NULL;
    }
    if (self->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return NULL;
    }
    self->log_tb = 0;
    if (self->status != PA_PENDING) {
        Py_RETURN_FALSE;
    }
    if (pa_future_finish_cancelled(st, self->sched, self, msg) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyMethodDef future_methods[] = {
    PA_FUTURE_SHARED_METHODS,
    {"set_result", future_set_result, METH_O, set_result_doc},
    {"set_exception", future_set_exception, METH_O, set_exception_doc},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel, METH_FASTCALL | METH_KEYWORDS,
     cancel_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- the type */

int
pa_future_traverse_base(PyObject *op, traverseproc own, visitproc visit, void *arg)
{
    PyTypeObject *type = Py_TYPE(op);
#if PY_VERSION_HEX < 0x030c0000
    Py_VISIT(type); // the base is a static type there and leaves it out
#endif
    while (type->tp_traverse != own) {
        type = type->tp_base;
    }
    return type->tp_base->tp_traverse(op, visit, arg);
}

PyObject *
pa_future_alloc(PaFreelist *freelist, PyTypeObject *type)
{
    PyObject *op = pa_freelist_pop(freelist, type);
    if (op == NULL) {
        return type->tp_alloc(type, 0);
    }
    PyObject_GC_Track(op);
    return op;
}

void
pa_future_free(PyObject *op, PaFreelist *freelist)
{
    PyTypeObject *type = Py_TYPE(op);
    /* The garbage collector's mark of a finalised object would survive. */
    if (freelist == NULL || PyObject_GC_IsFinalized(op) || !pa_freelist_push(freelist, op)) {
        type->tp_free(op);
    }
    Py_DECREF(type);
}

static int
future_traverse(PyObject *op, visitproc visit, void *arg)
{
    return pa_future_traverse_base(op, future_traverse, visit, arg);
}

void
pa_future_clear_fields(PaFuture *fut)
{
    Py_CLEAR(fut->callback0);
    Py_CLEAR(fut->context0);
    Py_CLEAR(fut->callbacks);
    Py_CLEAR(fut->exception);
    Py_CLEAR(fut->exception_tb);
    Py_CLEAR(fut->result);
    Py_CLEAR(fut->source_tb);
    Py_CLEAR(fut->cancel_msg);
    Py_CLEAR(fut->cancelled_exc);
#if PY_VERSION_HEX >= 0x030e0000
    Py_CLEAR(fut->awaited_by);
    fut->awaited_by_is_set = 0;
#endif
    Py_CLEAR(fut->loop);
}

void
pa_future_clear_attributes(PyObject *op, PaState *st)
{
#if PY_VERSION_HEX >= 0x030e0000
    if (st != NULL && st->inline_values && pa_has_no_attributes(op)) {
        return;
    }
#else
    (void)st;
#endif
#if PY_VERSION_HEX >= 0x030d0000
    PyObject_ClearManagedDict(op);
#else
    Py_CLEAR(((PaFuture *)op)->dict);
#endif
}

static void
clear_fields(PaFuture *self)
{
    self->sched = NULL;
    pa_future_clear_fields(self);
}

static int
future_clear(PyObject *op)
{
    clear_fields((PaFuture *)op);
    pa_future_clear_attributes(op, NULL);
    return 0;
}

static void
future_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    bool exact = type->tp_dealloc == future_dealloc; // no Python subclass
    /* The finaliser is the base's: it logs an exception that nobody retrieved. */
    if ((!exact || ((PaFuture *)op)->log_tb) && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; // resurrected
    }
    PyObject_GC_UnTrack(op);
    pa_clear_weakrefs(op);
    PaState *st = exact ? pa_state_if_alive(type) : NULL;
    clear_fields((PaFuture *)op);
    pa_future_clear_attributes(op, st);
    pa_future_free(op, st == NULL ? NULL : &st->future_freelist);
}

PyDoc_STRVAR(future_doc, "Future(*, loop=None)\n--\n\n"
                         "asyncio.Future with its hot methods in C on pyasync's scheduler.\n\n"
                         "loop is the event loop it belongs to, None for the current one.");

static PyType_Slot future_slots[] = {
    {Py_tp_doc, (void *)future_doc},
    {Py_tp_init, future_init},
    {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},
    {Py_tp_dealloc, future_dealloc},
    {Py_tp_methods, future_methods},
    {Py_tp_iter, pa_future_iter},
    {Py_am_await, pa_future_iter},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "pyasync.Future",
    .basicsize = sizeof(PaFuture),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = future_slots,
};

int
pa_future_init_type(PyObject *module, PaState *st)
{
    st->future_type = pa_add_type(module, &future_spec, st->asyncio.Future);
    return st->future_type == NULL ? -1 : 0;
}
