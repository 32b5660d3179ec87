/* net/transport.c: the life of a socket transport, from construction to connection_lost().
 *
 * Construction takes over the descriptor and schedules connection_made(), the start of reading and
 * the waiter, in this order. From then on the loop holds a reference, dropped in the close callback
 * of the poll. close() lets the queue drain first; everything ends in pa_transport_lose(), which
 * calls connection_lost() exactly once, then closes the descriptor. Runs on the loop's thread. */
#include "net/transport.h"
#include "sched/handle.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define DEFAULT_HIGH_WATER ((size_t)64 * 1024)

/* ---- watching */

void
pa_transport_watch(PaTransport *t, bool exactly)
{
    if (!t->poll_open) {
        return;
    }
    int wanted = (t->reading ? UV_READABLE : 0) | (t->write_blocked ? UV_WRITABLE : 0);
    if (!exactly && !t->poll.changed && (wanted | UV_READABLE) == t->poll.events) {
        return;
    }
    if (wanted != t->poll.events) {
        pa_poll_watch(&t->poll, wanted);
    }
}

void
pa_transport_lend_descriptor(PaTransport *t, bool lend)
{
    PaLoop *loop = t->member.loop;
    if (t->poll_open && t->fd < loop->fds_size) {
        loop->fds[t->fd].transport = lend ? NULL : &t->member;
    }
}

int
pa_transport_ready(PaTransport *t, int events)
{
    if (events & UV_READABLE) {
        if (t->reading && !t->conn_lost) {
            if (t->io->read_ready(t) < 0) {
                return -1;
            }
        }
        else {
            pa_transport_watch(t, true);
        }
    }
    if ((events & UV_WRITABLE) && t->write_blocked) {
        return t->io->write_ready(t);
    }
    return 0;
}

/* For the transport's method, as asyncio's reader and writer handles. New reference. */
static PyObject *
new_handle(PaTransport *t, PyObject *name)
{
    PyObject *method = PyObject_GetAttr((PyObject *)t, name);
    PyObject *handle = NULL;
    if (method != NULL) {
        handle = pa_handle_new(&t->member.loop->sched, method, NULL, 0, t->read_context);
        Py_DECREF(method);
    }
    return handle;
}

/* In the context that asyncio's reader handle would have. */
static int
dispatch_in_context(PaTransport *t, int events)
{
    PyObject *context = t->read_context;
    if (context == NULL) {
        return pa_transport_ready(t, events);
    }
    Py_INCREF(context);
    int result = PyContext_Enter(context);
    if (result == 0) {
        result = pa_transport_ready(t, events);
        PyObject *exc = PyErr_GetRaisedException();
        if (PyContext_Exit(context) < 0) {
            pa_write_unraisable((PyObject *)t);
        }
        PyErr_SetRaisedException(exc);
    }
    Py_DECREF(context);
    return result;
}

/* The same through Handles, like asyncio's, so that debug mode logs a slow protocol. */
static int
dispatch_by_handle(PaTransport *t, int events)
{
    PaNames *names = &pa_transport_state(t)->names;
    const struct {
        int event;
        PyObject *method;
    } steps[] = {{UV_READABLE, names->_read_ready}, {UV_WRITABLE, names->_write_ready}};
    int result = 0;
    for (size_t i = 0; result == 0 && i < Py_ARRAY_LENGTH(steps); i++) {
        if ((events & steps[i].event) == 0) {
            continue;
        }
        PyObject *handle = new_handle(t, steps[i].method);
        result = handle == NULL ? -1 : pa_sched_run_timed(&t->member.loop->sched, handle);
        Py_XDECREF(handle);
    }
    return result;
}

/* The raised exception, told as that of the Handle which asyncio would have run. */
static void
callback_failed(PaTransport *t, int events)
{
    PaLoop *loop = t->member.loop;
    PaNames *names = &pa_transport_state(t)->names;
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *handle =
        new_handle(t, (events & UV_READABLE) ? names->_read_ready : names->_write_ready);
    PyErr_SetRaisedException(exc);
    if (handle == NULL || pa_sched_is_exit_raised()) {
        pa_loop_callback_failed(loop, "Exception in callback of a transport");
    }
    else if (pa_handle_report(&loop->sched, handle) < 0) {
        pa_loop_keep_exit(loop);
    }
    Py_XDECREF(handle);
}

