/* loop/poll.h: PaPoll, readiness of one file descriptor.
 *
 * What to watch for is noted (pa_poll_watch) and told to the kernel just before the poll, all changes
 * of a turn at once; when the kernel refuses a descriptor then, because it was closed behind our back
 * or there is no memory or watch left for it, its owner is told by a callback with PA_POLL_GONE.
 * add_reader() and the like, which have to raise, tell the kernel at once (pa_poll_watch_now). The
 * kernel's side is in backend.h.
 *
 * A transport or listener does not act inside the poll: it takes its place in the ready ring
 * (pa_poll_queue), behind what was ready before and ahead of due timers, as asyncio's reader and
 * writer handles do. An event that is no longer watched when its turn comes is dropped.
 *
 * Embedded in its owner; open from pa_poll_open() until on_closed. */
#ifndef PA_LOOP_POLL_H
#define PA_LOOP_POLL_H

#include "loop/loop.h"

#if defined(__linux__) && !defined(PA_UV_POLL)
#define PA_EPOLL
#endif

#define PA_POLL_GONE (1 << 8) // the kernel will not watch the descriptor: poll->refusal

/* events: UV_READABLE | UV_WRITABLE; both after an error condition, so that the owner's system
 * call finds the errno; or PA_POLL_GONE alone. Called with the GIL, from the poll. May do
 * anything, closing this poll included. */
typedef void (*PaPollCallback)(PaPoll *poll, int events);
typedef void (*PaPollClosed)(PaPoll *poll);

struct PaPoll {
#ifndef PA_EPOLL
    uv_poll_t uv;
#endif
    PaLoop *loop; // borrowed: the owner keeps it alive
    PaPollCallback on_ready;
    PaPollClosed on_closed;
    PaPoll *next_changed, *previous_changed; // next_changed links closed ones, too
    int fd;
    short events;  // to be watched
    short fired;   // of these, what its owner in the ready ring has still to act on
    short refusal; // errno of PA_POLL_GONE: EBADF when the descriptor was closed behind our back
    bool changed;  // events, since the kernel was told
    bool oneshot;  // the kernel stops watching with the first event (for socket operations, which
                   // come again and again: set before the first watch)
};

/* 0, or -1 with OSError. Leaves the blocking mode of fd as it was. */
int pa_poll_open(PaPoll *poll, PaLoop *loop, int fd, PaPollCallback on_ready);

/* Watches UV_READABLE, UV_WRITABLE, both or nothing (0). Cannot fail. */
void pa_poll_watch(PaPoll *poll, int events);

/* The same at once. 0, or -1 with OSError and nothing watched (PermissionError for regular files, as
 * epoll says). */
int pa_poll_watch_now(PaPoll *poll, int events);

/* Stops and closes. on_closed runs in a later turn (or in loop.close()), with the GIL; the memory
 * must live until then. */
void pa_poll_close(PaPoll *poll, PaPollClosed on_closed);

/* The owner's kind->ready() runs in the next batch, once for all events until then. */
void pa_poll_queue(PaPoll *poll, PaMember *owner, int events);

/* The queued events that still are to be acted on, which are so no longer. May be 0. */
static inline int
pa_poll_take(PaPoll *poll)
{
    int fired = poll->fired;
    poll->fired = 0;
    return fired;
}

/* Called before every poll: tells the kernel what changed, lets closed polls go. */
void pa_poll_flush(PaLoop *loop);

/* ---- for the backend */

/* What the kernel watches is no longer poll->events: to be told again. */
void pa_poll_note_change(PaPoll *poll);
/* To be called once for a released poll: on_closed(). */
void pa_poll_closed(PaPoll *poll);

#endif
