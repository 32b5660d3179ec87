/* sched/snapshot.h: the contexts that callbacks run in, copied only where somebody can tell.
 *
 * asyncio copies the current context for every handle. Most callbacks change no variable and nobody
 * asks for their context, so a handle keeps a snapshot instead: one copy that all handles share which
 * were made while the variables were the same, and that is never entered. To run a callback, a
 * scratch copy of it is entered, which serves the next callback too if this one has left it
 * unchanged and unseen. Whether variables are the same is seen by the address of the immutable map
 * that holds them; where it stands in a context is found and proved at import (pa_snapshot_find),
 * and where that fails every handle gets a copy as in asyncio.
 *
 * The snapshot keeps values of variables alive, so it is dropped before the loop sleeps. */
#ifndef PA_SCHED_SNAPSHOT_H
#define PA_SCHED_SNAPSHOT_H

#include "sched/sched.h"

/* Sets st->context_map_offset, 0 when contexts are not laid out as expected. 0 or -1. */
int pa_snapshot_find(PaState *st);

/* A new reference to what stands for a copy of the current context, or NULL. *shared is true when
 * it is a snapshot, which may not be entered nor shown: pa_snapshot_scratch(), PyContext_Copy(). */
PyObject *pa_snapshot_take(PaSched *sched, bool *shared);

/* A context of its own to run a callback in that holds `snapshot`. A new reference or NULL. */
PyObject *pa_snapshot_scratch(PaSched *sched, PyObject *snapshot);

/* Gives the context of pa_snapshot_scratch() back; with reuse when nobody can know of it. */
void pa_snapshot_give_back_steal(PaSched *sched, PyObject *context, PyObject *snapshot, bool reuse);

/* Forgets both. Values of variables may die: anything may happen. */
void pa_snapshot_drop(PaSched *sched);

#endif
