/* loop/fdwatch.c: add_reader(), add_writer() and their siblings, public and underscored.
 *
 * A descriptor with a callback has one PaFdWatch, which embeds the poll and owns the two Handles.
 * A ready descriptor queues its Handle, so the callback runs in the same batch as everything else
 * that is ready; in place of a Handle a socket operation may stand, which is repeated without one. The
 * watch is closed when both callbacks are gone; only socket operations, which come again and again,
 * leave an idle one: it watches nothing, so that its descriptor may be closed and used otherwise. */
#include "base/keywords.h"
#include "loop/poll.h"
#include "loop/sockop.h"
#include "sched/handle.h"

#include <limits.h>
#include <string.h>

enum { TOO_LARGE = INT_MAX }; // for a descriptor

struct PaFdWatch {
    PaPoll poll;
    PyObject *fileobj; // owned: what was added first, found by it once closed; NULL of operations
    PyObject *reader;  // owned: Handle, PaSockOp or NULL
    PyObject *writer;  // likewise
};

/* ---- the watch */

static int
wanted_events(const PaFdWatch *watch)
{
    return (watch->reader != NULL ? UV_READABLE : 0) | (watch->writer != NULL ? UV_WRITABLE : 0);
}

static void
watch_closed(PaPoll *poll)
{
    PyMem_RawFree((PaFdWatch *)poll);
}

static inline bool
is_operation(const PaLoop *loop, PyObject *watcher)
{
    return Py_IS_TYPE(watcher, loop->sched.st->socket_operation_type);
}

/* Cancels what was taken out of a watch, so that it does not run if it is queued; NULL is nothing. 0
 * or -1. */
static int
cancel_steal(const PaLoop *loop, PyObject *watcher)
{
    int err = 0;
    if (watcher == NULL) {
        return 0;
    }
    if (is_operation(loop, watcher)) {
        ((PaSockOp *)watcher)->watched = false;
    }
    else {
        err = pa_handle_cancel(watcher);
    }
    Py_DECREF(watcher);
    return err;
}

/* Adapts the poll to the handles that are left; closes it when there is none. */
static void
watch_update(PaLoop *loop, PaFdWatch *watch)
{
    int events = wanted_events(watch);
    if (events != 0) {
        pa_poll_watch(&watch->poll, events);
        return;
    }
    PyObject *fileobj = watch->fileobj;
    loop->fds[watch->poll.fd].watch = NULL;
    pa_poll_close(&watch->poll, watch_closed);
    Py_XDECREF(fileobj);
}

/* Queues *slot, or forgets it when it is a handle that was cancelled directly. */
static void
queue_watcher(PaLoop *loop, PyObject **slot)
{
    if (*slot == NULL) {
        return;
    }
    PaEntryKind kind = is_operation(loop, *slot) ? PA_ENTRY_READY : PA_ENTRY_HANDLE;
    if (kind == PA_ENTRY_HANDLE && pa_handle_is_cancelled(loop->sched.st, *slot)) {
        Py_CLEAR(*slot);
        return;
    }
    loop->poll_again |= kind == PA_ENTRY_HANDLE; /* which may leave the descriptor ready */
    if (pa_ring_push(&loop->sched.ring, kind, *slot, NULL) < 0) {
        pa_loop_callback_failed(loop, "Cannot queue a descriptor's callback");
    }
}

static void
watch_ready(PaPoll *poll, int events)
{
    PaFdWatch *watch = (PaFdWatch *)poll;
    PaLoop *loop = poll->loop;
    if (events & PA_POLL_GONE) {
        /* As with epoll, a closed descriptor just falls silent; its callbacks stay registered
         * until they are removed. */
        return;
    }
    if (events & UV_READABLE) {
        queue_watcher(loop, &watch->reader);
    }
    if (events & UV_WRITABLE) {
        queue_watcher(loop, &watch->writer);
    }
    if (wanted_events(watch) != poll->events) {
        watch_update(loop, watch);
    }
}

