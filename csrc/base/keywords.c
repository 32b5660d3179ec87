/* base/keywords.c: binding positional parameters by name. See keywords.h. */
#include "base/keywords.h"

static PyObject *
keyword_value(const char *parameter, PyObject *const *values, PyObject *kwnames)
{
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), parameter) == 0) {
            return values[i];
        }
    }
    return NULL;
}

static bool
is_parameter(PyObject *keyword, const char *const *parameters)
{
    for (; *parameters != NULL; parameters++) {
        if (PyUnicode_CompareWithASCIIString(keyword, *parameters) == 0) {
            return true;
        }
    }
    return false;
}

/* Moves the keywords that are none of `parameters` behind `stack`; their names, a new tuple. */
static PyObject *
other_keywords(const char *name, const char *const *parameters, PyObject *const *values,
               PyObject *kwnames, PyObject **stack)
{
    PyObject *others[PA_MAX_KEYWORDS];
    Py_ssize_t count = 0;
    for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        if (is_parameter(keyword, parameters)) {
            continue;
        }
        if (count == PA_MAX_KEYWORDS) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", name,
                         keyword);
            return NULL;
        }
        others[count] = keyword;
        stack[count++] = values[i];
    }
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t i = 0; names != NULL && i < count; i++) {
        PyTuple_SET_ITEM(names, i, Py_NewRef(others[i]));
    }
    return names;
}

PyObject *
pa_call_with_positions(PaKeywordsMethod method, const char *name, const char *const *parameters,
                       PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *stack[PA_MAX_POSITIONAL + PA_MAX_KEYWORDS];
    Py_ssize_t count = 0;
    for (; parameters[count] != NULL; count++) {
        PyObject *value = keyword_value(parameters[count], args + nargs, kwnames);
        if (count < nargs && value != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", name,
                         parameters[count]);
            return NULL;
        }
        stack[count] = count < nargs ? args[count] : value;
        if (stack[count] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", name,
                         parameters[count]);
            return NULL;
        }
    }
    PyObject *others = other_keywords(name, parameters, args + nargs, kwnames, stack + count);
    if (others == NULL) {
        return NULL;
    }
    PyObject *result = method(self, stack, count, PyTuple_GET_SIZE(others) > 0 ? others : NULL);
    Py_DECREF(others);
    return result;
}

/* The first keyword that is not the parameter's; borrowed. */
static PyObject *
unexpected(const char *parameter, PyObject *kwnames)
{
    PyObject *first = PyTuple_GET_ITEM(kwnames, 0);
    bool known = PyUnicode_CompareWithASCIIString(first, parameter) == 0;
    return known ? PyTuple_GET_ITEM(kwnames, 1) : first;
}

PyObject *
pa_only_argument_slow(const char *method, const char *parameter, PyObject *const *args,
                      Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *value = keyword_value(parameter, args + nargs, kwnames);
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes 2 positional arguments but %zd were given",
                     method, nargs + 1);
    }
    else if (keywords > (value != NULL)) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", method,
                     unexpected(parameter, kwnames));
    }
    else if (nargs == 1 && value != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", method,
                     parameter);
    }
    else if (nargs == 0 && value == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", method,
                     parameter);
    }
    else {
        return nargs == 1 ? args[0] : value;
    }
    return NULL;
}
