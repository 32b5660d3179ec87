/* sched/stock.c: asyncio's own Future and Task stand in until the overlay is linked. */
#include "sched/task.h"

int
pa_task_init_types(PyObject *module, PaState *st)
{
    st->future_type = (PyTypeObject *)Py_NewRef(st->asyncio.Future);
    st->task_type = (PyTypeObject *)Py_NewRef(st->asyncio.Task);
    st->overlay = false;
    st->overlay_reason = PyUnicode_FromString("the overlay is not built");
    if (st->overlay_reason == NULL ||
        PyModule_AddObjectRef(module, "Future", (PyObject *)st->future_type) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Task", (PyObject *)st->task_type);
}

PyObject *
pa_future_new(PaSched *sched)
{
    return PyObject_Vectorcall((PyObject *)sched->st->future_type, &sched->loop, 0,
                               sched->st->kwnames.loop);
}

PyObject *
pa_task_new(PaSched *sched, PyObject *coro, PyObject *name, PyObject *context, PyObject *eager)
{
    PyObject *kwargs = PyDict_New(), *args = PyTuple_Pack(1, coro), *task = NULL;
    PaNames *names = &sched->st->names;
    if (kwargs != NULL && args != NULL && PyDict_SetItem(kwargs, names->loop, sched->loop) == 0 &&
        (name == NULL || PyDict_SetItem(kwargs, names->name, name) == 0) &&
        (context == NULL || PyDict_SetItem(kwargs, names->context, context) == 0) &&
        (eager == NULL || PyDict_SetItem(kwargs, names->eager_start, eager) == 0)) {
        task = PyObject_Call((PyObject *)sched->st->task_type, args, kwargs);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    return task;
}

int
pa_task_run_step(PaSched *Py_UNUSED(sched), PyObject *Py_UNUSED(task), PyObject *Py_UNUSED(exc))
{
    PyErr_SetString(PyExc_SystemError, "a task entry without the overlay");
    return -1;
}

int
pa_task_run_wakeup(PaSched *sched, PyObject *task, PyObject *future)
{
    return pa_task_run_step(sched, task, future);
}

PyObject *
pa_task_wakeup_callable(PaState *Py_UNUSED(st), PyObject *task)
{
    return Py_NewRef(task);
}

int
pa_future_wake(PaState *st, PyObject *future)
{
    PyObject *done = PyObject_CallMethod(future, "done", NULL);
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (is_done != 0) {
        return is_done < 0 ? -1 : 0;
    }
    PyObject *reply = PyObject_CallMethodOneArg(future, st->names.set_result, Py_None);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

int
pa_sched_enter_task(PaSched *Py_UNUSED(sched), PyObject *Py_UNUSED(task))
{
    return 0;
}

int
pa_sched_leave_task_slow(PaSched *Py_UNUSED(sched))
{
    return 0;
}
