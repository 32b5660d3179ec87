/* base/inlinevalues.h: attributes of Python objects, read where the interpreter keeps them.
 *
 * From 3.13 on the values of an instance's attributes stand behind it, each attribute at the same
 * place in all instances of its class. To read one there takes ten instructions, PyObject_GetAttr()
 * 150. The layout is private to CPython: it is proved on a live object before it is used, and where
 * the proof fails it is not. */
#ifndef PA_BASE_INLINEVALUES_H
#define PA_BASE_INLINEVALUES_H

#include "base/compat.h"

/* What stands behind an instance of a class with Py_TPFLAGS_INLINE_VALUES. */
typedef struct {
    uint8_t capacity;
    uint8_t used;
    uint8_t embedded;
    uint8_t valid;       // false once attributes were cleared or moved to a __dict__
    PyObject *values[1]; // capacity of them; NULL where there is no attribute
} PaInlineValues;

static inline PaInlineValues *
pa_inline_values(PyObject *obj)
{
    return (PaInlineValues *)((char *)obj + Py_TYPE(obj)->tp_basicsize);
}

/* Whether somebody has asked for the instance's __dict__, which shares the values then. */
static inline bool
pa_inline_has_dict(PyObject *obj)
{
    return ((PyObject **)obj)[-3] != NULL;
}

#define PA_INLINE_PLACES 8

/* Where instances of a class have some of their attributes. */
typedef struct {
    unsigned int version; // tp_version_tag of the class, which no other has; 0 when not known
    uint8_t at[PA_INLINE_PLACES];
} PaInlinePlaces;

/* Finds the places of `count` attributes in instances of `type` and proves them; places->version
 * stays 0 where that is not possible. 0, or -1 with an exception. */
int pa_inline_find(PaInlinePlaces *places, PyTypeObject *type, PyObject *const *names, int count);

/* The values of obj when it is an instance of exactly the class that the places are known of, and
 * the class is as it was then; NULL otherwise. Good until other code runs. */
static inline PaInlineValues *
pa_inline_known(const PaInlinePlaces *places, PyObject *obj)
{
    if (places->version == 0 || Py_TYPE(obj)->tp_version_tag != places->version) {
        return NULL;
    }
    PaInlineValues *values = pa_inline_values(obj);
    return values->valid ? values : NULL;
}

/* getattr(obj, name), where places->at[which] is the place of `name`. New reference, or NULL with an
 * exception. */
static inline PyObject *
pa_inline_get(const PaInlinePlaces *places, PyObject *obj, int which, PyObject *name)
{
    PaInlineValues *known = pa_inline_known(places, obj);
    PyObject *value = known == NULL ? NULL : known->values[places->at[which]];
    return value != NULL ? Py_NewRef(value) : PyObject_GetAttr(obj, name);
}

/* setattr(obj, name, value). 0 or -1. */
static inline int
pa_inline_set(const PaInlinePlaces *places, PyObject *obj, int which, PyObject *name,
              PyObject *value)
{
    PaInlineValues *known = pa_inline_known(places, obj);
    if (known == NULL || known->values[places->at[which]] == NULL || pa_inline_has_dict(obj)) {
        return PyObject_SetAttr(obj, name, value);
    }
    Py_SETREF(known->values[places->at[which]], Py_NewRef(value));
    return 0;
}

#endif
