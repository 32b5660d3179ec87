/* sched/handle.h: Handle, TimerHandle and the thread-safe handle, which are real instances of
 * asyncio's classes with their state in C fields behind the base's slots. */
#ifndef PA_SCHED_HANDLE_H
#define PA_SCHED_HANDLE_H

#include "sched/sched.h"

#define PA_HANDLE_INLINE_ARGS 4

typedef struct {
    PyObject *loop;     // owned
    PyObject *callback; // owned; NULL (None to Python) once cancelled or... see handle.c
    PyObject *context;  // owned
    PyObject *more;     // owned tuple of all arguments when there are more than fit inline
    PyObject *args[PA_HANDLE_INLINE_ARGS]; // owned
    PyObject *source_traceback;            // owned, debug mode only
    PyObject *repr;                        // owned, the text kept by cancel() in debug mode
    int nargs;                             // inline ones
    bool cancelled;
    bool has_args; // False once cancelled: _args is None then
} PaHandle;

typedef struct {
    PaHandle base;
    double when;
    bool scheduled; // in the timer heap
} PaTimerHandle;

/* New handles. args are borrowed; context NULL means a copy of the current one. NULL on error. */
PyObject *pa_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *context);
PyObject *pa_threadsafe_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *context);
PyObject *pa_timer_handle_new(PaSched *sched, double when, PyObject *callback,
                              PyObject *const *args, Py_ssize_t nargs, PyObject *context);

/* Runs any of the three unless cancelled. Exceptions go to the loop's exception handler; -1 with
 * the exception set only for KeyboardInterrupt and SystemExit. */
int pa_handle_run(PaSched *sched, PyObject *handle);

bool pa_handle_is_cancelled(PaState *st, PyObject *handle);

/* Creates the three types in the state. */
int pa_handle_init_types(PyObject *module, PaState *st);

#endif