static void
on_ready(PaPoll *poll, int events)
{
    PaTransport *t = (PaTransport *)((char *)poll - offsetof(PaTransport, poll));
    pa_poll_queue(poll, &t->member, events);
}

/* Nobody will tell when the socket has data or takes more: the connection ends with that error. */
static int
not_watched(PaTransport *t)
{
    errno = t->poll.refusal;
    PyErr_SetFromErrno(PyExc_OSError);
    return pa_transport_failed(t, "Fatal error: the socket cannot be watched");
}

static void
transport_ready(PaMember *member)
{
    PaTransport *t = (PaTransport *)member;
    int events = pa_poll_take(&t->poll);
    if (events == 0) {
        return; /* paused or closed since */
    }
    PaLoop *loop = member->loop;
    int result;
    if ((events & PA_POLL_GONE) && t->poll.refusal != EBADF) {
        result = not_watched(t);
    }
    else {
        if (events & PA_POLL_GONE) {
            events = UV_READABLE | UV_WRITABLE; /* the system calls will say EBADF */
        }
        result = loop->sched.debug ? dispatch_by_handle(t, events) : dispatch_in_context(t, events);
    }
    if (result < 0) {
        callback_failed(t, events);
    }
    pa_transport_flush_full_group(loop);
}

/* ---- construction */

/* loop.call_soon() in the transport's context. */
static int
call_soon(PaTransport *t, PyObject *callback, PyObject *arg1, PyObject *arg2)
{
    PyObject *args[] = {arg1, arg2};
    return pa_loop_call_soon(t->member.loop, callback, args, (arg1 != NULL) + (arg2 != NULL),
                             t->given_context);
}

int
pa_transport_call_soon(PaTransport *t, PyObject *obj, PyObject *name, PyObject *arg)
{
    PyObject *method = PyObject_GetAttr(obj, name);
    if (method == NULL) {
        return -1;
    }
    int result = call_soon(t, method, arg, NULL);
    Py_DECREF(method);
    return result;
}

int
pa_transport_set_protocol(PaTransport *t, PyObject *protocol)
{
    PaState *st = pa_transport_state(t);
    int buffered = PyObject_IsInstance(protocol, st->asyncio.BufferedProtocol);
    if (buffered < 0) {
        return -1;
    }
    t->kind = Py_TYPE(protocol) == st->feed.type  ? PA_PROTOCOL_FEED
              : buffered                          ? PA_PROTOCOL_BUFFERED
              : pa_stream_recognise(st, protocol) ? PA_PROTOCOL_STREAM
                                                  : PA_PROTOCOL_PLAIN;
    Py_XSETREF(t->protocol, Py_NewRef(protocol));
    return 0;
}

