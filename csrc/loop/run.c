/* loop/run.c: run_forever(), the turn, and the poll.
 *
 * One turn is: flush what transports wrote; poll (not blocking if anything is ready); queue
 * due timers; run a ready batch. What the poll finds (transports, listeners, add_reader()
 * callbacks) and then the timers join the batch behind what was ready, as in asyncio.
 *
 * Adaptive polling: a poll with nothing to report costs more than a task step. So when PATIENCE
 * polls have come back empty while the ring kept filling, 2, 4 and so on up to MAX_BATCHES batches
 * run between polls, for no longer than MAX_SKIP_SECONDS of wall time, and one again at the first
 * I/O event, new watcher or write. What an I/O event made ready runs without a poll in between,
 * unless its descriptor may still be ready: as in asyncio it is then reported in every turn. Timers
 * are looked at in every turn all the same.
 *
 * The GIL is released in one place, poll(), and only when the poll may block; the first event takes
 * it back (pa_loop_enter). */
#include "loop/loop.h"
#include "loop/backend.h"
#include "sched/snapshot.h"

#include <errno.h>
#include <math.h>

#define PATIENCE              4
#define MAX_BATCHES           256
#define MAX_SKIP_SECONDS      50e-6
#define SHORT_BATCHES_SECONDS 4e-6          // one to eight batches together
#define MAX_POLL_SECONDS      (24.0 * 3600) // as asyncio's: some kernels refuse longer ones

/* ---- entering Python from libuv */

static inline void
take_gil(PaLoop *loop)
{
    if (loop->released != NULL) {
        PyThreadState *state = loop->released;
        loop->released = NULL;
        PyEval_RestoreThread(state);
        loop->polling = false;
    }
}

void
pa_loop_enter(PaLoop *loop)
{
    take_gil(loop);
    loop->io_seen = true;
    if (pa_sched_leave_task(&loop->sched) < 0) {
        pa_loop_callback_failed(loop, "Cannot leave the current task");
    }
}

void
pa_loop_enter_quietly(PaLoop *loop)
{
    take_gil(loop);
}

/* ---- the poll */

/* In whole milliseconds, not too early; -1 for ever. */
static int
poll_timeout(double seconds)
{
    if (isinf(seconds)) {
        return -1;
    }
    return (int)ceil((seconds < MAX_POLL_SECONDS ? seconds : MAX_POLL_SECONDS) * 1e3);
}

