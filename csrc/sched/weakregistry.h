/* sched/weakregistry.h: adding tasks to the WeakSet behind asyncio.all_tasks(), up to 3.13.
 *
 * The set is asyncio's own. WeakSet.add() and the callback of its references are Python code and
 * cost more than all the rest of a task's life; these are the same two in C, on the same data. */
#ifndef PA_SCHED_WEAKREGISTRY_H
#define PA_SCHED_WEAKREGISTRY_H

#include "base/state.h"

#if PY_VERSION_HEX < 0x030e0000

/* Finds the parts of the WeakSet; leaves them NULL when it is not made as expected. 0 or -1. */
int pa_weak_registry_init(PaState *st);

/* What asyncio's _register_task(task) does. 0 or -1. */
int pa_weak_registry_add(PaState *st, PyObject *task);

#endif
#endif
