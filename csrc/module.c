/* module.c: definition of pyasync._core: multi-phase init, module state, module functions.
 *
 * Each room adds its types through its own init function; nothing else lives here. */
#include "base/state.h"
#include "loop/loop.h"
#include "net/transport.h"
#include "sched/handle.h"
#include "sched/task.h"
#include "tls/tls.h"

#ifndef PA_BUILD_FLAGS
#define PA_BUILD_FLAGS "unknown"
#endif

PyDoc_STRVAR(live_handles_doc, "live_handles()\n--\n\n"
                               "Number of libuv handles open in this interpreter; 0 when every "
                               "loop is closed.");

static PyObject *
live_handles(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSsize_t(pa_state_of_module(module)->live_handles);
}

PyDoc_STRVAR(build_info_doc, "_build_info()\n--\n\n"
                             "The facts of pyasync.build_info() that only C knows, as a dict.");

static PyObject *
build_info(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    PaState *st = pa_state_of_module(module);
    bool places = st->stream_reader_places.version != 0 && st->stream_protocol_places.version != 0;
    return Py_BuildValue(
        "{s:s, s:s, s:s, s:O, s:O, s:s, s:O, s:O, s:O}", "libuv", uv_version_string(),
        "libuv_headers",
        Py_STRINGIFY(UV_VERSION_MAJOR) "." Py_STRINGIFY(UV_VERSION_MINOR) "." Py_STRINGIFY(
            UV_VERSION_PATCH),
        "python_headers", PY_VERSION, "overlay", st->overlay ? Py_True : Py_False, "overlay_reason",
        st->overlay_reason ? st->overlay_reason : Py_None, "compile_flags", PA_BUILD_FLAGS,
        "freelists", PA_FREELIST_ON ? Py_True : Py_False, "inline_values",
        st->inline_values ? Py_True : Py_False, "stream_places", places ? Py_True : Py_False);
}

static PyMethodDef methods[] = {
    {"live_handles", live_handles, METH_NOARGS, live_handles_doc},
    {"_build_info", build_info, METH_NOARGS, build_info_doc},
    {"_own_methods", pa_loop_own_methods, METH_O, pa_loop_own_methods_doc},
    {NULL, NULL, 0, NULL},
};

/* Deallocators need the module state, but the garbage collector clears modules and types in any
 * order, their objects last. What the interpreter itself holds outlives the collection that ends
 * it. */
static int
keep_until_the_end(PyObject *module)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    if (dict == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter has no dict for its extensions");
        return -1;
    }
    return PyDict_SetItem(dict, module, Py_None);
}

static int
module_exec(PyObject *module)
{
    PaState *st = pa_state_of_module(module);
    if (keep_until_the_end(module) < 0 || pa_state_init(st) < 0 || pa_clock_init(st) < 0 ||
        pa_loop_init_type(module, st) < 0 || pa_handle_init_types(module, st) < 0 ||
        pa_task_init_types(module, st) < 0 || pa_net_init_types(module, st) < 0 ||
        pa_tls_init_types(module, st) < 0) {
        return -1;
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    return pa_state_traverse(pa_state_of_module(module), visit, arg);
}

static int
module_clear(PyObject *module)
{
    pa_state_clear(pa_state_of_module(module));
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef pa_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyasync._core",
    .m_doc = "The event loop, futures, tasks and transports of pyasync in C. Use package pyasync.",
    .m_size = sizeof(PaState),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&pa_module_def);
}
