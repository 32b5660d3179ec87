/* sched/layout.c: proof that asyncio.Future and asyncio.Task are laid out as layout.h says.
 *
 * Runs once, at import. The sizes are compared first. Then live objects are made on a loop that is
 * no loop (a namespace whose call_soon() swallows what it gets), known values are put into them
 * through their public interface, and each is looked for in its field. A difference is not an
 * error: it is the reason why the stock classes are used. */
#include "sched/layout.h"
#include "sched/threadslots.h"

#include <stdlib.h>
#include <string.h>

#define NEWEST_TESTED 0x030f0000 /* 3.15 */

/* Everything owned. */
typedef struct {
    PyObject *loop;    // a namespace: get_debug() is False, call_soon() does nothing
    PyObject *context; // a contextvars.Context
    PyObject *marker;  // an object like no other; callable, for it is used as callback too
    PyObject *future;
    PyObject *task;
    const char *mismatch; // the first field that is not where it should be
} Probe;

static void
expect(Probe *probe, bool holds, const char *field)
{
    if (!holds && probe->mismatch == NULL) {
        probe->mismatch = field;
    }
}

/* module.name(*args, **kwargs) by format of Py_BuildValue; args is stolen, both may be NULL. */
static PyObject *
call_with(PyObject *function, PyObject *args, PyObject *kwargs)
{
    PyObject *result = NULL;
    if (function != NULL && args != NULL && kwargs != NULL) {
        result = PyObject_Call(function, args, kwargs);
    }
    Py_XDECREF(function);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    return result;
}

static PyObject *
import_from(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *attribute = module == NULL ? NULL : PyObject_GetAttrString(module, name);
    Py_XDECREF(module);
    return attribute;
}

/* types.SimpleNamespace(get_debug=bool, call_soon=functools.partial): bool() is False, and
 * partial() takes whatever call_soon() may be given. */
static PyObject *
make_loop(void)
{
    PyObject *partial = import_from("functools", "partial");
    if (partial == NULL) {
        return NULL;
    }
    PyObject *kwargs =
        Py_BuildValue("{s:O, s:N}", "get_debug", (PyObject *)&PyBool_Type, "call_soon", partial);
    return call_with(import_from("types", "SimpleNamespace"), PyTuple_New(0), kwargs);
}

static PyObject *
make_marker(void)
{
    return call_with(import_from("functools", "partial"),
                     Py_BuildValue("(O)", (PyObject *)&PyBool_Type), PyDict_New());
}

static PyObject *
make_future(PaState *st, Probe *probe)
{
    return call_with(Py_NewRef(st->asyncio.Future), PyTuple_New(0),
                     Py_BuildValue("{s:O}", "loop", probe->loop));
}

/* A task over asyncio.sleep(0) that never runs and dies in silence. */
static PyObject *
make_task(PaState *st, Probe *probe)
{
    PyObject *coro =
        call_with(import_from("asyncio.tasks", "sleep"), Py_BuildValue("(i)", 0), PyDict_New());
    if (coro == NULL) {
        return NULL;
    }
    PyObject *kwargs = Py_BuildValue("{s:O, s:s, s:O}", "loop", probe->loop, "name", "probe",
                                     "context", probe->context);
    return call_with(Py_NewRef(st->asyncio.Task), Py_BuildValue("(N)", coro), kwargs);
}

