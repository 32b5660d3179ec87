/* sched/futureiter.c: what `await future` runs: yields the future once, then returns its result.
 *
 * The base has the same; ours knows the module state without a walk over the type's bases, and
 * is reused without passing through the garbage collector. One object lives from the first send
 * to the last; `future` is NULL once it has ended. */
#include "sched/future.h"

typedef struct {
    PyObject_HEAD
    PaFuture *future; // owned or NULL
} PaFutureIter;

PyObject *
pa_future_iter(PyObject *self)
{
    PaFuture *fut = (PaFuture *)self;
    PaState *st = pa_state_of(self);
    if (st == NULL) {
        return NULL;
    }
    if (fut->loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Future object is not initialized.");
        return NULL;
    }
    PaFutureIter *it = (PaFutureIter *)pa_pool_take(&st->future_iter_pool);
    if (it == NULL) {
        it = PyObject_GC_New(PaFutureIter, st->future_iter_type);
        if (it == NULL) {
            return NULL;
        }
        it->future = NULL;
        PyObject_GC_Track(it);
    }
    it->future = (PaFuture *)Py_NewRef(self);
    return (PyObject *)it;
}

static PySendResult
iter_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    PaFutureIter *it = (PaFutureIter *)op;
    PaFuture *fut = it->future;
    if (fut == NULL) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (fut->status == PA_PENDING) {
        *result = NULL;
        if (fut->blocking) {
            PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
            return PYGEN_ERROR;
        }
        fut->blocking = 1;
        *result = Py_NewRef((PyObject *)fut);
        return PYGEN_NEXT;
    }
    it->future = NULL;
    *result = pa_future_result_method((PyObject *)fut, NULL);
    Py_DECREF(fut);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *
iter_next(PyObject *op)
{
    PyObject *result;
    if (iter_send(op, Py_None, &result) != PYGEN_RETURN) {
        return result;
    }
    /* A StopIteration without value needs no exception object. */
    if (result != Py_None) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
    }
    Py_DECREF(result);
    return NULL;
}

static PyObject *
iter_send_method(PyObject *op, PyObject *Py_UNUSED(value))
{
    PyObject *result = iter_next(op);
    if (result == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return result;
}

static int
iter_clear(PyObject *op)
{
    Py_CLEAR(((PaFutureIter *)op)->future);
    return 0;
}

/* The deprecated forms of throw(), and its errors, are the base iterator's. */
static PyObject *
throw_by_base(PaFutureIter *it, PyObject *const *args, Py_ssize_t nargs)
{
    PaState *st = pa_state_of((PyObject *)it);
    if (st == NULL) {
        return NULL;
    }
    PyTypeObject *base = (PyTypeObject *)st->asyncio.Future;
    PyObject *any = it->future != NULL ? Py_NewRef(it->future) : base->tp_alloc(base, 0);
    PyObject *inner = any == NULL ? NULL : base->tp_iter(any);
    Py_XDECREF(any);
    if (inner == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    PyObject *method = PyObject_GetAttr(inner, st->names.throw);
    if (method != NULL) {
        result = PyObject_Vectorcall(method, args, nargs, NULL);
        Py_DECREF(method);
    }
    Py_DECREF(inner);
    return result;
}

static PyObject *
iter_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs == 1 && PyExceptionInstance_Check(args[0])) {
        PyErr_SetRaisedException(Py_NewRef(args[0]));
        iter_clear(op);
        return NULL;
    }
    return throw_by_base((PaFutureIter *)op, args, nargs);
}

static PyObject *
iter_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    iter_clear(op);
    Py_RETURN_NONE;
}

static int
iter_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((PaFutureIter *)op)->future);
    return 0;
}

static void
iter_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    iter_clear(op);
    PaState *st = pa_state_if_alive(type);
    if (st != NULL && pa_pool_revive(&st->future_iter_pool, op)) {
        return;
    }
    PyObject_GC_UnTrack(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyMethodDef iter_methods[] = {
    {"send", iter_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))iter_throw, METH_FASTCALL, NULL},
    {"close", iter_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc},   {Py_tp_traverse, iter_traverse},
    {Py_tp_clear, iter_clear},       {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iter_next},     {Py_tp_methods, iter_methods},
    {Py_am_send, (void *)iter_send}, {0, NULL},
};

static PyType_Spec iter_spec = {
    .name = "pyasync._core.FutureIter",
    .basicsize = sizeof(PaFutureIter),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iter_slots,
};

int
pa_future_iter_init_type(PyObject *module, PaState *st)
{
    st->future_iter_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &iter_spec, NULL);
    return st->future_iter_type == NULL ? -1 : 0;
}
