/* sched/handle.c: making, running, cancelling and showing handles.
 *
 * Invariants: a handle owns its loop, callback, context and arguments until it is cancelled or
 * dies; whoever calls the callback holds the callback and the arguments for the duration of the
 * call, because the callback may cancel its own handle. All three types share these functions;
 * data() finds the C fields behind the base's slots. Runs with the GIL held. */
#include "sched/handle.h"
#include "sched/snapshot.h"

#include <structmember.h>

typedef struct {
    PaHandle base;
    unsigned long running_thread; // thread that runs the callback now, 0 when none
    PyThread_type_lock finished;  // held while the callback runs, once somebody has waited for it
} PaThreadsafeHandle;

/* ---- access */

static inline Py_ssize_t
offset_of(const PaState *st, const PyTypeObject *type)
{
    if (type == st->handle_type) {
        return st->handle_offset;
    }
    return type == st->timer_handle_type ? st->timer_handle_offset : st->threadsafe_handle_offset;
}

static inline PaHandle *
data(const PaState *st, PyObject *handle)
{
    return (PaHandle *)((char *)handle + offset_of(st, Py_TYPE(handle)));
}

static inline PaHandle *
data_of(PyObject *handle)
{
    return data(pa_state_of(handle), handle);
}

bool
pa_handle_is_cancelled(PaState *st, PyObject *handle)
{
    return data(st, handle)->cancelled;
}

void
pa_timer_handle_unscheduled(PaState *st, PyObject *handle)
{
    ((PaTimerHandle *)data(st, handle))->scheduled = false;
}

/* ---- construction */

static PyObject *
alloc(PyTypeObject *type, PaFreelist *freelist)
{
    PyObject *self = pa_freelist_pop(freelist, type);
    if (self == NULL) {
        self = type->tp_alloc(type, 0);
        if (self != NULL) {
            PyObject_GC_UnTrack(self);
        }
    }
    return self;
}

/* Fills a cleared, untracked handle. args and callback are borrowed. */
static int
fill(PaSched *sched, PaHandle *h, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
     PyObject *context)
{
    h->cancelled = false;
    h->nargs = 0;
    h->loop = Py_NewRef(sched->loop);
    h->callback = Py_NewRef(callback);
    h->context_shared = false;
    h->context = context == NULL || context == Py_None ? pa_snapshot_take(sched, &h->context_shared)
                                                       : Py_NewRef(context);
    if (h->context == NULL) {
        return -1;
    }
    if (nargs <= PA_HANDLE_INLINE_ARGS) {
        for (Py_ssize_t i = 0; i < nargs; i++) {
            h->args[i] = Py_NewRef(args[i]);
        }
        h->nargs = (int)nargs;
    }
    else {
        h->more = PyTuple_New(nargs);
        if (h->more == NULL) {
            return -1;
        }
        for (Py_ssize_t i = 0; i < nargs; i++) {
            PyTuple_SET_ITEM(h->more, i, Py_NewRef(args[i]));
        }
    }
    if (sched->debug) {
        h->source_traceback = PyObject_CallNoArgs(sched->st->asyncio.extract_stack);
        if (h->source_traceback == NULL) {
            return -1;
        }
    }
    return 0;
}

