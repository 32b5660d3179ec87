/* loop/poll.h: PaPoll, readiness of one file descriptor: a uv_poll_t that cannot abort.
 *
 * libuv registers a descriptor with the kernel only when the loop polls, and aborts the process
 * when the kernel refuses it then, which a program can bring about by closing a descriptor that it
 * still watches. So every change is noted in loop->changed_polls, and just before the poll each
 * noted descriptor is checked (pa_poll_flush_changes); one that is no longer valid is stopped and
 * its owner told by a callback with PA_POLL_GONE. Changing the mask of an active poll stops it
 * first, so that libuv always adds and never modifies a registration that may have gone.
 *
 * A transport or listener does not act inside the poll: it takes its place in the ready ring
 * (pa_poll_queue), behind what was ready before and ahead of due timers, as asyncio's reader and
 * writer handles do. An event that is no longer watched when its turn comes is dropped.
 *
 * Embedded in its owner; open from pa_poll_open() to the close callback. */
#ifndef PA_LOOP_POLL_H
#define PA_LOOP_POLL_H

#include "loop/loop.h"

#define PA_POLL_GONE (1 << 8) // the descriptor was closed behind our back

typedef struct PaPoll PaPoll;

/* events: UV_READABLE | UV_WRITABLE; both after an error condition, so that the owner's system
 * call finds the errno; or PA_POLL_GONE alone. Called with the GIL, from the poll. May do
 * anything, closing this poll included. */
typedef void (*PaPollCallback)(PaPoll *poll, int events);
typedef void (*PaPollClosed)(PaPoll *poll);

struct PaPoll {
    uv_poll_t uv;
    PaLoop *loop; // borrowed: the owner keeps it alive
    PaPollCallback on_ready;
    PaPollClosed on_closed;
    PaPoll *next_changed, *previous_changed;
    int fd;
    short events; // watched now
    short fired;  // of these, what its owner in the ready ring has still to act on
    bool changed;
};

/* 0, or -1 with OSError (PermissionError for regular files, as epoll says). Leaves the blocking
 * mode of fd as it was. */
int pa_poll_open(PaPoll *poll, PaLoop *loop, int fd, PaPollCallback on_ready);

/* Watches UV_READABLE, UV_WRITABLE, both or nothing (0). Cannot fail. */
void pa_poll_watch(PaPoll *poll, int events);

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

/* Called before every poll. */
void pa_poll_flush_changes(PaLoop *loop);

#endif
