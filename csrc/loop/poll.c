/* loop/poll.c: opening, changing and closing PaPoll. See poll.h for why it exists. */
#include "loop/poll.h"
#include "loop/backend.h"

#include <errno.h>

/* ---- what the kernel has still to be told */

static void
forget_change(PaPoll *poll)
{
    if (!poll->changed) {
        return;
    }
    if (poll->previous_changed != NULL) {
        poll->previous_changed->next_changed = poll->next_changed;
    }
    else {
        poll->loop->changed_polls = poll->next_changed;
    }
    if (poll->next_changed != NULL) {
        poll->next_changed->previous_changed = poll->previous_changed;
    }
    poll->changed = false;
}

void
pa_poll_note_change(PaPoll *poll)
{
    if (poll->changed) {
        return;
    }
    PaLoop *loop = poll->loop;
    poll->changed = true;
    poll->previous_changed = NULL;
    poll->next_changed = loop->changed_polls;
    if (poll->next_changed != NULL) {
        poll->next_changed->previous_changed = poll;
    }
    loop->changed_polls = poll;
    pa_loop_poll_soon(loop);
}

/* ---- watching */

int
pa_poll_open(PaPoll *poll, PaLoop *loop, int fd, PaPollCallback on_ready)
{
    if (pa_loop_check_fork(loop) < 0) {
        return -1;
    }
    pa_fdwatch_forget(loop, fd);
    poll->loop = loop;
    poll->on_ready = on_ready;
    poll->on_closed = NULL;
    poll->fd = fd;
    poll->events = poll->fired = poll->refusal = 0;
    poll->changed = poll->oneshot = false;
    if (pa_backend_prepare(poll) < 0) {
        return -1;
    }
    pa_loop_handle_opened(loop);
    return 0;
}

static void
set_events(PaPoll *poll, int events)
{
    poll->events = (short)events;
    poll->fired &= (short)(events | PA_POLL_GONE);
}

void
pa_poll_watch(PaPoll *poll, int events)
{
    if (events != poll->events) {
        set_events(poll, events);
        pa_poll_note_change(poll);
    }
}

int
pa_poll_watch_now(PaPoll *poll, int events)
{
    set_events(poll, events);
    forget_change(poll);
    pa_loop_poll_soon(poll->loop);
    int err = pa_backend_arm(poll);
    if (err == 0) {
        return 0;
    }
    set_events(poll, 0);
    errno = err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

void
pa_poll_queue(PaPoll *poll, PaMember *owner, int events)
{
    bool queued = poll->fired != 0;
    poll->fired |= (short)events;
    if (!queued &&
        pa_ring_push(&poll->loop->sched.ring, PA_ENTRY_READY, (PyObject *)owner, NULL) < 0) {
        poll->fired = 0; // the next poll reports it again
        pa_loop_callback_failed(poll->loop, "Cannot queue a socket's events");
    }
}

/* ---- closing */

void
pa_poll_close(PaPoll *poll, PaPollClosed on_closed)
{
    forget_change(poll);
    poll->events = poll->fired = 0;
    poll->on_closed = on_closed;
    pa_backend_release(poll);
}

void
pa_poll_closed(PaPoll *poll)
{
    pa_loop_handle_closed(poll->loop);
    poll->on_closed(poll);
}

/* ---- before the poll */

static void
flush_change(PaPoll *poll)
{
    forget_change(poll);
    int err = pa_backend_arm(poll);
    if (err != 0) {
        poll->events = 0;
        poll->refusal = (short)err;
        poll->on_ready(poll, PA_POLL_GONE);
    }
}

void
pa_poll_flush(PaLoop *loop)
{
    /* Either may run Python code, which changes and closes others. */
    while (loop->changed_polls != NULL || loop->closed_polls != NULL) {
        PaPoll *poll = loop->changed_polls;
        if (poll != NULL) {
            flush_change(poll);
            continue;
        }
        poll = loop->closed_polls;
        loop->closed_polls = poll->next_changed;
        pa_poll_closed(poll);
    }
}