/* The watch of fd, made when there is none; NULL with an exception. */
static PaFdWatch *
watch_get(PaLoop *loop, int fd, bool oneshot)
{
    PaFdSlot *slot = pa_loop_fd_slot(loop, fd);
    if (slot == NULL) {
        return NULL;
    }
    if (slot->watch != NULL) {
        return slot->watch;
    }
    PaFdWatch *watch = PyMem_RawCalloc(1, sizeof(PaFdWatch));
    if (watch == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (pa_poll_open(&watch->poll, loop, fd, watch_ready) < 0) {
        PyMem_RawFree(watch);
        return NULL;
    }
    watch->poll.oneshot = oneshot;
    loop->fds[fd].watch = watch;
    return watch;
}

void
pa_fdwatch_close_all(PaLoop *loop)
{
    for (int fd = 0; fd < loop->fds_size; fd++) {
        PaFdWatch *watch = loop->fds[fd].watch;
        if (watch == NULL) {
            continue;
        }
        loop->fds[fd].watch = NULL;
        PyObject *reader = watch->reader, *writer = watch->writer, *fileobj = watch->fileobj;
        watch->reader = watch->writer = watch->fileobj = NULL;
        pa_poll_close(&watch->poll, watch_closed);
        Py_XDECREF(reader);
        Py_XDECREF(writer);
        Py_XDECREF(fileobj);
    }
}

int
pa_fdwatch_traverse(PaLoop *loop, visitproc visit, void *arg)
{
    for (int fd = 0; fd < loop->fds_size; fd++) {
        if (loop->fds[fd].watch != NULL) {
            Py_VISIT(loop->fds[fd].watch->fileobj);
            Py_VISIT(loop->fds[fd].watch->reader);
            Py_VISIT(loop->fds[fd].watch->writer);
        }
    }
    return 0;
}

/* ---- arguments */

/* The number of a descriptor or of an object with fileno(), which is negative once that is closed: a
 * new int, or NULL with ValueError, worded as by the selectors that asyncio uses. */
static PyObject *
number_of(const PaLoop *loop, PyObject *fileobj)
{
    if (PyLong_Check(fileobj)) {
        return Py_NewRef(fileobj);
    }
    PyObject *number = PyObject_CallMethodNoArgs(fileobj, loop->sched.st->names.fileno);
    if (number != NULL) {
        Py_SETREF(number, PyNumber_Long(number));
    }
    if (number == NULL &&
        (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError) ||
         PyErr_ExceptionMatches(PyExc_ValueError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
    }
    return number;
}

/* An int as a descriptor, TOO_LARGE for what none can be; -1 with ValueError if it is negative. */
static int
descriptor_of(PyObject *number)
{
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow > 0 || fd > TOO_LARGE) {
        return TOO_LARGE;
    }
    if (overflow < 0 || fd < 0) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
        return -1;
    }
    return (int)fd;
}

/* The descriptor that was added as this object, -1 if none was. */
static int
find_added(const PaLoop *loop, const PyObject *fileobj)
{
    for (int fd = 0; fd < loop->fds_size; fd++) {
        if (loop->fds[fd].watch != NULL && loop->fds[fd].watch->fileobj == fileobj) {
            return fd;
        }
    }
    return -1;
}

/* The descriptor of fileobj; of one that has been closed, the one as which it was added. -1 with
 * ValueError if there is neither. */
static int
fd_of(const PaLoop *loop, PyObject *fileobj)
{
    PyObject *number = number_of(loop, fileobj);
    int fd = number == NULL ? -1 : descriptor_of(number);
    Py_XDECREF(number);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        fd = find_added(loop, fileobj);
        if (fd >= 0) {
            PyErr_Clear();
        }
    }
    return fd;
}

/* How many entries _transports has, dead ones among them, or -1. It is a WeakValueDictionary, whose
 * own dict is remembered: asking the former costs more than all the rest of a socket operation's
 * watch. */
static Py_ssize_t
count_stock_transports(PaLoop *loop)
{
    if (loop->stock_transports != NULL) {
        return PyDict_GET_SIZE(loop->stock_transports);
    }
    PaNames *names = &loop->sched.st->names;
    PyObject *noted = PyObject_GetAttr((PyObject *)loop, names->_transports), *dict = NULL;
    int has_dict = noted == NULL ? -1 : PyObject_GetOptionalAttr(noted, names->data, &dict);
    Py_ssize_t count = has_dict < 0 ? -1 : PyObject_Size(has_dict ? dict : noted);
    if (has_dict > 0 && PyDict_CheckExact(dict)) {
        loop->stock_transports = Py_NewRef(dict);
    }
    Py_XDECREF(noted);
    Py_XDECREF(dict);
    return count;
}

