/* tls/window.c: the type of the windows, and the one that is kept. See window.h. */
#include "tls/window.h"

#include "base/freelist.h"

typedef struct {
    PyObject_HEAD
    char *memory; // borrowed; NULL while closed
    Py_ssize_t size;
    bool writable;
} PaWindow;

static int
window_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    PaWindow *window = (PaWindow *)self;
    static char nothing[1];
    char *memory = window->memory == NULL ? nothing : window->memory;
    return PyBuffer_FillInfo(view, self, memory, window->size, !window->writable, flags);
}

static void
window_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
open_over(PaState *st, char *memory, Py_ssize_t size, bool writable)
{
    PaWindow *window = (PaWindow *)st->spare_window;
    st->spare_window = NULL;
    if (window == NULL) {
        window = (PaWindow *)st->window_type->tp_alloc(st->window_type, 0);
    }
    if (window == NULL) {
        return NULL;
    }
    window->memory = memory;
    window->size = size;
    window->writable = writable;
    return (PyObject *)window;
}

PyObject *
pa_window_open(PaState *st, const char *memory, Py_ssize_t size)
{
    return open_over(st, (char *)memory, size, false);
}

PyObject *
pa_window_open_writable(PaState *st, char *memory, Py_ssize_t size)
{
    return open_over(st, memory, size, true);
}

void
pa_window_close_steal(PaState *st, PyObject *self)
{
    PaWindow *window = (PaWindow *)self;
    window->memory = NULL;
    window->size = 0;
    if (PA_FREELIST_ON && st->spare_window == NULL && Py_REFCNT(self) == 1) {
        st->spare_window = self;
        return;
    }
    Py_DECREF(self);
}

PyDoc_STRVAR(window_doc, "Memory of the extension module as a buffer, for the time of one call.");

static PyType_Slot window_slots[] = {
    {Py_tp_doc, (void *)window_doc},
    {Py_tp_dealloc, window_dealloc},
    {Py_bf_getbuffer, window_getbuffer},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "pyasync._core.Window",
    .basicsize = sizeof(PaWindow),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = window_slots,
};

int
pa_window_init_type(PyObject *module, PaState *st)
{
    st->window_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &window_spec, NULL);
    return st->window_type == NULL ? -1 : 0;
}
