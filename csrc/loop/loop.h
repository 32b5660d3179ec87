/* loop/loop.h: the loop object: a scheduler plus a uv_loop_t and what belongs to it.
 *
 * All of it belongs to the thread that runs the loop, with the GIL held, except where a comment
 * says otherwise. */
#ifndef PA_LOOP_LOOP_H
#define PA_LOOP_LOOP_H

#include "sched/sched.h" // first: Python.h decides which system interfaces are declared

#include "base/addrbook.h"
#include "base/sparebytes.h"

#include <uv.h>

typedef struct PaLoop PaLoop;
typedef struct PaMember PaMember;
typedef struct PaFdWatch PaFdWatch; // loop/fdwatch.c
typedef struct PaPoll PaPoll;       // loop/poll.h

#define PA_READ_BUFFER_SIZE (256 * 1024)

/* asyncio's transport classes have __slots__, and their storage comes right behind PyObject_HEAD in
 * every subclass: _extra, _high_water, _loop, _low_water, _protocol_paused. */
#define PA_ASYNCIO_SLOTS 5

/* What a type of member does for the loop. */
typedef struct {
    /* Its turn has come in the batch, after pa_loop_queue_member(). Errors are its own to report,
     * exits to be kept (pa_loop_callback_failed). */
    void (*ready)(PaMember *member);
    /* The loop is being closed: close the poll, forget the loop's services. Python code may not be
     * called. */
    void (*loop_closing)(PaMember *member);
} PaMemberKind;

/* The head of every object that embeds a PaPoll (transports, listeners). From the moment it is open
 * until its on_closed it is linked into loop->members, and the loop owns one reference to it. Socket
 * operations begin with it too, for the ready ring alone: they are never linked. */
struct PaMember {
    PyObject_HEAD
    PyObject *asyncio_slots[PA_ASYNCIO_SLOTS]; // of the base class; unused by other members
    PaLoop *loop;                              // owned
    PaMember *previous, *next;
    bool linked;
    const PaMemberKind *kind;
};

/* What the loop knows of one file descriptor. */
typedef struct {
    PaFdWatch *watch;    // owned: add_reader()/add_writer() callbacks, or NULL
    PaMember *transport; // borrowed: the open transport that uses it, or NULL
    PaPoll *poll;        // borrowed: whom the kernel's events are for, or NULL
    short armed;         // what the kernel watches it for
    bool registered;     // the kernel knows it, though perhaps to watch for nothing
} PaFdSlot;

struct PaLoop {
    PyObject_HEAD
    PaSched sched; // first: PaSchedObject

    PyObject *weakrefs;
    PyObject *task_factory;       // owned or NULL
    PyObject *pending_exit;       // owned: KeyboardInterrupt, SystemExit that I/O callbacks raised
    PyObject *old_asyncgen_hooks; // owned: sys.get_asyncgen_hooks() of before run_forever()
    PyObject *old_wakeup_fd;      // owned: what set_wakeup_fd() replaced, NULL when not armed
    bool time_overridden;         // a subclass or the instance brings its own time() ...
    bool call_soon_overridden;    // ... call_soon() ...
    bool call_at_overridden;      // ... call_at() ...
    bool call_soon_threadsafe_overridden; // ... call_soon_threadsafe() ...
    bool create_future_overridden;        // ... create_future()

    uv_loop_t uv;
    uv_poll_t signal_poll; // on signal_fds[0]
    int signal_fds[2];     // the pipe that set_wakeup_fd() writes to, -1 until first needed
    bool uv_open;          // uv is initialised and not yet closed
    bool signal_poll_open;
    bool hold_signals; // stay armed between runs: add_signal_handler() was used
    bool uv_due;       // libuv has to run before it can tell of what was begun with it

    uv_async_t wakeup; // backend_uv.c: from call_soon_threadsafe()
    uv_timer_t timer;  // backend_uv.c: bounds a blocking poll
    int wakeup_fd;     // backend_epoll.c: an eventfd for the same, -1 when closed
    int epoll_fd;      // backend_epoll.c: watches the descriptors and libuv, -1 when closed
    int epoll_events_size;
    struct epoll_event *epoll_events; // what the last poll found

    bool stopping;
    bool polling;            // inside a poll that may block: foreign threads must send the wake-up
    bool wakeup_sent;        // since the poll began
    PyThreadState *released; // the thread state while the GIL is released around polling

