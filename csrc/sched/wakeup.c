/* sched/wakeup.c: the callables that stand for a task; see wakeup.h.
 *
 * Both look like bound methods of the task: `__self__` is the task, by which asyncio finds the
 * task to show in its logs, and the qualified name is what asyncio's own wake-up shows in the
 * repr of a future. Idle wake-ups wait in a pool of the module state. */
#include "sched/wakeup.h"
#include "sched/step.h"
#include "sched/task.h"

#include <string.h>
#include <structmember.h>

/* The module state if the call is in order, NULL with an exception if not. */
static PaState *
check_call(PyObject *op, Py_ssize_t nargs, Py_ssize_t wanted, PyObject *kwnames)
{
    if (nargs != wanted || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s takes %zd positional argument(s) and no keywords",
                     Py_TYPE(op)->tp_name, wanted);
        return NULL;
    }
    if (((PaTaskCallable *)op)->task == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s has been called already", Py_TYPE(op)->tp_name);
        return NULL;
    }
    return PyType_GetModuleState(Py_TYPE(op));
}

static PyObject *
wakeup_call(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PaState *st = check_call(op, PyVectorcall_NARGS(nargsf), 1, kwnames);
    if (st == NULL) {
        return NULL;
    }
    PaTask *task = (PaTask *)Py_NewRef(((PaTaskCallable *)op)->task);
    int err = pa_task_enter_and_wake(st, task, args[0]);
    Py_DECREF(task);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
step_call(PyObject *op, PyObject *const *Py_UNUSED(args), size_t nargsf, PyObject *kwnames)
{
    PaState *st = check_call(op, PyVectorcall_NARGS(nargsf), 0, kwnames);
    if (st == NULL) {
        return NULL;
    }
    PaTaskCallable *self = (PaTaskCallable *)op;
    PaTask *task = (PaTask *)Py_NewRef(self->task);
    PyObject *exc = Py_XNewRef(self->arg);
    int err = pa_task_enter_and_step(st, task, exc);
    Py_DECREF(task);
    Py_XDECREF(exc);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
callable_new(PyTypeObject *type, vectorcallfunc call, PaTask *task, PyObject *arg)
{
    PaTaskCallable *self = PyObject_GC_New(PaTaskCallable, type);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = call;
    self->task = (PaTask *)Py_NewRef(task);
    self->arg = Py_XNewRef(arg);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

PyObject *
pa_step_callable_new(PaState *st, PaTask *task, PyObject *exc)
{
    return callable_new(st->step_type, step_call, task, exc);
}

PyObject *
pa_wakeup_new(PaState *st, PaTask *task)
{
    PyObject *idle = pa_pool_take(&st->wakeup_pool);
    if (idle == NULL) {
        return callable_new(st->wakeup_type, wakeup_call, task, NULL);
    }
    ((PaTaskCallable *)idle)->task = (PaTask *)Py_NewRef(task);
    return idle;
}

void
pa_wakeup_release_steal(PaState *st, PyObject *wakeup)
{
    if (Py_REFCNT(wakeup) == 1) {
        Py_CLEAR(((PaTaskCallable *)wakeup)->task);
        if (pa_pool_give(&st->wakeup_pool, wakeup)) {
            return;
        }
    }
    Py_DECREF(wakeup);
}

PyObject *
pa_task_wakeup_callable(PaState *st, PyObject *task)
{
    return pa_wakeup_new(st, (PaTask *)task);
}

/* ---- the types */

static int
callable_traverse(PyObject *op, visitproc visit, void *arg)
{
    PaTaskCallable *self = (PaTaskCallable *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->task);
    Py_VISIT(self->arg);
    return 0;
}

static int
callable_clear(PyObject *op)
{
    PaTaskCallable *self = (PaTaskCallable *)op;
    Py_CLEAR(self->task);
    Py_CLEAR(self->arg);
    return 0;
}

static void
callable_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    callable_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static const char *
callable_name(PyObject *op)
{
    return strrchr(Py_TYPE(op)->tp_name, '.') + 1;
}

static PyObject *
callable_get_self(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *task = (PyObject *)((PaTaskCallable *)op)->task;
    return Py_NewRef(task == NULL ? Py_None : task);
}

static PyObject *
callable_get_name(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(callable_name(op));
}

static PyObject *
callable_get_qualname(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *task = (PyObject *)((PaTaskCallable *)op)->task;
    const char *owner = task == NULL ? "Task" : Py_TYPE(task)->tp_name;
    const char *dot = strrchr(owner, '.');
    return PyUnicode_FromFormat("%s.%s", dot == NULL ? owner : dot + 1, callable_name(op));
}

static PyObject *
callable_repr(PyObject *op)
{
    PyObject *task = (PyObject *)((PaTaskCallable *)op)->task;
    if (task == NULL) {
        return PyUnicode_FromFormat("<%s of no task>", callable_name(op));
    }
    return PyUnicode_FromFormat("<%s of %s object at %p>", callable_name(op),
                                Py_TYPE(task)->tp_name, task);
}

static PyGetSetDef callable_getset[] = {
    {"__self__", callable_get_self, NULL, "The task.", NULL},
    {"__name__", callable_get_name, NULL, NULL, NULL},
    {"__qualname__", callable_get_qualname, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef callable_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(PaTaskCallable, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot callable_slots[] = {
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_dealloc, callable_dealloc},
    {Py_tp_traverse, callable_traverse},
    {Py_tp_clear, callable_clear},
    {Py_tp_repr, callable_repr},
    {Py_tp_getset, callable_getset},
    {Py_tp_members, callable_members},
    {0, NULL},
};

#define CALLABLE_FLAGS                                                                             \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |                          \
     Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION)

static PyType_Spec wakeup_spec = {
    .name = "pyasync._core.task_wakeup",
    .basicsize = sizeof(PaTaskCallable),
    .flags = CALLABLE_FLAGS,
    .slots = callable_slots,
};

static PyType_Spec step_spec = {
    .name = "pyasync._core.task_step",
    .basicsize = sizeof(PaTaskCallable),
    .flags = CALLABLE_FLAGS,
    .slots = callable_slots,
};

int
pa_wakeup_init_types(PyObject *module, PaState *st)
{
    st->wakeup_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &wakeup_spec, NULL);
    st->step_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &step_spec, NULL);
    return st->wakeup_type == NULL || st->step_type == NULL ? -1 : 0;
}
