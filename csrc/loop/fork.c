/* loop/fork.c: whether this process is still the one that made the loop.
 *
 * A loop shares its epoll with the forked children of its process, which must not use it. Whoever is
 * about to watch a descriptor asks, so it has to cost less than getpid(), which is a system call: a
 * handler that fork() runs in the child counts. The count belongs to the process, as no state of a
 * module or an interpreter does, and is all that the handler touches: other threads' locks are not to
 * be had there. A child made without fork()'s handlers (vfork(), clone()) is not noticed; Python code
 * does not run in one. */
#include "loop/loop.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static unsigned int forks; // between this process and the one that loaded the module
static int watch_error;
static pthread_once_t watched = PTHREAD_ONCE_INIT;

static void
count_fork(void)
{
    forks++;
}

static void
watch_forks(void)
{
    watch_error = pthread_atfork(NULL, NULL, count_fork);
}

int
pa_loop_note_process(PaLoop *loop)
{
    pthread_once(&watched, watch_forks);
    if (watch_error != 0) {
        errno = watch_error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    loop->pid = (long)getpid();
    loop->forks = forks;
    return 0;
}

bool
pa_loop_is_forked(PaLoop *loop)
{
    return loop->forks != forks;
}

int
pa_loop_check_fork(PaLoop *loop)
{
    if (!pa_loop_is_forked(loop)) {
        return 0;
    }
    PyErr_Format(
        PyExc_RuntimeError,
        "this event loop was made in process %ld and cannot be used in its forked child %ld: "
        "make a new one there with pyasync.new_event_loop()",
        loop->pid, (long)getpid());
    return -1;
}
