/* loop/executor.c: run_in_executor(), and the chain from the executor's future to the loop's.
 *
 * The checks, the default executor and its making are asyncio's own. What is done here is what
 * asyncio.futures.wrap_future() does with closures in Python: a concurrent.futures.Future (the
 * source) that is done completes a Future of the loop (the destination), and a cancelled
 * destination cancels its source.
 *
 * - Each future holds one link to the other among its done callbacks, as with asyncio's closures.
 *   The destination drops its own when it is done, so that no cycle is left.
 * - link_source_done() runs in whichever thread completes the source, with the GIL: it does no more
 *   than call_soon_threadsafe(). All else runs on the loop's thread.
 * - Only a plain result is copied here. A source that has failed or was cancelled, and a destination
 *   that somebody else has completed, are asyncio's _copy_future_state() to deal with, by which
 *   exceptions are converted as in the running version.
 * - Debug mode, stock futures, other classes of futures, overridden and patched methods go asyncio's
 *   way altogether. */
#include "loop/loop.h"
#include "sched/future.h"
#include "sched/task.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall; // link_source_done or link_destination_done
    PyObject *other;           // owned: the future at the other end
} PaChainLink;

/* ---- copying a result; on the loop's thread */

static int
copy_state_by_asyncio(PaState *st, PyObject *destination, PyObject *source)
{
    PyObject *reply = PyObject_CallMethodObjArgs(st->asyncio.futures, st->names._copy_future_state,
                                                 source, destination, NULL);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

/* The result of a source that has one: a new reference. NULL without an exception for any other
 * source, and with one on error. Its state is the last thing that the completing thread writes. */
static PyObject *
plain_result(PaState *st, PyObject *source)
{
    PyObject *state = NULL, *failure = NULL, *result = NULL;
    if (Py_IS_TYPE(source, (PyTypeObject *)st->asyncio.ConcurrentFuture) &&
        PyObject_GetOptionalAttr(source, st->names._state, &state) > 0 &&
        state == st->names.FINISHED &&
        PyObject_GetOptionalAttr(source, st->names._exception, &failure) > 0 &&
        failure == Py_None) {
        PyObject_GetOptionalAttr(source, st->names._result, &result);
    }
    Py_XDECREF(state);
    Py_XDECREF(failure);
    return result;
}

static PyObject *link_destination_done(PyObject *, PyObject *const *, size_t, PyObject *);

/* Completes the destination. Its link has nothing to do after a result, so it is not scheduled. */
static int
finish(PaState *st, PaFuture *destination, PyObject *result)
{
    PyObject *link = destination->callback0, *context = NULL;
    if (link != NULL && Py_IS_TYPE(link, st->chain_link_type) &&
        ((PaChainLink *)link)->vectorcall == link_destination_done) {
        context = destination->context0;
        destination->callback0 = destination->context0 = NULL;
    }
    else {
        link = NULL;
    }
    int err = pa_future_finish_result(st, destination->sched, destination, result);
    Py_XDECREF(link);
    Py_XDECREF(context);
    return err;
}

/* asyncio's _copy_future_state(source, destination). 0 or -1. */
static int
copy_state(PaState *st, PyObject *destination, PyObject *source)
{
    PaFuture *fut = (PaFuture *)destination;
    PyObject *result = NULL;
    if (Py_IS_TYPE(destination, st->future_type) && fut->loop != NULL) {
        if (fut->status == PA_CANCELLED) {
            return 0;
        }
        if (fut->status == PA_PENDING && (result = plain_result(st, source)) == NULL &&
            PyErr_Occurred()) {
            return -1;
        }
    }
    if (result == NULL) {
        return copy_state_by_asyncio(st, destination, source);
    }
    int err = finish(st, fut, result);
    Py_DECREF(result);
    return err;
}

static PyObject *
set_state(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "_set_state() takes 2 positional arguments");
        return NULL;
    }
    return copy_state(pa_state_of_module(module), args[0], args[1]) < 0 ? NULL : Py_NewRef(Py_None);
}

/* Under the name of the closure that it stands for, which the exception handler shows. */
static PyMethodDef set_state_def = {"_chain_future.<locals>._set_state",
                                    (PyCFunction)(void (*)(void))set_state, METH_FASTCALL, NULL};

/* ---- the links */

