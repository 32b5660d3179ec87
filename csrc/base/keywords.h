/* base/keywords.h: positional parameters that a caller gives by keyword, as asyncio's methods in
 * Python allow: transport.write(data=b"..."), loop.call_later(delay=1, callback=f). */
#ifndef PA_BASE_KEYWORDS_H
#define PA_BASE_KEYWORDS_H

#include "base/compat.h"

typedef PyObject *(*PaKeywordsMethod)(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames);

#define PA_MAX_POSITIONAL 2
#define PA_MAX_KEYWORDS   3

/* Calls method(self, ...) again with the first parameters (their names, PA_MAX_POSITIONAL at most,
 * then NULL) in their places; for a call that has fewer positional arguments. NULL with TypeError
 * for one that is missing or not known. */
PyObject *pa_call_with_positions(PaKeywordsMethod method, const char *name,
                                 const char *const *parameters, PyObject *self,
                                 PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

PyObject *pa_only_argument_slow(const char *method, const char *parameter, PyObject *const *args,
                                Py_ssize_t nargs, PyObject *kwnames);

/* The one argument of a method, borrowed; NULL with TypeError. */
static inline PyObject *
pa_only_argument(const char *method, const char *parameter, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    return nargs == 1 && kwnames == NULL
               ? args[0]
               : pa_only_argument_slow(method, parameter, args, nargs, kwnames);
}

#endif
