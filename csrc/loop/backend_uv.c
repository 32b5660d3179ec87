/* loop/backend_uv.c: readiness by libuv's uv_poll_t. See backend.h.
 *
 * libuv registers a descriptor with the kernel only when it polls, and aborts the process when the
 * kernel refuses it then, which a program can bring about by closing a descriptor that it still
 * watches. So each is checked when it is armed. An armed poll is stopped before it is armed for
 * something else, so that libuv always adds and never modifies a registration that may have gone. */
#include "loop/backend.h"

#ifndef PA_EPOLL

#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

static void
poll_event(uv_poll_t *uv, int status, int events)
{
    PaPoll *poll = uv->data;
    pa_loop_enter(poll->loop);
    if (status < 0) {
        /* libuv has stopped the watch on an error condition of the descriptor: start it again and
         * let the owner's system call find out what happened. */
        events = poll->events;
        pa_poll_note_change(poll);
    }
    poll->on_ready(poll, events);
}

int
pa_backend_prepare(PaPoll *poll)
{
    int flags = fcntl(poll->fd, F_GETFL);
    if (flags < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    int err = uv_poll_init(&poll->loop->uv, &poll->uv, poll->fd);
    if (err < 0) {
        return pa_uv_error(err);
    }
    if ((flags & O_NONBLOCK) == 0) {
        (void)fcntl(poll->fd, F_SETFL, flags); // libuv has made it non-blocking: not ours to decide
    }
    poll->uv.data = poll;
    return 0;
}

/* 0, or the errno that libuv would abort with. On Linux it registers fd right away, which libuv
 * then finds done. */
static int
check(PaLoop *loop, int fd, int events)
{
#ifdef __linux__
    struct epoll_event event = {.data.fd = fd};
    event.events = ((events & UV_READABLE) ? EPOLLIN : 0) | ((events & UV_WRITABLE) ? EPOLLOUT : 0);
    int err = epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_ADD, fd, &event);
    return err == 0 || errno == EEXIST ? 0 : errno;
#else
    (void)loop;
    (void)events;
    return fcntl(fd, F_GETFD) >= 0 ? 0 : errno;
#endif
}

int
pa_backend_arm(PaPoll *poll)
{
    uv_poll_stop(&poll->uv);
    if (poll->events == 0) {
        return 0;
    }
    int err = check(poll->loop, poll->fd, poll->events);
    if (err == 0) {
        uv_poll_start(&poll->uv, poll->events, poll_event);
    }
    return err;
}

static void
closed(uv_handle_t *handle)
{
    PaPoll *poll = handle->data;
    pa_loop_enter_quietly(poll->loop);
    pa_poll_closed(poll);
}

void
pa_backend_release(PaPoll *poll)
{
    uv_close((uv_handle_t *)&poll->uv, closed);
}

/* ---- waiting */

/* It only ends the poll: due timers are found by their own clock afterwards. uv_stop(), because
 * libuv may run it before it polls (the millisecond passed since uv_timer_start()), and would then
 * sleep for ever. */
static void
time_is_up(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

int
pa_backend_wait(PaLoop *loop, int milliseconds)
{
    if (milliseconds == 0) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        return 0;
    }
    if (milliseconds > 0) {
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->timer, time_is_up, (uint64_t)milliseconds, 0);
    }
    uv_run(&loop->uv, UV_RUN_ONCE);
    if (milliseconds > 0) {
        uv_timer_stop(&loop->timer);
    }
    return 0; // libuv ends the process when it cannot poll
}

void
pa_backend_wake(PaLoop *loop)
{
    uv_async_send(&loop->wakeup);
}

static void
wakeup_received(uv_async_t *async)
{
    /* It ends the wait; what another thread pushed is in the ring. */
    ((PaLoop *)async->data)->io_seen = true;
}

/* ---- life */

static void
handle_closed(uv_handle_t *handle)
{
    pa_loop_handle_closed(handle->data);
}

int
pa_backend_open(PaLoop *loop)
{
    int err = uv_async_init(&loop->uv, &loop->wakeup, wakeup_received);
    if (err < 0) {
        return pa_uv_error(err);
    }
    loop->wakeup.data = loop;
    pa_loop_handle_opened(loop);
    uv_timer_init(&loop->uv, &loop->timer); // cannot fail
    loop->timer.data = loop;
    pa_loop_handle_opened(loop);
    return 0;
}

void
pa_backend_fork(PaLoop *loop)
{
    /* The epoll descriptor is shared with the parent: with one of our own, closing does not stop
     * the parent's watches. */
    (void)uv_loop_fork(&loop->uv);
}

void
pa_backend_close(PaLoop *loop)
{
    uv_close((uv_handle_t *)&loop->wakeup, handle_closed);
    uv_close((uv_handle_t *)&loop->timer, handle_closed);
}

#endif
