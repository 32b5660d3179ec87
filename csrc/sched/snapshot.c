/* sched/snapshot.c: taking, entering and dropping snapshots. See snapshot.h. */
#include "sched/snapshot.h"

static inline PyObject *
map_of(PaState *st, PyObject *context)
{
    return *(PyObject **)((char *)context + st->context_map_offset);
}

PyObject *
pa_snapshot_take(PaSched *sched, bool *shared)
{
    PaState *st = sched->st;
    PyObject *current = PyThreadState_Get()->context;
    *shared = st->context_map_offset != 0 && current != NULL;
    if (!*shared) {
        return PyContext_CopyCurrent();
    }
    if (sched->snapshot != NULL && map_of(st, sched->snapshot) == map_of(st, current)) {
        return Py_NewRef(sched->snapshot);
    }
    PyObject *snapshot = PyContext_CopyCurrent();
    if (snapshot != NULL) {
        Py_INCREF(snapshot); /* dropping the old one may run code that replaces this one */
        Py_XSETREF(sched->snapshot, snapshot);
    }
    return snapshot;
}

PyObject *
pa_snapshot_scratch(PaSched *sched, PyObject *snapshot)
{
    PyObject *scratch = sched->scratch;
    if (scratch != NULL && map_of(sched->st, scratch) == map_of(sched->st, snapshot)) {
        sched->scratch = NULL;
        return scratch;
    }
    return PyContext_Copy(snapshot);
}

void
pa_snapshot_give_back_steal(PaSched *sched, PyObject *context, PyObject *snapshot, bool reuse)
{
    if (reuse && Py_REFCNT(context) == 1 &&
        map_of(sched->st, context) == map_of(sched->st, snapshot)) {
        Py_XSETREF(sched->scratch, context);
    }
    else {
        Py_DECREF(context);
    }
}

void
pa_snapshot_drop(PaSched *sched)
{
    Py_CLEAR(sched->snapshot);
    Py_CLEAR(sched->scratch);
}

/* ---- finding the map */

/* The one word that two copies of a context share; 0 when there is none or more than one. */
static Py_ssize_t
shared_word(PyObject *a, PyObject *b)
{
    Py_ssize_t found = 0;
    Py_ssize_t size = Py_TYPE(a)->tp_basicsize;
    for (Py_ssize_t at = sizeof(PyObject); at + (Py_ssize_t)sizeof(void *) <= size;
         at += sizeof(void *)) {
        void *word = *(void **)((char *)a + at);
        if (word != NULL && word == *(void **)((char *)b + at)) {
            if (found != 0) {
                return 0;
            }
            found = at;
        }
    }
    return found;
}

/* Whether setting a variable changes the word of that context and of no other, and whether the
 * thread state names the context that was entered. 1, 0, or -1 with an exception. */
static int
prove(PaState *st, PyObject *variable, PyObject *context, PyObject *other)
{
    PyObject *before = map_of(st, context);
    if (PyContext_Enter(context) < 0) {
        return -1;
    }
    bool entered = PyThreadState_Get()->context == context;
    PyObject *token = PyContextVar_Set(variable, Py_True);
    Py_XDECREF(token);
    if (PyContext_Exit(context) < 0 || token == NULL) {
        return -1;
    }
    PyObject *copy = PyContext_Copy(context);
    if (copy == NULL) {
        return -1;
    }
    bool holds = entered && map_of(st, context) != before && map_of(st, other) == before &&
                 map_of(st, copy) == map_of(st, context);
    Py_DECREF(copy);
    return holds;
}

int
pa_snapshot_find(PaState *st)
{
    PyObject *variable = PyContextVar_New("pyasync", NULL);
    PyObject *context = variable == NULL ? NULL : PyContext_New();
    PyObject *other = context == NULL ? NULL : PyContext_Copy(context);
    int proved = -1;
    if (other != NULL) {
        st->context_map_offset = shared_word(context, other);
        proved = st->context_map_offset == 0 ? 0 : prove(st, variable, context, other);
    }
    if (proved != 1) {
        st->context_map_offset = 0;
    }
    Py_XDECREF(other);
    Py_XDECREF(context);
    Py_XDECREF(variable);
    return proved < 0 ? -1 : 0;
}
