/* sched/wakeup.h: the callables that stand for a task: its wake-up and its next step.
 *
 * A wake-up is what a task adds as done callback to the future that it waits for; future.c
 * recognises it by type and pushes (task, future) into the ring instead of calling it. Called as
 * a plain callable, by a foreign loop or in debug mode, it does the same work. A step is the
 * callable for loops that cannot take the task itself. */
#ifndef PA_SCHED_WAKEUP_H
#define PA_SCHED_WAKEUP_H

#include "sched/layout.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PaTask *task;  // owned; NULL while in the pool
    PyObject *arg; // owned or NULL: the exception of a step; unused by a wake-up
} PaTaskCallable;

/* New references, or NULL. exc may be NULL. */
PyObject *pa_wakeup_new(PaState *st, PaTask *task);
PyObject *pa_step_callable_new(PaState *st, PaTask *task, PyObject *exc);

/* Drops the reference to a wake-up that has been scheduled, keeping the object for reuse if that
 * was the last. */
void pa_wakeup_release_steal(PaState *st, PyObject *wakeup);

/* Creates both types in the state. 0 or -1. */
int pa_wakeup_init_types(PyObject *module, PaState *st);

#endif