    /* adaptive polling, run.c */
    int vain_polls;        // polls in a row that found nothing while something was ready
    int batches_per_poll;  // 1 to 64
    int batches_left;      // batches still to run before the next poll
    int batches_unclocked; // of these, the next that need no look at the clock
    double last_poll;      // when polled last, seconds
    double last_clock;     // when the clock was read last
    bool io_seen;          // something happened in the last poll
    bool poll_again;       // it was for add_reader() or add_writer(), and may still be so

    PaPoll *changed_polls, *closed_polls; // for pa_poll_flush()

    PaFdSlot *fds; // by descriptor
    int fds_size;
    PyObject *stock_transports; // owned: the dict inside of _transports, once it was needed

    PaMember *members; // open transports and listeners; one reference each

    /* net/flush.c sets it when the first transport has writes waiting: sends what callbacks wrote
     * since the last poll. Called before every poll and when the loop stops; NULL when nothing
     * waits. The list is its own (a borrowed chain of transports, oldest write first). */
    void (*flush)(PaLoop *loop);
    void *flush_head, *flush_tail;
    size_t flush_size; // bytes of those that hold more than their high-water mark
    bool flushing;
    /* what protocols answered since their sockets were read, also net/flush.c */
    int flush_group;          // answers that wait for each other
    int flush_halvings;       // of the largest such group, while they take long
    int flush_alone;          // answers that left one by one since then
    double flush_group_began; // seconds

    char *read_buffer; // PA_READ_BUFFER_SIZE bytes, made at the first read (pa_loop_read_buffer)
    PaSpareBytes spare_bytes; // for what is received
    PaAddrBook *addresses;    // of datagrams' senders, NULL until one was heard
    long pid;                 // of the process that made the loop
    unsigned int forks;       // count of that process, fork.c
};

/* ---- run.c */

/* To be called first when a poll has found something: takes the GIL back if the poll released it,
 * and leaves the current task. */
void pa_loop_enter(PaLoop *loop);
/* The same for close callbacks: a failure to leave the current task is not reported. */
void pa_loop_enter_quietly(PaLoop *loop);

/* Raises the exit that was kept, if any. 0 or -1. */
int pa_loop_raise_kept_exit(PaLoop *loop);

/* The raised exception is to end run_forever(). Clears it. */
void pa_loop_keep_exit(PaLoop *loop);

/* To be called by a libuv callback when Python code that it called has raised: KeyboardInterrupt
 * and SystemExit are kept to be raised by run_forever(); anything else goes to the exception
 * handler under `message`. Clears the exception. */
void pa_loop_callback_failed(PaLoop *loop, const char *message);

/* Stops skipping polls: new watcher, new write, more to be read. */
static inline void
pa_loop_poll_soon(PaLoop *loop)
{
    loop->vain_polls = 0;
    loop->batches_left = 0;
}

/* RuntimeError('Event loop is closed') and -1 when it is. */
int pa_loop_check_closed(PaLoop *loop);

PyObject *pa_loop_run_forever(PyObject *self, PyObject *ignored);

/* ---- fork.c */

/* Notes the process that makes the loop. 0, or -1 with OSError. */
int pa_loop_note_process(PaLoop *loop);
/* Whether this process is a forked child of that one. */
bool pa_loop_is_forked(PaLoop *loop);
/* The same as RuntimeError and -1; else 0. */
int pa_loop_check_fork(PaLoop *loop);

/* The module's function _own_methods(). */
PyObject *pa_loop_own_methods(PyObject *module, PyObject *type);
extern const char pa_loop_own_methods_doc[];

/* ---- clock.c */

/* loop.time() in seconds. -1.0 with an exception when an overriding time() raises. */
double pa_loop_time(PaLoop *loop);
/* The system's monotonic clock, in seconds. */
double pa_monotonic(void);
/* What time.monotonic() returns, in seconds, which is the same unless that was replaced; then -1.0 with
 * what it raises. */
double pa_clock_time(PaState *st);
/* Whether pa_clock_time() calls Python code. */
bool pa_clock_is_replaced(PaState *st);
/* Once for the module. 0 or -1. */
int pa_clock_init(PaState *st);
/* Finds out which of time(), call_soon(), call_at(), create_future() the type or the instance
 * overrides. 0 or -1. */
int pa_loop_find_overrides(PaLoop *loop);

/* ---- schedule.c */

