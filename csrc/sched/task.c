/* sched/task.c: pyasync.Task: construction and the type. How it runs is in step.c and resume.c.
 *
 * State lives in the fields of asyncio.Task (layout.h), the coroutine in the base's one slot, and
 * all that is not hot is the base's: cancel(), names, stacks, repr, the finaliser that logs
 * pending tasks. */
#include "sched/task.h"
#include "sched/future.h"
#include "sched/step.h"
#include "sched/wakeup.h"
#include "sched/weakregistry.h"

/* ---- construction */

/* What the caller of Task() or create_task() gave; borrowed, NULL when not given. */
typedef struct {
    PyObject *coro;
    PyObject *name;
    PyObject *context;
    int eager;
} TaskArguments;

/* 0, or -1 with TypeError when asyncio.iscoroutine() says no. */
static int
check_coroutine(PaState *st, PaTask *self, PyObject *coro)
{
    if (PyCoro_CheckExact(coro)) {
        return 0;
    }
    PyObject *answer = PyObject_CallOneArg(st->asyncio.iscoroutine, coro);
    int is_coroutine = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (is_coroutine == 0) {
        self->log_destroy_pending = 0;
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    }
    return is_coroutine > 0 ? 0 : -1;
}

static int
set_context(PaTask *self, PyObject *context)
{
    if (context == NULL || context == Py_None) {
        context = PyContext_CopyCurrent();
        if (context == NULL) {
            return -1;
        }
    }
    else {
#if PY_VERSION_HEX >= 0x030f0000
        if (!PyContext_CheckExact(context)) {
            PyErr_Format(PyExc_TypeError, "a contextvars.Context was expected, got %T", context);
            return -1;
        }
#endif
        Py_INCREF(context);
    }
    Py_XSETREF(self->context, context);
    return 0;
}

/* A name that was not given is made when it is read (3.12 and newer: get_name() of the base). */
static int
set_name(PaState *st, PaTask *self, PyObject *name)
{
    if (name == NULL || name == Py_None) {
        unsigned long long number = ++st->task_counter;
#if PY_VERSION_HEX >= 0x030c0000
        name = PyLong_FromUnsignedLongLong(number);
#else
        name = PyUnicode_FromFormat("Task-%llu", number);
#endif
    }
    else if (PyUnicode_CheckExact(name)) {
        Py_INCREF(name);
    }
    else {
        name = PyObject_Str(name);
    }
    Py_XSETREF(self->name, name);
    return name == NULL ? -1 : 0;
}

/* 1 when the loop is running, 0 when not, -1 with an exception. */
static int
loop_is_running(PaState *st, PyObject *loop)
{
    PyObject *answer = PyObject_CallMethodNoArgs(loop, st->names.is_running);
    int running = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return running;
}

/* What stands between an allocated task and one that runs: the steps of asyncio's __init__, in
 * its order. 0 or -1. */
static int
setup_task(PaState *st, PaTask *self, PyObject *loop, PaSched *known, const TaskArguments *given)
{
    if (pa_future_setup(st, (PaFuture *)self, loop, known, &self->sched) < 0) {
        return -1;
    }
#if PY_VERSION_HEX >= 0x030e0000
    self->is_task = 1;
#endif
    if (check_coroutine(st, self, given->coro) < 0 || set_context(self, given->context) < 0) {
        return -1;
    }
    Py_CLEAR(self->waiter);
    self->must_cancel = 0;
    self->log_destroy_pending = 1;
    self->cancels_requested = 0;
    Py_XSETREF(self->coro, Py_NewRef(given->coro));
    if (set_name(st, self, given->name) < 0) {
        return -1;
    }
    if (given->eager) {
        int running = loop_is_running(st, self->loop);
        if (running != 0) {
            return running < 0 ? -1 : pa_task_eager_start(st, self);
        }
    }
    if (pa_task_step_soon(st, self, NULL) < 0) {
        return -1;
    }
    return pa_task_register(st, self);
}

static int
task_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
#if PY_VERSION_HEX >= 0x030c0000
    static char *keywords[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    const char *format = "O|$OOOp:Task";
#else
    static char *keywords[] = {"coro", "loop", "name", "context", NULL};
    const char *format = "O|$OOO:Task";
#endif
    PyObject *loop = Py_None;
    TaskArguments given = {NULL, NULL, NULL, 0};
    PaState *st = pa_state_of(op);
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, format, keywords, &given.coro, &loop,
                                     &given.name, &given.context, &given.eager)) {
        return -1;
    }
    return setup_task(st, (PaTask *)op, loop, NULL, &given);
}

/* asyncio.Task(coro, loop=loop, ...) with what the caller gave. */
static PyObject *
stock_task_new(PaSched *sched, PyObject *coro, PyObject *name, PyObject *context, PyObject *eager)
{
    PaState *st = sched->st;
    PyObject *stack[5] = {coro, sched->loop};
    PyObject *kwnames[4] = {st->names.loop};
    Py_ssize_t count = 1;
    const struct {
        PyObject *name, *value;
    } optional[] = {
        {st->names.name, name}, {st->names.context, context}, {st->names.eager_start, eager}};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(optional); i++) {
        if (optional[i].value != NULL) {
            kwnames[count] = optional[i].name;
            stack[++count] = optional[i].value;
        }
    }
    PyObject *names = PyTuple_New(count);
    if (names == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(names, i, Py_NewRef(kwnames[i]));
    }
    PyObject *task = PyObject_Vectorcall(st->asyncio.Task, stack, 1, names);
    Py_DECREF(names);
    return task;
}