/* The small writes of a request and its answer do not wait for each other's acknowledgement. */
static void
set_nodelay(PaTransport *t)
{
    if (t->proto == IPPROTO_TCP && t->type == SOCK_STREAM &&
        (t->family == AF_INET || t->family == AF_INET6)) {
        int on = 1;
        (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
}

static int
schedule_start(PaTransport *t, PyObject *waiter)
{
    PaState *st = pa_transport_state(t);
    if (pa_transport_call_soon(t, t->protocol, st->names.connection_made, (PyObject *)t) < 0 ||
        pa_transport_call_soon(t, (PyObject *)t, st->names._schedule_reading, NULL) < 0) {
        return -1;
    }
    if (waiter == NULL || waiter == Py_None) {
        return 0;
    }
    return call_soon(t, st->asyncio.set_result_unless_cancelled, waiter, Py_None);
}

static void loop_closing(PaMember *member);

static const PaMemberKind transport_kind = {transport_ready, loop_closing};

/* Registers the descriptor with the loop, from where on the transport owns it. */
static int
attach(PaTransport *t, PyObject *server)
{
    PaLoop *loop = t->member.loop;
    PaFdSlot *slot = pa_loop_fd_slot(loop, t->fd);
    if (slot == NULL || pa_poll_open(&t->poll, loop, t->fd, on_ready) < 0) {
        return -1;
    }
    slot->transport = &t->member;
    t->member.kind = &transport_kind;
    pa_loop_link(loop, &t->member);
    t->attached = t->poll_open = true;
    set_nodelay(t);
    if (server == NULL || server == Py_None) {
        return 0;
    }
    t->server = Py_NewRef(server);
    if (pa_server_attach(t) < 0) {
        Py_CLEAR(t->server);
        return -1;
    }
    return 0;
}

static void release_descriptor(PaTransport *t);

/* Undoes a construction that has raised; closes the descriptor if it is ours by now. */
static void
abandon(PaTransport *t)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (t->attached) {
        release_descriptor(t);
    }
    Py_DECREF(t);
    PyErr_SetRaisedException(exc);
}

static const PaTransportIo stream_io = {pa_transport_read_ready, pa_transport_write_ready};

static PaTransport *
transport_alloc(PyTypeObject *type, const PaTransportIo *io, PaLoop *loop, int fd,
                PyObject *context)
{
    PaTransport *t = (PaTransport *)type->tp_alloc(type, 0);
    if (t == NULL) {
        return NULL;
    }
    t->member.loop = (PaLoop *)Py_NewRef(loop);
    t->io = io;
    t->fd = fd;
    t->high_water = DEFAULT_HIGH_WATER;
    t->low_water = DEFAULT_HIGH_WATER / 4;
    if (context != NULL && context != Py_None) {
        t->given_context = Py_NewRef(context);
    }
    return t;
}

PyObject *
pa_transport_of_connection_steal(PaLoop *loop, int fd, const PaConnectionInfo *info,
                                 PyObject *protocol)
{
    PyTypeObject *type = loop->sched.st->socket_transport_type;
    PaTransport *t = transport_alloc(type, &stream_io, loop, fd, info->context);
    if (t == NULL) {
        close(fd);
        return NULL;
    }
    t->family = info->family;
    t->type = info->type;
    t->proto = info->proto;
    t->sock = Py_XNewRef(info->sock);
    if (pa_transport_keep_addresses(t, info->peer, info->peer_length) < 0 ||
        pa_transport_set_protocol(t, protocol) < 0 || attach(t, info->server) < 0 ||
        schedule_start(t, info->waiter) < 0) {
        if (!t->attached && t->sock == NULL) {
            close(fd);
        }
        abandon(t);
        return NULL;
    }
    return (PyObject *)t;
}

static int
set_extra(PaTransport *t, PyObject *extra)
{
    if (extra == NULL || extra == Py_None) {
        return pa_transport_keep_addresses(t, NULL, 0);
    }
    if (!PyDict_Check(extra)) {
        PyErr_Format(PyExc_TypeError, "extra must be a dict, not %.200s", Py_TYPE(extra)->tp_name);
        return -1;
    }
    t->extra = Py_NewRef(extra);
    PaNames *names = &pa_transport_state(t)->names;
    PyObject *ours[] = {names->socket, names->sockname};
    for (size_t i = 0; i < Py_ARRAY_LENGTH(ours); i++) {
        int there = PyDict_Contains(extra, ours[i]);
        if (there < 0 || (there && PyDict_DelItem(extra, ours[i]) < 0)) {
            return -1;
        }
    }
    return pa_transport_keep_addresses(t, NULL, 0);
}

PaTransport *
pa_transport_new(PyTypeObject *type, const PaTransportIo *io, const PaTransportArgs *args)
{
    int fd = PyObject_AsFileDescriptor(args->sock);
    if (fd < 0) {
        return NULL;
    }
    PaTransport *t = transport_alloc(type, io, (PaLoop *)args->loop, fd, args->context);
    if (t == NULL) {
        return NULL;
    }
    t->sock = Py_NewRef(args->sock);
    if (pa_socket_numbers(pa_transport_state(t), t->sock, &t->family, &t->type, &t->proto) < 0 ||
        set_extra(t, args->extra) < 0 || pa_transport_set_protocol(t, args->protocol) < 0 ||
        attach(t, args->server) < 0 || schedule_start(t, args->waiter) < 0) {
        abandon(t);
        return NULL;
    }
    return t;
}

static PyObject *
transport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",  "sock",   "protocol", "waiter",
                               "extra", "server", "context",  NULL};
    PaTransportArgs given = {0};
    PaState *st = pa_state_of_type(type);
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO|OOOO:SocketTransport", keywords,
                                     st->loop_type, &given.loop, &given.sock, &given.protocol,
                                     &given.waiter, &given.extra, &given.server, &given.context)) {
        return NULL;
    }
    return (PyObject *)pa_transport_new(type, &stream_io, &given);
}

/* tp_new has done it all; the base class's __init__() must not run. */
int
pa_transport_init(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return 0;
}

/* ---- reading on and off */

/* What the handle scheduled by construction calls, after connection_made(). A turn later, because
 * asyncio's reader runs behind what is ready by then: the task that waits for the connection, and
 * whatever connection_made() has scheduled. Ours is called before those. */
