/* sched/layout.h: the structs behind asyncio.Future and asyncio.Task, version by version.
 *
 * pyasync.Future and pyasync.Task derive from asyncio's C classes and keep their state in the
 * base's own fields, so that every method of the base that is not overridden, and everything that
 * looks at a task from outside, sees one truth. The layout is private to CPython: layout.c proves
 * it on live objects when the module is imported, and nothing here is used if the proof fails.
 *
 * Each struct ends with one field of ours; what stands before it is exactly the base. A stock
 * future may be used as a PaFuture up to that field, never beyond: see pa_future_sched(). */
#ifndef PA_SCHED_LAYOUT_H
#define PA_SCHED_LAYOUT_H

#include "sched/sched.h"

typedef enum { PA_PENDING, PA_CANCELLED, PA_FINISHED } PaFutureStatus;

/* All objects are owned or NULL. Fields of Future and Task are declared in one macro, because in
 * newer versions the bit fields of the two share a word. */
#define PA_FUTURE_COMMON                                                                           \
    PyObject_HEAD                                                                                  \
    PyObject *loop;                                                                                \
    PyObject *callback0;                                                                           \
    PyObject *context0;                                                                            \
    PyObject *callbacks; /* list of (callback, context) after the first */                         \
    PyObject *exception;                                                                           \
    PyObject *exception_tb;                                                                        \
    PyObject *result;                                                                              \
    PyObject *source_tb;                                                                           \
    PyObject *cancel_msg;

#if PY_VERSION_HEX >= 0x030e0000
#define PA_FUTURE_HEAD                                                                             \
    PA_FUTURE_COMMON                                                                               \
    PyObject *cancelled_exc;                                                                       \
    PyObject *awaited_by; /* a task, or a set of them */                                           \
    PaFutureStatus status;                                                                         \
    char is_task;                                                                                  \
    char awaited_by_is_set;                                                                        \
    unsigned log_tb : 1;                                                                           \
    unsigned blocking : 1;
#elif PY_VERSION_HEX >= 0x030d0000
#define PA_FUTURE_HEAD                                                                             \
    PA_FUTURE_COMMON                                                                               \
    PyObject *cancelled_exc;                                                                       \
    PaFutureStatus status;                                                                         \
    unsigned log_tb : 1;                                                                           \
    unsigned blocking : 1;
#else
#define PA_FUTURE_HEAD                                                                             \
    PA_FUTURE_COMMON                                                                               \
    PaFutureStatus status;                                                                         \
    int log_tb;                                                                                    \
    int blocking;                                                                                  \
    PyObject *dict;                                                                                \
    PyObject *weakrefs;                                                                            \
    PyObject *cancelled_exc;
#endif

/* Links of the interpreter's list of tasks; both NULL while not in it. */
typedef struct PaTaskNode {
    struct PaTaskNode *next, *previous;
} PaTaskNode;

typedef struct {
    PA_FUTURE_HEAD
    PaSched *sched; // ours; borrowed from loop, which this owns; NULL on a foreign loop
} PaFuture;

typedef struct {
    PA_FUTURE_HEAD
#if PY_VERSION_HEX >= 0x030d0000
    unsigned must_cancel : 1;
    unsigned log_destroy_pending : 1;
    int cancels_requested;
    PyObject *waiter; // the future it waits for
    PyObject *coro;
    PyObject *name; // from 3.12 a number until somebody reads it
    PyObject *context;
#if PY_VERSION_HEX >= 0x030e0000
    PaTaskNode node;
#endif
#else
    PyObject *waiter;
    PyObject *coro;
    PyObject *name;
    PyObject *context;
    int must_cancel;
    int log_destroy_pending;
    int cancels_requested;
#endif
    PaSched *sched; // as in PaFuture
} PaTask;

#define PA_BASE_FUTURE_SIZE ((Py_ssize_t)offsetof(PaFuture, sched))
#define PA_BASE_TASK_SIZE   ((Py_ssize_t)offsetof(PaTask, sched))

/* True when the instance never got attributes, or has none left; only to be asked when
 * st->inline_values holds. */
static inline bool
pa_has_no_attributes(PyObject *obj)
{
    PaInlineValues *values = pa_inline_values(obj);
    return values->valid && values->used == 0 && !pa_inline_has_dict(obj);
}

/* Exactly one of the four classes whose struct we know and whose methods nobody has overridden. */
static inline bool
pa_is_exact_future(PaState *st, PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    return type == st->future_type || type == st->task_type ||
           type == (PyTypeObject *)st->asyncio.Future || type == (PyTypeObject *)st->asyncio.Task;
}

/* The scheduler of an object of which pa_is_exact_future() is true; NULL on a foreign loop. */
static inline PaSched *
pa_future_sched(PaState *st, PaFuture *fut)
{
    if (Py_IS_TYPE(fut, st->future_type)) {
        return fut->sched;
    }
    if (Py_IS_TYPE(fut, st->task_type)) {
        return ((PaTask *)fut)->sched;
    }
    return fut->loop == NULL ? NULL : pa_sched_of(st, fut->loop);
}

/* 1 when the running interpreter's classes are laid out as above; 0 with *reason a new str that
 * says what differs; -1 with an exception. */
int pa_layout_check(PaState *st, PyObject **reason);

#endif
