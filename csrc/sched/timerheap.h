/* sched/timerheap.h: the heap of scheduled TimerHandles, keyed by (deadline, sequence).
 *
 * The deadline is the very double that the caller gave or got from loop.time(), so a timer is due
 * exactly when time() >= when: never early, whatever clock time() reads. Ties run in the order
 * of scheduling. The heap owns a reference to each handle. Cancelling marks the handle and counts
 * it here; the heap drops marked ones from the top, and is compacted when they are more than half.
 *
 * What is scheduled while the loop runs is not tracked by the garbage collector, as in the ready ring
 * (ring.h): nothing that the heap of a running loop holds is garbage, and the collector does not walk
 * a long queue again and again (a million call_later(): 590 ns each tracked, 235 ns not). A handle
 * is tracked when it is cancelled, when it has run and somebody else holds it, and when the loop
 * stops (pa_timerheap_track), as the loop may become garbage then. */
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
    bool has_untracked;
} PaTimerHeap;

static inline bool
pa_timer_earlier(const PaTimerEntry *a, const PaTimerEntry *b)
{
    return a->when < b->when || (a->when == b->when && a->sequence < b->sequence);
}

/* Takes a new reference to handle, an untracked one that it tracks unless the loop is `running`. 0,
 * or -1 with MemoryError. */
int pa_timerheap_push(PaTimerHeap *heap, double when, PyObject *handle, bool running);
/* Has the collector track every handle. */
void pa_timerheap_track(PaTimerHeap *heap);
/* The handle with the earliest deadline; its reference becomes the caller's. Not when empty. */
PyObject *pa_timerheap_pop_steal(PaTimerHeap *heap);
/* Takes out what is due at `now` when that is a good part of the heap: sorting it costs less than
 * popping one after the other, each past entries that have left the cache. *due is an array in order
 * of deadline, whose memory (PyMem_Free) and references become the caller's. Their number; 0 when they
 * are few, or memory is short. */
size_t pa_timerheap_take_due_steal(PaTimerHeap *heap, double now, PaTimerEntry **due);
/* Puts back what was taken. */
void pa_timerheap_put_back(PaTimerHeap *heap, const PaTimerEntry *entries, size_t count);
/* Drops the entries that are cancelled, as a bool at this offset in each handle says. */
void pa_timerheap_compact(PaTimerHeap *heap, Py_ssize_t is_cancelled);
void pa_timerheap_free(PaTimerHeap *heap);
int pa_timerheap_traverse(PaTimerHeap *heap, visitproc visit, void *arg);

#endif
