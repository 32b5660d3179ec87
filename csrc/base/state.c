/* base/state.c: filling, visiting and clearing the module state. */
#include "base/state.h"

static int
intern_names(PaNames *names)
{
#define PA_INTERN_NAME(name)                                                                       \
    if ((names->name = PyUnicode_InternFromString(#name)) == NULL) {                               \
        return -1;                                                                                 \
    }
    PA_NAMES(PA_INTERN_NAME)
#undef PA_INTERN_NAME
    return 0;
}

/* attribute `name` of module `module_name` into *slot; a missing optional one leaves NULL. */
static int
import_attribute(PyObject **slot, const char *module_name, const char *name, bool optional)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return -1;
    }
    *slot = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (*slot == NULL && optional && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* attribute `name` of class `class_name` into *slot. */
static int
import_method(PyObject **slot, const char *module_name, const char *class_name, const char *name)
{
    PyObject *base = NULL;
    if (import_attribute(&base, module_name, class_name, false) < 0) {
        return -1;
    }
    *slot = PyObject_GetAttrString(base, name);
    Py_DECREF(base);
    return *slot == NULL ? -1 : 0;
}

static int
import_methods(PaAsyncio *aio)
{
    if (import_method(&aio->create_task, "asyncio.base_events", "BaseEventLoop", "create_task") <
            0 ||
        import_method(&aio->stream_feed_data, "asyncio.streams", "StreamReader", "feed_data") < 0 ||
        import_method(&aio->get_extra_info, "asyncio.transports", "BaseTransport",
                      "get_extra_info") < 0) {
        return -1;
    }
    return import_method(&aio->stream_data_received, "asyncio.streams", "StreamReaderProtocol",
                         "data_received");
}

static int
import_asyncio(PaAsyncio *aio)
{
    const struct {
        PyObject **slot;
        const char *module, *name;
        bool optional;
    } wanted[] = {
        {&aio->CancelledError, "asyncio.exceptions", "CancelledError", false},
        {&aio->InvalidStateError, "asyncio.exceptions", "InvalidStateError", false},
        {&aio->Future, "_asyncio", "Future", false},
        {&aio->Task, "_asyncio", "Task", false},
        {&aio->StreamReader, "asyncio.streams", "StreamReader", false},
        {&aio->StreamReaderProtocol, "asyncio.streams", "StreamReaderProtocol", false},
        {&aio->Protocol, "asyncio.protocols", "Protocol", false},
        {&aio->BufferedProtocol, "asyncio.protocols", "BufferedProtocol", false},
        {&aio->TransportSocket, "asyncio.trsock", "TransportSocket", false},
        {&aio->FlowControlMixin, "asyncio.transports", "_FlowControlMixin", false},
        {&aio->DatagramTransport, "asyncio.transports", "DatagramTransport", false},
        {&aio->constants, "asyncio", "constants", false},
        {&aio->base_events, "asyncio", "base_events", false},
        {&aio->futures, "asyncio", "futures", false},
        {&aio->ConcurrentFuture, "concurrent.futures", "Future", false},
        {&aio->set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled",
         false},
        {&aio->iscoroutine, "asyncio.coroutines", "iscoroutine", false},
        {&aio->_set_running_loop, "_asyncio", "_set_running_loop", false},
        {&aio->_get_running_loop, "_asyncio", "_get_running_loop", false},
        {&aio->_enter_task, "_asyncio", "_enter_task", false},
        {&aio->_leave_task, "_asyncio", "_leave_task", false},
        {&aio->_swap_current_task, "_asyncio", "_swap_current_task", true},
        {&aio->_register_task, "_asyncio", "_register_task", false},
        {&aio->_unregister_task, "_asyncio", "_unregister_task", false},
        {&aio->_register_eager_task, "_asyncio", "_register_eager_task", true},
        {&aio->_unregister_eager_task, "_asyncio", "_unregister_eager_task", true},
        {&aio->_current_tasks, "_asyncio", "_current_tasks", true},
#if PY_VERSION_HEX < 0x030c0000
        {&aio->all_tasks, "_asyncio", "_all_tasks", true},
#elif PY_VERSION_HEX < 0x030e0000
        {&aio->all_tasks, "_asyncio", "_scheduled_tasks", true},
#endif
        {&aio->future_add_to_awaited_by, "_asyncio", "future_add_to_awaited_by", true},
        {&aio->future_discard_from_awaited_by, "_asyncio", "future_discard_from_awaited_by", true},
        {&aio->extract_stack, "asyncio.format_helpers", "extract_stack", false},
        {&aio->format_callback_source, "asyncio.format_helpers", "_format_callback_source", false},
        {&aio->check_ssl_socket, "asyncio.base_events", "_check_ssl_socket", false},
        {&aio->BaseSelectorEventLoop, "asyncio.selector_events", "BaseSelectorEventLoop", false},
        {&aio->format_handle, "asyncio.base_events", "_format_handle", false},
        {&aio->logger, "asyncio.log", "logger", false},
        {&aio->socket, "socket", "socket", false},
        {&aio->Server, "asyncio.base_events", "Server", false},
        {&aio->WeakSet, "weakref", "WeakSet", false},
        {&aio->set_wakeup_fd, "signal", "set_wakeup_fd", false},
        {&aio->get_asyncgen_hooks, "sys", "get_asyncgen_hooks", false},
        {&aio->set_asyncgen_hooks, "sys", "set_asyncgen_hooks", false},
        {&aio->main_thread, "threading", "main_thread", false},
        {&aio->BaseTransport, "asyncio.transports", "BaseTransport", false},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(wanted); i++) {
        if (import_attribute(wanted[i].slot, wanted[i].module, wanted[i].name, wanted[i].optional) <
            0) {
            return -1;
        }
    }
    return import_methods(aio);
}

int
pa_state_init(PaState *st)
{
    if (intern_names(&st->names) < 0 || import_asyncio(&st->asyncio) < 0) {
        return -1;
    }
    st->kwnames.context = PyTuple_Pack(1, st->names.context);
    st->kwnames.loop = PyTuple_Pack(1, st->names.loop);
    return st->kwnames.context == NULL || st->kwnames.loop == NULL ? -1 : 0;
}

/* The structs below hold nothing but owned PyObject pointers, so they are walked as arrays. */
static int
visit_block(void *block, size_t size, visitproc visit, void *arg)
{
    PyObject **objects = block;
    for (size_t i = 0; i < size / sizeof(PyObject *); i++) {
        Py_VISIT(objects[i]);
    }
    return 0;
}

static void
clear_block(void *block, size_t size)
{
    PyObject **objects = block;
    for (size_t i = 0; i < size / sizeof(PyObject *); i++) {
        Py_CLEAR(objects[i]);
    }
}

#define TYPES_SIZE offsetof(PaState, names)

int
pa_state_traverse(PaState *st, visitproc visit, void *arg)
{
    int err = visit_block(st, TYPES_SIZE, visit, arg);
    if (err == 0) {
        err = visit_block(&st->names, sizeof(st->names), visit, arg);
    }
    if (err == 0) {
        err = visit_block(&st->kwnames, sizeof(st->kwnames), visit, arg);
    }
    if (err == 0) {
        err = visit_block(&st->asyncio, sizeof(st->asyncio), visit, arg);
    }
    if (err == 0) {
        err = visit_block(&st->ssl, sizeof(st->ssl), visit, arg);
    }
    if (err == 0) {
        Py_VISIT(st->feed.type);
    }
    if (err == 0) {
        err = pa_pool_traverse(&st->wakeup_pool, visit, arg);
    }
    if (err == 0) {
        err = pa_pool_traverse(&st->future_iter_pool, visit, arg);
    }
    if (err == 0) {
        Py_VISIT(st->time_module);
        Py_VISIT(st->overlay_reason);
        Py_VISIT(st->chain_set_state);
        if (st->spare_window != NULL) {
            Py_VISIT(Py_TYPE(st->spare_window)); /* it has no traversal of its own */
        }
    }
    return err;
}

static void
trim_freelists(PaState *st, void (*trim)(PaFreelist *list))
{
    trim(&st->handle_freelist);
    trim(&st->timer_handle_freelist);
    trim(&st->threadsafe_handle_freelist);
    trim(&st->future_freelist);
    trim(&st->task_freelist);
    trim(&st->socket_operation_freelist);
}

static void
trim_to_usual(PaFreelist *list)
{
    pa_freelist_trim(list, PA_FREELIST_KEEP);
}

void
pa_state_keep_freed_memory(PaState *st)
{
    if (!st->freed_memory_kept) {
        st->freed_memory_kept = true;
        void *volatile block = malloc((size_t)4 * 1024 * 1024);
        free(block);
    }
}

void
pa_state_trim(PaState *st)
{
    trim_freelists(st, trim_to_usual);
}

void
pa_state_clear(PaState *st)
{
    /* Freed before the types: the allocator asks a dead object's type for the size in front. */
    trim_freelists(st, pa_freelist_drain);
    pa_pool_drain(&st->wakeup_pool);
    pa_pool_drain(&st->future_iter_pool);
    clear_block(st, TYPES_SIZE);
    clear_block(&st->names, sizeof(st->names));
    clear_block(&st->kwnames, sizeof(st->kwnames));
    clear_block(&st->asyncio, sizeof(st->asyncio));
    clear_block(&st->ssl, sizeof(st->ssl));
    Py_CLEAR(st->feed.type);
    Py_CLEAR(st->spare_window);
    Py_CLEAR(st->time_module);
    Py_CLEAR(st->overlay_reason);
    Py_CLEAR(st->chain_set_state);
}

PyTypeObject *
pa_add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, base);
    if (type != NULL && PyModule_AddType(module, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}
