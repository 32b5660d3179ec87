/* loop/poll.c: opening, changing and closing PaPoll. See poll.h for why it exists. */
#include "loop/poll.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

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

static void
note_change(PaPoll *poll)
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

static void
poll_event(uv_poll_t *uv, int status, int events)
{
    PaPoll *poll = uv->data;
    pa_loop_enter(poll->loop);
    if (status < 0) {
        /* libuv has stopped the watch on an error condition of the descriptor: start it again and
         * let the owner's system call find out what happened. */
        int watched = poll->events;
        poll->events = 0;
        pa_poll_watch(poll, watched);
        events = watched;
    }
    poll->on_ready(poll, events);
}

int
pa_poll_open(PaPoll *poll, PaLoop *loop, int fd, PaPollCallback on_ready)
{
    if (pa_loop_check_fork(loop) < 0) {
        return -1;
    }
    pa_fdwatch_forget(loop, fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    int err = uv_poll_init(&loop->uv, &poll->uv, fd);
    if (err < 0) {
        return pa_uv_error(err);
    }
    if ((flags & O_NONBLOCK) == 0) {
        (void)fcntl(fd, F_SETFL, flags); // libuv has made it non-blocking: not ours to decide
    }
    poll->uv.data = poll;
    poll->loop = loop;
    poll->on_ready = on_ready;
    poll->on_closed = NULL;
    poll->fd = fd;
    poll->events = poll->fired = 0;
    poll->changed = false;
    pa_loop_handle_opened(loop);
    return 0;
}

void
pa_poll_watch(PaPoll *poll, int events)
{
    if (events == poll->events) {
        return;
    }
    if (poll->events != 0) {
        uv_poll_stop(&poll->uv);
    }
    poll->events = (short)events;
    poll->fired &= (short)(events | PA_POLL_GONE);
    if (events == 0) {
        forget_change(poll);
        return;
    }
    uv_poll_start(&poll->uv, events, poll_event);
    note_change(poll);
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

static void
poll_closed(uv_handle_t *handle)
{
    PaPoll *poll = handle->data;
    PaLoop *loop = poll->loop;
    pa_loop_enter_quietly(loop);
    pa_loop_handle_closed(loop);
    poll->on_closed(poll);
}

void
pa_poll_close(PaPoll *poll, PaPollClosed on_closed)
{
    forget_change(poll);
    poll->events = poll->fired = 0;
    poll->on_closed = on_closed;
    uv_close((uv_handle_t *)&poll->uv, poll_closed);
}

/* Whether the kernel can watch fd: registers it right away, which libuv then finds done. */
static bool
is_pollable(PaLoop *loop, int fd, int events)
{
#ifdef __linux__
    struct epoll_event event = {.data.fd = fd};
    event.events = ((events & UV_READABLE) ? EPOLLIN : 0) | ((events & UV_WRITABLE) ? EPOLLOUT : 0);
    return epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
#else
    (void)loop;
    (void)events;
    return fcntl(fd, F_GETFD) >= 0;
#endif
}

void
pa_poll_flush_changes(PaLoop *loop)
{
    while (loop->changed_polls != NULL) {
        PaPoll *poll = loop->changed_polls;
        forget_change(poll);
        if (!is_pollable(loop, poll->fd, poll->events)) {
            uv_poll_stop(&poll->uv);
            poll->events = 0;
            poll->on_ready(poll, PA_POLL_GONE);
        }
    }
}
