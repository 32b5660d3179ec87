/* sched/batch.c: running a batch of ready entries, and taking due timers.
 *
 * A batch runs exactly the entries that were in the ring when it began. An exit exception
 * (KeyboardInterrupt, SystemExit) ends it, and what was not run stays queued. In debug mode every
 * callback and task step is a Handle, and slow ones are logged; that is a function of its own, so
 * that the plain batch pays nothing for it. */
#include "sched/handle.h"
#include "sched/sched.h"
#include "sched/task.h"

#define MANY_TIMERS 256  // popped in one turn, or a 256th of the heap: then the others at once
#define PREFETCHED  16   // handles ahead
#define HANDLE_END  176  // bytes from its beginning: what is looked at lies up to there and beyond
#define LARGE_BATCH 4096 // whose objects have left the processor's caches when their turn comes

bool
pa_sched_is_exit_raised(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
           PyErr_ExceptionMatches(PyExc_SystemExit);
}

void
pa_sched_timer_cancelled(PaSched *sched)
{
    PaTimerHeap *heap = &sched->timers;
    if (++heap->cancelled > 64 && heap->cancelled * 2 > heap->count) {
        pa_timerheap_compact(heap, sched->st->timer_handle_offset +
                                       (Py_ssize_t)offsetof(PaHandle, cancelled));
    }
}

/* The earliest timer. 0 or -1. */
static int
queue_timer(PaSched *sched)
{
    PyObject *handle = pa_timerheap_pop_steal(&sched->timers);
    int err = 0;
    pa_timer_handle_unscheduled(sched->st, handle);
    if (pa_handle_is_cancelled(sched->st, handle)) {
        sched->timers.cancelled--;
    }
    else {
        err = pa_ring_push(&sched->ring, PA_ENTRY_HANDLE, handle, NULL);
    }
    Py_DECREF(handle);
    return err;
}

/* All that is due, if that is much. 0, or -1 with the rest in the heap again. */
static int
queue_many_timers(PaSched *sched, double now)
{
    PaTimerHeap *heap = &sched->timers;
    PaTimerEntry *due;
    size_t count = pa_timerheap_take_due_steal(heap, now, &due), dropped = 0;
    int err = 0;
    for (size_t i = 0; i < count; i++) {
        PyObject *handle = due[i].handle;
        if (i + PREFETCHED < count) {
            __builtin_prefetch(due[i + PREFETCHED].handle);
            __builtin_prefetch((char *)due[i + PREFETCHED].handle + HANDLE_END);
        }
        if (pa_handle_is_cancelled(sched->st, handle)) {
            heap->cancelled--;
            due[dropped++].handle = handle;
        }
        else if (pa_ring_push(&sched->ring, PA_ENTRY_HANDLE, handle, NULL) < 0) {
            pa_timerheap_put_back(heap, due + i, count - i);
            err = -1;
            break;
        }
        else {
            Py_DECREF(handle); /* the ring's is left */
        }
        pa_timer_handle_unscheduled(sched->st, handle);
    }
    /* Releasing can run Python code, so it comes last. */
    for (size_t i = 0; i < dropped; i++) {
        Py_DECREF(due[i].handle);
    }
    PyMem_Free(due);
    return err;
}

int
pa_sched_take_due_timers(PaSched *sched, double now)
{
    PaTimerHeap *heap = &sched->timers;
    size_t popped = 0;
    while (heap->count > 0) {
        bool cancelled = pa_handle_is_cancelled(sched->st, heap->entries[0].handle);
        if (!cancelled && heap->entries[0].when > now) {
            break;
        }
        int err;
        if (popped >= MANY_TIMERS && popped >= heap->count / MANY_TIMERS) {
            popped = 0; /* and on one by one, if none could be taken at once */
            err = queue_many_timers(sched, now);
        }
        else {
            popped++;
            err = queue_timer(sched);
        }
        if (err < 0) {
            return -1;
        }
    }
    return 0;
}

/* The callback that asyncio would have had in the handle of a direct entry. New reference. */
static PyObject *
callback_of(PaSched *sched, const PaEntry *entry)
{
    if (pa_entry_kind(entry) == PA_ENTRY_CALLBACK) {
        return Py_NewRef(entry->arg);
    }
    return pa_task_wakeup_callable(sched->st, pa_entry_object(entry));
}

/* A task's or a callback's entry raised: an exit goes on (-1); anything else is reported as the
 * failure of the handle that asyncio would have run here. */
static int
entry_failed(PaSched *sched, const PaEntry *entry)
{
    if (pa_sched_is_exit_raised()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *callback = callback_of(sched, entry), *future = pa_entry_object(entry);
    Py_ssize_t nargs = pa_entry_kind(entry) == PA_ENTRY_CALLBACK ? 1 : 0;
    PyObject *handle =
        callback == NULL ? NULL : pa_handle_new(sched, callback, &future, nargs, entry->context);
    int err = 0;
    if (handle != NULL) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = pa_handle_report(sched, handle);
        pa_track_if_shared(handle);
    }
    else {
        pa_write_unraisable(callback);
    }
    Py_XDECREF(handle);
    Py_XDECREF(callback);
    Py_DECREF(exc);
    return err;
}

static int
run_handle_entry(PaSched *sched, PyObject *handle)
{
    if (pa_sched_leave_task(sched) < 0) {
        return -1;
    }
    return pa_handle_run(sched, handle);
}

