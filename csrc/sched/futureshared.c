/* sched/futureshared.c: the methods that Future and Task have alike.
 *
 * The base has all of them. They stand once more in the tables of our own types because the
 * interpreter's specialised calls want a method's type to be the object's own: a method of the base
 * is looked up and checked anew at each call. What is not the plain case is left to the base. */
#include "sched/future.h"

/* Calls the base's method of that name, past any override; the arguments are a vectorcall's. */
static PyObject *
call_base_with(PaState *st, PyObject *self, PyObject *name, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    Py_ssize_t total = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject *method = PyObject_GetAttr(st->asyncio.Future, name);
    PyObject **stack = method == NULL ? NULL : PyMem_New(PyObject *, total + 1);
    PyObject *result = NULL;
    if (stack != NULL) {
        stack[0] = self;
        for (Py_ssize_t i = 0; i < total; i++) {
            stack[i + 1] = args[i];
        }
        result = PyObject_Vectorcall(method, stack, nargs + 1, kwnames);
        PyMem_Free(stack);
    }
    else if (method != NULL) {
        PyErr_NoMemory();
    }
    Py_XDECREF(method);
    return result;
}

PyObject *
pa_future_call_base(PaState *st, PyObject *self, PyObject *name, PyObject *arg)
{
    return call_base_with(st, self, name, &arg, arg == NULL ? 0 : 1, NULL);
}

static inline bool
has_plain_result(PaFuture *fut)
{
    return fut->status == PA_FINISHED && fut->exception == NULL && fut->result != NULL;
}

PyObject *
pa_future_result(PaState *st, PaFuture *fut)
{
    if (has_plain_result(fut)) {
        fut->log_tb = 0;
        return Py_NewRef(fut->result);
    }
    return pa_future_call_base(st, (PyObject *)fut, st->names.result, NULL);
}

const char pa_future_result_doc[] =
    PyDoc_STR("result($self, /)\n--\n\n"
              "Returns the result, or raises the exception that was set.\n\n"
              "Raises CancelledError when it was cancelled, InvalidStateError when it "
              "is not done.\nasyncio.Future.result().");

PyObject *
pa_future_result_method(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PaFuture *self = (PaFuture *)op;
    if (has_plain_result(self)) {
        self->log_tb = 0;
        return Py_NewRef(self->result);
    }
    PaState *st = pa_state_of(op);
    return st == NULL ? NULL : pa_future_call_base(st, op, st->names.result, NULL);
}

const char pa_future_exception_doc[] =
    PyDoc_STR("exception($self, /)\n--\n\n"
              "Returns the exception that was set, None when there is a result.\n\n"
              "Raises CancelledError when it was cancelled, InvalidStateError when it "
              "is not done.\nasyncio.Future.exception().");

PyObject *
pa_future_exception_method(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaFuture *self = (PaFuture *)op;
    if (nargs == 0 && kwnames == NULL && self->status == PA_FINISHED && self->loop != NULL) {
        self->log_tb = 0;
        return Py_NewRef(self->exception == NULL ? Py_None : self->exception);
    }
    PaState *st = pa_state_of(op);
    return st == NULL ? NULL : call_base_with(st, op, st->names.exception, args, nargs, kwnames);
}

const char pa_future_done_doc[] =
    PyDoc_STR("done($self, /)\n--\n\n"
              "Returns True when it has a result or an exception or was cancelled.\n\n"
              "asyncio.Future.done().");

/* One that was never initialised, or was cleared by the garbage collector, has no loop. */
PyObject *
pa_future_done_method(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PaFuture *self = (PaFuture *)op;
    return PyBool_FromLong(self->loop != NULL && self->status != PA_PENDING);
}

const char pa_future_cancelled_doc[] = PyDoc_STR("cancelled($self, /)\n--\n\n"
                                                 "Returns True when it was cancelled.\n\n"
                                                 "asyncio.Future.cancelled().");

PyObject *
pa_future_cancelled_method(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PaFuture *self = (PaFuture *)op;
    return PyBool_FromLong(self->loop != NULL && self->status == PA_CANCELLED);
}

const char pa_future_add_done_callback_doc[] =
    PyDoc_STR("add_done_callback($self, fn, /, *, context=None)\n--\n\n"
              "Has fn(future) called soon after it is done, or soon when it is done already.\n\n"
              "context is the contextvars.Context to call it in, None for a copy of the current "
              "one.\nasyncio.Future.add_done_callback().");

PyObject *
pa_future_add_done_callback(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    PaFuture *self = (PaFuture *)op;
    if (nargs != 1 || kwnames != NULL || self->loop == NULL || self->status != PA_PENDING) {
        PaState *st = pa_state_of(op);
        return st == NULL
                   ? NULL
                   : call_base_with(st, op, st->names.add_done_callback, args, nargs, kwnames);
    }
    PyObject *context = PyContext_CopyCurrent();
    int err = context == NULL ? -1 : pa_future_append_callback(self, args[0], context);
    Py_XDECREF(context);
    if (err < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
