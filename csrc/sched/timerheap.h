/* sched/timerheap.h: the heap of scheduled TimerHandles, keyed by (deadline, sequence).
 *
 * The deadline is the very double that the caller gave or got from loop.time(), so a timer is due
 * exactly when time() >= when: never early, whatever clock time() reads. Ties run in the order
 * of scheduling. The heap owns a reference to each handle. Cancelling marks the handle and counts
 * it here; the heap drops marked ones from the top, and is compacted when they are more than half. */
#ifndef PA_SCHED_TIMERHEAP_H
#define PA_SCHED_TIMERHEAP_H

#include "base/compat.h"

typedef struct {
    double when;
    uint64_t sequence;
    PyObject *handle; // owned, a pyasync TimerHandle
} PaTimerEntry;

typedef struct {
    PaTimerEntry *entries;
    size_t count;
    size_t capacity;
    size_t cancelled;  // entries whose handle is cancelled
    uint64_t sequence; // given to the next timer
} PaTimerHeap;

/* Takes a new reference to handle. 0, or -1 with MemoryError. */
int pa_timerheap_push(PaTimerHeap *heap, double when, PyObject *handle);
/* The handle with the earliest deadline; its reference becomes the caller's. Not when empty. */
PyObject *pa_timerheap_pop_steal(PaTimerHeap *heap);
/* Drops the entries for which is_cancelled() says so. */
void pa_timerheap_compact(PaTimerHeap *heap, bool (*is_cancelled)(PyObject *handle, void *arg),
                          void *arg);
void pa_timerheap_free(PaTimerHeap *heap);
int pa_timerheap_traverse(PaTimerHeap *heap, visitproc visit, void *arg);

#endif
