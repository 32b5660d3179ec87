/* loop/clock.c: the one function that the loop asks for the time, and who may override it.
 *
 * time() is the clock of time.monotonic(). A subclass or an instance that brings its own time()
 * (test suites do, to fast-forward) is honoured; so are call_soon(), call_at(),
 * call_soon_threadsafe() and create_future(). Which of them is overridden is found out when the loop
 * is made, when it starts to run and when such an attribute is set, never per callback. Another
 * function in the place of time.monotonic (test suites do that too) is called in its stead: the
 * interpreter tells when that attribute changes, or, on 3.11, it is looked at each time. */
#include "loop/loop.h"

#include <string.h>
#include <time.h>

double
pa_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* nanoseconds first, one division: the very double that time.monotonic() makes of them */
    return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
}

/* ---- another function in the place of time.monotonic */

static bool
is_monotonic(PyObject *function)
{
    return PyCFunction_CheckExact(function) &&
           strcmp(((PyCFunctionObject *)function)->m_ml->ml_name, "monotonic") == 0;
}

bool
pa_clock_is_replaced(PaState *st)
{
    if (!st->monotonic_may_be_replaced || st->time_module == NULL) {
        return false;
    }
    PyObject *found = PyDict_GetItem(PyModule_GetDict(st->time_module), st->names.monotonic);
    return found != NULL && found != Py_None /* as the interpreter ends */ && !is_monotonic(found);
}

#if PY_VERSION_HEX >= 0x030c0000

/* The dict of module `time` has changed. */
static int
time_module_changed(PyDict_WatchEvent Py_UNUSED(event), PyObject *Py_UNUSED(dict), PyObject *key,
                    PyObject *Py_UNUSED(value))
{
    bool other = key != NULL && PyUnicode_Check(key) &&
                 PyUnicode_CompareWithASCIIString(key, "monotonic") != 0;
    PyObject *modules = other ? NULL : PyInterpreterState_GetDict(PyInterpreterState_Get());
    PyObject *module, *value;
    Py_ssize_t position = 0;
    while (modules != NULL && PyDict_Next(modules, &position, &module, &value)) {
        if (PyModule_Check(module) && PyModule_GetDef(module) == &pa_module_def) {
            pa_state_of_module(module)->monotonic_may_be_replaced = true;
        }
    }
    return 0;
}

static int
watch(PyObject *dict)
{
    int watcher = PyDict_AddWatcher(time_module_changed);
    return watcher < 0 ? -1 : PyDict_Watch(watcher, dict);
}

#else

static int
watch(PyObject *Py_UNUSED(dict))
{
    return -1;
}

#endif

int
pa_clock_init(PaState *st)
{
    st->time_module = PyImport_ImportModule("time");
    if (st->time_module == NULL) {
        return -1;
    }
    PyObject *dict = PyModule_GetDict(st->time_module);
    PyObject *found = PyDict_GetItem(dict, st->names.monotonic);
    st->monotonic_may_be_replaced = watch(dict) < 0 || found == NULL || !is_monotonic(found);
    PyErr_Clear(); /* all watchers of this interpreter are taken: it is looked at each time */
    return 0;
}

/* ---- the time of a loop */

static double
seconds_steal(PyObject *now)
{
    double seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return seconds;
}

double
pa_clock_time(PaState *st)
{
    if (!pa_clock_is_replaced(st)) {
        return pa_monotonic();
    }
    return seconds_steal(PyObject_CallMethodNoArgs(st->time_module, st->names.monotonic));
}

double
pa_loop_time(PaLoop *loop)
{
    if (!loop->time_overridden) {
        return pa_clock_time(loop->sched.st);
    }
    return seconds_steal(PyObject_CallMethodNoArgs((PyObject *)loop, loop->sched.st->names.time));
}

/* ---- what a loop overrides */

/* 1 when self.name is something else than the method of _core.Loop itself, 0 when not, or -1. */
static int
is_overridden(PaLoop *loop, PyObject *name)
{
    PyObject *own = PyObject_GetAttr((PyObject *)loop->sched.st->loop_type, name);
    PyObject *found = own == NULL ? NULL : PyObject_GetAttr((PyObject *)loop, name);
    int overridden = -1;
    if (found != NULL) {
        /* A bound C method shows its definition in its function pointer; the descriptor on the
         * type has the same one under d_method. */
        overridden =
            !(PyCFunction_Check(found) && Py_IS_TYPE(own, &PyMethodDescr_Type) &&
              PyCFunction_GET_FUNCTION(found) == ((PyMethodDescrObject *)own)->d_method->ml_meth);
    }
    Py_XDECREF(own);
    Py_XDECREF(found);
    return overridden;
}

int
pa_loop_find_overrides(PaLoop *loop)
{
    PaNames *names = &loop->sched.st->names;
    int time = is_overridden(loop, names->time);
    int call_soon = is_overridden(loop, names->call_soon);
    int call_at = is_overridden(loop, names->call_at);
    int threadsafe = is_overridden(loop, names->call_soon_threadsafe);
    int create_future = is_overridden(loop, names->create_future);
    if (time < 0 || call_soon < 0 || call_at < 0 || threadsafe < 0 || create_future < 0) {
        return -1;
    }
    loop->time_overridden = time;
    loop->call_soon_overridden = call_soon;
    loop->call_at_overridden = call_at;
    loop->call_soon_threadsafe_overridden = threadsafe;
    loop->create_future_overridden = create_future;
    loop->sched.direct = !loop->sched.debug && !call_soon;
    return 0;
}
