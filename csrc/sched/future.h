/* sched/future.h: what Task and the rest of sched/ need of Future.
 *
 * Functions that take a PaFuture accept stock futures too unless they say otherwise; `sched` is
 * the scheduler of its loop or NULL on a foreign loop. */
#ifndef PA_SCHED_FUTURE_H
#define PA_SCHED_FUTURE_H

#include "sched/layout.h"

/* True when tasks and futures of this loop may be pushed straight into its ring. */
static inline bool
pa_sched_is_direct(PaSched *sched)
{
    return sched != NULL && sched->direct && !sched->closed;
}

/* loop.call_soon(callback, arg, context=context) on any loop; arg may be NULL. 0 or -1. */
int pa_call_soon(PaState *st, PyObject *loop, PyObject *callback, PyObject *arg, PyObject *context);

/* The base part of construction: a pending future on `loop` (None: the current one), whose
 * scheduler is `known` if the caller knows it. Sets *sched. `self` is a pyasync Future or Task.
 * 0 or -1. */
int pa_future_setup(PaState *st, PaFuture *self, PyObject *loop, PaSched *known, PaSched **sched);

/* Complete a pending future and schedule its callbacks. 0 or -1. Everything is borrowed; the
 * caller holds a reference to fut. */
int pa_future_finish_result(PaState *st, PaSched *sched, PaFuture *fut, PyObject *result);
int pa_future_finish_exception(PaState *st, PaSched *sched, PaFuture *fut, PyObject *exc);
int pa_future_finish_cancelled(PaState *st, PaSched *sched, PaFuture *fut, PyObject *msg);

/* What result() of the base returns or raises, without looking for overrides. */
PyObject *pa_future_result(PaState *st, PaFuture *fut);

/* Appends to the callbacks of a pending future. 0 or -1. */
int pa_future_append_callback(PaFuture *fut, PyObject *callback, PyObject *context);

/* Calls the base's method of that name, past any override. arg may be NULL. */
PyObject *pa_future_call_base(PaState *st, PyObject *self, PyObject *name, PyObject *arg);

/* The methods in the tables of both types (futureshared.c). */
PyObject *pa_future_result_method(PyObject *self, PyObject *ignored);
PyObject *pa_future_done_method(PyObject *self, PyObject *ignored);
PyObject *pa_future_cancelled_method(PyObject *self, PyObject *ignored);
PyObject *pa_future_exception_method(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                     PyObject *kwnames);
PyObject *pa_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames);
extern const char pa_future_result_doc[], pa_future_exception_doc[], pa_future_done_doc[],
    pa_future_cancelled_doc[], pa_future_add_done_callback_doc[];

/* clang-format off */
#define PA_FUTURE_SHARED_METHODS                                                                   \
    {"result", pa_future_result_method, METH_NOARGS, pa_future_result_doc},                        \
    {"exception", (PyCFunction)(void (*)(void))pa_future_exception_method,                         \
     METH_FASTCALL | METH_KEYWORDS, pa_future_exception_doc},                                      \
    {"done", pa_future_done_method, METH_NOARGS, pa_future_done_doc},                              \
    {"cancelled", pa_future_cancelled_method, METH_NOARGS, pa_future_cancelled_doc},               \
    {"add_done_callback", (PyCFunction)(void (*)(void))pa_future_add_done_callback,                \
     METH_FASTCALL | METH_KEYWORDS, pa_future_add_done_callback_doc}
/* clang-format on */

/* What the slots of Future and Task share. `own` is the tp_traverse of the type that asks. */
PyObject *pa_future_alloc(PaFreelist *freelist, PyTypeObject *type);
/* Ends tp_dealloc of a cleared object; freelist is NULL where it may not be
 * used. */
void pa_future_free(PyObject *op, PaFreelist *freelist);
int pa_future_traverse_base(PyObject *op, traverseproc own, visitproc visit, void *arg);
void pa_future_clear_fields(PaFuture *fut);
/* Drops the attributes that Python code set. Of an object that has none nothing is touched where st
 * tells that this can be seen: clearing would bar the interpreter's fast ways to the methods of the
 * next object in that memory. st may be NULL. */
void pa_future_clear_attributes(PyObject *op, PaState *st);
PyObject *pa_future_iter(PyObject *self);

/* Create the types in the state. 0 or -1. */
int pa_future_init_type(PyObject *module, PaState *st);
int pa_future_iter_init_type(PyObject *module, PaState *st);

#endif
