/* loop/loop.c: _core.Loop: making and closing the loop, its state as asyncio's attributes.
 *
 * The public class is pyasync.Loop, which puts this type before asyncio.BaseEventLoop. The base's
 * methods read and write _closed, _stopping, _debug, _thread_id and _task_factory; they are here
 * as descriptors over the C fields, so that there is one copy of the truth. */
#include "loop/loop.h"
#include "loop/backend.h"
#include "sched/handle.h"
#include "sched/snapshot.h"

#include <structmember.h>
#include <unistd.h>

/* ---- libuv's side */

static int
open_uv(PaLoop *loop)
{
    int err = uv_loop_init(&loop->uv);
    if (err < 0) {
        return pa_uv_error(err);
    }
    loop->uv.data = loop;
    if (pa_backend_open(loop) < 0) {
        uv_loop_close(&loop->uv);
        return -1;
    }
    loop->uv_open = true;
    return 0;
}

static void
signal_poll_closed(uv_handle_t *handle)
{
    pa_loop_handle_closed(handle->data);
}

static void
close_signals(PaLoop *loop)
{
    loop->hold_signals = false;
    pa_loop_disarm_signals(loop);
    if (loop->signal_poll_open) {
        loop->signal_poll_open = false;
        uv_close((uv_handle_t *)&loop->signal_poll, signal_poll_closed);
        close(loop->signal_fds[0]);
        close(loop->signal_fds[1]);
        loop->signal_fds[0] = loop->signal_fds[1] = -1;
    }
}

/* Closes every handle, runs the close callbacks and closes the uv_loop_t. Transports and
 * listeners that are still open lose their handle here and nothing else. */
static void
close_uv(PaLoop *loop)
{
    if (!loop->uv_open) {
        return;
    }
    loop->uv_open = false;
    if (pa_loop_is_forked(loop)) {
        pa_backend_fork(loop);
    }
    for (PaMember *member = loop->members; member != NULL; member = member->next) {
        member->kind->loop_closing(member);
    }
    pa_fdwatch_close_all(loop);
    close_signals(loop);
    pa_backend_close(loop);
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    while (uv_loop_close(&loop->uv) == UV_EBUSY) {
        uv_run(&loop->uv, UV_RUN_ONCE);
    }
    pa_poll_flush(loop);
    PyMem_RawFree(loop->fds);
    loop->fds = NULL;
    loop->fds_size = 0;
    PyMem_RawFree(loop->read_buffer);
    loop->read_buffer = NULL;
    pa_spare_bytes_clear(&loop->spare_bytes);
    pa_addrbook_free(&loop->addresses);
}

/* ---- life of the object */

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PaState *st = pa_state_of_type(type);
    PaLoop *loop = st == NULL ? NULL : (PaLoop *)type->tp_alloc(type, 0);
    if (loop == NULL) {
        return NULL;
    }
    loop->sched.st = st;
    loop->sched.loop = (PyObject *)loop;
    loop->sched.run_ready = pa_loop_run_ready;
    loop->epoll_fd = loop->wakeup_fd = -1;
    loop->signal_fds[0] = loop->signal_fds[1] = -1;
    loop->batches_per_poll = 1;
    if (pa_ring_init(&loop->sched.ring) < 0 || pa_loop_note_process(loop) < 0 ||
        open_uv(loop) < 0 || pa_loop_find_overrides(loop) < 0) {
        Py_DECREF(loop);
        return NULL;
    }
    return (PyObject *)loop;
}

static int
loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    PaLoop *loop = (PaLoop *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(loop->task_factory);
    Py_VISIT(loop->pending_exit);
    Py_VISIT(loop->old_asyncgen_hooks);
    Py_VISIT(loop->old_wakeup_fd);
    Py_VISIT(loop->stock_transports);
    for (PaMember *member = loop->members; member != NULL; member = member->next) {
        Py_VISIT(member);
    }
    Py_VISIT(loop->sched.snapshot);
    Py_VISIT(loop->sched.scratch);
    int err = pa_ring_traverse(&loop->sched.ring, visit, arg);
    if (err == 0) {
        err = pa_timerheap_traverse(&loop->sched.timers, visit, arg);
    }
    return err != 0 ? err : pa_fdwatch_traverse(loop, visit, arg);
}

static void
release_scheduled(PaLoop *loop)
{
    pa_ring_clear(&loop->sched.ring);
    pa_snapshot_drop(&loop->sched);
    pa_timerheap_track(&loop->sched.timers);
    while (loop->sched.timers.count > 0) {
        PyObject *handle = pa_timerheap_pop_steal(&loop->sched.timers);
        pa_timer_handle_unscheduled(loop->sched.st, handle);
        Py_DECREF(handle);
    }
    loop->sched.timers.cancelled = 0;
}

