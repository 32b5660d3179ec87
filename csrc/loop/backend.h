/* loop/backend.h: how the loop learns that descriptors are ready: the kernel's side of PaPoll.
 *
 * On Linux that is an epoll of our own, in which libuv's loop is one descriptor among many
 * (backend_epoll.c); elsewhere a uv_poll_t for each (backend_uv.c). Building with -DPA_UV_POLL takes
 * the second on Linux too. Only this folder calls these. */
#ifndef PA_LOOP_BACKEND_H
#define PA_LOOP_BACKEND_H

#include "loop/poll.h"

/* Makes what the loop needs, after uv_loop_init(). 0, or -1 with OSError. */
int pa_backend_open(PaLoop *loop);
/* In a forked child: lets go of what is shared with the parent, before the rest is closed. */
void pa_backend_fork(PaLoop *loop);
/* After every poll was closed and before uv_loop_close(). */
void pa_backend_close(PaLoop *loop);

/* Prepares a poll whose loop and fd are set. 0, or -1 with OSError. */
int pa_backend_prepare(PaPoll *poll);
/* Has the kernel watch for poll->events from now on. 0 or an errno. */
int pa_backend_arm(PaPoll *poll);
/* Watches no more; pa_poll_closed() is to follow, in a later turn. */
void pa_backend_release(PaPoll *poll);

/* Ends a wait from another thread. */
void pa_backend_wake(PaLoop *loop);

/* Waits for at most `milliseconds` (0 does not block, negative: for ever) and calls on_ready of what
 * is ready. Entered with or without the GIL, as pa_loop_enter() takes it; left with it if there was
 * anything to tell. 0, or the errno of a wait that is not possible any more. */
int pa_backend_wait(PaLoop *loop, int milliseconds);

#endif
