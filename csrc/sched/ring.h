/* sched/ring.h: the ready ring, a growable power-of-two queue of what is to run next.
 *
 * An entry is a Handle, or directly what is to be done, so that waking a task or calling a future's
 * done callback allocates nothing:
 *   PA_ENTRY_HANDLE    obj is a pyasync Handle or TimerHandle, arg is NULL
 *   PA_ENTRY_STEP      obj is a pyasync Task, arg the exception to throw into it or NULL
 *   PA_ENTRY_WAKEUP    obj is a pyasync Task, arg the future that it waited for
 *   PA_ENTRY_READY     obj is a transport, a listener or a socket operation whose descriptor is
 *                      ready, arg is NULL
 *   PA_ENTRY_CALLBACK  obj is a future, arg its done callback, context the one to call it in
 * The ring owns one reference to each. The kind lives in the low bits of the pointer.
 *
 * A fresh Handle is not tracked by the garbage collector: most live only in the ring, and tracking
 * a long queue makes the collector walk it again and again (100,000 call_soon(): 590 ns each
 * tracked, 250 ns not). The ring's own traverse looks into the untracked ones, and one that somebody
 * else holds when it leaves the ring is tracked then (pa_track_if_shared).
 * Used with the GIL held only; any thread that holds it may push. */
#ifndef PA_SCHED_RING_H
#define PA_SCHED_RING_H

#include "base/compat.h"

typedef enum {
    PA_ENTRY_HANDLE = 0,
    PA_ENTRY_STEP = 1,
    PA_ENTRY_WAKEUP = 2,
    PA_ENTRY_READY = 3,
    PA_ENTRY_CALLBACK = 4
} PaEntryKind;

#define PA_ENTRY_KINDS 7 // the bits that say the kind

typedef struct {
    uintptr_t tagged;  // owned object, kind in the three low bits
    PyObject *arg;     // owned or NULL
    PyObject *context; // owned by a callback, NULL with all others
} PaEntry;

typedef struct {
    PaEntry *entries;
    size_t mask; // capacity - 1
    size_t head; // next to run
    size_t tail; // next free; tail - head is the count
} PaRing;

static inline size_t
pa_ring_count(const PaRing *ring)
{
    return ring->tail - ring->head;
}

static inline PaEntryKind
pa_entry_kind(const PaEntry *entry)
{
    return (PaEntryKind)(entry->tagged & PA_ENTRY_KINDS);
}

static inline PyObject *
pa_entry_object(const PaEntry *entry)
{
    return (PyObject *)(entry->tagged & ~(uintptr_t)PA_ENTRY_KINDS);
}

/* For the holder of one reference to obj that is about to drop it. */
static inline void
pa_track_if_shared(PyObject *obj)
{
    if (Py_REFCNT(obj) > 1 && !PyObject_GC_IsTracked(obj)) {
        PyObject_GC_Track(obj);
    }
}

/* Py_VISIT of a queue's object. One that nobody else holds and the collector does not track is looked
 * into: what it owns, the queue owns. */
static inline int
pa_visit_held(PyObject *obj, visitproc visit, void *arg)
{
    if (Py_REFCNT(obj) == 1 && !PyObject_GC_IsTracked(obj)) {
        return Py_TYPE(obj)->tp_traverse(obj, visit, arg);
    }
    return visit(obj, arg);
}

/* 0, or -1 with MemoryError. */
int pa_ring_init(PaRing *ring);
int pa_ring_grow(PaRing *ring);
/* Releases every entry, then the memory. Pushes made by finalizers meanwhile are released too. */
void pa_ring_clear(PaRing *ring);
void pa_ring_free(PaRing *ring);
int pa_ring_traverse(PaRing *ring, visitproc visit, void *arg);

/* Takes over the references to arg and context if it succeeds, and a new one to obj. 0, or -1 with
 * MemoryError. */
static inline int
pa_ring_push_steal(PaRing *ring, PaEntryKind kind, PyObject *obj, PyObject *arg, PyObject *context)
{
    if (pa_ring_count(ring) > ring->mask && pa_ring_grow(ring) < 0) {
        return -1;
    }
    PaEntry *entry = &ring->entries[ring->tail++ & ring->mask];
    entry->tagged = (uintptr_t)Py_NewRef(obj) | (uintptr_t)kind;
    entry->arg = arg;
    entry->context = context;
    return 0;
}

/* Takes new references to obj and arg. 0, or -1 with MemoryError. */
static inline int
pa_ring_push(PaRing *ring, PaEntryKind kind, PyObject *obj, PyObject *arg)
{
    int err = pa_ring_push_steal(ring, kind, obj, arg, NULL);
    if (err == 0) {
        Py_XINCREF(arg);
    }
    return err;
}

/* The oldest entry, whose references become the caller's. The ring must not be empty. */
static inline PaEntry
pa_ring_pop_steal(PaRing *ring)
{
    return ring->entries[ring->head++ & ring->mask];
}

#endif
