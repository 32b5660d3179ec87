/* sched/threadslots.c: finding asyncio's fields in the thread state; see threadslots.h.
 *
 * A task registered last is the tail of its thread's list, so its next link is the list's head,
 * inside the thread state, right behind the running loop and the current task. That these two are
 * what stands there is proved by changing the current task through asyncio and looking. */
#include "sched/threadslots.h"

#if PY_VERSION_HEX >= 0x030e0000

#define THREAD_STATE_SIZE_BOUND 16384

/* Swaps the current task, and says through *holds whether the slot shows the new one. */
static PyObject *
swap_and_look(PaState *st, PaThreadSlots *slots, PyObject *loop, PyObject *task, bool *holds)
{
    PyObject *args[] = {loop, task};
    PyObject *old = PyObject_Vectorcall(st->asyncio._swap_current_task, args, 2, NULL);
    PyObject *expected = task == Py_None ? NULL : task;
    *holds = *holds && slots->running_loop == loop && slots->current_task == expected;
    return old;
}

/* 1 when the slots follow what asyncio's functions do, 0 when not, -1 with an exception. */
static int
prove(PaState *st, PaThreadSlots *slots, PyObject *loop)
{
    bool holds = true;
    PyObject *marker = loop; // any object may be the current task for a moment
    PyObject *before = swap_and_look(st, slots, loop, marker, &holds);
    PyObject *back = before == NULL ? NULL : swap_and_look(st, slots, loop, before, &holds);
    int result = back == NULL ? -1 : holds && back == marker;
    Py_XDECREF(before);
    Py_XDECREF(back);
    return result;
}

/* With the loop that is running, or `loop` made the running one meanwhile. */
static int
prove_in_loop(PaState *st, PaThreadSlots *slots, PyObject *loop)
{
    PyObject *running = PyObject_CallNoArgs(st->asyncio._get_running_loop);
    if (running == NULL) {
        return -1;
    }
    int result;
    if (running != Py_None) {
        result = prove(st, slots, running);
    }
    else {
        PyObject *reply = PyObject_CallOneArg(st->asyncio._set_running_loop, loop);
        result = reply == NULL ? -1 : prove(st, slots, loop);
        Py_XDECREF(reply);
        reply = PyObject_CallOneArg(st->asyncio._set_running_loop, Py_None);
        result = reply == NULL ? -1 : result;
        Py_XDECREF(reply);
    }
    Py_DECREF(running);
    return result;
}

int
pa_thread_slots_find(PaState *st, PaTask *task, PyObject *loop)
{
    char *thread = (char *)PyThreadState_GetUnchecked();
    char *head = (char *)task->node.next;
    if (head == NULL || head < thread + sizeof(PyThreadState) ||
        head > thread + THREAD_STATE_SIZE_BOUND) {
        return 0;
    }
    PaThreadSlots *slots = (PaThreadSlots *)(head - offsetof(PaThreadSlots, tasks));
    int proved = prove_in_loop(st, slots, loop);
    if (proved == 1) {
        st->thread_slots_offset = (char *)slots - thread;
    }
    return proved < 0 ? -1 : 0;
}

#else

int
pa_thread_slots_find(PaState *st, PaTask *task, PyObject *loop)
{
    (void)st, (void)task, (void)loop;
    return 0;
}

#endif
