/* loop/sockwait.c: SocketOperation, the object behind a sock_*() coroutine.
 *
 * It is an awaitable whose result is an attribute: a returned value other than None would cost an
 * exception object. One whose first attempt gave the result ends at once. Any other begins to wait
 * when it is awaited, not before: it makes a future with create_future(), watches the descriptor and
 * yields the future, as `await future` does. When the descriptor is ready it takes its turn in the ready
 * ring, repeats the attempt and completes the future, as asyncio does in a Handle: what is ready in
 * the same turn may still cancel the future, and then nothing has been received. It is the callback
 * of a Handle only where somebody can tell: in debug mode, and for what may run Python code, which
 * has to see the right context.
 *
 * However it ends (result, exception, cancellation, close()), it first watches no more and gives back
 * the caller's buffer. A second operation on a descriptor replaces the first, which then waits until
 * it is cancelled. The collector tracks only those that wait. */
#include "loop/sockop.h"
#include "sched/future.h"
#include "sched/handle.h"
#include "sched/task.h"

#include <structmember.h> // PyMemberDef of 3.11

static PyObject *operation_call(PyObject *self, PyObject *const *args, size_t nargsf,
                                PyObject *kwnames);

static const PaMemberKind operation_kind;

/* ---- making */

PaSockOp *
pa_sockop_new(PaLoop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *method, int event)
{
    PaState *st = loop->sched.st;
    PyTypeObject *type = st->socket_operation_type;
    PyObject *self = pa_freelist_pop(&st->socket_operation_freelist, type);
    if (self == NULL) {
        self = type->tp_alloc(type, 0);
        if (self == NULL) {
            return NULL;
        }
        PyObject_GC_UnTrack(self);
    }
    PaSockOp *op = (PaSockOp *)self;
    op->member.kind = &operation_kind;
    op->member.loop = (PaLoop *)Py_NewRef(loop);
    op->call = operation_call;
    op->sock = Py_NewRef(args[0]);
    op->nargs = (int)nargs - 1;
    for (int i = 0; i < op->nargs; i++) {
        op->args[i] = Py_NewRef(args[1 + i]);
    }
    op->event = event;
    op->attempt = pa_sock_attempt_method;
    op->method = method;
    op->sent = 0;
    op->has_view = op->ended = op->watched = false;
    op->needs_context = true;
    return op;
}

static void
release_view(PaSockOp *op)
{
    if (op->has_view) {
        op->has_view = false;
        PyBuffer_Release(&op->view);
    }
}

void
pa_sockop_done_steal(PaSockOp *op, PyObject *result)
{
    op->ended = true;
    op->result = result;
    release_view(op);
}

/* ---- waiting for the descriptor */

/* A future whose fields tell everything, as create_future() makes them. */
static inline bool
is_our_future(const PaState *st, PyObject *future)
{
    return st->overlay && Py_IS_TYPE(future, st->future_type) && ((PaFuture *)future)->loop != NULL;
}

/* Gives back the buffer and watches no more. 0 or -1. */
static int
stop(PaSockOp *op)
{
    release_view(op);
    if (!op->watched) {
        return 0;
    }
    op->watched = false;
    PyObject *handle = op->handle;
    op->handle = NULL;
    int err = pa_fdwatch_remove(op->member.loop, op->fd, op->event,
                                handle != NULL ? handle : (PyObject *)op);
    Py_XDECREF(handle);
    return err;
}

