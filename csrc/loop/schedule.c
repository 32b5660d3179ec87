/* loop/schedule.c: call_soon() and its family, create_future() and create_task().
 *
 * Arguments are parsed by hand, without a tuple or a dict.
 * call_soon_threadsafe() is the only method here that other threads may call: it pushes into the
 * same ring while it holds the GIL, and sends the wake-up only if the loop sleeps in a poll. */
#include "base/keywords.h"
#include "loop/backend.h"
#include "sched/handle.h"
#include "sched/task.h"

#include <math.h>

/* ---- arguments */

/* Finds context= in kwnames: 0 with *context borrowed or NULL, -1 with TypeError. */
static int
parse_context(const char *method, PyObject *const *values, PyObject *kwnames, PaNames *names,
              PyObject **context)
{
    *context = NULL;
    if (kwnames == NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        if (name != names->context && PyUnicode_Compare(name, names->context) != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", method,
                         name);
            return -1;
        }
        *context = values[i];
    }
    return 0;
}

static const char *const callback_first[] = {"callback", NULL};
static const char *const delay_first[] = {"delay", "callback", NULL};
static const char *const when_first[] = {"when", "callback", NULL};

/* What asyncio checks in debug mode only, by the base class's own methods. */
static int
debug_checks(PaLoop *loop, const char *method, PyObject *callback, bool thread)
{
    PyObject *self = (PyObject *)loop, *reply;
    if (thread) {
        reply = PyObject_CallMethod(self, "_check_thread", NULL);
        if (reply == NULL) {
            return -1;
        }
        Py_DECREF(reply);
    }
    reply = PyObject_CallMethod(self, "_check_callback", "Os", callback, method);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

/* ---- call_soon */

static PyObject *
queue_new_handle(PaLoop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *context)
{
    PyObject *handle = pa_handle_new(&loop->sched, callback, args, nargs, context);
    if (handle != NULL && pa_ring_push(&loop->sched.ring, PA_ENTRY_HANDLE, handle, NULL) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* What a method of that name returns that overrides ours, by subclass or by instance. */
static PyObject *
call_overriding(PaLoop *loop, PyObject *name, PyObject *callback, PyObject *const *args,
                Py_ssize_t nargs, PyObject *context)
{
    PyObject *method = PyObject_GetAttr((PyObject *)loop, name), *kwargs = NULL;
    PyObject *all = method == NULL ? NULL : PyTuple_New(nargs + 1);
    if (all != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef(callback));
        for (Py_ssize_t i = 0; i < nargs; i++) {
            PyTuple_SET_ITEM(all, i + 1, Py_NewRef(args[i]));
        }
    }
    if (all != NULL && context != NULL) {
        kwargs = Py_BuildValue("{O:O}", loop->sched.st->names.context, context);
    }
    PyObject *handle = all == NULL || PyErr_Occurred() ? NULL : PyObject_Call(method, all, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(all);
    Py_XDECREF(kwargs);
    return handle;
}

int
pa_loop_call_soon(PaLoop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *context)
{
    PyObject *handle;
    if (!loop->call_soon_overridden) {
        if (pa_loop_check_closed(loop) < 0) {
            return -1;
        }
        handle = queue_new_handle(loop, callback, args, nargs, context);
    }
    else {
        handle =
            call_overriding(loop, loop->sched.st->names.call_soon, callback, args, nargs, context);
    }
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

PyDoc_STRVAR(call_soon_doc,
             "call_soon($self, callback, *args, context=None)\n--\n\n"
             "Run callback(*args) in the next turn of the loop and return its Handle.\n\n"
             "context is the contextvars.Context to run it in, by default a copy of the current\n"
             "one. Raises RuntimeError when the loop is closed; in debug mode also for a wrong\n"
             "thread, and TypeError for a coroutine or something that can't be called.\n"
             "Stands for asyncio's loop.call_soon().");

static PyObject *
call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    PyObject *context;
    if (nargs < 1) {
        return pa_call_with_positions(call_soon, "call_soon", callback_first, self, args, nargs,
                                      kwnames);
    }
    if (parse_context("call_soon", args + nargs, kwnames, &loop->sched.st->names, &context) < 0 ||
        pa_loop_check_closed(loop) < 0 ||
        (loop->sched.debug && debug_checks(loop, "call_soon", args[0], true) < 0)) {
        return NULL;
    }
    return queue_new_handle(loop, args[0], args + 1, nargs - 1, context);
}

/* ---- call_soon_threadsafe */

static void
wake(PaLoop *loop)
{
    if (loop->polling && !loop->wakeup_sent) {
        loop->wakeup_sent = true;
        pa_backend_wake(loop);
    }
}

/* Nobody sees the handle, so it need not be one whose cancel() waits. */
int
pa_loop_call_soon_threadsafe(PaLoop *loop, PyObject *callback, PyObject *const *args,
                             Py_ssize_t nargs)
{
    PyObject *handle;
    if (loop->call_soon_threadsafe_overridden) {
        handle = call_overriding(loop, loop->sched.st->names.call_soon_threadsafe, callback, args,
                                 nargs, NULL);
    }
    else if ((handle = queue_new_handle(loop, callback, args, nargs, NULL)) != NULL) {
        wake(loop);
    }
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

PyDoc_STRVAR(call_soon_threadsafe_doc,
             "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
             "Like call_soon(), from any thread; wakes the loop up.\n\n"
             "From 3.14 the handle's cancel() waits for a callback that is running on the loop's\n"
             "thread. Raises RuntimeError when the loop is closed.\n"
             "Stands for asyncio's loop.call_soon_threadsafe().");

static PyObject *
call_soon_threadsafe(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    PaSched *sched = &loop->sched;
    PyObject *context;
    if (nargs < 1) {
        return pa_call_with_positions(call_soon_threadsafe, "call_soon_threadsafe", callback_first,
                                      self, args, nargs, kwnames);
    }
    if (parse_context("call_soon_threadsafe", args + nargs, kwnames, &sched->st->names, &context) <
            0 ||
        pa_loop_check_closed(loop) < 0 ||
        (sched->debug && debug_checks(loop, "call_soon_threadsafe", args[0], false) < 0)) {
        return NULL;
    }
    PyObject *handle = pa_threadsafe_handle_new(sched, args[0], args + 1, nargs - 1, context);
    if (handle != NULL && pa_ring_push(&sched->ring, PA_ENTRY_HANDLE, handle, NULL) < 0) {
        Py_CLEAR(handle);
    }
    if (handle != NULL) {
        wake(loop);
    }
    return handle;
}

static PyObject *
write_to_self(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    wake((PaLoop *)self);
    Py_RETURN_NONE;
}

/* Queues a handle that exists already: one of ours as it is, one of asyncio's by its _run(). */
static PyObject *
add_callback(PyObject *self, PyObject *handle)
{
    PaLoop *loop = (PaLoop *)self;
    PaState *st = loop->sched.st;
    int err;
    if (Py_IS_TYPE(handle, st->handle_type) || Py_IS_TYPE(handle, st->timer_handle_type)) {
        err = pa_ring_push(&loop->sched.ring, PA_ENTRY_HANDLE, handle, NULL);
    }
    else {
        PyObject *run = PyObject_GetAttrString(handle, "_run");
        PyObject *queued = run == NULL ? NULL : queue_new_handle(loop, run, NULL, 0, NULL);
        Py_XDECREF(run);
        Py_XDECREF(queued);
        err = queued == NULL ? -1 : 0;
    }
    if (err < 0) {
        return NULL;
    }
    wake(loop);
    Py_RETURN_NONE;
}

/* ---- timers */

static PyObject *
schedule_at(PaLoop *loop, double when, PyObject *when_object, PyObject *const *args,
            Py_ssize_t nargs, PyObject *context)
{
    if (isnan(when)) {
        PyErr_SetString(PyExc_ValueError, "cannot schedule a callback at NaN seconds");
        return NULL;
    }
    PaSched *sched = &loop->sched;
    PyObject *timer =
        pa_timer_handle_new(sched, when, when_object, args[0], args + 1, nargs - 1, context);
    if (timer != NULL &&
        pa_timerheap_push(&sched->timers, when, timer, sched->thread_id != 0) < 0) {
        pa_timer_handle_unscheduled(sched->st, timer);
        Py_CLEAR(timer);
    }
    return timer;
}

PyDoc_STRVAR(call_at_doc,
             "call_at($self, when, callback, *args, context=None)\n--\n\n"
             "Run callback(*args) at the time `when` and return its TimerHandle.\n\n"
             "when is in seconds on the clock of time(); it is never run early, and equal times\n"
             "run in the order of scheduling. Infinity never comes. Raises TypeError for None or\n"
             "what is no number, ValueError for NaN, RuntimeError when the loop is closed.\n"
             "Stands for asyncio's loop.call_at().");

static PyObject *
call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    PyObject *context;
    if (nargs < 2) {
        return pa_call_with_positions(call_at, "call_at", when_first, self, args, nargs, kwnames);
    }
    if (parse_context("call_at", args + nargs, kwnames, &loop->sched.st->names, &context) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    if (pa_loop_check_closed(loop) < 0 ||
        (loop->sched.debug && debug_checks(loop, "call_at", args[1], true) < 0)) {
        return NULL;
    }
    double when = PyFloat_AsDouble(args[0]);
    if (when == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *shown = PyFloat_CheckExact(args[0]) ? NULL : args[0];
    return schedule_at(loop, when, shown, args + 1, nargs - 1, context);
}

/* call_later() by way of an overriding call_at(). */
static PyObject *
call_later_by_call_at(PaLoop *loop, double when, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    PyObject *method = PyObject_GetAttr((PyObject *)loop, loop->sched.st->names.call_at);
    Py_ssize_t total = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_Malloc((size_t)total * sizeof(PyObject *));
    PyObject *when_object = PyFloat_FromDouble(when), *result = NULL;
    if (stack == NULL) {
        PyErr_NoMemory();
    }
    else if (method != NULL && when_object != NULL) {
        stack[0] = when_object;
        for (Py_ssize_t i = 1; i < total; i++) {
            stack[i] = args[i];
        }
        result = PyObject_Vectorcall(method, stack, nargs, kwnames);
    }
    PyMem_Free(stack);
    Py_XDECREF(when_object);
    Py_XDECREF(method);
    return result;
}

/* time() + delay, which is Python's sum where the delay is not a plain number. 0 or -1. */
static int
deadline(PaLoop *loop, PyObject *delay, double *when)
{
    double now = pa_loop_time(loop);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (PyFloat_CheckExact(delay)) {
        *when = now + PyFloat_AS_DOUBLE(delay);
        return 0;
    }
    PyObject *start = PyFloat_FromDouble(now);
    PyObject *sum = start == NULL ? NULL : PyNumber_Add(start, delay);
    Py_XDECREF(start);
    *when = sum == NULL ? -1.0 : PyFloat_AsDouble(sum);
    Py_XDECREF(sum);
    return *when == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyDoc_STRVAR(call_later_doc,
             "call_later($self, delay, callback, *args, context=None)\n--\n\n"
             "Run callback(*args) `delay` seconds from now and return its TimerHandle.\n\n"
             "A delay of zero or less runs in the next turn of the loop, after what is ready\n"
             "then. Errors are those of call_at(). Stands for asyncio's loop.call_later().");

static PyObject *
call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    PyObject *context;
    if (nargs < 2) {
        return pa_call_with_positions(call_later, "call_later", delay_first, self, args, nargs,
                                      kwnames);
    }
    if (parse_context("call_later", args + nargs, kwnames, &loop->sched.st->names, &context) < 0) {
        return NULL;
    }
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    double when;
    if (deadline(loop, args[0], &when) < 0) {
        return NULL;
    }
    if (loop->call_at_overridden) {
        return call_later_by_call_at(loop, when, args, nargs, kwnames);
    }
    if (pa_loop_check_closed(loop) < 0 ||
        (loop->sched.debug && debug_checks(loop, "call_at", args[1], true) < 0)) {
        return NULL;
    }
    return schedule_at(loop, when, NULL, args + 1, nargs - 1, context);
}

/* ---- futures and tasks */

PyDoc_STRVAR(create_future_doc, "create_future($self, /)\n--\n\n"
                                "Return a new pending Future that belongs to this loop.\n\n"
                                "Stands for asyncio's loop.create_future().");

static PyObject *
create_future(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return pa_future_new(&((PaLoop *)self)->sched);
}

/* asyncio's own create_task(): with a task factory, or for words that only it knows. */
static PyObject *
create_task_by_base(PaLoop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t total = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_Malloc((size_t)(total + 1) * sizeof(PyObject *));
    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    stack[0] = (PyObject *)loop;
    for (Py_ssize_t i = 0; i < total; i++) {
        stack[i + 1] = args[i];
    }
    PyObject *task =
        PyObject_Vectorcall(loop->sched.st->asyncio.create_task, stack, nargs + 1, kwnames);
    PyMem_Free(stack);
    return task;
}

/* eager_start= came to create_task() with 3.13.3 and 3.14. */
static bool
knows_eager_start(void)
{
    return Py_Version >= 0x030d0300;
}

PyDoc_STRVAR(create_task_doc,
             "create_task($self, coro, *, name=None, context=None, **kwargs)\n--\n\n"
             "Schedule a coroutine as a Task of this loop and return the task.\n\n"
             "name is the task's name (any object, by str()), context the contextvars.Context to\n"
             "run it in, by default a copy of the current one; eager_start=True (3.14) runs its\n"
             "first step at once. A task factory gets what the caller gave. Raises TypeError for\n"
             "what is no coroutine, RuntimeError when the loop is closed.\n"
             "Stands for asyncio's loop.create_task().");

static PyObject *
create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    PaNames *names = &loop->sched.st->names;
    PyObject *name = NULL, *context = NULL, *eager = NULL, *coro = nargs == 1 ? args[0] : NULL;
    if (pa_loop_check_closed(loop) < 0) {
        return NULL;
    }
    if (loop->task_factory != NULL) {
        return create_task_by_base(loop, args, nargs, kwnames);
    }
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i), *value = args[nargs + i];
        if (PyUnicode_Compare(keyword, names->name) == 0) {
            name = value;
        }
        else if (PyUnicode_Compare(keyword, names->context) == 0) {
            context = value;
        }
        else if (knows_eager_start() && PyUnicode_Compare(keyword, names->eager_start) == 0) {
            eager = value;
        }
        else {
            coro = NULL; // coro=, or a mistake: asyncio's own words
            break;
        }
    }
    if (coro == NULL) {
        return create_task_by_base(loop, args, nargs, kwnames);
    }
    return pa_task_new(&loop->sched, coro, name, context, eager);
}

PyMethodDef pa_loop_schedule_methods[] = {
    {"call_soon", (PyCFunction)(void (*)(void))call_soon, METH_FASTCALL | METH_KEYWORDS,
     call_soon_doc},
    {"call_soon_threadsafe", (PyCFunction)(void (*)(void))call_soon_threadsafe,
     METH_FASTCALL | METH_KEYWORDS, call_soon_threadsafe_doc},
    {"call_at", (PyCFunction)(void (*)(void))call_at, METH_FASTCALL | METH_KEYWORDS, call_at_doc},
    {"call_later", (PyCFunction)(void (*)(void))call_later, METH_FASTCALL | METH_KEYWORDS,
     call_later_doc},
    {"create_future", create_future, METH_NOARGS, create_future_doc},
    {"create_task", (PyCFunction)(void (*)(void))create_task, METH_FASTCALL | METH_KEYWORDS,
     create_task_doc},
    {"_add_callback", add_callback, METH_O, NULL},
    {"_add_callback_signalsafe", add_callback, METH_O, NULL},
    {"_write_to_self", write_to_self, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