static int
loop_clear(PyObject *self)
{
    PaLoop *loop = (PaLoop *)self;
    Py_CLEAR(loop->task_factory);
    Py_CLEAR(loop->pending_exit);
    Py_CLEAR(loop->old_asyncgen_hooks);
    Py_CLEAR(loop->old_wakeup_fd);
    Py_CLEAR(loop->stock_transports);
    loop->sched.closed = true;
    close_uv(loop);
    release_scheduled(loop);
    return 0;
}

static void
loop_dealloc(PyObject *self)
{
    PaLoop *loop = (PaLoop *)self;
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return; // revived by __del__()
    }
    PyObject_GC_UnTrack(self);
    if (loop->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)loop_clear(self);
    pa_ring_free(&loop->sched.ring);
    pa_timerheap_free(&loop->sched.timers);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods */

PyDoc_STRVAR(run_forever_doc,
             "run_forever($self, /)\n--\n\n"
             "Run until stop() is called.\n\n"
             "Raises RuntimeError when the loop is closed or runs already, when another loop runs\n"
             "in this thread, or in a forked child of the process that made the loop. Raises\n"
             "whatever KeyboardInterrupt or SystemExit a callback raises; what was queued stays\n"
             "queued. Stands for asyncio's loop.run_forever().");

PyDoc_STRVAR(stop_doc, "stop($self, /)\n--\n\n"
                       "Make run_forever() return after the batch of ready callbacks.\n\n"
                       "Stands for asyncio's loop.stop().");

static PyObject *
loop_stop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((PaLoop *)self)->stopping = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(time_doc, "time($self, /)\n--\n\n"
                       "Return the time in seconds, on the clock of time.monotonic().\n\n"
                       "Stands for asyncio's loop.time().");

static PyObject *
loop_time(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    double now = pa_clock_time(((PaLoop *)self)->sched.st);
    return now == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(now);
}

PyDoc_STRVAR(is_running_doc, "is_running($self, /)\n--\n\n"
                             "Return True while run_forever() runs.\n\n"
                             "Stands for asyncio's loop.is_running().");

static PyObject *
loop_is_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((PaLoop *)self)->sched.thread_id != 0);
}

PyDoc_STRVAR(is_closed_doc, "is_closed($self, /)\n--\n\n"
                            "Return True after close().\n\n"
                            "Stands for asyncio's loop.is_closed().");

static PyObject *
loop_is_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((PaLoop *)self)->sched.closed);
}

PyDoc_STRVAR(get_debug_doc, "get_debug($self, /)\n--\n\n"
                            "Return True in debug mode.\n\n"
                            "Stands for asyncio's loop.get_debug().");

static PyObject *
loop_get_debug(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((PaLoop *)self)->sched.debug);
}

static PyObject *
check_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (pa_loop_check_closed((PaLoop *)self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
timer_handle_cancelled(PyObject *self, PyObject *Py_UNUSED(handle))
{
    /* asyncio.TimerHandle.cancel() of a foreign timer calls this; ours count themselves. */
    (void)self;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_handles_doc, "_close_handles($self, /)\n--\n\n"
                                "Drop what is scheduled and close every libuv handle.\n\n"
                                "The C half of pyasync.Loop.close().");

static PyObject *
close_handles(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaLoop *loop = (PaLoop *)self;
    if (loop->sched.thread_id != 0) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    loop->sched.closed = true;
    close_uv(loop);
    release_scheduled(loop);
    Py_RETURN_NONE;
}

/* ---- attributes that the base class reads and writes */

static int
get_flag(PyObject *value, bool *flag)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth >= 0) {
        *flag = truth;
    }
    return truth < 0 ? -1 : 0;
}

static PyObject *
get_closed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((PaLoop *)self)->sched.closed);
}

static int
set_closed(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return get_flag(value, &((PaLoop *)self)->sched.closed);
}

/* A list of the timers, the next one first, as asyncio's own is ordered: test suites run them early. */
static PyObject *
get_scheduled(PyObject *self, void *Py_UNUSED(closure))
{
    PaTimerHeap *timers = &((PaLoop *)self)->sched.timers;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < timers->count; i++) {
        PyObject *handle = timers->entries[i].handle;
        if (PyList_Append(list, handle) < 0) {
            Py_CLEAR(list);
            break;
        }
        pa_track_if_shared(handle);
    }
    return list;
}

/* The constructor of asyncio's class sets an empty list, of which there is no need. */
static int
set_scheduled(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value), void *Py_UNUSED(closure))
{
    return 0;
}

static PyObject *
get_stopping(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((PaLoop *)self)->stopping);
}

static int
set_stopping(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return get_flag(value, &((PaLoop *)self)->stopping);
}

static PyObject *
get_debug(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((PaLoop *)self)->sched.debug);
}

static int
set_debug(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    PaLoop *loop = (PaLoop *)self;
    if (get_flag(value, &loop->sched.debug) < 0) {
        return -1;
    }
    loop->sched.direct = !loop->sched.debug && !loop->call_soon_overridden;
    return 0;
}

