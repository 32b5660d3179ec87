/* base/freelist.h: a stack of dead objects of one exact type, kept for reuse.
 *
 * A burst of callbacks (100,000 call_soon() at a time) would otherwise take its memory from the
 * system and give it back each time, at the price of the callbacks themselves. So the list grows
 * with the burst, up to PA_FREELIST_CAPACITY, and is cut down to PA_FREELIST_KEEP when the loop goes
 * to sleep.
 *
 * Compiled out (capacity 0) under sanitizers (PA_NO_FREELISTS), Py_DEBUG and free-threading, so
 * that a use after free is seen. An object on the list is untracked, cleared, and its memory is
 * that of tp_alloc; it is linked by the word of its reference count. Touched with the GIL held
 * only. */
#ifndef PA_BASE_FREELIST_H
#define PA_BASE_FREELIST_H

#include "base/compat.h"

#if defined(PA_NO_FREELISTS) || defined(Py_DEBUG) || defined(Py_GIL_DISABLED)
#define PA_FREELIST_ON 0
#else
#define PA_FREELIST_ON 1
#endif

#define PA_FREELIST_CAPACITY 131072
#define PA_FREELIST_KEEP     256

typedef struct {
    PyObject *first; // owned memory, no live references
    int count;
    bool closed; // drained for good: objects may die after the module has been cleared
} PaFreelist;

static inline PyObject *
pa_freelist_unlink(PaFreelist *list)
{
    PyObject *dead = list->first;
    list->first = *(PyObject **)dead;
    list->count--;
    return dead;
}

/* A revived, untracked object of `type` with a reference of its own, or NULL when the list is
 * empty (no exception is set). */
static inline PyObject *
pa_freelist_pop(PaFreelist *list, PyTypeObject *type)
{
    if (!PA_FREELIST_ON || list->count == 0) {
        return NULL;
    }
    return PyObject_Init(pa_freelist_unlink(list), type);
}

/* True when the list took the memory; the caller frees it otherwise. */
static inline bool
pa_freelist_push(PaFreelist *list, PyObject *dead)
{
    if (!PA_FREELIST_ON || list->count == PA_FREELIST_CAPACITY || list->closed) {
        return false;
    }
    *(PyObject **)dead = list->first;
    list->first = dead;
    list->count++;
    return true;
}

/* Frees all but `kept` objects. */
static inline void
pa_freelist_trim(PaFreelist *list, int kept)
{
    while (list->count > kept) {
        PyObject_GC_Del(pa_freelist_unlink(list));
    }
}

static inline void
pa_freelist_drain(PaFreelist *list)
{
    list->closed = true;
    pa_freelist_trim(list, 0);
}

#endif
