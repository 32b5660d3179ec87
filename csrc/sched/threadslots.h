/* sched/threadslots.h: asyncio's two fields of the thread state, from 3.14: the current task and
 * the list of tasks.
 *
 * asyncio keeps them at the end of the thread state, where only its private functions reach: a
 * call that costs as much as the rest of a step. Where they are is learnt once, at import, from a
 * live task's links (threadslots.c); the offsets stay 0, and the functions are called, if what is
 * found there does not behave as it should. */
#ifndef PA_SCHED_THREADSLOTS_H
#define PA_SCHED_THREADSLOTS_H

#include "sched/layout.h"

/* Laid out so in 3.14 and 3.15. */
typedef struct {
    PyObject *running_loop; // owned
    PyObject *current_task; // owned or NULL
    PaTaskNode tasks;       // head of the circular list of this thread's tasks
} PaThreadSlots;

#if PY_VERSION_HEX >= 0x030e0000

/* Those of the calling thread, NULL when they were not found at import. */
static inline PaThreadSlots *
pa_thread_slots(PaState *st)
{
    if (st->thread_slots_offset == 0) {
        return NULL;
    }
    return (PaThreadSlots *)((char *)PyThreadState_GetUnchecked() + st->thread_slots_offset);
}

#endif

/* Sets st->thread_slots_offset if `task`, the last one registered in this thread, leads to the
 * slots. `loop` is any object. 0, or -1 with an exception. */
int pa_thread_slots_find(PaState *st, PaTask *task, PyObject *loop);

#endif