/* The same for the standard library's own transports, which note themselves in _transports. */
static int
ensure_no_stock_transport(PaLoop *loop, PyObject *fileobj)
{
    Py_ssize_t count = count_stock_transports(loop);
    if (count <= 0) {
        return (int)count;
    }
    PyObject *reply = PyObject_CallMethod(loop->sched.st->asyncio.BaseSelectorEventLoop,
                                          "_ensure_fd_no_transport", "OO", loop, fileobj);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

static inline bool
has_transport(const PaLoop *loop, int fd)
{
    return fd < loop->fds_size && loop->fds[fd].transport != NULL;
}

/* RuntimeError when an open transport uses fd: two readers of one descriptor steal from each
 * other. */
static int
ensure_no_transport(PaLoop *loop, PyObject *fileobj, int fd)
{
    if (!has_transport(loop, fd)) {
        return 0;
    }
    PyObject *transport = Py_NewRef(loop->fds[fd].transport);
    PyObject *closing = PyObject_CallMethod(transport, "is_closing", NULL);
    int is_closing = closing == NULL ? -1 : PyObject_IsTrue(closing);
    Py_XDECREF(closing);
    if (is_closing == 0) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fileobj,
                     transport);
    }
    Py_DECREF(transport);
    return is_closing == 1 ? 0 : -1;
}

/* What the public methods ask first, also of an object that is closed. */
static int
ensure_public(PaLoop *loop, PyObject *fileobj)
{
    PyObject *number = number_of(loop, fileobj);
    if (number == NULL) {
        return -1;
    }
    int overflow;
    long fd = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (fd >= 0 && fd < loop->fds_size && ensure_no_transport(loop, fileobj, (int)fd) < 0) {
        return -1;
    }
    return ensure_no_stock_transport(loop, fileobj);
}

/* ---- add and remove */

static PyObject **
slot_of(PaFdWatch *watch, int event)
{
    return event == UV_READABLE ? &watch->reader : &watch->writer;
}

/* The watch of fd, watching for event too; NULL with an exception. */
static PaFdWatch *
watch_for(PaLoop *loop, int fd, int event, bool oneshot)
{
    PaFdWatch *watch = watch_get(loop, fd, oneshot);
    if (watch == NULL || pa_poll_watch_now(&watch->poll, wanted_events(watch) | event) == 0) {
        return watch;
    }
    if (wanted_events(watch) == 0) {
        watch_update(loop, watch);
    }
    return NULL;
}

/* Makes watcher the one that is queued when fd, added as fileobj, is ready for event. 0 or -1. */
static int
put(PaLoop *loop, int fd, PyObject *fileobj, int event, PyObject *watcher, bool oneshot)
{
    PaFdWatch *watch = watch_for(loop, fd, event, oneshot);
    if (watch == NULL) {
        return -1;
    }
    PyObject **slot = slot_of(watch, event);
    PyObject *old = *slot;
    *slot = Py_NewRef(watcher);
    if (watch->fileobj == NULL) {
        watch->fileobj = Py_XNewRef(fileobj);
    }
    return cancel_steal(loop, old);
}

