/* base/compat.h: the one place that knows how CPython 3.11 to 3.15 differ in the C API.
 *
 * Everything else is written against the newest names; what an older version lacks is supplied
 * here as a static inline of the same name and meaning. */
#ifndef PA_BASE_COMPAT_H
#define PA_BASE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if PY_VERSION_HEX < 0x030b0000
#error "pyasync needs CPython 3.11 or newer"
#endif

#if PY_VERSION_HEX < 0x030c0000
/* The raised exception as one normalized object (new reference), or NULL; clears the indicator. */
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

/* Steals exc. */
static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    if (exc == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
}
#endif

#if PY_VERSION_HEX < 0x030d0000
/* 1 with a new reference, 0 with *result NULL when there is no such attribute, -1 with an error. */
static inline int
PyObject_GetOptionalAttr(PyObject *obj, PyObject *name, PyObject **result)
{
    *result = PyObject_GetAttr(obj, name);
    if (*result != NULL) {
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}
#endif

#if PY_VERSION_HEX < 0x030e0000
/* Whether nobody has the argument of a C function but the expression that it was called with. */
static inline int
PyUnstable_Object_IsUniqueReferencedTemporary(PyObject *obj)
{
    return Py_REFCNT(obj) == 1;
}
#endif

/* PyObject_ClearWeakRefs(), called only when there are any. */
static inline void
pa_clear_weakrefs(PyObject *obj)
{
    Py_ssize_t offset = Py_TYPE(obj)->tp_weaklistoffset;
    if (offset != 0 && *(PyObject **)((char *)obj + offset) != NULL) {
        PyObject_ClearWeakRefs(obj);
    }
}

/* The object of a weak reference: 1 with a new reference, 0 with *obj NULL when it is gone, -1 with
 * an error. */
static inline int
pa_weakref_get(PyObject *ref, PyObject **obj)
{
#if PY_VERSION_HEX >= 0x030d0000
    return PyWeakref_GetRef(ref, obj);
#else
    *obj = PyWeakref_GetObject(ref);
    if (*obj == NULL || *obj == Py_None) {
        int result = *obj == NULL ? -1 : 0;
        *obj = NULL;
        return result;
    }
    Py_INCREF(*obj);
    return 1;
#endif
}

/* Calls into Python that may fail but whose failure has nowhere to go: reported as unraisable. */
static inline void
pa_write_unraisable(PyObject *where)
{
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(where);
    }
}

/* obj.name(arg) as from inside `except exc:`, so that sys.exc_info() shows it there. New reference. */
static inline PyObject *
pa_call_method_handling(PyObject *exc, PyObject *obj, PyObject *name, PyObject *arg)
{
    PyObject *before = PyErr_GetHandledException();
    PyErr_SetHandledException(exc);
    PyObject *result = PyObject_CallMethodOneArg(obj, name, arg);
    PyErr_SetHandledException(before);
    Py_XDECREF(before);
    return result;
}

/* True for the two exceptions that asyncio never swallows. */
static inline bool
pa_is_exit(PyObject *exc)
{
    return PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
           PyErr_GivenExceptionMatches(exc, PyExc_SystemExit);
}

#endif