PyObject *
pa_task_new(PaSched *sched, PyObject *coro, PyObject *name, PyObject *context, PyObject *eager)
{
    PaState *st = sched->st;
    if (!st->overlay) {
        return stock_task_new(sched, coro, name, context, eager);
    }
    TaskArguments given = {coro, name, context, eager == NULL ? 0 : PyObject_IsTrue(eager)};
    if (given.eager < 0) {
        return NULL;
    }
    PyObject *self = pa_future_alloc(&st->task_freelist, st->task_type);
    if (self != NULL && setup_task(st, (PaTask *)self, sched->loop, sched, &given) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* ---- the type */

static int
task_traverse(PyObject *op, visitproc visit, void *arg)
{
    return pa_future_traverse_base(op, task_traverse, visit, arg);
}

static void
clear_fields(PaTask *self)
{
    self->sched = NULL;
    self->log_destroy_pending = 0; // nobody is to miss the next task here before it has a context
    pa_future_clear_fields((PaFuture *)self);
    Py_CLEAR(self->context);
    Py_CLEAR(self->coro);
    Py_CLEAR(self->name);
    Py_CLEAR(self->waiter);
}

static int
task_clear(PyObject *op)
{
    clear_fields((PaTask *)op);
    pa_future_clear_attributes(op, NULL);
    return 0;
}

/* False for a task whose finaliser, the base's, has nothing to log. */
static bool
has_something_to_log(PaTask *self)
{
    return self->log_tb || (self->status == PA_PENDING && self->log_destroy_pending);
}

static void
task_dealloc(PyObject *op)
{
    PaTask *self = (PaTask *)op;
    PyTypeObject *type = Py_TYPE(op);
    bool exact = type->tp_dealloc == task_dealloc; // no Python subclass
    if ((!exact || has_something_to_log(self)) && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return; // resurrected, and still registered
    }
    pa_task_unregister(self);
    PyObject_GC_UnTrack(op);
    pa_clear_weakrefs(op);
    PaState *st = exact ? pa_state_if_alive(type) : NULL;
    clear_fields(self);
    pa_future_clear_attributes(op, st);
    pa_future_free(op, st == NULL ? NULL : &st->task_freelist);
}

#if PY_VERSION_HEX >= 0x030c0000
#define TASK_SIGNATURE "Task(coro, *, loop=None, name=None, context=None, eager_start=False)"
#else
#define TASK_SIGNATURE "Task(coro, *, loop=None, name=None, context=None)"
#endif

PyDoc_STRVAR(task_doc, TASK_SIGNATURE
             "\n--\n\n"
             "asyncio.Task with construction, steps and wake-ups in C on pyasync's scheduler.\n\n"
             "coro is the coroutine to run; loop the event loop, None for the current one; name\n"
             "the task's name, None for a numbered one; context the contextvars.Context to run\n"
             "in, None for a copy of the current one. Raises TypeError for anything but a\n"
             "coroutine.");

static PyMethodDef task_methods[] = {
    PA_FUTURE_SHARED_METHODS,
    {NULL, NULL, 0, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc, (void *)task_doc}, {Py_tp_init, task_init},       {Py_tp_traverse, task_traverse},
    {Py_tp_clear, task_clear},     {Py_tp_dealloc, task_dealloc}, {Py_tp_iter, pa_future_iter},
    {Py_tp_methods, task_methods}, {Py_am_await, pa_future_iter}, {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "pyasync.Task",
    .basicsize = sizeof(PaTask),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = task_slots,
};

/* ---- the overlay as a whole */

static int
use_stock_classes(PyObject *module, PaState *st)
{
    st->overlay = false;
    st->future_type = (PyTypeObject *)Py_NewRef(st->asyncio.Future);
    st->task_type = (PyTypeObject *)Py_NewRef(st->asyncio.Task);
    if (PyModule_AddObjectRef(module, "Future", st->asyncio.Future) < 0 ||
        PyModule_AddObjectRef(module, "Task", st->asyncio.Task) < 0) {
        return -1;
    }
    return 0;
}

int
pa_task_init_types(PyObject *module, PaState *st)
{
    int usable = pa_layout_check(st, &st->overlay_reason);
    if (usable <= 0) {
        return usable < 0 ? -1 : use_stock_classes(module, st);
    }
    st->overlay = true;
#if PY_VERSION_HEX < 0x030e0000
    if (pa_weak_registry_init(st) < 0) {
        return -1;
    }
#endif
    if (pa_wakeup_init_types(module, st) < 0 || pa_future_iter_init_type(module, st) < 0 ||
        pa_future_init_type(module, st) < 0) {
        return -1;
    }
    st->task_type = pa_add_type(module, &task_spec, st->asyncio.Task);
    return st->task_type == NULL ? -1 : 0;
}
