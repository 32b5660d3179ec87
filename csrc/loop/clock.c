/* loop/clock.c: the one function that the loop asks for the time, and who may override it.
 *
 * time() is the clock of time.monotonic(). A subclass or an instance that brings its own time()
 * (test suites do, to fast-forward) is honoured; so are call_soon(), call_at() and create_future().
 * Which of them is overridden is found out when the loop is made, when it starts to run and when such
 * an attribute is set, never per callback. */
#include "loop/loop.h"

#include <time.h>

double
pa_monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* nanoseconds first, one division: the very double that time.monotonic() makes of them */
    return (double)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec) / 1e9;
}

double
pa_loop_time(PaLoop *loop)
{
    if (!loop->time_overridden) {
        return pa_monotonic();
    }
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)loop, loop->sched.st->names.time);
    if (now == NULL) {
        return -1.0;
    }
    double seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return seconds;
}

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
    int create_future = is_overridden(loop, names->create_future);
    if (time < 0 || call_soon < 0 || call_at < 0 || create_future < 0) {
        return -1;
    }
    loop->time_overridden = time;
    loop->call_soon_overridden = call_soon;
    loop->call_at_overridden = call_at;
    loop->create_future_overridden = create_future;
    loop->sched.direct = !loop->sched.debug && !call_soon;
    return 0;
}