/* loop.call_soon(callback, *args, context=context) from C, without the checks of debug mode;
 * goes through an overriding call_soon(). 0 or -1. */
int pa_loop_call_soon(PaLoop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *context);

/* loop.call_soon_threadsafe(callback, *args) from C, in any thread that holds the GIL, without the
 * checks of debug mode; goes through an overriding one. 0 or -1. */
int pa_loop_call_soon_threadsafe(PaLoop *loop, PyObject *callback, PyObject *const *args,
                                 Py_ssize_t nargs);

/* ---- signals.c */

/* Arms signal.set_wakeup_fd() on the main thread; a no-op on others. 0 or -1. */
int pa_loop_arm_signals(PaLoop *loop);
/* Restores what was armed before. Keeps a raised exception. */
void pa_loop_disarm_signals(PaLoop *loop);
/* Method _hold_signals(flag): stay armed outside run_forever() too, or no longer. */
PyObject *pa_loop_hold_signals(PyObject *self, PyObject *flag);

/* ---- report.c */

/* loop.call_exception_handler({"message": message, "exception": exc, **extra}); extra is a dict
 * or NULL, borrowed. An exit raised by the handler is kept as the loop's pending exit. */
void pa_loop_report(PaLoop *loop, const char *message, PyObject *exc, PyObject *extra);

/* ---- members.c */

/* Takes a reference to member for the loop. */
void pa_loop_link(PaLoop *loop, PaMember *member);
/* To be called when the handle's close callback has run: drops that reference; member may die. */
void pa_loop_unlink(PaMember *member);
/* Runs a member's entry of the ready ring. 0, or -1 with an exit raised. */
int pa_loop_run_ready(PyObject *member);
/* The slot of fd (grown as needed), NULL with MemoryError. Valid until the next call. */
PaFdSlot *pa_loop_fd_slot(PaLoop *loop, int fd);
/* The shared read buffer, NULL with MemoryError. */
char *pa_loop_read_buffer(PaLoop *loop);

/* ---- fdwatch.c */

/* Drops the callbacks and closes the poll of every watched descriptor. */
void pa_fdwatch_close_all(PaLoop *loop);
int pa_fdwatch_traverse(PaLoop *loop, visitproc visit, void *arg);
/* loop._add_reader(fd, callback) or _add_writer(): event is UV_READABLE or UV_WRITABLE. New
 * reference to the Handle, NULL with an exception; RuntimeError when a transport uses fd. */
PyObject *pa_fdwatch_add(PaLoop *loop, int fd, int event, PyObject *callback);
/* The same for a PaSockOp, whose kind->ready() is to run without a Handle. 0 or -1. */
int pa_fdwatch_add_operation(PaLoop *loop, int fd, int event, PyObject *op);
/* Takes back what pa_fdwatch_add() gave, or the operation, unless another has replaced it; the
 * descriptor stays prepared for the next one. 0 or -1. */
int pa_fdwatch_remove(PaLoop *loop, int fd, int event, PyObject *watcher);
/* Forgets what the above has left: fd may be another file by now, or is going to be watched by
 * others. */
void pa_fdwatch_forget(PaLoop *loop, int fd);

/* ---- handles: every uv_*_init and every close callback is counted, so that tests see a leak */

static inline void
pa_loop_handle_opened(PaLoop *loop)
{
    loop->sched.st->live_handles++;
}

static inline void
pa_loop_handle_closed(PaLoop *loop)
{
    loop->sched.st->live_handles--;
}

/* OSError (its subclass by errno) for a libuv error code; always -1. */
int pa_uv_error(int err);

/* ---- methods of _core.Loop, by file */
extern PyMethodDef pa_loop_schedule_methods[];
extern PyMethodDef pa_loop_fdwatch_methods[];
extern PyMethodDef pa_loop_sock_methods[]; // sockops.c
extern PyMethodDef pa_loop_executor_methods[];

/* The OSError of a connect to address that has failed with the errno, worded as asyncio's. New
 * reference; sockattempt.c. */
PyObject *pa_connect_error(int code, PyObject *address);

/* The type behind the loop's sock_*(), sockwait.c. 0 or -1. */
int pa_socket_operation_init_type(PyObject *module, PaState *st);

/* What executor.c keeps in the state. 0 or -1. */
int pa_executor_init_type(PyObject *module, PaState *st);

int pa_loop_init_type(PyObject *module, PaState *st);

#endif