/* Whether the calling thread runs the loop, where this version of asyncio asks. 1, 0 or -1. */
static int
is_on_loop(PaState *st, PaLoop *loop)
{
    if (!st->chain_asks_running_loop) {
        return 0;
    }
    PyObject *running = PyObject_CallNoArgs(st->asyncio._get_running_loop);
    Py_XDECREF(running);
    return running == NULL ? -1 : running == (PyObject *)loop;
}

/* asyncio's _call_set_state(source). In any thread. 0 or -1. */
static int
source_is_done(PaState *st, PaFuture *destination, PyObject *source)
{
    PaLoop *loop = (PaLoop *)destination->loop;
    if (loop == NULL || (destination->status == PA_CANCELLED && loop->sched.closed)) {
        return 0;
    }
    int here = is_on_loop(st, loop);
    if (here != 0) {
        return here < 0 ? -1 : copy_state(st, (PyObject *)destination, source);
    }
    if (loop->sched.closed) {
        return 0;
    }
    PyObject *args[2] = {(PyObject *)destination, source};
    return pa_loop_call_soon_threadsafe(loop, st->chain_set_state, args, 2);
}

static PyObject *
only_argument(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s takes 1 positional argument and no keywords",
                     Py_TYPE(op)->tp_name);
        return NULL;
    }
    return args[0];
}

static PyObject *
link_source_done(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PyObject *source = only_argument(op, args, nargsf, kwnames);
    PyObject *destination = ((PaChainLink *)op)->other;
    if (source == NULL || destination == NULL) {
        return source == NULL ? NULL : Py_NewRef(Py_None);
    }
    Py_INCREF(destination);
    int err = source_is_done(PyType_GetModuleState(Py_TYPE(op)), (PaFuture *)destination, source);
    Py_DECREF(destination);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

/* asyncio's _call_check_cancel(destination). */
static PyObject *
link_destination_done(PyObject *op, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    PaState *st = PyType_GetModuleState(Py_TYPE(op));
    PyObject *destination = only_argument(op, args, nargsf, kwnames);
    PyObject *source = ((PaChainLink *)op)->other;
    if (destination == NULL) {
        return NULL;
    }
    if (source == NULL || !Py_IS_TYPE(destination, st->future_type) ||
        ((PaFuture *)destination)->status != PA_CANCELLED) {
        Py_RETURN_NONE;
    }
    Py_INCREF(source);
    PyObject *reply = PyObject_CallMethodNoArgs(source, st->names.cancel);
    Py_DECREF(source);
    Py_XDECREF(reply);
    return reply == NULL ? NULL : Py_NewRef(Py_None);
}

static PyObject *
link_new(PaState *st, vectorcallfunc call, PyObject *other)
{
    PaChainLink *self = PyObject_GC_New(PaChainLink, st->chain_link_type);
    if (self == NULL) {
        return NULL;
    }
    self->vectorcall = call;
    self->other = Py_NewRef(other);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
link_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((PaChainLink *)op)->other);
    return 0;
}

