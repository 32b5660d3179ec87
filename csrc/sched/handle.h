/* sched/handle.h: Handle, TimerHandle and the thread-safe handle.
 *
 * They are real instances of asyncio's classes. Their state is in C fields behind the base's
 * slots, which stay empty: our types shadow the base's member descriptors with their own, so the
 * base's Python methods (__repr__, comparisons, hash) read the C fields. */
#ifndef PA_SCHED_HANDLE_H
#define PA_SCHED_HANDLE_H

#include "sched/sched.h"

#define PA_HANDLE_INLINE_ARGS 4

/* After cancel() callback, args and more are released, and Python sees None for them. */
typedef struct {
    PyObject *loop;                        // owned
    PyObject *callback;                    // owned, NULL once cancelled
    PyObject *context;                     // owned; a snapshot when context_shared
    PyObject *more;                        // owned: all arguments, when more than fit inline
    PyObject *args[PA_HANDLE_INLINE_ARGS]; // owned, the first nargs of them
    PyObject *source_traceback;            // owned, debug mode only
    PyObject *repr;                        // owned, the text that cancel() keeps in debug mode
    int nargs;
    bool cancelled;
    bool context_shared; // snapshot.h
} PaHandle;

typedef struct {
    PaHandle base;
    double when;
    PyObject *when_object; // owned: what call_at() got when that was not a float
    bool scheduled;        // in the timer heap
} PaTimerHandle;

/* New handles, which the collector does not track yet (see ring.h, timerheap.h); who keeps one
 * anywhere else tracks it with PyObject_GC_Track(). args are borrowed; context NULL or None means a
 * copy of the current one. NULL with an exception on error. */
PyObject *pa_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *context);
PyObject *pa_threadsafe_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *context);
/* when_object is borrowed, NULL unless the deadline was given as something else than a float. */
PyObject *pa_timer_handle_new(PaSched *sched, double when, PyObject *when_object,
                              PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *context);

/* Runs a handle of any of the three types unless it is cancelled. Exceptions go to the loop's
 * exception handler; -1 with the exception set only for KeyboardInterrupt and SystemExit. */
int pa_handle_run(PaSched *sched, PyObject *handle);

/* context.run(callback, *args), args as those of a vectorcall; the caller holds all of them. */
PyObject *pa_call_in_context(PyObject *context, PyObject *callback, PyObject *const *args,
                             size_t nargsf);

/* Reports the raised exception as that of the handle's callback, to the loop's exception handler.
 * Clears it. 0, or -1 with an exit raised by the handler. */
int pa_handle_report(PaSched *sched, PyObject *handle);

/* handle.cancel() and handle.cancelled() for handles of this module. */
int pa_handle_cancel(PyObject *handle);
bool pa_handle_is_cancelled(PaState *st, PyObject *handle);

/* The timer left the heap: its cancel() no longer counts there. */
void pa_timer_handle_unscheduled(PaState *st, PyObject *handle);

/* Creates the three types in the state. 0 or -1. */
int pa_handle_init_types(PyObject *module, PaState *st);

#endif
