/* sched/timerheap.c: sift, pop and compaction of the timer heap. See timerheap.h. */
#include "sched/timerheap.h"
#include "sched/ring.h"
#include "sched/timersort.h"

#include <string.h>

#define INITIAL_CAPACITY 32
#define GOOD_PART        16 // one in so many
#define LOOK_AHEAD       16 // entries whose handles are fetched before they are looked at
#define CHILDREN         4 // of an entry: they lie in two cache lines, and the heap is half as deep

static void
sift_up(PaTimerHeap *heap, size_t at)
{
    PaTimerEntry moving = heap->entries[at];
    while (at > 0) {
        size_t parent = (at - 1) / CHILDREN;
        if (!pa_timer_earlier(&moving, &heap->entries[parent])) {
            break;
        }
        heap->entries[at] = heap->entries[parent];
        at = parent;
    }
    heap->entries[at] = moving;
}

/* The earliest of an entry's children, of which `first` is the first. */
static inline size_t
earliest(const PaTimerHeap *heap, size_t first)
{
    size_t end = heap->count - first < CHILDREN ? heap->count : first + CHILDREN;
    size_t found = first;
    for (size_t child = first + 1; child < end; child++) {
        if (pa_timer_earlier(&heap->entries[child], &heap->entries[found])) {
            found = child;
        }
    }
    return found;
}

static void
sift_down(PaTimerHeap *heap, size_t at)
{
    PaTimerEntry moving = heap->entries[at];
    for (;;) {
        size_t first = CHILDREN * at + 1;
        if (first >= heap->count) {
            break;
        }
        size_t child = earliest(heap, first);
        if (!pa_timer_earlier(&heap->entries[child], &moving)) {
            break;
        }
        heap->entries[at] = heap->entries[child];
        at = child;
    }
    heap->entries[at] = moving;
}

int
pa_timerheap_push(PaTimerHeap *heap, double when, PyObject *handle, bool running)
{
    if (heap->count == heap->capacity) {
        size_t wanted = heap->capacity == 0 ? INITIAL_CAPACITY : heap->capacity * 2;
        PaTimerEntry *grown = PyMem_Realloc(heap->entries, wanted * sizeof(PaTimerEntry));
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        heap->entries = grown;
        heap->capacity = wanted;
    }
    heap->entries[heap->count] =
        (PaTimerEntry){.when = when, .sequence = heap->sequence++, .handle = Py_NewRef(handle)};
    sift_up(heap, heap->count++);
    if (running) {
        heap->has_untracked = true;
    }
    else {
        PyObject_GC_Track(handle);
    }
    return 0;
}

void
pa_timerheap_track(PaTimerHeap *heap)
{
    for (size_t i = 0; heap->has_untracked && i < heap->count; i++) {
        if (!PyObject_GC_IsTracked(heap->entries[i].handle)) {
            PyObject_GC_Track(heap->entries[i].handle);
        }
    }
    heap->has_untracked = false;
}

PyObject *
pa_timerheap_pop_steal(PaTimerHeap *heap)
{
    PyObject *handle = heap->entries[0].handle;
    for (size_t child = 1; child <= CHILDREN && child < heap->count; child++) {
        __builtin_prefetch(heap->entries[child].handle); /* one of them is the next */
    }
    heap->entries[0] = heap->entries[--heap->count];
    if (heap->count > 1) {
        sift_down(heap, 0);
    }
    return handle;
}

/* ---- many at once */

static void
heapify(PaTimerHeap *heap)
{
    for (size_t i = (heap->count + CHILDREN - 2) / CHILDREN; i-- > 0;) {
        sift_down(heap, i);
    }
}

size_t
pa_timerheap_take_due_steal(PaTimerHeap *heap, double now, PaTimerEntry **due)
{
    size_t total = heap->count, taken = 0, kept = 0;
    for (size_t i = 0; i < total; i++) {
        taken += heap->entries[i].when <= now;
    }
    *due = NULL;
    if (taken < total / GOOD_PART || taken > PY_SSIZE_T_MAX / (2 * sizeof(PaTimerEntry))) {
        return 0;
    }
    *due = PyMem_Malloc(2 * taken * sizeof(PaTimerEntry));
    if (*due == NULL) {
        return 0;
    }
    taken = 0;
    for (size_t i = 0; i < total; i++) {
        PaTimerEntry entry = heap->entries[i];
        *(entry.when <= now ? &(*due)[taken++] : &heap->entries[kept++]) = entry;
    }
    heap->count = kept;
    heapify(heap);
    pa_timersort(*due, *due + taken, taken);
    return taken;
}

void
pa_timerheap_put_back(PaTimerHeap *heap, const PaTimerEntry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        heap->entries[heap->count] = entries[i];
        sift_up(heap, heap->count++);
    }
}

/* Takes the cancelled entries out and puts their handles into `dropped`; how many these are. The order
 * of the heap is not that of the memory, and which entry is cancelled nobody can guess: without looking
 * ahead each one waits for the memory. */
static size_t
take_cancelled(PaTimerHeap *heap, Py_ssize_t is_cancelled, PyObject **dropped)
{
    size_t total = heap->count, kept = 0, ndropped = 0;
    for (size_t i = 0; i < total; i++) {
        if (i + LOOK_AHEAD < total) {
            __builtin_prefetch((char *)heap->entries[i + LOOK_AHEAD].handle + is_cancelled);
        }
        PaTimerEntry entry = heap->entries[i];
        if (*(bool *)((char *)entry.handle + is_cancelled)) {
            dropped[ndropped++] = entry.handle;
        }
        else {
            heap->entries[kept++] = entry;
        }
    }
    heap->count = kept;
    heap->cancelled = 0;
    return ndropped;
}

void
pa_timerheap_compact(PaTimerHeap *heap, Py_ssize_t is_cancelled)
{
    /* The cancelled ones are gathered behind the kept ones and released only when the heap is
     * whole again: releasing can run Python code that schedules timers. */
    PyObject **dropped = PyMem_Malloc(heap->count * sizeof(PyObject *));
    if (dropped == NULL) {
        return; // compaction is an economy: without memory for it the heap stays as it is
    }
    size_t ndropped = take_cancelled(heap, is_cancelled, dropped);
    heapify(heap);
    for (size_t i = 0; i < ndropped; i++) {
        Py_DECREF(dropped[i]);
    }
    PyMem_Free(dropped);
}

void
pa_timerheap_free(PaTimerHeap *heap)
{
    pa_timerheap_track(heap);
    while (heap->count > 0) {
        Py_DECREF(heap->entries[--heap->count].handle);
    }
    PyMem_Free(heap->entries);
    heap->entries = NULL;
    heap->capacity = heap->count = heap->cancelled = 0;
}

int
pa_timerheap_traverse(PaTimerHeap *heap, visitproc visit, void *arg)
{
    for (size_t i = 0; i < heap->count; i++) {
        int err = pa_visit_held(heap->entries[i].handle, visit, arg);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}
