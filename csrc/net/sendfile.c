/* net/sendfile.c: what loop.sendfile() needs of a socket transport.
 *
 * A file that the socket takes as a whole leaves at once (_sendfile_at_once): what was written before
 * it shares its first packet, and the descriptor is not watched for it. Anything else, a full socket,
 * an error, a file that is shorter than was said, is for the standard library's code, which watches
 * the descriptor by add_writer(): for that time the transport waits until its queue is empty, lends
 * it and refuses writes (_make_empty_waiter, _reset_empty_waiter). Runs on the loop's thread. */
#include "net/transport.h"
#include "sched/task.h"

#include <netinet/tcp.h>
#ifdef __linux__
#include <sys/sendfile.h>
#endif
#include <unistd.h>

static inline PaTransport *
cast(PyObject *self)
{
    return (PaTransport *)self;
}

/* ---- at once */

#ifdef __linux__
/* Sends what is queued and says that more comes. Whether all of it went. 0 or 1, -1 with an exit. */
static int
send_head(PaTransport *t)
{
    t->more_follows = true;
    int result = pa_transport_flush(t);
    t->more_follows = false;
    return result < 0 ? -1 : t->queue.count == 0 && !t->write_blocked && !t->conn_lost;
}

/* The head waits no longer for what did not come. */
static void
push_head(const PaTransport *t)
{
    int on = 1;
    (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Bytes sent, 0 when it is not possible now. The file may have to be read from a disk. */
static Py_ssize_t
send_file(PaTransport *t, int file, off_t offset, Py_ssize_t count)
{
    ssize_t sent;
    int fd = t->fd;
    t->room = 0;
    Py_BEGIN_ALLOW_THREADS
    sent = sendfile(fd, file, &offset, (size_t)count);
    Py_END_ALLOW_THREADS
    if (sent <= 0) {
        push_head(t);
        return 0;
    }
    (void)lseek(file, offset, SEEK_SET); /* as the standard library leaves it */
    return sent;
}
#endif

PyObject *
pa_transport_sendfile_at_once(PyObject *self, PyObject *args)
{
    int file;
    Py_ssize_t count, sent = 0;
    long long offset;
    if (!PyArg_ParseTuple(args, "iLn:_sendfile_at_once", &file, &offset, &count)) {
        return NULL;
    }
#ifdef __linux__
    PaTransport *t = cast(self);
    bool may = !t->closing && !t->conn_lost && !t->write_blocked && !t->eof_written &&
               t->empty_waiter == NULL;
    int head = may ? send_head(t) : 0;
    if (head < 0) {
        return NULL;
    }
    if (head) {
        sent = send_file(t, file, (off_t)offset, count);
    }
#endif
    return PyLong_FromSsize_t(sent);
}

/* ---- with the descriptor lent */

PyObject *
pa_transport_make_empty_waiter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaTransport *t = cast(self);
    if (t->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (pa_transport_flush(t) < 0) {
        return NULL;
    }
    /* sendfile() watches the descriptor itself while reading is paused. */
    pa_transport_watch(t, true);
    pa_transport_lend_descriptor(t, true);
    t->room = 0;
    t->empty_waiter = pa_future_new(&t->member.loop->sched);
    if (t->empty_waiter != NULL && t->queue.count == 0) {
        PyObject *result = PyObject_CallMethodOneArg(
            t->empty_waiter, pa_transport_state(t)->names.set_result, Py_None);
        if (result == NULL) {
            return NULL;
        }
        Py_DECREF(result);
    }
    return Py_XNewRef(t->empty_waiter);
}

PyObject *
pa_transport_reset_empty_waiter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(cast(self)->empty_waiter);
    pa_transport_lend_descriptor(cast(self), false);
    Py_RETURN_NONE;
}
