/* sched/weakregistry.c: WeakSet.add() and its clean-up in C; see weakregistry.h.
 *
 * The WeakSet keeps a set of weak references; while somebody iterates over it, references that
 * die are put on a list of pending removals. Set, list and the set of iterators are never
 * replaced, only changed, so they are looked up once. */
#include "sched/weakregistry.h"

#if PY_VERSION_HEX < 0x030e0000

/* The callback of a reference: self is (data, iterating, pending), items of the WeakSet. */
static PyObject *
remove_reference(PyObject *self, PyObject *reference)
{
    PyObject *data = PyTuple_GET_ITEM(self, 0);
    PyObject *iterating = PyTuple_GET_ITEM(self, 1);
    PyObject *pending = PyTuple_GET_ITEM(self, 2);
    int err = PySet_GET_SIZE(iterating) > 0 ? PyList_Append(pending, reference)
                                            : PySet_Discard(data, reference);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef remove_def = {"_remove", remove_reference, METH_O,
                                 "Removes a dead task from asyncio.all_tasks()."};

/* A private attribute of the WeakSet if it is of that exact type, else NULL without exception. */
static PyObject *
get_part(PyObject *weak_set, const char *name, PyTypeObject *type)
{
    PyObject *part = PyObject_GetAttrString(weak_set, name);
    if (part == NULL) {
        PyErr_Clear();
    }
    else if (!Py_IS_TYPE(part, type)) {
        Py_CLEAR(part);
    }
    return part;
}

int
pa_weak_registry_init(PaState *st)
{
    PyObject *weak_set = st->asyncio.all_tasks;
    int err = 0;
    if (weak_set == NULL) {
        return 0;
    }
    PyObject *data = get_part(weak_set, "data", &PySet_Type);
    PyObject *iterating = get_part(weak_set, "_iterating", &PySet_Type);
    PyObject *pending = get_part(weak_set, "_pending_removals", &PyList_Type);
    if (data != NULL && iterating != NULL && pending != NULL) {
        PyObject *parts = PyTuple_Pack(3, data, iterating, pending);
        st->asyncio.all_tasks_remove = parts == NULL ? NULL : PyCFunction_New(&remove_def, parts);
        st->asyncio.all_tasks_parts = parts;
        err = st->asyncio.all_tasks_remove == NULL ? -1 : 0;
    }
    Py_XDECREF(data);
    Py_XDECREF(iterating);
    Py_XDECREF(pending);
    return err;
}

static int
add_by_function(PaState *st, PyObject *task)
{
    PyObject *result = PyObject_CallOneArg(st->asyncio._register_task, task);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_weak_registry_add(PaState *st, PyObject *task)
{
    PyObject *parts = st->asyncio.all_tasks_parts;
    if (parts == NULL || PyList_GET_SIZE(PyTuple_GET_ITEM(parts, 2)) > 0) {
        return add_by_function(st, task); // which removes what is pending
    }
    PyObject *reference = PyWeakref_NewRef(task, st->asyncio.all_tasks_remove);
    if (reference == NULL) {
        return -1;
    }
    int err = PySet_Add(PyTuple_GET_ITEM(parts, 0), reference);
    Py_DECREF(reference);
    return err;
}

#else

typedef int pa_weak_registry_is_not_needed; // ISO C wants a declaration

#endif
