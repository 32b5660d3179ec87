/* tls/window.h: memory of ours as a buffer object, for one call of the ssl module.
 *
 * A memoryview does that too, but making and dropping one costs two allocations of the garbage
 * collector's; records come by the thousand. A window is kept from call to call. Whoever keeps a
 * reference to one beyond its call sees an empty buffer. */
#ifndef PA_TLS_WINDOW_H
#define PA_TLS_WINDOW_H

#include "base/state.h"

/* New reference, or NULL with an exception. `memory` must stay until the window is closed. */
PyObject *pa_window_open(PaState *st, const char *memory, Py_ssize_t size);
/* The same of memory that may be written to. */
PyObject *pa_window_open_writable(PaState *st, char *memory, Py_ssize_t size);
/* Steals the reference. An exception that is set stays. */
void pa_window_close_steal(PaState *st, PyObject *window);

int pa_window_init_type(PyObject *module, PaState *st);

#endif
