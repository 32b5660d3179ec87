/* loop/backend_epoll.c: readiness by an epoll of our own. See backend.h.
 *
 * A descriptor's registration is kept in its PaFdSlot: which poll it serves and what the kernel was
 * told. Events are looked up there by number, under the GIL, so a poll that was closed while they
 * were under way gets none. What libuv watches itself (signals) is behind its own epoll, which is a
 * descriptor in ours. */
#include "loop/backend.h"

#ifdef PA_EPOLL

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FIRST_EVENTS 64
#define MOST_EVENTS  (64 * 1024)

/* ---- registrations */

static int
control(PaLoop *loop, int op, int fd, const PaPoll *poll)
{
    struct epoll_event event = {.data.fd = fd};
    event.events = ((poll->events & UV_READABLE) ? EPOLLIN : 0) |
                   ((poll->events & UV_WRITABLE) ? EPOLLOUT : 0) |
                   (poll->oneshot ? EPOLLONESHOT : 0);
    return epoll_ctl(loop->epoll_fd, op, fd, &event) == 0 ? 0 : errno;
}

int
pa_backend_prepare(PaPoll *poll)
{
    PaLoop *loop = poll->loop;
    PaFdSlot *slot = pa_loop_fd_slot(loop, poll->fd);
    if (slot == NULL) {
        return -1;
    }
    if (slot->poll != NULL && slot->poll->events != 0) {
        errno = EEXIST; /* two owners would steal each other's events */
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static void
unregister(PaLoop *loop, PaFdSlot *slot, const PaPoll *poll)
{
    if (slot->registered && loop->epoll_fd >= 0) {
        /* Fails when the descriptor was closed behind our back: then there is nothing to do. */
        (void)control(loop, EPOLL_CTL_DEL, poll->fd, poll);
    }
    slot->registered = false;
    slot->armed = 0;
}

int
pa_backend_arm(PaPoll *poll)
{
    PaLoop *loop = poll->loop;
    PaFdSlot *slot = &loop->fds[poll->fd];
    if (slot->poll == poll && slot->armed == poll->events) {
        return 0;
    }
    if (poll->events == 0) {
        if (slot->poll == poll) {
            unregister(loop, slot, poll);
        }
        return 0;
    }
    int op = slot->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int err = control(loop, op, poll->fd, poll);
    if (err == ENOENT && op == EPOLL_CTL_MOD) { /* the number is another file's by now */
        err = control(loop, EPOLL_CTL_ADD, poll->fd, poll);
    }
    else if (err == EEXIST && op == EPOLL_CTL_ADD) {
        err = control(loop, EPOLL_CTL_MOD, poll->fd, poll);
    }
    slot->poll = poll;
    slot->registered = err == 0;
    slot->armed = err == 0 ? poll->events : 0;
    return err;
}

void
pa_backend_release(PaPoll *poll)
{
    PaLoop *loop = poll->loop;
    PaFdSlot *slot = &loop->fds[poll->fd];
    if (slot->poll == poll) {
        /* What is disarmed may stay: it wakes nobody, and goes with the file. */
        if (slot->armed != 0) {
            unregister(loop, slot, poll);
        }
        slot->poll = NULL;
    }
    if (slot->poll == NULL && !poll->oneshot) {
        slot->registered = false; /* by a one-shot poll before; the file is going to be closed */
    }
    poll->next_changed = loop->closed_polls;
    loop->closed_polls = poll;
}

/* ---- waiting */

/* As asyncio's selector has it: an error condition makes the descriptor ready for whatever it is
 * watched for. */
static int
uv_events(uint32_t events)
{
    return ((events & ~(uint32_t)EPOLLOUT) ? UV_READABLE : 0) |
           ((events & ~(uint32_t)EPOLLIN) ? UV_WRITABLE : 0);
}

static void
dispatch(PaLoop *loop, int fd, uint32_t events)
{
    PaPoll *poll = loop->fds[fd].poll;
    if (poll == NULL) {
        return; /* closed since */
    }
    if (poll->oneshot) {
        loop->fds[fd].armed = 0; /* by the kernel, with this event */
        pa_poll_note_change(poll);
    }
    int wanted = uv_events(events) & poll->events;
    if (wanted != 0) {
        poll->on_ready(poll, wanted);
    }
}

/* A full answer says that more were ready than there was room for: they come with the next poll,
 * and from then on all together. */
static void
grow_events(PaLoop *loop)
{
    int size = loop->epoll_events_size * 2;
    if (size > MOST_EVENTS) {
        return;
    }
    struct epoll_event *grown =
        PyMem_RawRealloc(loop->epoll_events, (size_t)size * sizeof(struct epoll_event));
    if (grown != NULL) {
        loop->epoll_events = grown;
        loop->epoll_events_size = size;
    }
}

static void
run_uv(PaLoop *loop)
{
    loop->uv_due = false;
    uv_run(&loop->uv, UV_RUN_NOWAIT);
}

int
pa_backend_wait(PaLoop *loop, int milliseconds)
{
    struct epoll_event *events = loop->epoll_events;
    int count = epoll_wait(loop->epoll_fd, events, loop->epoll_events_size,
                           loop->uv_due ? 0 : milliseconds);
    if (count < 0 && errno != EINTR) {
        return errno;
    }
    if (count <= 0 && !loop->uv_due) {
        return 0; /* time is up, or a signal came: the next turn sees it */
    }
    pa_loop_enter(loop);
    if (loop->uv_due) {
        run_uv(loop);
    }
    int uv_fd = uv_backend_fd(&loop->uv);
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == uv_fd) {
            run_uv(loop);
        }
        else if (fd != loop->wakeup_fd) { /* which has done its work: what was pushed is there */
            dispatch(loop, fd, events[i].events);
        }
    }
    if (count == loop->epoll_events_size) {
        grow_events(loop);
    }
    return 0;
}

void
pa_backend_wake(PaLoop *loop)
{
    uint64_t one = 1; /* never read: each write is an edge */
    if (write(loop->wakeup_fd, &one, sizeof(one)) < 0) {
        assert(errno == EINTR || errno == EAGAIN);
    }
}

/* ---- life */

static void
close_own(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static int
watch_own(PaLoop *loop, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int
pa_backend_open(PaLoop *loop)
{
    loop->epoll_events_size = FIRST_EVENTS;
    loop->epoll_events = PyMem_RawMalloc(FIRST_EVENTS * sizeof(struct epoll_event));
    if (loop->epoll_events == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wakeup_fd < 0 ||
        watch_own(loop, loop->wakeup_fd, EPOLLIN | EPOLLET) < 0 ||
        watch_own(loop, uv_backend_fd(&loop->uv), EPOLLIN) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        pa_backend_close(loop);
        return -1;
    }
    return 0;
}

void
pa_backend_fork(PaLoop *loop)
{
    close_own(&loop->epoll_fd); /* taking nothing out of it: the parent still uses it */
    (void)uv_loop_fork(&loop->uv);
}

void
pa_backend_close(PaLoop *loop)
{
    close_own(&loop->epoll_fd);
    close_own(&loop->wakeup_fd);
    PyMem_RawFree(loop->epoll_events);
    loop->epoll_events = NULL;
}

#endif