/* New reference to the Handle that now watches fd, added as fileobj, for event. */
static PyObject *
add(PaLoop *loop, int fd, PyObject *fileobj, int event, PyObject *callback, PyObject *const *args,
    Py_ssize_t nargs, PyObject *context)
{
    PyObject *handle = pa_handle_new(&loop->sched, callback, args, nargs, context);
    if (handle == NULL) {
        return NULL;
    }
    PyObject_GC_Track(handle);
    bool oneshot = fileobj == NULL; /* of a socket operation */
    if (put(loop, fd, fileobj, event, handle, oneshot) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

/* True or False: whether fd was watched for event. */
static PyObject *
drop(PaLoop *loop, int fd, int event)
{
    if (fd >= loop->fds_size || loop->fds[fd].watch == NULL) {
        Py_RETURN_FALSE;
    }
    PaFdWatch *watch = loop->fds[fd].watch;
    PyObject **slot = slot_of(watch, event);
    if (*slot == NULL) {
        Py_RETURN_FALSE;
    }
    PyObject *watcher = *slot;
    *slot = NULL;
    watch_update(loop, watch);
    return cancel_steal(loop, watcher) < 0 ? NULL : Py_NewRef(Py_True);
}

static PyObject *
add_checked(PyObject *self, PyObject *const *args, Py_ssize_t nargs, int event, bool is_public,
            PyObject *context)
{
    PaLoop *loop = (PaLoop *)self;
    if ((is_public && ensure_public(loop, args[0]) < 0) || pa_loop_check_closed(loop) < 0) {
        return NULL;
    }
    int fd = fd_of(loop, args[0]);
    if (fd == TOO_LARGE) {
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    }
    if (fd < 0 || fd == TOO_LARGE) {
        return NULL;
    }
    pa_fdwatch_forget(loop, fd); /* what it is now may be no file that can be watched */
    PyObject *handle = add(loop, fd, args[0], event, args[1], args + 2, nargs - 2, context);
    if (handle != NULL && is_public) {
        Py_DECREF(handle);
        Py_RETURN_NONE;
    }
    return handle;
}

static PyObject *
drop_checked(PyObject *self, PyObject *fileobj, int event, bool is_public)
{
    PaLoop *loop = (PaLoop *)self;
    if (is_public && ensure_public(loop, fileobj) < 0) {
        return NULL;
    }
    if (loop->sched.closed) {
        Py_RETURN_FALSE;
    }
    int fd = fd_of(loop, fileobj);
    return fd < 0 ? NULL : drop(loop, fd, event);
}

/* ---- for socket operations */

/* No transport uses fd, or RuntimeError and -1. */
static int
ensure_free(PaLoop *loop, int fd)
{
    Py_ssize_t suspects = has_transport(loop, fd) ? 1 : count_stock_transports(loop);
    if (suspects <= 0) {
        return (int)suspects; /* most often, and without an object for the number */
    }
    PyObject *number = PyLong_FromLong(fd);
    int err = number == NULL || ensure_no_transport(loop, number, fd) < 0 ||
              ensure_no_stock_transport(loop, number) < 0;
    Py_XDECREF(number);
    return err ? -1 : 0;
}

PyObject *
pa_fdwatch_add(PaLoop *loop, int fd, int event, PyObject *callback)
{
    if (ensure_free(loop, fd) < 0 || pa_loop_check_closed(loop) < 0) {
        return NULL;
    }
    return add(loop, fd, NULL, event, callback, NULL, 0, NULL);
}

int
pa_fdwatch_add_operation(PaLoop *loop, int fd, int event, PyObject *op)
{
    if (ensure_free(loop, fd) < 0 || pa_loop_check_closed(loop) < 0) {
        return -1;
    }
    return put(loop, fd, NULL, event, op, true);
}

int
pa_fdwatch_remove(PaLoop *loop, int fd, int event, PyObject *watcher)
{
    PaFdWatch *watch = fd < loop->fds_size ? loop->fds[fd].watch : NULL;
    if (watch == NULL || *slot_of(watch, event) != watcher) {
        return 0;
    }
    *slot_of(watch, event) = NULL;
    /* At once: the descriptor may be closed next, and live on in a copy that nobody could silence. */
    if (pa_poll_watch_now(&watch->poll, wanted_events(watch)) < 0) {
        PyErr_Clear(); /* closed already */
    }
    PyObject *fileobj = NULL;
    if (wanted_events(watch) == 0) { /* the watch stays, idle */
        fileobj = watch->fileobj;
        watch->fileobj = NULL;
    }
    int err = cancel_steal(loop, watcher);
    Py_XDECREF(fileobj);
    return err;
}

void
pa_fdwatch_forget(PaLoop *loop, int fd)
{
    PaFdWatch *watch = fd < loop->fds_size ? loop->fds[fd].watch : NULL;
    if (watch != NULL && wanted_events(watch) == 0) {
        watch_update(loop, watch);
    }
}

/* ---- methods */

static const char *const fd_and_callback[] = {"fd", "callback", NULL};

static int
refuse_keywords(const char *method, PyObject *kwnames)
{
    if (kwnames == NULL) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", method,
                 PyTuple_GET_ITEM(kwnames, 0));
    return -1;
}

PyDoc_STRVAR(add_reader_doc,
             "add_reader($self, fd, callback, *args)\n--\n\n"
             "Call callback(*args) whenever fd is readable, until remove_reader(fd).\n\n"
             "fd is a file descriptor or an object with fileno(). Replaces an earlier reader of\n"
             "fd. Raises ValueError for an invalid descriptor, RuntimeError when a transport uses\n"
             "fd, OSError when the kernel can't watch it (regular files: PermissionError).\n"
             "Stands for asyncio's loop.add_reader().");

static PyObject *
add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 2) {
        return pa_call_with_positions(add_reader, "add_reader", fd_and_callback, self, args, nargs,
                                      kwnames);
    }
    return refuse_keywords("add_reader", kwnames) < 0
               ? NULL
               : add_checked(self, args, nargs, UV_READABLE, true, NULL);
}