/* Completes the future with the result, or with the exception when there is one. */
static int
complete(PaState *st, PyObject *future, PyObject *result, PyObject *exc)
{
    PaFuture *fut = (PaFuture *)future;
    if (is_our_future(st, future) && fut->status == PA_PENDING) {
        if (exc == NULL) {
            return pa_future_finish_result(st, fut->sched, fut, result);
        }
        if (!PyErr_GivenExceptionMatches(exc, PyExc_StopIteration)) {
            return pa_future_finish_exception(st, fut->sched, fut, exc);
        }
    }
    PyObject *done = exc == NULL ? PyObject_CallMethodOneArg(future, st->names.set_result, result)
                                 : PyObject_CallMethodOneArg(future, st->names.set_exception, exc);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* The attempt gave the result, or NULL and the raised exception. */
static int
finish_steal(PaSockOp *op, PyObject *result)
{
    PyObject *exc = result == NULL ? PyErr_GetRaisedException() : NULL;
    PyObject *future = Py_NewRef(op->future);
    int err = stop(op);
    if (err == 0) {
        err = complete(pa_sockop_state(op), future, result, exc);
    }
    Py_DECREF(future);
    Py_XDECREF(result);
    Py_XDECREF(exc);
    return err;
}

/* 1 or 0: whether the future is done, cancelled perhaps; or -1. */
static int
is_done(PaState *st, PyObject *future)
{
    if (is_our_future(st, future)) {
        return ((PaFuture *)future)->status != PA_PENDING;
    }
    PyObject *done = PyObject_CallMethodNoArgs(future, st->names.done);
    int result = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    return result;
}

/* Another attempt. 0, or -1 with an exit raised. */
static int
try_again(PaSockOp *op)
{
    if (!op->watched) {
        return 0;
    }
    int done = is_done(pa_sockop_state(op), op->future);
    if (done != 0 || !op->watched) {
        return done < 0 ? -1 : 0;
    }
    PyObject *result = op->attempt(op);
    if (result == NULL && (!PyErr_Occurred() || pa_sched_is_exit_raised())) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return finish_steal(op, result);
}

static PyObject *
operation_call(PyObject *self, PyObject *const *Py_UNUSED(args), size_t Py_UNUSED(nargsf),
               PyObject *Py_UNUSED(kwnames))
{
    Py_INCREF(self);
    int err = try_again((PaSockOp *)self);
    Py_DECREF(self);
    if (err < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static void
operation_ready(PaMember *member)
{
    if (try_again((PaSockOp *)member) < 0) {
        pa_loop_callback_failed(member->loop, "Exception in a socket operation");
    }
}

static const PaMemberKind operation_kind = {.ready = operation_ready};

/* Begins to wait for the descriptor. 0 or -1. */
static int
watch(PaSockOp *op)
{
    PaLoop *loop = op->member.loop;
    op->watched = true;
    if (loop->sched.direct && !op->needs_context && is_our_future(loop->sched.st, op->future)) {
        return pa_fdwatch_add_operation(loop, op->fd, op->event, (PyObject *)op);
    }
    op->handle = pa_fdwatch_add(loop, op->fd, op->event, (PyObject *)op);
    return op->handle == NULL ? -1 : 0;
}

/* ---- awaiting */

/* What `await future` runs, for futures that an overriding create_future() made. New reference. */
static PyObject *
iterator_of(PyObject *future)
{
    PyAsyncMethods *slots = Py_TYPE(future)->tp_as_async;
    if (slots == NULL || slots->am_await == NULL) {
        return PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                            Py_TYPE(future)->tp_name);
    }
    PyObject *iterator = slots->am_await(future);
    if (iterator != NULL && !PyIter_Check(iterator)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                     Py_TYPE(iterator)->tp_name);
        Py_CLEAR(iterator);
    }
    return iterator;
}

static int
start_waiting(PaSockOp *op)
{
    int fd = pa_sock_descriptor(pa_sockop_state(op), op->sock);
    if (fd < 0) {
        return -1;
    }
    PaLoop *loop = op->member.loop;
    PaState *st = loop->sched.st;
    PyObject_GC_Track(op);
    op->fd = fd;
    op->future = loop->create_future_overridden
                     ? PyObject_CallMethodNoArgs((PyObject *)loop, st->names.create_future)
                     : pa_future_new(&loop->sched);
    if (op->future == NULL) {
        return -1;
    }
    if (watch(op) < 0) {
        return -1;
    }
    if (!is_our_future(st, op->future)) {
        op->iterator = iterator_of(op->future);
        return op->iterator == NULL ? -1 : 0;
    }
    return 0;
}

/* What awaiting the future yields or returns. */
static PySendResult
send_to_future(PaSockOp *op, PyObject *value, PyObject **result)
{
    if (op->iterator != NULL) {
        PyObject *iterator = Py_NewRef(op->iterator);
        PySendResult outcome = PyIter_Send(iterator, value, result);
        Py_DECREF(iterator);
        return outcome;
    }
    PaFuture *fut = (PaFuture *)op->future;
    if (fut->status != PA_PENDING) {
        *result = pa_future_result(pa_sockop_state(op), fut);
        return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
    }
    if (fut->blocking) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    fut->blocking = 1;
    *result = Py_NewRef(fut);
    return PYGEN_NEXT;
}

/* Without a raised exception: 0, or -1 with one. With one: -1, and it stays. */
static int
end(PaSockOp *op)
{
    PyObject *exc = PyErr_GetRaisedException();
    op->ended = true;
    int err = stop(op);
    Py_CLEAR(op->iterator);
    Py_CLEAR(op->future);
    if (exc == NULL) {
        return err;
    }
    if (err < 0) {
        pa_write_unraisable((PyObject *)op);
    }
    PyErr_SetRaisedException(exc);
    return -1;
}

/* The future has returned the result, or NULL and raised. NULL without an exception when the
 * operation has ended well. */
static PyObject *
end_with_steal(PaSockOp *op, PyObject *result)
{
    if (end(op) < 0) {
        Py_CLEAR(result);
    }
    Py_XSETREF(op->result, result);
    return NULL;
}

/* What is yielded; NULL without an exception when it has ended well. */
static PyObject *
step(PaSockOp *op, PyObject *value)
{
    if (op->ended) {
        return NULL;
    }
    PyObject *result = NULL;
    PySendResult outcome = PYGEN_ERROR;
    if (op->future != NULL || start_waiting(op) == 0) {
        outcome = send_to_future(op, value, &result);
    }
    return outcome == PYGEN_NEXT ? result : end_with_steal(op, result);
}

static PyObject *
operation_next(PyObject *self)
{
    return step((PaSockOp *)self, Py_None);
}

/* For methods, which have to say that they return nothing any more. */
static PyObject *
yielded_or_stop(PyObject *yielded)
{
    if (yielded == NULL && !PyErr_Occurred()) {
        PyErr_SetNone(PyExc_StopIteration);
    }
    return yielded;
}

static PyObject *
operation_send(PyObject *self, PyObject *value)
{
    return yielded_or_stop(step((PaSockOp *)self, value));
}

/* The method throw() of what awaiting the future runs, or of anything that only raises: it knows the
 * deprecated forms and the errors. New reference. */
static PyObject *
throw_method(PaSockOp *op)
{
    PyObject *name = pa_sockop_state(op)->names.throw, *method;
    if (op->iterator != NULL && PyObject_GetOptionalAttr(op->iterator, name, &method) != 0) {
        return method;
    }
    PyObject *future = pa_future_new(&op->member.loop->sched);
    PyObject *iterator = future == NULL ? NULL : PyObject_GetIter(future);
    method = iterator == NULL ? NULL : PyObject_GetAttr(iterator, name);
    Py_XDECREF(future);
    Py_XDECREF(iterator);
    return method;
}

/* The value of a raised StopIteration, which is cleared; NULL with any other exception. */
static PyObject *
returned_value(void)
{
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
        return NULL;
    }
    PyObject *stop = PyErr_GetRaisedException();
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    Py_XINCREF(value);
    Py_DECREF(stop);
    return value == NULL ? Py_NewRef(Py_None) : value;
}

