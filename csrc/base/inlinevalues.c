/* base/inlinevalues.c: finding where a class's instances keep their attributes. */
#include "base/inlinevalues.h"

#if defined(Py_TPFLAGS_INLINE_VALUES) && !defined(Py_GIL_DISABLED)

/* Whether setting these attributes of an instance does nothing but to store them. 1, 0, or -1 with
 * an exception. */
static int
only_stores(PyTypeObject *type, PyObject *const *names, int count)
{
    if (!PyType_HasFeature(type, Py_TPFLAGS_INLINE_VALUES) || !Py_IS_TYPE(type, &PyType_Type) ||
        type->tp_getattro != PyObject_GenericGetAttr ||
        type->tp_setattro != PyObject_GenericSetAttr) {
        return 0;
    }
    for (int i = 0; i < count; i++) {
        PyObject *attribute;
        int has = PyObject_GetOptionalAttr((PyObject *)type, names[i], &attribute);
        Py_XDECREF(attribute);
        if (has != 0) {
            return has < 0 ? -1 : 0;
        }
    }
    return 1;
}

/* The one place with that value, -1 when there is none or more than one. */
static int
place_of(const PaInlineValues *values, PyObject *value)
{
    int found = -1;
    for (int i = 0; i < values->capacity; i++) {
        if (values->values[i] == value) {
            if (found >= 0) {
                return -1;
            }
            found = i;
        }
    }
    return found;
}

/* Gives the probe each attribute with a value of its own and looks where it went. 1, 0 or -1. */
static int
set_and_look(PaInlinePlaces *places, PyObject *probe, PyObject *const *names, int count)
{
    PaInlineValues *values = pa_inline_values(probe);
    bool seen = values->embedded == 1 && values->valid == 1 && values->used == 0 &&
                values->capacity >= count && !pa_inline_has_dict(probe);
    for (int i = 0; seen && i < count; i++) {
        if (PyObject_SetAttr(probe, names[i], names[i]) < 0) {
            return -1;
        }
        int place = place_of(values, names[i]);
        places->at[i] = (uint8_t)place;
        seen = place >= 0 && values->used == i + 1 && values->valid == 1;
    }
    return seen;
}

/* Whether it is seen that an attribute goes, that somebody asks for the __dict__ and sets one there,
 * and that the instance gets another __dict__. 1, 0 or -1. */
static int
take_and_look(const PaInlinePlaces *places, PyObject *probe, PyObject *const *names, int count)
{
    PaInlineValues *values = pa_inline_values(probe);
    PyObject **first = &values->values[places->at[0]];
    if (PyObject_DelAttr(probe, names[0]) < 0) {
        return -1;
    }
    bool seen = *first == NULL && values->used == count - 1;
    PyObject *dict = PyObject_GetAttrString(probe, "__dict__"), *other = PyDict_New();
    int err = dict == NULL || other == NULL ? -1 : PyDict_SetItem(dict, names[0], names[0]);
    seen = seen && pa_inline_has_dict(probe) && values->valid && *first == names[0];
    if (err == 0) {
        err = PyObject_SetAttrString(probe, "__dict__", other);
    }
    Py_XDECREF(dict);
    Py_XDECREF(other);
    return err < 0 ? -1 : seen && !values->valid;
}

int
pa_inline_find(PaInlinePlaces *places, PyTypeObject *type, PyObject *const *names, int count)
{
    places->version = 0;
    int proved = only_stores(type, names, count);
    if (proved <= 0) {
        return proved;
    }
    PyObject *probe = type->tp_alloc(type, 0);
    if (probe == NULL) {
        return -1;
    }
    proved = set_and_look(places, probe, names, count);
    if (proved > 0) {
        proved = take_and_look(places, probe, names, count);
    }
    Py_DECREF(probe);
    if (proved > 0) {
        places->version = type->tp_version_tag; /* 0 when the interpreter has run out of them */
    }
    return proved < 0 ? -1 : 0;
}

#else

int
pa_inline_find(PaInlinePlaces *places, PyTypeObject *type, PyObject *const *names, int count)
{
    (void)type, (void)names, (void)count;
    places->version = 0;
    return 0;
}

#endif
