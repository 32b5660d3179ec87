/* sched/current.c: keeping asyncio.current_task() true while tasks run straight from the ring.
 *
 * The record is asyncio's own: from 3.14 a field of the thread, which its private function swaps;
 * before that a dict from loop to task. A run of task steps replaces the record once per step and
 * takes it back only before something that is not a step (pa_sched_leave_task), so that a step
 * costs one change instead of two. sched->current_task says what stands there because of us.
 *
 * Code run by a step may enter and leave tasks by asyncio's functions (eager tasks do), and puts
 * back what it found. A record that is neither ours nor empty belongs to somebody else: then
 * asyncio's own complaint is raised, and the record is left alone. */
#include "sched/threadslots.h"

/* asyncio's RuntimeError about two tasks at once. */
static int
refuse_to_enter(PaState *st, PyObject *loop, PyObject *task)
{
    PyObject *args[] = {loop, task};
    PyObject *result = PyObject_Vectorcall(st->asyncio._enter_task, args, 2, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#if PY_VERSION_HEX >= 0x030e0000

/* What the record held (new reference, None for nothing), or NULL. */
static PyObject *
swap_record(PaSched *sched, PyObject *task)
{
    PyObject *args[] = {sched->loop, task};
    return PyObject_Vectorcall(sched->st->asyncio._swap_current_task, args, 2, NULL);
}

static int
enter_by_function(PaSched *sched, PyObject *task)
{
    PyObject *found = swap_record(sched, task);
    if (found == NULL) {
        return -1;
    }
    if (found != Py_None && found != sched->current_task) {
        PyObject *back = swap_record(sched, found);
        Py_DECREF(found);
        sched->current_task = NULL;
        if (back == NULL) {
            return -1;
        }
        Py_DECREF(back);
        return refuse_to_enter(sched->st, sched->loop, task);
    }
    sched->current_task = task;
    Py_DECREF(found);
    return 0;
}

/* From something that is no step, or after a step that left something unexpected behind. */
static int
enter_slow(PaSched *sched, PyObject *task)
{
    PaThreadSlots *slots = pa_thread_slots(sched->st);
    sched->current_task_slot = NULL;
    if (slots == NULL || slots->running_loop != sched->loop || slots->current_task != NULL) {
        return enter_by_function(sched, task);
    }
    slots->current_task = Py_NewRef(task);
    sched->current_task_slot = &slots->current_task;
    sched->current_task = task;
    return 0;
}

int
pa_sched_enter_task(PaSched *sched, PyObject *task)
{
    PyObject **slot = sched->current_task_slot;
    PyObject *last = sched->current_task;
    if (last == NULL || slot == NULL || *slot != last || slot[-1] != sched->loop) {
        return enter_slow(sched, task);
    }
    *slot = Py_NewRef(task); // slot[-1] is the running loop
    sched->current_task = task;
    Py_DECREF(last);
    return 0;
}

static int
clear_record(PaSched *sched, PyObject *task)
{
    PyObject *found = swap_record(sched, Py_None);
    if (found != NULL && found != task && found != Py_None) {
        PyObject *back = swap_record(sched, found);
        Py_XDECREF(back);
    }
    Py_XDECREF(found);
    return found == NULL ? -1 : 0;
}

#else

int
pa_sched_enter_task(PaSched *sched, PyObject *task)
{
    PyObject *records = sched->st->asyncio._current_tasks;
    if (sched->current_task == NULL) {
        PyObject *found = PyDict_SetDefault(records, sched->loop, task);
        if (found != task) {
            return found == NULL ? -1 : refuse_to_enter(sched->st, sched->loop, task);
        }
    }
    else if (PyDict_SetItem(records, sched->loop, task) < 0) {
        return -1;
    }
    sched->current_task = task;
    return 0;
}

static int
clear_record(PaSched *sched, PyObject *task)
{
    PyObject *records = sched->st->asyncio._current_tasks;
    PyObject *found = PyDict_GetItemWithError(records, sched->loop);
    if (found == task) {
        return PyDict_DelItem(records, sched->loop);
    }
    return PyErr_Occurred() ? -1 : 0;
}

#endif

int
pa_sched_leave_task_slow(PaSched *sched)
{
    PyObject *task = sched->current_task, **slot = sched->current_task_slot;
    sched->current_task = NULL;
    if (slot != NULL && *slot == task) {
        *slot = NULL;
        Py_DECREF(task);
        return 0;
    }
    PyObject *raised = PyErr_GetRaisedException();
    int err = clear_record(sched, task);
    if (raised != NULL) {
        pa_write_unraisable(NULL);
        PyErr_SetRaisedException(raised);
    }
    return err;
}
