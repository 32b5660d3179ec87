/* base/freelist.h: a small stack of dead objects of one exact type, kept for reuse.
 *
 * Compiled out (capacity 0) under sanitizers (PA_NO_FREELISTS), Py_DEBUG and free-threading, so
 * that a use after free is seen. An object on the list is untracked, cleared, and its memory is
 * that of tp_alloc. Touched with the GIL held only. */
#ifndef PA_BASE_FREELIST_H
#define PA_BASE_FREELIST_H

#include "base/compat.h"

#if defined(PA_NO_FREELISTS) || defined(Py_DEBUG) || defined(Py_GIL_DISABLED)
#define PA_FREELIST_ON 0
#else
#define PA_FREELIST_ON 1
#endif

#define PA_FREELIST_CAPACITY 256

typedef struct {
    PyObject *items[PA_FREELIST_CAPACITY]; // owned memory, no live references
    int count;
    bool closed; // drained for good: objects may die after the module has been cleared
} PaFreelist;

/* A revived, untracked object of `type` with a reference of its own, or NULL when the list is
 * empty (no exception is set). */
static inline PyObject *
pa_freelist_pop(PaFreelist *list, PyTypeObject *type)
{
    if (!PA_FREELIST_ON || list->count == 0) {
        return NULL;
    }
    return PyObject_Init(list->items[--list->count], type);
}

/* True when the list took the memory; the caller frees it otherwise. */
static inline bool
pa_freelist_push(PaFreelist *list, PyObject *dead)
{
    if (!PA_FREELIST_ON || list->count == PA_FREELIST_CAPACITY || list->closed) {
        return false;
    }
    list->items[list->count++] = dead;
    return true;
}

static inline void
pa_freelist_drain(PaFreelist *list)
{
    list->closed = true;
    while (list->count > 0) {
        PyObject_GC_Del(list->items[--list->count]);
    }
}

#endif