static int
link_clear(PyObject *op)
{
    Py_CLEAR(((PaChainLink *)op)->other);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    link_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

/* What asyncio's repr of a future shows of its callbacks. */
static PyObject *
link_get_qualname(PyObject *op, void *Py_UNUSED(closure))
{
    bool from_source = ((PaChainLink *)op)->vectorcall == link_source_done;
    return PyUnicode_FromFormat("_chain_future.<locals>.%s",
                                from_source ? "_call_set_state" : "_call_check_cancel");
}

static PyGetSetDef link_getset[] = {
    {"__qualname__", link_get_qualname, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef link_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(PaChainLink, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot link_slots[] = {
    {Py_tp_call, (void *)PyVectorcall_Call},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_traverse, link_traverse},
    {Py_tp_clear, link_clear},
    {Py_tp_getset, link_getset},
    {Py_tp_members, link_members},
    {0, NULL},
};

static PyType_Spec link_spec = {
    .name = "pyasync._core.ChainLink",
    .basicsize = sizeof(PaChainLink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = link_slots,
};

/* ---- chaining */

/* asyncio's destination.add_done_callback() and source.add_done_callback(), in its order. 0 or -1. */
static int
link_futures(PaState *st, PyObject *source, PyObject *destination)
{
    PyObject *context = PyContext_CopyCurrent(), *to_destination = NULL, *reply = NULL;
    PyObject *to_source = link_new(st, link_destination_done, source);
    if (context != NULL && to_source != NULL &&
        pa_future_append_callback((PaFuture *)destination, to_source, context) == 0) {
        to_destination = link_new(st, link_source_done, destination);
    }
    if (to_destination != NULL) {
        reply = PyObject_CallMethodOneArg(source, st->names.add_done_callback, to_destination);
    }
    Py_XDECREF(context);
    Py_XDECREF(to_source);
    Py_XDECREF(to_destination);
    Py_XDECREF(reply);
    return reply == NULL ? -1 : 0;
}

/* asyncio.futures.wrap_future(source, loop=loop), source a concurrent.futures.Future. */
static PyObject *
wrap_concurrent(PaLoop *loop, PyObject *source)
{
    PyObject *destination = pa_future_new(&loop->sched);
    if (destination != NULL && link_futures(loop->sched.st, source, destination) < 0) {
        Py_CLEAR(destination);
    }
    return destination;
}

static PyObject *
wrap_by_asyncio(PaLoop *loop, PyObject *source)
{
    PaState *st = loop->sched.st;
    PyObject *args[2] = {source, (PyObject *)loop};
    PyObject *wrap = PyObject_GetAttr(st->asyncio.futures, st->names.wrap_future);
    PyObject *wrapped = wrap == NULL ? NULL : PyObject_Vectorcall(wrap, args, 1, st->kwnames.loop);
    Py_XDECREF(wrap);
    return wrapped;
}

/* ---- run_in_executor */

#define FEW 8

/* first and the n objects of args one after the other, in `few` or in memory to be freed with
 * free_stack(); NULL with MemoryError. */
static PyObject **
stack_of(PyObject *few[FEW], PyObject *first, PyObject *const *args, Py_ssize_t n)
{
    PyObject **stack = n < FEW ? few : PyMem_Malloc((size_t)(n + 1) * sizeof(PyObject *));
    if (stack == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    stack[0] = first;
    for (Py_ssize_t i = 0; i < n; i++) {
        stack[i + 1] = args[i];
    }
    return stack;
}

static void
free_stack(PyObject **stack, PyObject *few[FEW])
{
    if (stack != few) {
        PyMem_Free(stack);
    }
}

/* True when `owner`.name is still a function of the Python module. */
static bool
is_defined_in(PyObject *owner, PyObject *name, PyObject *module)
{
    PyObject *found = PyObject_GetAttr(owner, name);
    bool own = found != NULL && PyFunction_Check(found) &&
               PyFunction_GET_GLOBALS(found) == PyModule_GetDict(module);
    if (found == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(found);
    return own;
}

/* True when what is done here is what asyncio would do. */
static bool
may_chain(PaLoop *loop)
{
    PaState *st = loop->sched.st;
    PaAsyncio *aio = &st->asyncio;
    return st->overlay && st->chain_known && !loop->sched.debug &&
           !loop->create_future_overridden &&
           is_defined_in(aio->BaseSelectorEventLoop, st->names.run_in_executor, aio->base_events) &&
           is_defined_in(aio->futures, st->names.wrap_future, aio->futures);
}

static PyObject *
run_by_asyncio(PaLoop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaState *st = loop->sched.st;
    PyObject *few[FEW], *result = NULL;
    Py_ssize_t total = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject *method =
        PyObject_GetAttr(st->asyncio.BaseSelectorEventLoop, st->names.run_in_executor);
    PyObject **stack = method == NULL ? NULL : stack_of(few, (PyObject *)loop, args, total);
    if (stack != NULL) {
        result = PyObject_Vectorcall(method, stack, (size_t)nargs + 1, kwnames);
        free_stack(stack, few);
    }
    Py_XDECREF(method);
    return result;
}

/* The default executor, None before there is one. New reference, or NULL with an exception: there
 * is to be no further call. */
static PyObject *
default_executor(PaLoop *loop)
{
    PaNames *names = &loop->sched.st->names;
    PyObject *executor = PyObject_GetAttr((PyObject *)loop, names->_default_executor);
    PyObject *reply = NULL;
    if (executor != NULL) {
        reply = PyObject_CallMethodNoArgs((PyObject *)loop, names->_check_default_executor);
    }
    if (reply == NULL) {
        Py_CLEAR(executor);
    }
    Py_XDECREF(reply);
    return executor;
}

/* executor.submit(*args), wrapped. */
static PyObject *
submit(PaLoop *loop, PyObject *executor, PyObject *const *args, Py_ssize_t nargs)
{
    PaState *st = loop->sched.st;
    PyObject *few[FEW], *future, *wrapped = NULL;
    PyObject **stack = stack_of(few, executor, args, nargs);
    if (stack == NULL) {
        return NULL;
    }
    future = PyObject_VectorcallMethod(st->names.submit, stack, (size_t)nargs + 1, NULL);
    free_stack(stack, few);
    if (future != NULL) {
        bool ours =
            Py_IS_TYPE(future, (PyTypeObject *)st->asyncio.ConcurrentFuture) && !loop->sched.debug;
        wrapped = ours ? wrap_concurrent(loop, future) : wrap_by_asyncio(loop, future);
        Py_DECREF(future);
    }
    return wrapped;
}

PyDoc_STRVAR(
    run_in_executor_doc,
    "run_in_executor($self, executor, func, *args)\n--\n\n"
    "Run func(*args) in an executor and return a Future for its result.\n\n"
    "executor is a concurrent.futures.Executor, None for the loop's default one, which is\n"
    "made when first needed. Cancelling the future keeps a call that has not begun from\n"
    "beginning. Raises RuntimeError when the loop is closed, and after\n"
    "shutdown_default_executor() for None. Stands for asyncio's loop.run_in_executor().");

static PyObject *
run_in_executor(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PaLoop *loop = (PaLoop *)self;
    if (nargs < 2 || kwnames != NULL || !may_chain(loop)) {
        return run_by_asyncio(loop, args, nargs, kwnames);
    }
    if (pa_loop_check_closed(loop) < 0) {
        return NULL;
    }
    if (args[0] != Py_None) {
        return submit(loop, args[0], args + 1, nargs - 1);
    }
    PyObject *executor = default_executor(loop);
    if (executor == NULL) {
        return NULL;
    }
    PyObject *future = executor == Py_None ? run_by_asyncio(loop, args, nargs, NULL)
                                           : submit(loop, executor, args + 1, nargs - 1);
    Py_DECREF(executor);
    return future;
}

PyMethodDef pa_loop_executor_methods[] = {
    {"run_in_executor", (PyCFunction)(void (*)(void))run_in_executor, METH_FASTCALL | METH_KEYWORDS,
     run_in_executor_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- which _chain_future() this is */

/* 1 when code has a nested function `name` that uses the global or attribute `used`, 0 when it has
 * one that does not, 2 when it has none; -1 with an exception. */
static int
nested_function_uses(PyObject *code, const char *name, PyObject *used)
{
    PyObject *constants = PyObject_GetAttrString(code, "co_consts");
    int found = constants == NULL ? -1 : 2;
    for (Py_ssize_t i = 0; found == 2 && i < PyTuple_GET_SIZE(constants); i++) {
        PyObject *nested = PyTuple_GET_ITEM(constants, i);
        if (!PyCode_Check(nested) ||
            PyUnicode_CompareWithASCIIString(((PyCodeObject *)nested)->co_name, name) != 0) {
            continue;
        }
        PyObject *names = PyObject_GetAttrString(nested, "co_names");
        found = names == NULL ? -1 : PySequence_Contains(names, used);
        Py_XDECREF(names);
    }
    Py_XDECREF(constants);
    return found;
}

/* A source that is completed on the loop's own thread goes through call_soon_threadsafe() in some
 * releases of a version and completes its destination at once in later ones, so asyncio's code is
 * looked at. Where that is not the code we know, asyncio's way is taken. */
static int
find_chain(PaState *st)
{
    PyObject *chain = PyObject_GetAttrString(st->asyncio.futures, "_chain_future");
    int uses = 2;
    if (chain == NULL) {
        PyErr_Clear();
    }
    else if (PyFunction_Check(chain)) {
        uses = nested_function_uses(PyFunction_GET_CODE(chain), "_call_set_state",
                                    st->names._get_running_loop);
    }
    Py_XDECREF(chain);
    st->chain_known = uses == 0 || uses == 1;
    st->chain_asks_running_loop = uses == 1;
    return uses < 0 ? -1 : 0;
}

int
pa_executor_init_type(PyObject *module, PaState *st)
{
    st->chain_link_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &link_spec, NULL);
    st->chain_set_state = PyCFunction_New(&set_state_def, module);
    return st->chain_link_type == NULL || st->chain_set_state == NULL ? -1 : find_chain(st);
}
