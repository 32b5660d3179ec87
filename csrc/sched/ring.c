/* sched/ring.c: growth and release of the ready ring. See ring.h for the invariants. */
#include "sched/ring.h"

#define INITIAL_CAPACITY 64

int
pa_ring_init(PaRing *ring)
{
    ring->entries = PyMem_Calloc(INITIAL_CAPACITY, sizeof(PaEntry));
    if (ring->entries == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ring->mask = INITIAL_CAPACITY - 1;
    ring->head = ring->tail = 0;
    return 0;
}

int
pa_ring_grow(PaRing *ring)
{
    size_t capacity = ring->entries == NULL ? 0 : ring->mask + 1;
    size_t wanted = capacity == 0 ? INITIAL_CAPACITY : capacity * 2;
    PaEntry *grown = PyMem_Calloc(wanted, sizeof(PaEntry));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t count = pa_ring_count(ring);
    for (size_t i = 0; i < count; i++) {
        grown[i] = ring->entries[(ring->head + i) & ring->mask];
    }
    PyMem_Free(ring->entries);
    ring->entries = grown;
    ring->mask = wanted - 1;
    ring->head = 0;
    ring->tail = count;
    return 0;
}

void
pa_ring_clear(PaRing *ring)
{
    while (pa_ring_count(ring) > 0) {
        PaEntry entry = pa_ring_pop_steal(ring);
        pa_track_if_shared(pa_entry_object(&entry));
        Py_DECREF(pa_entry_object(&entry));
        Py_XDECREF(entry.arg);
        Py_XDECREF(entry.context);
    }
}

void
pa_ring_free(PaRing *ring)
{
    pa_ring_clear(ring);
    PyMem_Free(ring->entries);
    ring->entries = NULL;
    ring->mask = 0;
    ring->head = ring->tail = 0;
}

int
pa_ring_traverse(PaRing *ring, visitproc visit, void *arg)
{
    size_t count = pa_ring_count(ring);
    for (size_t i = 0; i < count; i++) {
        PaEntry *entry = &ring->entries[(ring->head + i) & ring->mask];
        int err = pa_visit_held(pa_entry_object(entry), visit, arg);
        if (err != 0) {
            return err;
        }
        Py_VISIT(entry->arg);
        Py_VISIT(entry->context);
    }
    return 0;
}