/* obj.name(*args); args is stolen. 0 or -1. */
static int
call_method(PyObject *obj, const char *name, PyObject *args)
{
    PyObject *result = call_with(PyObject_GetAttrString(obj, name), args, PyDict_New());
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
add_callback(Probe *probe, PyObject *future)
{
    PyObject *result = call_with(PyObject_GetAttrString(future, "add_done_callback"),
                                 Py_BuildValue("(O)", probe->marker),
                                 Py_BuildValue("{s:O}", "context", probe->context));
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- the fields of Future */

static int
probe_pending_future(Probe *probe)
{
    PaFuture *fut = (PaFuture *)probe->future;
    expect(probe, fut->loop == probe->loop, "loop");
    expect(probe, fut->status == PA_PENDING, "state");
    if (add_callback(probe, probe->future) < 0) {
        return -1;
    }
    expect(probe, fut->callback0 == probe->marker, "callback0");
    expect(probe, fut->context0 == probe->context, "context0");
    expect(probe, fut->callbacks == NULL, "callbacks");
    if (add_callback(probe, probe->future) < 0) {
        return -1;
    }
    expect(probe,
           fut->callbacks != NULL && probe->mismatch == NULL && PyList_CheckExact(fut->callbacks),
           "callbacks");
    if (PyObject_SetAttrString(probe->future, "_cancel_message", probe->marker) < 0) {
        return -1;
    }
    expect(probe, fut->cancel_msg == probe->marker, "cancel_msg");
    if (PyObject_SetAttrString(probe->future, "_asyncio_future_blocking", Py_True) < 0) {
        return -1;
    }
    expect(probe, fut->blocking == 1 && fut->log_tb == 0, "blocking");
    if (PyObject_SetAttrString(probe->future, "_asyncio_future_blocking", Py_False) < 0) {
        return -1;
    }
    expect(probe, fut->blocking == 0, "blocking");
    return 0;
}

#if PY_VERSION_HEX >= 0x030e0000

/* Whether attributes can be seen is no field of asyncio's: where it fails the rest is still used. */
static int
probe_attributes(PaState *st, Probe *probe)
{
    PyObject *future = probe->future;
    if (!PyType_HasFeature(Py_TYPE(future), Py_TPFLAGS_INLINE_VALUES)) {
        return 0;
    }
    PaInlineValues *values = pa_inline_values(future);
    bool seen = values->embedded == 1 && values->capacity > 0 && pa_has_no_attributes(future);
    if (PyObject_SetAttrString(future, "probe", probe->marker) < 0) {
        return -1;
    }
    seen = seen && !pa_has_no_attributes(future) && values->valid && values->used == 1;
    if (PyObject_DelAttrString(future, "probe") < 0) {
        return -1;
    }
    seen = seen && pa_has_no_attributes(future);
    PyObject_ClearManagedDict(future);
    st->inline_values = seen && !pa_has_no_attributes(future) && !values->valid;
    return 0;
}

#else

static int
probe_attributes(PaState *st, Probe *probe)
{
    (void)st, (void)probe;
    return 0;
}

#endif

static int
probe_done_futures(PaState *st, Probe *probe)
{
    PyObject *exc = PyObject_CallNoArgs(PyExc_ValueError);
    PyObject *failed = exc == NULL ? NULL : make_future(st, probe);
    int err = -1;
    if (failed != NULL && call_method(failed, "set_exception", Py_BuildValue("(O)", exc)) == 0 &&
        call_method(probe->future, "set_result", Py_BuildValue("(O)", probe->marker)) == 0) {
        PaFuture *fut = (PaFuture *)probe->future;
        expect(probe, fut->result == probe->marker && fut->exception == NULL, "result");
        expect(probe, fut->status == PA_FINISHED && fut->callback0 == NULL, "state");
        fut = (PaFuture *)failed;
        expect(probe, fut->exception == exc && fut->result == NULL, "exception");
        expect(probe, fut->log_tb == 1 && fut->blocking == 0, "log_tb");
        err = call_method(failed, "exception", PyTuple_New(0)); // it counts as retrieved
        expect(probe, fut->log_tb == 0, "log_tb");
    }
    Py_XDECREF(failed);
    Py_XDECREF(exc);
    return err;
}

/* ---- the fields of Task */

#if PY_VERSION_HEX >= 0x030e0000

static int
probe_awaited_by(PaState *st, Probe *probe)
{
    PaFuture *fut = (PaFuture *)probe->future;
    PaTask *task = (PaTask *)probe->task;
    PyObject *result = PyObject_CallFunctionObjArgs(st->asyncio.future_add_to_awaited_by,
                                                    probe->future, probe->task, NULL);
    Py_XDECREF(result);
    expect(probe, fut->awaited_by == probe->task && !fut->awaited_by_is_set, "awaited_by");
    expect(probe, task->is_task == 1 && fut->is_task == 0, "is_task");
    expect(probe,
           probe->mismatch == NULL && task->node.next != NULL && task->node.previous != NULL &&
               task->node.next->previous == &task->node && task->node.previous->next == &task->node,
           "node");
    if (result == NULL || probe->mismatch != NULL) {
        return result == NULL ? -1 : 0;
    }
    return pa_thread_slots_find(st, task, probe->loop);
}

#else

static int
probe_awaited_by(PaState *st, Probe *probe)
{
    (void)st, (void)probe;
    return 0;
}

#endif

static int
probe_task(Probe *probe)
{
    PaTask *task = (PaTask *)probe->task;
    PyObject *coro = PyObject_GetAttrString(probe->task, "_coro");
    PyObject *name = coro == NULL ? NULL : PyObject_CallMethod(probe->task, "get_name", NULL);
    int err = name == NULL ? -1 : 0;
    expect(probe, task->loop == probe->loop, "task loop");
    expect(probe, task->coro == coro, "coro");
    expect(probe, task->name == name, "name");
    expect(probe, task->context == probe->context, "context");
    expect(probe, task->waiter == NULL, "fut_waiter");
    expect(probe, task->log_destroy_pending == 1 && task->must_cancel == 0, "log_destroy_pending");
    if (err == 0) {
        err = call_method(probe->task, "cancel", PyTuple_New(0));
        expect(probe, task->must_cancel == 1 && task->cancels_requested == 1, "must_cancel");
        if (PyObject_SetAttrString(probe->task, "_log_destroy_pending", Py_False) < 0 ||
            call_method(coro, "close", PyTuple_New(0)) < 0) {
            err = -1;
        }
        expect(probe, task->log_destroy_pending == 0 && task->must_cancel == 1,
               "log_destroy_pending");
    }
    Py_XDECREF(coro);
    Py_XDECREF(name);
    return err;
}

static int
probe_all(PaState *st, Probe *probe)
{
    if ((probe->loop = make_loop()) == NULL || (probe->context = PyContext_CopyCurrent()) == NULL ||
        (probe->marker = make_marker()) == NULL ||
        (probe->future = make_future(st, probe)) == NULL ||
        (probe->task = make_task(st, probe)) == NULL) {
        return -1;
    }
    if (probe_pending_future(probe) < 0 || probe_awaited_by(st, probe) < 0 ||
        probe_done_futures(st, probe) < 0 || probe_task(probe) < 0 ||
        probe_attributes(st, probe) < 0) {
        return -1;
    }
    return 0;
}

/* ---- the verdict */

static bool
is_forced_off(void)
{
    const char *value = getenv("PYASYNC_STOCK_TASKS");
    return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

/* The reason not to look at live objects at all, or NULL without exception. */
static PyObject *
find_early_reason(PaState *st)
{
    Py_ssize_t future_size = ((PyTypeObject *)st->asyncio.Future)->tp_basicsize;
    Py_ssize_t task_size = ((PyTypeObject *)st->asyncio.Task)->tp_basicsize;
    if (is_forced_off()) {
        return PyUnicode_FromString("PYASYNC_STOCK_TASKS is set");
    }
#ifdef Py_GIL_DISABLED
    return PyUnicode_FromString("this is a free-threaded build of Python");
#endif
    if ((Py_Version & 0xffff0000) > NEWEST_TESTED) {
        return PyUnicode_FromFormat("Python %lu.%lu is newer than 3.15, the newest tested",
                                    Py_Version >> 24, (Py_Version >> 16) & 0xff);
    }
    if (future_size != PA_BASE_FUTURE_SIZE || task_size != PA_BASE_TASK_SIZE) {
        return PyUnicode_FromFormat("asyncio.Future and asyncio.Task take %zd and %zd bytes here, "
                                    "not %zd and %zd",
                                    future_size, task_size, PA_BASE_FUTURE_SIZE, PA_BASE_TASK_SIZE);
    }
    return NULL;
}

int
pa_layout_check(PaState *st, PyObject **reason)
{
    *reason = find_early_reason(st);
    if (*reason != NULL || PyErr_Occurred()) {
        return *reason != NULL ? 0 : -1;
    }
    Probe probe = {NULL, NULL, NULL, NULL, NULL, NULL};
    int err = probe_all(st, &probe);
    Py_XDECREF(probe.future);
    Py_XDECREF(probe.task);
    Py_XDECREF(probe.marker);
    Py_XDECREF(probe.context);
    Py_XDECREF(probe.loop);
    if (err < 0) {
        PyObject *exc = PyErr_GetRaisedException();
        *reason = PyUnicode_FromFormat("probing asyncio's classes raised %R", exc);
        Py_XDECREF(exc);
        return *reason == NULL ? -1 : 0;
    }
    if (probe.mismatch != NULL) {
        *reason = PyUnicode_FromFormat("field %s of asyncio's classes is not where it is expected",
                                       probe.mismatch);
        return *reason == NULL ? -1 : 0;
    }
    return 1;
}
