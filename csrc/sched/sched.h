/* sched/sched.h: the scheduler that a loop embeds, and the one hook by which it reaches the loop.
 *
 * Everything in sched/ works on a PaSched and knows no libuv. The scheduler of a loop object is
 * found by pa_sched_of(); foreign loops have none, and are spoken to through their Python API. */
#ifndef PA_SCHED_SCHED_H
#define PA_SCHED_SCHED_H

#include "base/state.h"
#include "sched/ring.h"
#include "sched/timerheap.h"

typedef struct PaSched {
    PaState *st;    // borrowed
    PyObject *loop; // borrowed: the loop object that embeds this
    PaRing ring;
    PaTimerHeap timers;

    /* The task that asyncio.current_task() reports now because a direct entry set it (borrowed;
     * the entry being run, or the one run last, owns it until it is left). Consecutive task steps
     * replace it with one call; pa_sched_leave_task() takes it back before anything else runs. */
    PyObject *current_task;
    /* Where asyncio keeps that record for the thread that entered the task, valid while
     * current_task is set; NULL where only asyncio's functions reach it. */
    PyObject **current_task_slot;

    PyObject *snapshot; // owned or NULL: snapshot.h
    PyObject *scratch;  // owned or NULL: a context to run callbacks in, while none does

    unsigned long thread_id; // of the thread in run_forever(), 0 when not running
    bool debug;              // loop.get_debug()
    bool closed;             // loop.is_closed()
    /* Tasks may push themselves straight into the ring: not in debug mode, and only while
     * call_soon() is ours (no subclass or instance overrides it). */
    bool direct;

    /* Runs an entry of kind PA_ENTRY_READY. 0, or -1 with an exit raised. */
    int (*run_ready)(PyObject *member);
} PaSched;

/* The layout that every pyasync loop object begins with. */
typedef struct {
    PyObject_HEAD
    PaSched sched;
} PaSchedObject;

/* The scheduler of a pyasync loop, NULL for any other object. */
static inline PaSched *
pa_sched_of(PaState *st, PyObject *loop)
{
    return PyObject_TypeCheck(loop, st->loop_type) ? &((PaSchedObject *)loop)->sched : NULL;
}

/* ---- batch.c */

/* Runs exactly the entries that are in the ring now, stopping early only on KeyboardInterrupt or
 * SystemExit. 0, or -1 with that exception set; what was not run stays queued. */
int pa_sched_run_batch(PaSched *sched);

/* Runs a handle as debug mode does: a slow one is logged. 0, or -1 with an exit raised. */
int pa_sched_run_timed(PaSched *sched, PyObject *handle);

/* Moves the timers whose deadline is at or before `now` (seconds) into the ring, earliest first,
 * ties in the order of scheduling. 0 or -1. */
int pa_sched_take_due_timers(PaSched *sched, double now);

/* A scheduled timer was cancelled: counts it, and compacts the heap when more than half are. */
void pa_sched_timer_cancelled(PaSched *sched);

/* True when the raised exception is one that asyncio never swallows. */
bool pa_sched_is_exit_raised(void);

/* ---- current.c */

/* Makes `task` the current task of the running loop. 0 or -1. */
int pa_sched_enter_task(PaSched *sched, PyObject *task);
/* There is no current task after this; a no-op when there is none. Keeps a raised exception. */
int pa_sched_leave_task_slow(PaSched *sched);

static inline int
pa_sched_leave_task(PaSched *sched)
{
    return sched->current_task == NULL ? 0 : pa_sched_leave_task_slow(sched);
}

#endif