static int
poll_result(int err)
{
    if (err == 0) {
        return 0;
    }
    errno = err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Polls for at most `seconds`; 0 does not block, INFINITY waits for an event. 0, or -1 with OSError. */
static int
poll(PaLoop *loop, double seconds)
{
    if (loop->changed_polls != NULL || loop->closed_polls != NULL) {
        pa_poll_flush(loop);
    }
    loop->io_seen = loop->poll_again = false;
    /* Values that died just before may have scheduled something, or stopped the loop. */
    if (seconds <= 0 || pa_ring_count(&loop->sched.ring) > 0 || loop->stopping) {
        return poll_result(pa_backend_wait(loop, 0));
    }
    loop->wakeup_sent = false;
    loop->polling = true;
    loop->released = PyEval_SaveThread();
    int err = pa_backend_wait(loop, poll_timeout(seconds));
    take_gil(loop);
    return poll_result(err);
}

/* Before Python code that belongs to no task runs between batches. */
static void
leave_task(PaLoop *loop)
{
    if (pa_sched_leave_task(&loop->sched) < 0) {
        pa_write_unraisable((PyObject *)loop);
    }
}

static void
flush(PaLoop *loop)
{
    if (loop->flush != NULL) {
        leave_task(loop);
        loop->flush(loop);
    }
}

/* After a poll that is not counted as one in vain. When it found something, the turn for what that
 * made ready goes without a poll, unless a callback of add_reader() or add_writer() is part of it;
 * transports that leave something in the kernel say so (pa_loop_poll_soon). */
static void
poll_was_due(PaLoop *loop)
{
    loop->vain_polls = 0;
    loop->batches_left = loop->batches_unclocked = loop->io_seen && !loop->poll_again;
}

/* Nothing is ready: sleep until an event, a timer or another thread. */
static int
poll_blocking(PaLoop *loop)
{
    double seconds = INFINITY;
    if (pa_sched_leave_task(&loop->sched) < 0) {
        return -1;
    }
    pa_snapshot_drop(&loop->sched);
    pa_state_trim(loop->sched.st);
    PaTimerHeap *timers = &loop->sched.timers;
    if (timers->count > 0) {
        double now = pa_loop_time(loop);
        if (now == -1.0 && PyErr_Occurred()) {
            return -1;
        }
        seconds = timers->entries[0].when - now;
    }
    int err = poll(loop, seconds);
    poll_was_due(loop);
    return err;
}

/* Whether this turn may go without a poll. Reading the clock costs as much as a small batch, so
 * while batches are short it is read every eighth time only. */
static bool
may_skip_poll(PaLoop *loop)
{
    if (loop->batches_left <= 0) {
        return false;
    }
    loop->batches_left--;
    if (loop->batches_unclocked > 0) {
        loop->batches_unclocked--;
        return true;
    }
    double now = pa_monotonic();
    if (now - loop->last_clock < SHORT_BATCHES_SECONDS) {
        loop->batches_unclocked = 7;
    }
    loop->last_clock = now;
    return now - loop->last_poll < MAX_SKIP_SECONDS;
}

/* Something is ready: poll without blocking, unless the last polls were in vain. */
static int
poll_ready(PaLoop *loop)
{
    if (may_skip_poll(loop)) {
        return 0;
    }
    if (poll(loop, 0) < 0) {
        return -1;
    }
    if (loop->io_seen) {
        poll_was_due(loop);
        return 0;
    }
    if (loop->vain_polls < PATIENCE) {
        loop->vain_polls++;
        loop->batches_per_poll = 1;
        return 0;
    }
    if (loop->batches_per_poll < MAX_BATCHES) {
        loop->batches_per_poll *= 2;
    }
    loop->batches_left = loop->batches_per_poll - 1;
    loop->batches_unclocked = 0;
    loop->last_poll = loop->last_clock = pa_monotonic();
    return 0;
}

static int
queue_due_timers(PaLoop *loop)
{
    if (loop->sched.timers.count == 0) {
        return 0;
    }
    if (loop->time_overridden || pa_clock_is_replaced(loop->sched.st)) {
        leave_task(loop);
    }
    double now = pa_loop_time(loop);
    if (now == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    return pa_sched_take_due_timers(&loop->sched, now);
}

static int
turn(PaLoop *loop)
{
    flush(loop);
    bool idle = pa_ring_count(&loop->sched.ring) == 0 && !loop->stopping;
    int err = idle ? poll_blocking(loop) : poll_ready(loop);
    if (err < 0 || pa_loop_raise_kept_exit(loop) < 0 || queue_due_timers(loop) < 0) {
        return -1;
    }
    return pa_sched_run_batch(&loop->sched);
}

/* ---- run_forever */

int
pa_loop_check_closed(PaLoop *loop)
{
    if (loop->sched.closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

static int
check_running(PaLoop *loop)
{
    if (loop->sched.thread_id != 0) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    PyObject *running = PyObject_CallNoArgs(loop->sched.st->asyncio._get_running_loop);
    if (running == NULL) {
        return -1;
    }
    bool other = running != Py_None;
    Py_DECREF(running);
    if (other) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
        return -1;
    }
    return 0;
}

static int
set_origin_tracking(PaLoop *loop, bool enabled)
{
    PyObject *reply = PyObject_CallMethodOneArg(
        (PyObject *)loop, loop->sched.st->names._set_coroutine_origin_tracking,
        enabled ? Py_True : Py_False);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

/* sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=...) */
static int
set_asyncgen_hooks(PaLoop *loop)
{
    PaState *st = loop->sched.st;
    PyObject *self = (PyObject *)loop, *reply = NULL;
    PyObject *firstiter = PyObject_GetAttr(self, st->names._asyncgen_firstiter_hook);
    PyObject *finalizer =
        firstiter == NULL ? NULL : PyObject_GetAttr(self, st->names._asyncgen_finalizer_hook);
    if (finalizer != NULL) {
        reply = PyObject_CallFunctionObjArgs(st->asyncio.set_asyncgen_hooks, firstiter, finalizer,
                                             NULL);
    }
    Py_XDECREF(firstiter);
    Py_XDECREF(finalizer);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

static int
set_running_loop(PaLoop *loop, PyObject *value)
{
    PyObject *reply = PyObject_CallOneArg(loop->sched.st->asyncio._set_running_loop, value);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

/* The reverse of set_up(); keeps a raised exception, and undoes what was done so far. */
static void
clean_up(PaLoop *loop)
{
    PyObject *raised = PyErr_GetRaisedException();
    PyObject *self = (PyObject *)loop;
    if (pa_sched_leave_task(&loop->sched) < 0) {
        pa_write_unraisable(self);
    }
    pa_snapshot_drop(&loop->sched);
    pa_state_trim(loop->sched.st);
    loop->stopping = false;
    loop->sched.thread_id = 0;
    pa_timerheap_track(&loop->sched.timers);
    if (set_running_loop(loop, Py_None) < 0 || set_origin_tracking(loop, false) < 0) {
        pa_write_unraisable(self);
    }
    PyObject *hooks = loop->old_asyncgen_hooks;
    loop->old_asyncgen_hooks = NULL;
    if (hooks != NULL) {
        PyObject *plain = PySequence_Tuple(hooks);
        PyObject *reply =
            plain == NULL ? NULL
                          : PyObject_Call(loop->sched.st->asyncio.set_asyncgen_hooks, plain, NULL);
        pa_write_unraisable(self);
        Py_XDECREF(plain);
        Py_XDECREF(reply);
        Py_DECREF(hooks);
    }
    pa_loop_disarm_signals(loop);
    PyErr_SetRaisedException(raised);
}

static int
set_up(PaLoop *loop)
{
    if (pa_loop_check_closed(loop) < 0 || pa_loop_check_fork(loop) < 0 || check_running(loop) < 0 ||
        pa_loop_find_overrides(loop) < 0 || set_origin_tracking(loop, loop->sched.debug) < 0) {
        return -1;
    }
    PyObject *hooks = PyObject_CallNoArgs(loop->sched.st->asyncio.get_asyncgen_hooks);
    if (hooks == NULL) {
        return -1;
    }
    Py_XSETREF(loop->old_asyncgen_hooks, hooks);
    loop->sched.thread_id = PyThread_get_thread_ident();
    pa_loop_poll_soon(loop);
    if (set_asyncgen_hooks(loop) < 0 || set_running_loop(loop, (PyObject *)loop) < 0 ||
        pa_loop_arm_signals(loop) < 0) {
        clean_up(loop);
        return -1;
    }
    return 0;
}

PyObject *
pa_loop_run_forever(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaLoop *loop = (PaLoop *)self;
    if (set_up(loop) < 0) {
        return NULL;
    }
    int err;
    do {
        err = turn(loop);
    } while (err == 0 && !loop->stopping);
    PyObject *raised = PyErr_GetRaisedException();
    flush(loop); // what the last batch wrote leaves before the loop stops
    PyErr_SetRaisedException(raised);
    if (err == 0) {
        err = pa_loop_raise_kept_exit(loop);
    }
    clean_up(loop);
    if (err < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
