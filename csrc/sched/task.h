/* sched/task.h: what the rest of the module may ask of pyasync's Future and Task. */
#ifndef PA_SCHED_TASK_H
#define PA_SCHED_TASK_H

#include "sched/sched.h"

/* Creates Future, Task and the wake-up type, or falls back to asyncio's classes (layout.c); sets
 * st->overlay and st->overlay_reason and adds Future and Task to the module. */
int pa_task_init_types(PyObject *module, PaState *st);

/* loop.create_future(): a new pending future of st->future_type on this loop. New reference. */
PyObject *pa_future_new(PaSched *sched);

/* loop.create_task() without a factory. name, context, eager are borrowed or NULL when the caller
 * of create_task() did not give them. New reference. */
PyObject *pa_task_new(PaSched *sched, PyObject *coro, PyObject *name, PyObject *context,
                      PyObject *eager);

/* Runs one ring entry of kind PA_ENTRY_STEP or PA_ENTRY_WAKEUP in the task's context, with the
 * current task set. 0, or -1 with an exception that the batch reports or raises. */
int pa_task_run_step(PaSched *sched, PyObject *task, PyObject *exc);
int pa_task_run_wakeup(PaSched *sched, PyObject *task, PyObject *future);

/* A new callable that stands for a ring entry where a Handle is needed (error reports): its
 * __self__ is the task and its name is task_wakeup. */
PyObject *pa_task_wakeup_callable(PaState *st, PyObject *task);

/* future.set_result(None) unless it is done already; any future-like object. 0 or -1. */
int pa_future_wake(PaState *st, PyObject *future);

#endif