int
pa_transport_schedule_reading(PaTransport *t)
{
    return pa_transport_call_soon(t, (PyObject *)t, pa_transport_state(t)->names._start_reading,
                                  NULL);
}

int
pa_transport_start_reading(PaTransport *t)
{
    if (t->closing || t->paused) {
        return 0;
    }
    if (t->read_context == NULL) {
        t->read_context =
            t->given_context != NULL ? Py_NewRef(t->given_context) : PyContext_CopyCurrent();
        if (t->read_context == NULL) {
            return -1;
        }
    }
    t->reading = true;
    pa_transport_watch(t, false);
    return 0;
}

int
pa_transport_log_debug(PaTransport *t, const char *format)
{
    PaState *st = pa_transport_state(t);
    PyObject *text = PyUnicode_FromString(format);
    if (text == NULL) {
        return -1;
    }
    PyObject *args[] = {st->asyncio.logger, text, (PyObject *)t};
    PyObject *result = PyObject_VectorcallMethod(st->names.debug, args, 3, NULL);
    Py_DECREF(text);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_transport_pause_reading(PaTransport *t)
{
    if (t->closing || t->paused) {
        return 0;
    }
    t->paused = true;
    t->reading = false;
    pa_transport_watch(t, false);
    return pa_transport_debug(t) ? pa_transport_log_debug(t, "%r pauses reading") : 0;
}

int
pa_transport_resume_reading(PaTransport *t)
{
    if (t->closing || !t->paused) {
        return 0;
    }
    t->paused = false;
    if (pa_transport_start_reading(t) < 0) {
        return -1;
    }
    return pa_transport_debug(t) ? pa_transport_log_debug(t, "%r resumes reading") : 0;
}

/* ---- the end */

static int
schedule_lost(PaTransport *t, PyObject *exc)
{
    t->conn_lost++;
    return pa_transport_call_soon(t, (PyObject *)t,
                                  pa_transport_state(t)->names._call_connection_lost, exc);
}

int
pa_transport_close(PaTransport *t)
{
    if (t->closing) {
        return 0;
    }
    if (pa_transport_flush(t) < 0) {
        return -1;
    }
    if (t->closing) { /* the flush failed, or whom it called closed */
        return 0;
    }
    t->closing = true;
    t->reading = false;
    pa_transport_watch(t, false);
    return t->queue.count == 0 ? schedule_lost(t, Py_None) : 0;
}

int
pa_transport_force_close(PaTransport *t, PyObject *exc)
{
    if (t->conn_lost) {
        return 0;
    }
    pa_queue_clear(&t->queue);
    pa_transport_flush_unlink(t);
    t->write_blocked = false;
    t->closing = true;
    t->reading = false;
    pa_transport_watch(t, true);
    return schedule_lost(t, exc);
}

int
pa_transport_abort(PaTransport *t)
{
    /* What was written before has to be on its way, as far as the socket takes it. */
    return pa_transport_flush(t) < 0 ? -1 : pa_transport_force_close(t, Py_None);
}

static PyObject *
report_extra(PaTransport *t)
{
    PaState *st = pa_transport_state(t);
    PyObject *extra = PyDict_New();
    if (extra != NULL &&
        (PyDict_SetItem(extra, st->names.transport, (PyObject *)t) < 0 ||
         PyDict_SetItem(extra, st->names.protocol, t->protocol ? t->protocol : Py_None) < 0)) {
        Py_CLEAR(extra);
    }
    return extra;
}

static int
report(PaTransport *t, PyObject *exc, const char *message)
{
    PyObject *extra = report_extra(t);
    if (extra == NULL) {
        return -1;
    }
    pa_loop_report(t->member.loop, message, exc, extra);
    Py_DECREF(extra);
    return 0;
}

static int
log_error(PaTransport *t, PyObject *exc, const char *message)
{
    PaState *st = pa_transport_state(t);
    PyObject *method = PyObject_GetAttr(st->asyncio.logger, st->names.debug);
    PyObject *args = Py_BuildValue("sOs", "%r: %s", t, message);
    PyObject *kwargs = Py_BuildValue("{s:O}", "exc_info", exc);
    PyObject *result = NULL;
    if (method != NULL && args != NULL && kwargs != NULL) {
        result = PyObject_Call(method, args, kwargs);
    }
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_transport_fatal_error(PaTransport *t, PyObject *exc, const char *message)
{
    int result = 0;
    if (!PyErr_GivenExceptionMatches(exc, PyExc_OSError)) {
        result = report(t, exc, message);
    }
    else if (pa_transport_debug(t)) {
        result = log_error(t, exc, message);
    }
    return result < 0 ? -1 : pa_transport_force_close(t, exc);
}

int
pa_transport_failed(PaTransport *t, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int result = pa_transport_fatal_error(t, exc, message);
    Py_DECREF(exc);
    return result;
}

int
pa_transport_report(PaTransport *t, const char *message)
{
    PyObject *exc = PyErr_GetRaisedException();
    if (pa_is_exit(exc)) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int result = report(t, exc, message);
    Py_DECREF(exc);
    return result;
}

static void
on_poll_closed(PaPoll *poll)
{
    PaTransport *t = (PaTransport *)((char *)poll - offsetof(PaTransport, poll));
    pa_loop_unlink(&t->member);
}

/* Leaves the loop: the poll goes first, while the descriptor is still the one that it watches. */
static void
leave_loop(PaTransport *t)
{
    pa_transport_flush_unlink(t);
    PaLoop *loop = t->member.loop;
    if (t->fd < loop->fds_size && loop->fds[t->fd].transport == &t->member) {
        loop->fds[t->fd].transport = NULL;
    }
    if (t->poll_open) {
        t->poll_open = false;
        pa_poll_close(&t->poll, on_poll_closed);
    }
}

/* Closes the descriptor as its owner would: through the socket object if there is one. */
static void
release_descriptor(PaTransport *t)
{
    t->lost = true;
    t->closing = true;
    t->reading = false;
    t->write_blocked = false;
    t->conn_lost += t->conn_lost == 0;
    leave_loop(t);
    if (t->sock == NULL) {
        close(t->fd);
    }
    else if (t->sock != Py_None) {
        /* By text, here and in the finalizer: at exit the interned names may be gone. */
        PyObject *result = PyObject_CallMethod(t->sock, "close", NULL);
        Py_XDECREF(result);
        if (result == NULL) {
            pa_write_unraisable((PyObject *)t);
        }
    }
}

/* The loop is closed under an open transport: its descriptor stays open, as asyncio leaves it. */
static void
loop_closing(PaMember *member)
{
    PaTransport *t = (PaTransport *)member;
    t->reading = false;
    leave_loop(t);
}

static int
fail_empty_waiter(PaTransport *t)
{
    if (t->empty_waiter == NULL) {
        return 0;
    }
    PyObject *exc =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    if (exc == NULL) {
        return -1;
    }
    PyObject *result =
        PyObject_CallMethodOneArg(t->empty_waiter, pa_transport_state(t)->names.set_exception, exc);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pa_transport_lose(PaTransport *t, PyObject *exc)
{
    if (t->lost) {
        return 0;
    }
    PaState *st = pa_transport_state(t);
    int result = 0;
    if (t->protocol != NULL) {
        PyObject *protocol = Py_NewRef(t->protocol);
        PyObject *done = PyObject_CallMethodOneArg(protocol, st->names.connection_lost, exc);
        Py_DECREF(protocol);
        Py_XDECREF(done);
        result = done == NULL ? -1 : 0;
    }
    PyObject *raised = PyErr_GetRaisedException();
    release_descriptor(t);
    Py_CLEAR(t->protocol);
    Py_CLEAR(t->read_context);
    PyObject *server = t->server;
    if (server != NULL && pa_server_detach(t) < 0) {
        result = -1;
    }
    t->server = NULL;
    Py_XDECREF(server);
    if (raised == NULL && !PyErr_Occurred() && fail_empty_waiter(t) < 0) {
        result = -1;
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return result;
}

/* ---- the object */

void
pa_transport_finalize(PyObject *self)
{
    PaTransport *t = (PaTransport *)self;
    if (!t->attached || t->lost) {
        return;
    }
    PyObject *raised = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0) {
        PyErr_WriteUnraisable(self);
    }
    release_descriptor(t);
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *told = t->server ? PyObject_CallMethod(t->server, "_detach", "O", self) : NULL;
    Py_XDECREF(told);
    pa_write_unraisable(self);
#endif
    PyErr_SetRaisedException(raised);
}

int
pa_transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    PaTransport *t = (PaTransport *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->member.loop);
    Py_VISIT(t->dict);
    Py_VISIT(t->protocol);
    Py_VISIT(t->server);
    Py_VISIT(t->sock);
    Py_VISIT(t->extra);
    Py_VISIT(t->given_context);
    Py_VISIT(t->read_context);
    Py_VISIT(t->empty_waiter);
    return pa_queue_traverse(&t->queue, visit, arg);
}

int
pa_transport_clear(PyObject *self)
{
    PaTransport *t = (PaTransport *)self;
    Py_CLEAR(t->dict);
    Py_CLEAR(t->protocol);
    Py_CLEAR(t->server);
    Py_CLEAR(t->sock);
    Py_CLEAR(t->extra);
    Py_CLEAR(t->given_context);
    Py_CLEAR(t->read_context);
    Py_CLEAR(t->empty_waiter);
    pa_queue_clear(&t->queue);
    return 0;
}

void
pa_transport_dealloc(PyObject *self)
{
    PaTransport *t = (PaTransport *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (t->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    type->tp_clear(self);
    /* Last: methods of a transport that the collector has cleared still look at the loop. */
    Py_CLEAR(t->member.loop);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- type */

PyDoc_STRVAR(
    transport_doc,
    "SocketTransport(loop, sock, protocol, waiter=None, extra=None, server=None, context=None)\n"
    "--\n\n"
    "Transport of a connected TCP or unix stream socket, which it owns from then on.\n\n"
    "connection_made(), the start of reading and the waiter's result are scheduled on the loop.\n"
    "Stands for the transport that asyncio's selector loop makes of a socket. OSError when the\n"
    "descriptor cannot be watched, RuntimeError when the loop is closed.");

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, (void *)transport_doc},      {Py_tp_new, transport_new},
    {Py_tp_init, pa_transport_init},         {Py_tp_dealloc, pa_transport_dealloc},
    {Py_tp_finalize, pa_transport_finalize}, {Py_tp_traverse, pa_transport_traverse},
    {Py_tp_clear, pa_transport_clear},       {Py_tp_repr, pa_transport_repr},
    {Py_tp_methods, pa_transport_methods},   {Py_tp_getset, pa_transport_getset},
    {Py_tp_members, pa_transport_members},   {0, NULL},
};

static PyType_Spec transport_spec = {
    .name = "pyasync._core.SocketTransport",
    .basicsize = sizeof(PaTransport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = transport_slots,
};

int
pa_transport_set_default_max_size(PyTypeObject *type)
{
    PyObject *size = PyLong_FromLong(PA_READ_BUFFER_SIZE);
    int result = size == NULL ? -1 : PyObject_SetAttrString((PyObject *)type, "max_size", size);
    Py_XDECREF(size);
    return result;
}

/* The private class attributes that asyncio's start_tls() and sendfile() look at. */
static int
set_class_attributes(PaState *st, PyObject *type)
{
    PyObject *mode_class = PyObject_GetAttrString(st->asyncio.constants, "_SendfileMode");
    if (mode_class == NULL) {
        return -1;
    }
    PyObject *mode = PyObject_GetAttrString(mode_class, "TRY_NATIVE");
    Py_DECREF(mode_class);
    if (mode == NULL) {
        return -1;
    }
    int result = PyObject_SetAttrString(type, "_sendfile_compatible", mode);
    Py_DECREF(mode);
    return result < 0 ? -1 : PyObject_SetAttrString(type, "_start_tls_compatible", Py_True);
}

int
pa_net_init_types(PyObject *module, PaState *st)
{
    PyObject *base = st->asyncio.FlowControlMixin;
    if (((PyTypeObject *)base)->tp_basicsize != (Py_ssize_t)offsetof(PaMember, loop)) {
        PyErr_Format(PyExc_ImportError,
                     "asyncio.transports._FlowControlMixin has instances of %zd bytes where "
                     "pyasync knows %zd: this Python is newer than pyasync, upgrade pyasync",
                     ((PyTypeObject *)base)->tp_basicsize, offsetof(PaMember, loop));
        return -1;
    }
    st->socket_transport_type = pa_add_type(module, &transport_spec, base);
    if (pa_clients_init(st) < 0 || st->socket_transport_type == NULL ||
        set_class_attributes(st, (PyObject *)st->socket_transport_type) < 0 ||
        pa_transport_set_default_max_size(st->socket_transport_type) < 0) {
        return -1;
    }
    if (pa_datagram_init_type(module, st) < 0 || pa_listener_init_type(module, st) < 0) {
        return -1;
    }
    return pa_connecting_init_type(module, st);
}
