/* sched/step.h: running a task's coroutine up to its next suspension, and what leads to it. */
#ifndef PA_SCHED_STEP_H
#define PA_SCHED_STEP_H

#include "sched/layout.h"

/* ---- step.c */

/* Sends None, or throws exc (borrowed, may be NULL), into the coroutine and acts on what comes
 * out. The task is entered and its context is current. 0, or -1 with an exception that asyncio
 * lets out of a step. The caller holds a reference to the task. */
int pa_task_step(PaState *st, PaTask *task, PyObject *exc);

/* Has the task stepped in the next batch; exc may be NULL. 0 or -1. */
int pa_task_step_soon(PaState *st, PaTask *task, PyObject *exc);

/* ---- resume.c: entering and leaving a task around a step */

/* As asyncio's step and wake-up callables: no task may be current, the caller set the context. */
int pa_task_enter_and_step(PaState *st, PaTask *task, PyObject *exc);
int pa_task_enter_and_wake(PaState *st, PaTask *task, PyObject *future);

/* The first step at once, inside whatever task is running. 0 or -1. */
int pa_task_eager_start(PaState *st, PaTask *task);

/* ---- registry.c: all_tasks() and who waits for whom */

int pa_task_register(PaState *st, PaTask *task);
/* A done or dying task is no longer among all_tasks(). */
void pa_task_unregister(PaTask *task);
int pa_future_add_awaiter(PaState *st, PyObject *future, PaTask *task);
int pa_future_discard_awaiter(PaState *st, PyObject *future, PaTask *task);

#endif