static PyObject *
operation_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PaSockOp *op = (PaSockOp *)self;
    PyObject *yielded = NULL;
    if (op->iterator == NULL && nargs == 1 && PyExceptionInstance_Check(args[0])) {
        PyErr_SetRaisedException(Py_NewRef(args[0]));
    }
    else {
        PyObject *method = throw_method(op);
        yielded = method == NULL ? NULL : PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_XDECREF(method);
    }
    return yielded_or_stop(yielded != NULL ? yielded : end_with_steal(op, returned_value()));
}

static PyObject *
operation_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaSockOp *op = (PaSockOp *)self;
    PyObject *method = NULL;
    if (op->iterator != NULL &&
        PyObject_GetOptionalAttr(op->iterator, pa_sockop_state(op)->names.close, &method) > 0) {
        PyObject *done = PyObject_CallNoArgs(method);
        Py_XDECREF(done);
        Py_DECREF(method);
    }
    if (end(op) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the type */

static int
operation_traverse(PyObject *self, visitproc visit, void *arg)
{
    PaSockOp *op = (PaSockOp *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(op->member.loop);
    Py_VISIT(op->sock);
    for (int i = 0; i < op->nargs; i++) {
        Py_VISIT(op->args[i]);
    }
    if (op->has_view) {
        Py_VISIT(op->view.obj);
    }
    Py_VISIT(op->handle);
    Py_VISIT(op->future);
    Py_VISIT(op->iterator);
    Py_VISIT(op->result);
    return 0;
}

/* Not the loop: methods find the module state through it. */
static int
operation_clear(PyObject *self)
{
    PaSockOp *op = (PaSockOp *)self;
    op->ended = true;
    op->watched = false;
    release_view(op);
    Py_CLEAR(op->handle);
    Py_CLEAR(op->future);
    Py_CLEAR(op->iterator);
    Py_CLEAR(op->result);
    Py_CLEAR(op->sock);
    while (op->nargs > 0) {
        PyObject *arg = op->args[--op->nargs];
        Py_DECREF(arg);
    }
    return 0;
}

static void
operation_dealloc(PyObject *self)
{
    PaSockOp *op = (PaSockOp *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)operation_clear(self);
    Py_CLEAR(op->member.loop);
    PaState *st = pa_state_if_alive(type);
    if (st == NULL || !pa_freelist_push(&st->socket_operation_freelist, self)) {
        type->tp_free(self);
    }
    Py_DECREF(type);
}

PyDoc_STRVAR(operation_doc, "A sock_*() operation: await it, then take its result.");

static PyMethodDef operation_methods[] = {
    {"send", operation_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))operation_throw, METH_FASTCALL, NULL},
    {"close", operation_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef operation_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(PaSockOp, call), READONLY, NULL},
    {"result", T_OBJECT_EX, offsetof(PaSockOp, result), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot operation_slots[] = {
    {Py_tp_doc, (void *)operation_doc}, {Py_tp_call, PyVectorcall_Call},
    {Py_tp_dealloc, operation_dealloc}, {Py_tp_traverse, operation_traverse},
    {Py_tp_clear, operation_clear},     {Py_tp_methods, operation_methods},
    {Py_tp_members, operation_members}, {Py_am_await, (void *)PyObject_SelfIter},
    {Py_tp_iternext, operation_next},   {0, NULL},
};

static PyType_Spec operation_spec = {
    .name = "pyasync._core.SocketOperation",
    .basicsize = sizeof(PaSockOp),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = operation_slots,
};

/* How the descriptor of a plain socket is asked for, without a look-up by name. 0 or -1. */
static int
find_fileno(PaState *st)
{
    PyObject *method = PyObject_GetAttr(st->asyncio.socket, st->names.fileno);
    if (method == NULL) {
        return -1;
    }
    if (Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        const PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        if (definition->ml_flags == METH_NOARGS) {
            st->socket_fileno = definition->ml_meth;
        }
    }
    Py_DECREF(method);
    return 0;
}

int
pa_socket_operation_init_type(PyObject *module, PaState *st)
{
    st->socket_operation_type = pa_add_type(module, &operation_spec, NULL);
    return st->socket_operation_type == NULL ? -1 : find_fileno(st);
}