PyDoc_STRVAR(add_writer_doc,
             "add_writer($self, fd, callback, *args)\n--\n\n"
             "Call callback(*args) whenever fd is writable, until remove_writer(fd).\n\n"
             "Arguments and errors are those of add_reader(). Stands for asyncio's\n"
             "loop.add_writer().");

static PyObject *
add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    if (nargs < 2) {
        return pa_call_with_positions(add_writer, "add_writer", fd_and_callback, self, args, nargs,
                                      kwnames);
    }
    return refuse_keywords("add_writer", kwnames) < 0
               ? NULL
               : add_checked(self, args, nargs, UV_WRITABLE, true, NULL);
}

PyDoc_STRVAR(remove_reader_doc, "remove_reader($self, fd)\n--\n\n"
                                "Stop watching fd for reading; return False if it was not "
                                "watched.\n\nStands for asyncio's loop.remove_reader().");

static PyObject *
remove_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fd = pa_only_argument("remove_reader", "fd", args, nargs, kwnames);
    return fd == NULL ? NULL : drop_checked(self, fd, UV_READABLE, true);
}

PyDoc_STRVAR(remove_writer_doc, "remove_writer($self, fd)\n--\n\n"
                                "Stop watching fd for writing; return False if it was not "
                                "watched.\n\nStands for asyncio's loop.remove_writer().");

static PyObject *
remove_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fd = pa_only_argument("remove_writer", "fd", args, nargs, kwnames);
    return fd == NULL ? NULL : drop_checked(self, fd, UV_WRITABLE, true);
}

/* The underscored ones serve the standard library's own transports and sock_*(): no check for
 * transports, a Handle as result, and context= as in 3.15. */
static PyObject *
add_underscored(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                int event, const char *name)
{
    PyObject *context = NULL;
    if (nargs < 2) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes a file descriptor and a callback, got %zd argument(s)", name,
                     nargs);
        return NULL;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < nkw; i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), "context") != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", name,
                         PyTuple_GET_ITEM(kwnames, i));
            return NULL;
        }
        context = args[nargs + i];
    }
    return add_checked(self, args, nargs, event, false, context);
}

static PyObject *
_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_underscored(self, args, nargs, kwnames, UV_READABLE, "_add_reader");
}

static PyObject *
_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_underscored(self, args, nargs, kwnames, UV_WRITABLE, "_add_writer");
}

static PyObject *
_remove_reader(PyObject *self, PyObject *fd)
{
    return drop_checked(self, fd, UV_READABLE, false);
}

static PyObject *
_remove_writer(PyObject *self, PyObject *fd)
{
    return drop_checked(self, fd, UV_WRITABLE, false);
}

static PyObject *
_ensure_fd_no_transport(PyObject *self, PyObject *fileobj)
{
    return ensure_public((PaLoop *)self, fileobj) < 0 ? NULL : Py_NewRef(Py_None);
}

/* (readable, writable): what add_reader() and add_writer() watch fd for. */
static PyObject *
_watched(PyObject *self, PyObject *fileobj)
{
    PaLoop *loop = (PaLoop *)self;
    int fd = fd_of(loop, fileobj);
    if (fd < 0) {
        return NULL;
    }
    PaFdWatch *watch = fd < loop->fds_size ? loop->fds[fd].watch : NULL;
    PyObject *readable = watch != NULL && watch->reader != NULL ? Py_True : Py_False;
    PyObject *writable = watch != NULL && watch->writer != NULL ? Py_True : Py_False;
    return PyTuple_Pack(2, readable, writable);
}

PyMethodDef pa_loop_fdwatch_methods[] = {
    {"add_reader", (PyCFunction)(void (*)(void))add_reader, METH_FASTCALL | METH_KEYWORDS,
     add_reader_doc},
    {"add_writer", (PyCFunction)(void (*)(void))add_writer, METH_FASTCALL | METH_KEYWORDS,
     add_writer_doc},
    {"remove_reader", (PyCFunction)(void (*)(void))remove_reader, METH_FASTCALL | METH_KEYWORDS,
     remove_reader_doc},
    {"remove_writer", (PyCFunction)(void (*)(void))remove_writer, METH_FASTCALL | METH_KEYWORDS,
     remove_writer_doc},
    {"_add_reader", (PyCFunction)(void (*)(void))_add_reader, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_add_writer", (PyCFunction)(void (*)(void))_add_writer, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_remove_reader", _remove_reader, METH_O, NULL},
    {"_remove_writer", _remove_writer, METH_O, NULL},
    {"_watched", _watched, METH_O, NULL},
    {"_ensure_fd_no_transport", _ensure_fd_no_transport, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
