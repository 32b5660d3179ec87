/* sched/timersort.h: sorting many due timers at once. */
#ifndef PA_SCHED_TIMERSORT_H
#define PA_SCHED_TIMERSORT_H

#include "sched/timerheap.h"

/* Sorts by (deadline, sequence). scratch has room for as many. */
void pa_timersort(PaTimerEntry *entries, PaTimerEntry *scratch, size_t count);

#endif
