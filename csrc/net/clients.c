/* net/clients.c: a server learns of its transports, and that they are gone.
 *
 * From 3.13 on, asyncio's Server has them in a WeakSet, which is Python code: eight calls for each
 * connection. For a Server and a WeakSet that nobody has changed the same is done here to the set of
 * weak references behind them; any other server's own methods are called. */
#include "net/transport.h"

static int
call_server(PaTransport *t, PyObject *name)
{
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *result = PyObject_CallMethodOneArg(t->server, name, (PyObject *)t);
#else
    PyObject *result = PyObject_CallMethodNoArgs(t->server, name);
#endif
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#if PY_VERSION_HEX >= 0x030d0000
/* The interpreter gives a class another version, or none, when it is changed. */
static bool
is_unchanged(PyObject *obj, PyObject *class, unsigned int version)
{
    PyTypeObject *type = (PyTypeObject *)class;
    return Py_TYPE(obj) == type && type->tp_version_tag == version && version != 0;
}

/* 1 when the attribute is there and true, 0 when not, -1 with an exception. */
static int
has_true(PyObject *obj, PyObject *name)
{
    PyObject *value;
    int found = PyObject_GetOptionalAttr(obj, name, &value);
    if (found > 0) {
        found = PyObject_IsTrue(value);
        Py_DECREF(value);
    }
    return found;
}

/* The WeakSet of a server that listens and is as we know it: 1 with new references to it and to the
 * set of weak references in it; 0 when the server's own methods are to be called, -1 with an
 * exception. */
static int
find_clients(PaTransport *t, PyObject **clients, PyObject **references)
{
    PaState *st = pa_transport_state(t);
    if (!is_unchanged(t->server, st->asyncio.Server, st->server_version)) {
        return 0;
    }
    int listens = has_true(t->server, st->names._sockets);
    if (listens <= 0) {
        return listens;
    }
    *clients = PyObject_GetAttr(t->server, st->names._clients);
    if (*clients == NULL) {
        return -1;
    }
    int pending = 1;
    if (is_unchanged(*clients, st->asyncio.WeakSet, st->weak_set_version)) {
        pending = st->weak_set_defers ? has_true(*clients, st->names._pending_removals) : 0;
    }
    *references = pending == 0 ? PyObject_GetAttr(*clients, st->names.data) : NULL;
    if (*references != NULL && PySet_CheckExact(*references)) {
        return 1;
    }
    Py_CLEAR(*references);
    Py_CLEAR(*clients);
    return PyErr_Occurred() ? -1 : 0;
}

static int
add(PaTransport *t, PyObject *clients, PyObject *references)
{
    PyObject *remove = PyObject_GetAttr(clients, pa_transport_state(t)->names._remove);
    PyObject *reference = remove == NULL ? NULL : PyWeakref_NewRef((PyObject *)t, remove);
    int result = reference == NULL ? -1 : PySet_Add(references, reference);
    Py_XDECREF(reference);
    Py_XDECREF(remove);
    return result;
}

static int
discard(PaTransport *t, PyObject *Py_UNUSED(clients), PyObject *references)
{
    PyObject *reference = PyWeakref_NewRef((PyObject *)t, NULL);
    int result = reference == NULL ? -1 : PySet_Discard(references, reference);
    Py_XDECREF(reference);
    return result < 0 ? -1 : 0;
}

/* By `known`, if the server is as we know it, or by its method. */
static int
tell_server(PaTransport *t, int (*known)(PaTransport *, PyObject *, PyObject *), PyObject *name)
{
    PyObject *clients, *references;
    int found = find_clients(t, &clients, &references);
    if (found <= 0) {
        return found < 0 ? -1 : call_server(t, name);
    }
    int result = known(t, clients, references);
    Py_DECREF(references);
    Py_DECREF(clients);
    return result;
}
#else
#define tell_server(t, known, name) call_server(t, name)
#endif

int
pa_server_attach(PaTransport *t)
{
    return tell_server(t, add, pa_transport_state(t)->names._attach);
}

/* The server that no longer listens may have to wake who waits for the last of its transports: that
 * is for its method. */
int
pa_server_detach(PaTransport *t)
{
    return tell_server(t, discard, pa_transport_state(t)->names._detach);
}

int
pa_clients_init(PaState *st)
{
    /* Looking something up gives a class its version. */
    PyObject *init = PyObject_GetAttrString(st->asyncio.Server, "__init__");
    if (init == NULL) {
        return -1;
    }
    Py_DECREF(init);
    PyObject *commit = PyObject_GetAttrString(st->asyncio.WeakSet, "_commit_removals"); // 3.13
    if (commit == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    st->weak_set_defers = commit != NULL;
    Py_XDECREF(commit);
    st->server_version = ((PyTypeObject *)st->asyncio.Server)->tp_version_tag;
    st->weak_set_version = ((PyTypeObject *)st->asyncio.WeakSet)->tp_version_tag;
    return 0;
}
