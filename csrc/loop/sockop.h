/* loop/sockop.h: PaSockOp, one sock_*() operation on a bare socket.
 *
 * sockops.c makes it and lets it try at once, sockattempt.c is what it tries, sockwait.c is its life
 * as a Python object: how it waits for the descriptor, and what awaiting it does. */
#ifndef PA_LOOP_SOCKOP_H
#define PA_LOOP_SOCKOP_H

#include "loop/loop.h"

typedef struct PaSockOp PaSockOp;

/* The result as a new reference; NULL without an exception when it would block, NULL with one. */
typedef PyObject *(*PaSockAttempt)(PaSockOp *op);

struct PaSockOp {
    PaMember member; // for the ready ring; never linked into loop->members
    vectorcallfunc call;

    /* what is to be done */
    PyObject *sock;    // owned
    PyObject *args[2]; // owned, the first nargs of them: what follows the socket
    int nargs;
    int event; // UV_READABLE or UV_WRITABLE: what to wait for
    PaSockAttempt attempt;
    bool needs_context; // the attempt may run Python code
    PyObject *method;   // borrowed: interned name, for pa_sock_attempt_method()
    Py_ssize_t size;    // most to receive
    Py_buffer view;     // of the data being sent, when has_view
    Py_ssize_t sent;
    bool has_view;

    /* how far it is */
    bool ended;         // waits for nothing, holds no buffer
    bool watched;       // waits for the descriptor
    int fd;             // that it waits for
    PyObject *handle;   // owned: by which it does so, NULL when it needs none
    PyObject *future;   // owned, from the first step of awaiting to the end
    PyObject *iterator; // owned: what awaiting the future runs, when that is not one of ours
    PyObject *result;   // owned, once there is one
};

static inline PaState *
pa_sockop_state(const PaSockOp *op)
{
    return op->member.loop->sched.st;
}

/* Exactly socket.socket, whose methods are known. */
static inline bool
pa_sock_is_plain(const PaState *st, PyObject *sock)
{
    return (PyObject *)Py_TYPE(sock) == st->asyncio.socket;
}

/* ---- sockattempt.c */

/* The descriptor that the socket has now; -1 with OSError once it is closed. */
int pa_sock_descriptor(const PaState *st, PyObject *sock);

/* Sends to a plain socket. Bytes sent, 0 when it would block; -1 with an exception. */
Py_ssize_t pa_sock_send(const PaState *st, PyObject *sock, const void *data, Py_ssize_t size);

/* Any method of any socket; the others are for plain ones, or say more. */
PyObject *pa_sock_attempt_method(PaSockOp *op);
PyObject *pa_sock_attempt_recv(PaSockOp *op);
PyObject *pa_sock_attempt_recv_into(PaSockOp *op);
PyObject *pa_sock_attempt_send(PaSockOp *op);
PyObject *pa_sock_attempt_send_method(PaSockOp *op);
PyObject *pa_sock_attempt_accept(PaSockOp *op);
PyObject *pa_sock_attempt_connect(PaSockOp *op);

/* ---- sockwait.c */

/* An operation on args[0] with the nargs - 1 arguments that follow, which calls the socket's method
 * of that name unless its attempt is set to another. Borrows. New reference or NULL. */
PaSockOp *pa_sockop_new(PaLoop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *method,
                        int event);
/* It has its result. */
void pa_sockop_done_steal(PaSockOp *op, PyObject *result);

#endif