PyObject *
pa_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
              PyObject *context)
{
    PaState *st = sched->st;
    PyObject *self = alloc(st->handle_type, &st->handle_freelist);
    if (self != NULL && fill(sched, data(st, self), callback, args, nargs, context) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

PyObject *
pa_threadsafe_handle_new(PaSched *sched, PyObject *callback, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *context)
{
    PaState *st = sched->st;
    if (st->threadsafe_handle_type == NULL) { // before 3.14 asyncio returns a plain handle
        return pa_handle_new(sched, callback, args, nargs, context);
    }
    PyObject *self = alloc(st->threadsafe_handle_type, &st->threadsafe_handle_freelist);
    if (self != NULL && fill(sched, data(st, self), callback, args, nargs, context) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

PyObject *
pa_timer_handle_new(PaSched *sched, double when, PyObject *when_object, PyObject *callback,
                    PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    PaState *st = sched->st;
    PyObject *self = alloc(st->timer_handle_type, &st->timer_handle_freelist);
    if (self == NULL) {
        return NULL;
    }
    PaTimerHandle *timer = (PaTimerHandle *)data(st, self);
    timer->when = when;
    timer->when_object = Py_XNewRef(when_object);
    timer->scheduled = true;
    if (fill(sched, &timer->base, callback, args, nargs, context) < 0) {
        timer->scheduled = false;
        Py_CLEAR(self);
    }
    return self;
}

/* ---- release */

static void
release_call(PaHandle *h)
{
    /* Detached first: releasing an argument can run code that looks at this handle. */
    PyObject *args[PA_HANDLE_INLINE_ARGS];
    int nargs = h->nargs;
    PyObject *callback = h->callback, *more = h->more;
    for (int i = 0; i < nargs; i++) {
        args[i] = h->args[i];
        h->args[i] = NULL;
    }
    h->nargs = 0;
    h->callback = h->more = NULL;
    for (int i = 0; i < nargs; i++) {
        Py_DECREF(args[i]);
    }
    Py_XDECREF(callback);
    Py_XDECREF(more);
}

static int
handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    PaHandle *h = data_of(self);
    Py_VISIT(h->loop);
    Py_VISIT(h->callback);
    Py_VISIT(h->context);
    Py_VISIT(h->more);
    for (int i = 0; i < h->nargs; i++) {
        Py_VISIT(h->args[i]);
    }
    Py_VISIT(h->source_traceback);
    return 0;
}

static void
clear_fields(PaHandle *h)
{
    release_call(h);
    Py_CLEAR(h->context);
    if (h->source_traceback != NULL || h->repr != NULL) {
        Py_CLEAR(h->source_traceback);
        Py_CLEAR(h->repr);
    }
    Py_CLEAR(h->loop);
}

static int
handle_clear(PyObject *self)
{
    clear_fields(data_of(self));
    return 0;
}

static void
handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PaState *st = pa_state_of_type(type);
    PyObject_GC_UnTrack(self);
    pa_clear_weakrefs(self);
    PaHandle *h = data(st, self);
    clear_fields(h);
    PaFreelist *freelist = &st->handle_freelist;
    if (type == st->timer_handle_type) {
        Py_CLEAR(((PaTimerHandle *)h)->when_object);
        freelist = &st->timer_handle_freelist;
    }
    else if (type == st->threadsafe_handle_type) {
        PaThreadsafeHandle *safe = (PaThreadsafeHandle *)h;
        if (safe->finished != NULL) {
            PyThread_free_lock(safe->finished);
            safe->finished = NULL;
        }
        freelist = &st->threadsafe_handle_freelist;
    }
    if (!pa_freelist_push(freelist, self)) {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

/* ---- waiting for a thread-safe handle's callback */

/* From another thread than the one that runs the callback: returns when it has finished. */
static void
wait_until_finished(PaState *st, PyObject *self, PaHandle *h)
{
    if (Py_TYPE(self) != st->threadsafe_handle_type) {
        return;
    }
    PaThreadsafeHandle *safe = (PaThreadsafeHandle *)h;
    while (safe->running_thread != 0 && safe->running_thread != PyThread_get_thread_ident()) {
        if (safe->finished == NULL) {
            safe->finished = PyThread_allocate_lock();
            if (safe->finished == NULL) {
                return;
            }
            PyThread_acquire_lock(safe->finished, WAIT_LOCK); // on behalf of the running callback
        }
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(safe->finished, WAIT_LOCK);
        PyThread_release_lock(safe->finished);
        Py_END_ALLOW_THREADS
    }
}

/* ---- running */

/* 'Exception in callback ...' to the loop's exception handler. 0, or -1 for an exit exception
 * raised by it. */
static int
report_failure(PaSched *sched, PyObject *self, PaHandle *h, PyObject *callback, PyObject *args)
{
    PaState *st = sched->st;
    int result = -1;
    PyObject *exc = PyErr_GetRaisedException(), *message = NULL, *context = NULL, *reply = NULL;
    PyObject *source;
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *debug = sched->debug ? Py_True : Py_False;
    PyObject *kwargs = Py_BuildValue("{s:O}", "debug", debug);
    PyObject *pair = PyTuple_Pack(2, callback, args);
    source = kwargs == NULL || pair == NULL
                 ? NULL
                 : PyObject_Call(st->asyncio.format_callback_source, pair, kwargs);
    Py_XDECREF(kwargs);
    Py_XDECREF(pair);
#else
    source = PyObject_CallFunctionObjArgs(st->asyncio.format_callback_source, callback, args, NULL);
#endif
    if (source == NULL) {
        goto done;
    }
    message = PyUnicode_FromFormat("Exception in callback %U", source);
    Py_DECREF(source);
    if (message == NULL) {
        goto done;
    }
    context = Py_BuildValue("{O:O, O:O, O:O}", st->names.message, message, st->names.exception, exc,
                            st->names.handle, self);
    if (context == NULL ||
        (h->source_traceback != NULL &&
         PyDict_SetItem(context, st->names.source_traceback, h->source_traceback) < 0)) {
        goto done;
    }
    reply = pa_call_method_handling(exc, sched->loop, st->names.call_exception_handler, context);
    result = reply == NULL ? -1 : 0;
done:
    if (result < 0 && !pa_sched_is_exit_raised()) {
        pa_write_unraisable(callback);
        result = 0;
    }
    Py_XDECREF(exc);
    Py_XDECREF(message);
    Py_XDECREF(context);
    Py_XDECREF(reply);
    return result;
}

static PyObject *
args_tuple(PaHandle *h)
{
    if (h->more != NULL) {
        return Py_NewRef(h->more);
    }
    PyObject *tuple = PyTuple_New(h->nargs);
    for (int i = 0; tuple != NULL && i < h->nargs; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(h->args[i]));
    }
    return tuple;
}

int
pa_handle_report(PaSched *sched, PyObject *handle)
{
    PaHandle *h = data(sched->st, handle);
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *args = args_tuple(h);
    if (args == NULL) {
        Py_XDECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    int err = report_failure(sched, handle, h, h->callback, args);
    Py_DECREF(args);
    return err;
}

PyObject *
pa_call_in_context(PyObject *context, PyObject *callback, PyObject *const *args, size_t nargsf)
{
    if (PyContext_Enter(context) < 0) {
        return NULL;
    }
    PyObject *result = PyObject_Vectorcall(callback, args, nargsf, NULL);
    if (result == NULL) {
        PyObject *exc = PyErr_GetRaisedException();
        int err = PyContext_Exit(context);
        if (err == 0) {
            PyErr_SetRaisedException(exc);
        }
        else {
            Py_DECREF(exc);
        }
        return NULL;
    }
    if (PyContext_Exit(context) < 0) {
        Py_DECREF(result);
        return NULL;
    }
    return result;
}

/* The callback failed: 0 when that is reported, -1 when the exception is to stop the loop. */
static int
callback_failed(PaSched *sched, PyObject *self, PaHandle *h, PyObject *callback,
                PyObject *const *args, Py_ssize_t nargs)
{
    if (pa_sched_is_exit_raised()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    /* asyncio shows what the handle holds now: nothing any more when the callback cancelled it */
    PyObject *shown = PyTuple_New(h->cancelled ? 0 : nargs);
    for (Py_ssize_t i = 0; shown != NULL && i < PyTuple_GET_SIZE(shown); i++) {
        PyTuple_SET_ITEM(shown, i, Py_NewRef(args[i]));
    }
    if (shown == NULL) {
        Py_DECREF(exc);
        return -1;
    }
    PyErr_SetRaisedException(exc);
    int err = report_failure(sched, self, h, h->cancelled ? Py_None : callback, shown);
    Py_DECREF(shown);
    return err;
}

/* A new reference; *snapshot is NULL or another one, both for give_back_steal(). While the callback
 * runs, and for an exception handler afterwards, the handle shows the context that it runs in. */
static PyObject *
context_to_run_in(PaSched *sched, PaHandle *h, PyObject **snapshot)
{
    *snapshot = NULL;
    if (!h->context_shared) {
        return h->context == NULL ? PyContext_CopyCurrent() : Py_NewRef(h->context);
    }
    PyObject *context = pa_snapshot_scratch(sched, h->context);
    if (context != NULL) {
        *snapshot = h->context;
        h->context = Py_NewRef(context);
        h->context_shared = false;
    }
    return context;
}

/* Who holds the handle may still ask it for its context. */
static void
give_back_steal(PaSched *sched, PyObject *self, PaHandle *h, PyObject *context, PyObject *snapshot)
{
    bool unseen = Py_REFCNT(self) == 1 && h->context == context;
    if (unseen) {
        h->context = NULL;
        Py_DECREF(context);
    }
    pa_snapshot_give_back_steal(sched, context, snapshot, unseen);
    Py_DECREF(snapshot);
}

static int
run_data(PaSched *sched, PyObject *self, PaHandle *h)
{
    PyObject *stack[1 + PA_HANDLE_INLINE_ARGS];
    PyObject *const *args = stack + 1;
    PyObject *snapshot, *context = context_to_run_in(sched, h, &snapshot);
    if (context == NULL) {
        return -1;
    }
    PyObject *callback = Py_NewRef(h->callback);
    PyObject *more = Py_XNewRef(h->more);
    Py_ssize_t nargs = h->nargs, held = h->nargs;
    for (Py_ssize_t i = 0; i < held; i++) {
        stack[1 + i] = Py_NewRef(h->args[i]);
    }
    PyObject *result;
    if (more != NULL) {
        args = &PyTuple_GET_ITEM(more, 0);
        nargs = PyTuple_GET_SIZE(more);
        result = pa_call_in_context(context, callback, args, nargs);
    }
    else {
        result =
            pa_call_in_context(context, callback, args, nargs | PY_VECTORCALL_ARGUMENTS_OFFSET);
    }
    int err = 0;
    if (result == NULL) {
        err = callback_failed(sched, self, h, callback, args, nargs);
    }
    Py_XDECREF(result);
    for (Py_ssize_t i = 0; i < held; i++) {
        Py_DECREF(stack[1 + i]);
    }
    Py_XDECREF(more);
    Py_DECREF(callback);
    if (snapshot == NULL) {
        Py_DECREF(context);
    }
    else {
        give_back_steal(sched, self, h, context, snapshot);
    }
    return err;
}

static int
run_threadsafe(PaSched *sched, PyObject *self, PaThreadsafeHandle *safe)
{
    if (safe->finished != NULL) {
        PyThread_acquire_lock(safe->finished, WAIT_LOCK);
    }
    safe->running_thread = PyThread_get_thread_ident();
    int err = run_data(sched, self, &safe->base);
    safe->running_thread = 0;
    if (safe->finished != NULL) {
        PyThread_release_lock(safe->finished);
    }
    return err;
}

int
pa_handle_run(PaSched *sched, PyObject *handle)
{
    PaState *st = sched->st;
    PaHandle *h = data(st, handle);
    if (h->callback == NULL) { // cancelled, or cleared by the collector
        return 0;
    }
    if (Py_TYPE(handle) == st->threadsafe_handle_type) {
        return run_threadsafe(sched, handle, (PaThreadsafeHandle *)h);
    }
    return run_data(sched, handle, h);
}

/* ---- methods */

int
pa_handle_cancel(PyObject *self)
{
    PaState *st = pa_state_of(self);
    PaHandle *h = data(st, self);
    wait_until_finished(st, self, h);
    if (h->cancelled || h->loop == NULL) {
        return 0;
    }
    PaSched *sched = &((PaSchedObject *)h->loop)->sched;
    h->cancelled = true;
    if (!PyObject_GC_IsTracked(self)) {
        PyObject_GC_Track(self); // somebody else than the ring holds it, and keeps its context
    }
    if (sched->debug) {
        /* The text keeps callback and arguments for "Executing <Handle ...> took ..." */
        PyObject *text = PyObject_Repr(self);
        if (text == NULL) {
            return -1;
        }
        Py_XSETREF(h->repr, text);
    }
    if (Py_TYPE(self) == st->timer_handle_type && ((PaTimerHandle *)h)->scheduled) {
        Py_INCREF(self);
        pa_sched_timer_cancelled(sched);
        release_call(h);
        Py_DECREF(self);
        return 0;
    }
    release_call(h);
    return 0;
}

PyDoc_STRVAR(cancel_doc, "cancel($self, /)\n--\n\n"
                         "Cancel the callback; nothing happens when it has run or was cancelled.\n"
                         "\nStands for asyncio.Handle.cancel(). A handle of "
                         "call_soon_threadsafe() (3.14+)\nwaits for a callback that another "
                         "thread is running.");

static PyObject *
handle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pa_handle_cancel(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cancelled_doc, "cancelled($self, /)\n--\n\n"
                            "Return True when cancel() was called.\n\n"
                            "Stands for asyncio.Handle.cancelled().");

static PyObject *
handle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaState *st = pa_state_of(self);
    PaHandle *h = data(st, self);
    wait_until_finished(st, self, h);
    return PyBool_FromLong(h->cancelled);
}

static PyObject *
handle_run(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaHandle *h = data_of(self);
    PyObject *loop = Py_XNewRef(h->loop);
    if (loop != NULL) {
        int err = pa_handle_run(&((PaSchedObject *)loop)->sched, self);
        Py_DECREF(loop);
        if (err < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
or_none(PyObject *obj)
{
    return Py_NewRef(obj == NULL ? Py_None : obj);
}

/* The handle's own context from now on. A new reference; None when it was cleared. */
static PyObject *
own_context(PyObject *self, void *Py_UNUSED(closure))
{
    PaHandle *h = data_of(self);
    if (h->context_shared) {
        PyObject *context = PyContext_Copy(h->context);
        if (context == NULL) {
            return NULL;
        }
        h->context_shared = false;
        Py_SETREF(h->context, context);
    }
    return or_none(h->context);
}

static PyObject *
handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return own_context(self, NULL);
}

PyDoc_STRVAR(when_doc, "when($self, /)\n--\n\n"
                       "Return the deadline on the clock of loop.time(), in seconds.\n\n"
                       "Stands for asyncio.TimerHandle.when(); valid after cancel() too.");

static PyObject *
timer_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaTimerHandle *timer = (PaTimerHandle *)data_of(self);
    return timer->when_object != NULL ? Py_NewRef(timer->when_object)
                                      : PyFloat_FromDouble(timer->when);
}

/* ---- the base's attributes */

static PyObject *
get_callback(PyObject *self, void *Py_UNUSED(closure))
{
    return or_none(data_of(self)->callback);
}

static PyObject *
get_args(PyObject *self, void *Py_UNUSED(closure))
{
    PaHandle *h = data_of(self);
    if (h->callback == NULL) {
        Py_RETURN_NONE;
    }
    return args_tuple(h);
}

static PyObject *
get_cancelled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(data_of(self)->cancelled);
}

static PyObject *
get_loop(PyObject *self, void *Py_UNUSED(closure))
{
    return or_none(data_of(self)->loop);
}

static PyObject *
get_source_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    return or_none(data_of(self)->source_traceback);
}

static PyObject *
get_repr(PyObject *self, void *Py_UNUSED(closure))
{
    return or_none(data_of(self)->repr);
}

static PyObject *
get_when(PyObject *self, void *Py_UNUSED(closure))
{
    return timer_when(self, NULL);
}

static PyObject *
get_scheduled(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((PaTimerHandle *)data_of(self))->scheduled);
}

#define HANDLE_GETSET                                                                              \
    {"_callback", get_callback, NULL, NULL, NULL}, {"_args", get_args, NULL, NULL, NULL},          \
        {"_cancelled", get_cancelled, NULL, NULL, NULL}, {"_loop", get_loop, NULL, NULL, NULL},    \
        {"_source_traceback", get_source_traceback, NULL, NULL, NULL},                             \
        {"_repr", get_repr, NULL, NULL, NULL},                                                     \
    {                                                                                              \
        "_context", own_context, NULL, NULL, NULL                                                  \
    }

static PyGetSetDef handle_getset[] = {HANDLE_GETSET, {NULL, NULL, NULL, NULL, NULL}};

static PyGetSetDef timer_getset[] = {
    HANDLE_GETSET,
    {"_when", get_when, NULL, NULL, NULL},
    {"_scheduled", get_scheduled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#define HANDLE_METHODS                                                                             \
    {"cancel", handle_cancel, METH_NOARGS, cancel_doc},                                            \
        {"cancelled", handle_cancelled, METH_NOARGS, cancelled_doc},                               \
        {"get_context", handle_get_context, METH_NOARGS, NULL},                                    \
    {                                                                                              \
        "_run", handle_run, METH_NOARGS, NULL                                                      \
    }

static PyMethodDef handle_methods[] = {HANDLE_METHODS, {NULL, NULL, 0, NULL}};

static PyMethodDef timer_methods[] = {
    HANDLE_METHODS,
    {"when", timer_when, METH_NOARGS, when_doc},
    {NULL, NULL, 0, NULL},
};

#define HANDLE_SLOTS(methods, getset)                                                              \
    {Py_tp_traverse, handle_traverse}, {Py_tp_clear, handle_clear},                                \
        {Py_tp_dealloc, handle_dealloc}, {Py_tp_methods, methods}, {Py_tp_getset, getset},         \
    {                                                                                              \
        0, NULL                                                                                    \
    }

static PyType_Slot handle_slots[] = {HANDLE_SLOTS(handle_methods, handle_getset)};
static PyType_Slot timer_slots[] = {HANDLE_SLOTS(timer_methods, timer_getset)};

/* ---- types */

/* A subclass of asyncio.events.<base_name> with `size` bytes of our own behind it. */
static PyTypeObject *
make_type(PyObject *module, const char *base_name, const char *name, size_t size,
          PyType_Slot *slots, Py_ssize_t *offset)
{
    PyObject *events = PyImport_ImportModule("asyncio.events");
    PyObject *base = events == NULL ? NULL : PyObject_GetAttrString(events, base_name);
    Py_XDECREF(events);
    if (base == NULL) {
        return NULL;
    }
    *offset = ((PyTypeObject *)base)->tp_basicsize;
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)(*offset + (Py_ssize_t)size),
        // Not immutable: the bases are mutable, CPython 3.12 warns of that and 3.14 refuses it.
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, base);
    Py_DECREF(base);
    return type;
}

int
pa_handle_init_types(PyObject *module, PaState *st)
{
    st->handle_type = make_type(module, "Handle", "pyasync.Handle", sizeof(PaHandle), handle_slots,
                                &st->handle_offset);
    st->timer_handle_type = make_type(module, "TimerHandle", "pyasync.TimerHandle",
                                      sizeof(PaTimerHandle), timer_slots, &st->timer_handle_offset);
    if (st->handle_type == NULL || st->timer_handle_type == NULL) {
        return -1;
    }
    st->threadsafe_handle_type =
        make_type(module, "_ThreadSafeHandle", "pyasync._ThreadSafeHandle",
                  sizeof(PaThreadsafeHandle), handle_slots, &st->threadsafe_handle_offset);
    if (st->threadsafe_handle_type == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear(); // 3.14+ has it
    }
    return pa_snapshot_find(st);
}
