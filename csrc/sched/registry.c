/* sched/registry.c: what the outside knows of tasks: asyncio.all_tasks() and, from 3.14, the
 * awaited-by graph.
 *
 * Up to 3.13 asyncio keeps a weak set and a task leaves it by dying. From 3.14 tasks of the base's
 * layout hang in a list of the thread, by borrowed pointers: a task must leave it when it is done
 * and before it dies. A future knows its awaiters as one task or, rarely, a set. */
#include "sched/step.h"
#include "sched/threadslots.h"
#include "sched/weakregistry.h"

#if PY_VERSION_HEX >= 0x030e0000

int
pa_task_register(PaState *st, PaTask *task)
{
    PaThreadSlots *slots = pa_thread_slots(st);
    if (slots == NULL) {
        PyObject *result = PyObject_CallOneArg(st->asyncio._register_task, (PyObject *)task);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    PaTaskNode *node = &task->node, *head = &slots->tasks;
    if (node->next == NULL) {
        node->next = head;
        node->previous = head->previous;
        head->previous->next = node;
        head->previous = node;
    }
    return 0;
}

void
pa_task_unregister(PaTask *task)
{
    PaTaskNode *node = &task->node;
    if (node->next != NULL) {
        node->previous->next = node->next;
        node->next->previous = node->previous;
        node->next = node->previous = NULL;
    }
}

int
pa_future_add_awaiter(PaState *st, PyObject *future, PaTask *task)
{
    PaFuture *fut = (PaFuture *)future;
    if (pa_is_exact_future(st, future) && fut->awaited_by == NULL) {
        fut->awaited_by = Py_NewRef((PyObject *)task);
        return 0;
    }
    PyObject *args[] = {future, (PyObject *)task};
    PyObject *result = PyObject_Vectorcall(st->asyncio.future_add_to_awaited_by, args, 2, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_future_discard_awaiter(PaState *st, PyObject *future, PaTask *task)
{
    PaFuture *fut = (PaFuture *)future;
    if (pa_is_exact_future(st, future)) {
        if (fut->awaited_by == (PyObject *)task) {
            Py_CLEAR(fut->awaited_by);
            return 0;
        }
        if (fut->awaited_by == NULL) {
            return 0;
        }
    }
    PyObject *args[] = {future, (PyObject *)task};
    PyObject *result =
        PyObject_Vectorcall(st->asyncio.future_discard_from_awaited_by, args, 2, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#else

int
pa_task_register(PaState *st, PaTask *task)
{
    return pa_weak_registry_add(st, (PyObject *)task);
}

void
pa_task_unregister(PaTask *task)
{
    (void)task;
}

int
pa_future_add_awaiter(PaState *st, PyObject *future, PaTask *task)
{
    (void)st, (void)future, (void)task;
    return 0;
}

int
pa_future_discard_awaiter(PaState *st, PyObject *future, PaTask *task)
{
    (void)st, (void)future, (void)task;
    return 0;
}

#endif