/* callback(future) in its context. 0, or -1 with what it raised. */
static int
run_callback(PaSched *sched, const PaEntry *entry)
{
    if (pa_sched_leave_task(sched) < 0) {
        return -1;
    }
    PyObject *stack[] = {NULL, pa_entry_object(entry)};
    PyObject *result = pa_call_in_context(entry->context, entry->arg, stack + 1,
                                          1 | PY_VECTORCALL_ARGUMENTS_OFFSET);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static inline int
run_direct_entry(PaSched *sched, const PaEntry *entry)
{
    PaEntryKind kind = pa_entry_kind(entry);
    PyObject *obj = pa_entry_object(entry);
    if (kind == PA_ENTRY_READY) {
        return pa_sched_leave_task(sched) < 0 ? -1 : sched->run_ready(obj);
    }
    int err;
    if (kind == PA_ENTRY_WAKEUP) {
        err = pa_task_run_wakeup(sched, obj, entry->arg);
    }
    else if (kind == PA_ENTRY_STEP) {
        err = pa_task_run_step(sched, obj, entry->arg);
    }
    else {
        err = run_callback(sched, entry);
    }
    return err < 0 ? entry_failed(sched, entry) : 0;
}

/* loop.time() in debug mode, where the cost of a call does not matter. -1.0 on error. */
static double
debug_time(PaSched *sched)
{
    PyObject *now = PyObject_CallMethodNoArgs(sched->loop, sched->st->names.time);
    double seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return seconds;
}

/* 'Executing <Handle...> took 0.123 seconds' when `handle` was slow. 0 or -1. */
static int
log_if_slow(PaSched *sched, PyObject *handle, double seconds)
{
    PaState *st = sched->st;
    PyObject *limit = PyObject_GetAttr(sched->loop, st->names.slow_callback_duration);
    if (limit == NULL) {
        return -1;
    }
    double limit_seconds = PyFloat_AsDouble(limit);
    Py_DECREF(limit);
    if (limit_seconds == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (seconds < limit_seconds) {
        return 0;
    }
    PyObject *shown = PyObject_CallOneArg(st->asyncio.format_handle, handle);
    if (shown == NULL) {
        return -1;
    }
    PyObject *reply = PyObject_CallMethod(st->asyncio.logger, "warning", "sOd",
                                          "Executing %s took %.3f seconds", shown, seconds);
    Py_DECREF(shown);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

static int
run_and_time(PaSched *sched, PyObject *handle)
{
    double begin = debug_time(sched);
    if ((begin == -1.0 && PyErr_Occurred()) || run_handle_entry(sched, handle) < 0) {
        return -1;
    }
    double end = debug_time(sched);
    if (end == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    return log_if_slow(sched, handle, end - begin);
}

/* asyncio's default exception handler tells where the handle that runs was made. */
static int
set_current_handle(PaSched *sched, PyObject *handle)
{
    return PyObject_SetAttr(sched->loop, sched->st->names._current_handle, handle);
}

int
pa_sched_run_timed(PaSched *sched, PyObject *handle)
{
    if (set_current_handle(sched, handle) < 0) {
        return -1;
    }
    int err = run_and_time(sched, handle);
    PyObject *exc = PyErr_GetRaisedException();
    if (set_current_handle(sched, Py_None) < 0) {
        Py_XDECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    return err;
}

static int
run_entry_timed(PaSched *sched, const PaEntry *entry)
{
    if (pa_entry_kind(entry) != PA_ENTRY_HANDLE) { // queued before debug mode was switched on
        return run_direct_entry(sched, entry);
    }
    return pa_sched_run_timed(sched, pa_entry_object(entry));
}

static int
run_batch_debug(PaSched *sched, size_t todo)
{
    int err = 0;
    while (err == 0 && todo-- > 0 && pa_ring_count(&sched->ring) > 0) {
        PaEntry entry = pa_ring_pop_steal(&sched->ring);
        PyObject *obj = pa_entry_object(&entry);
        err = run_entry_timed(sched, &entry);
        pa_track_if_shared(obj);
        Py_DECREF(obj);
        Py_XDECREF(entry.arg);
        Py_XDECREF(entry.context);
    }
    return err;
}

/* The object whose turn comes soon: four cache lines, with what the collector and the allocator keep
 * before it. */
static inline void
fetch_ahead(const PaRing *ring)
{
    if (pa_ring_count(ring) > PREFETCHED) {
        char *obj = (char *)pa_entry_object(&ring->entries[(ring->head + PREFETCHED) & ring->mask]);
        __builtin_prefetch(obj - 16);
        __builtin_prefetch(obj + 48);
        __builtin_prefetch(obj + 112);
        __builtin_prefetch(obj + HANDLE_END);
    }
}

int
pa_sched_run_batch(PaSched *sched)
{
    size_t todo = pa_ring_count(&sched->ring);
    bool large = todo >= LARGE_BATCH;
    if (sched->debug) {
        return run_batch_debug(sched, todo);
    }
    int err = 0;
    /* The count is looked at again: a callback that closes the loop empties the ring. */
    while (err == 0 && todo-- > 0 && pa_ring_count(&sched->ring) > 0) {
        if (large) {
            fetch_ahead(&sched->ring);
        }
        PaEntry entry = pa_ring_pop_steal(&sched->ring);
        PyObject *obj = pa_entry_object(&entry);
        if (pa_entry_kind(&entry) == PA_ENTRY_HANDLE) {
            err = run_handle_entry(sched, obj);
            pa_track_if_shared(obj);
        }
        else {
            err = run_direct_entry(sched, &entry);
            Py_XDECREF(entry.arg);
            Py_XDECREF(entry.context);
        }
        Py_DECREF(obj);
    }
    return err;
}