static PyObject *
get_thread_id(PyObject *self, void *Py_UNUSED(closure))
{
    unsigned long ident = ((PaLoop *)self)->sched.thread_id;
    if (ident == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(ident);
}

static int
set_thread_id(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    unsigned long ident = 0;
    if (value != NULL && value != Py_None) {
        ident = PyLong_AsUnsignedLong(value);
        if (ident == (unsigned long)-1 && PyErr_Occurred()) {
            return -1;
        }
    }
    ((PaLoop *)self)->sched.thread_id = ident;
    return 0;
}

static PyObject *
get_task_factory(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *factory = ((PaLoop *)self)->task_factory;
    return Py_NewRef(factory == NULL ? Py_None : factory);
}

static int
set_task_factory(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((PaLoop *)self)->task_factory, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static int
loop_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    PaLoop *loop = (PaLoop *)self;
    PaNames *names = &loop->sched.st->names;
    if (PyObject_GenericSetAttr(self, name, value) < 0) {
        return -1;
    }
    if (name == names->_transports) {
        Py_CLEAR(loop->stock_transports);
    }
    if (name == names->time || name == names->call_soon || name == names->call_at ||
        name == names->call_soon_threadsafe || name == names->create_future) {
        return pa_loop_find_overrides(loop);
    }
    return 0;
}

static PyGetSetDef getset[] = {
    {"_closed", get_closed, set_closed, NULL, NULL},
    {"_stopping", get_stopping, set_stopping, NULL, NULL},
    {"_debug", get_debug, set_debug, NULL, NULL},
    {"_scheduled", get_scheduled, set_scheduled, NULL, NULL},
    {"_thread_id", get_thread_id, set_thread_id, NULL, NULL},
    {"_task_factory", get_task_factory, set_task_factory, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef own_methods[] = {
    {"run_forever", pa_loop_run_forever, METH_NOARGS, run_forever_doc},
    {"stop", loop_stop, METH_NOARGS, stop_doc},
    {"time", loop_time, METH_NOARGS, time_doc},
    {"is_running", loop_is_running, METH_NOARGS, is_running_doc},
    {"is_closed", loop_is_closed, METH_NOARGS, is_closed_doc},
    {"get_debug", loop_get_debug, METH_NOARGS, get_debug_doc},
    {"_check_closed", check_closed, METH_NOARGS, NULL},
    {"_timer_handle_cancelled", timer_handle_cancelled, METH_O, NULL},
    {"_hold_signals", pa_loop_hold_signals, METH_O, NULL},
    {"_close_handles", close_handles, METH_NOARGS, close_handles_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PaLoop, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(loop_doc, "The C half of pyasync.Loop, which is the class to use.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)loop_doc}, {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc}, {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},     {Py_tp_setattro, loop_setattro},
    {Py_tp_methods, own_methods},  {Py_tp_members, members},
    {Py_tp_getset, getset},        {0, NULL},
};

static PyType_Spec spec = {
    .name = "pyasync._core.Loop",
    .basicsize = sizeof(PaLoop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

/* The methods of the other files of this room join the type as method descriptors. */
static int
add_methods(PyTypeObject *type, PyMethodDef *methods)
{
    for (PyMethodDef *def = methods; def->ml_name != NULL; def++) {
        PyObject *descr = PyDescr_NewMethod(type, def);
        if (descr == NULL || PyObject_SetAttrString((PyObject *)type, def->ml_name, descr) < 0) {
            Py_XDECREF(descr);
            return -1;
        }
        Py_DECREF(descr);
    }
    return 0;
}

static int
add_methods_of_other_files(PyTypeObject *type)
{
    return add_methods(type, pa_loop_schedule_methods) < 0 ||
                   add_methods(type, pa_loop_fdwatch_methods) < 0 ||
                   add_methods(type, pa_loop_sock_methods) < 0 ||
                   add_methods(type, pa_loop_executor_methods) < 0
               ? -1
               : 0;
}

const char pa_loop_own_methods_doc[] = PyDoc_STR(
    "_own_methods(loop_class, /)\n--\n\n"
    "Returns the class, a subclass of _core.Loop that overrides none of its methods, after "
    "putting\nthem into it. Raises TypeError for anything else.\n\n"
    "The interpreter's specialised calls want a method's class to be the object's own.");

PyObject *
pa_loop_own_methods(PyObject *module, PyObject *type)
{
    PaState *st = pa_state_of_module(module);
    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, st->loop_type)) {
        return PyErr_Format(PyExc_TypeError, "a subclass of _core.Loop is expected, not %R", type);
    }
    if (add_methods((PyTypeObject *)type, own_methods) < 0 ||
        add_methods_of_other_files((PyTypeObject *)type) < 0) {
        return NULL;
    }
    return Py_NewRef(type);
}

int
pa_loop_init_type(PyObject *module, PaState *st)
{
    st->loop_type = pa_add_type(module, &spec, NULL);
    if (st->loop_type == NULL || add_methods_of_other_files(st->loop_type) < 0) {
        return -1;
    }
    return pa_socket_operation_init_type(module, st) < 0 ? -1 : pa_executor_init_type(module, st);
}
