/* net/udp.c: DatagramTransport: UDP and unix datagram sockets, connected or not.
 *
 * A PaTransport with its own way of reading and writing; life, flow control and information are
 * those of transport.c. Datagrams are received several at a time, made into objects, held in the
 * transport and handed to the protocol one by one: pausing or closing in datagram_received() keeps
 * or drops the rest, and what it schedules runs before the next one. sendto() sends at once unless
 * datagrams are queued; the queue's items are (bytes, address). Addresses of a form that addr.c
 * does not read, and families that it does not know, go through the methods of the Python socket,
 * whose errors they then have. An OSError, from the network or the arguments, goes to
 * error_received(); anything else ends the transport. */
#include "net/transport.h"

#include <errno.h>
#include <string.h>

/* Received by one system call, each into a slot of the loop's read buffer. */
#define BATCH     4
#define SLOT_SIZE (PA_READ_BUFFER_SIZE / BATCH)
/* So that one busy socket cannot starve the others: as many datagrams as libuv takes. */
#define BATCHES_PER_EVENT 8

/* What a queued datagram counts for beside its bytes. */
#define HEADER_SIZE ((size_t)(PY_VERSION_HEX >= 0x030d0000 ? 8 : 0))

typedef struct {
    PyObject *data;    // owned bytes
    PyObject *address; // owned
} Received;

typedef struct {
    PaTransport t;     // first
    PyObject *address; // owned or NULL: of remote_addr=, the only one that sendto() takes
    bool known_family; // addresses in C, else through the socket object
    int8_t connected;  // is_connected(), -1 while nobody has asked
    uint8_t slots;     // datagrams that one receive() may bring
    uint8_t held_first, held_count;
    bool more; // the last receive() brought as many as it can: others may wait in the kernel
    Received held[BATCH];
} PaDatagram;

static inline PaDatagram *
cast(void *self)
{
    return (PaDatagram *)self;
}

/* protocol.error_received(exc) for the raised OSError. 0, or -1 with what it raised. */
static int
tell_error(PaTransport *t)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *protocol = Py_NewRef(t->protocol);
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, pa_transport_state(t)->names.error_received, exc);
    Py_DECREF(protocol);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The raised exception of a system call or of the socket: 0, or -1 with an exception to report. */
static int
failed(PaTransport *t, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_OSError) && t->protocol != NULL) {
        return tell_error(t);
    }
    return pa_transport_failed(t, message);
}

/* ---- receiving */

static int
hold_steal(PaDatagram *d, PyObject *data, PyObject *address)
{
    if (data == NULL || address == NULL) {
        Py_XDECREF(data);
        Py_XDECREF(address);
        return -1;
    }
    d->held[d->held_count++] = (Received){data, address};
    return 0;
}

static void
drop_held(PaDatagram *d)
{
    while (d->held_count > 0) {
        Received next = d->held[d->held_first++];
        d->held_count--;
        Py_DECREF(next.data);
        Py_DECREF(next.address);
    }
}

typedef struct {
    PaAddr from;
    socklen_t from_length;
    size_t size;
} Slot;

/* Receives up to `count` datagrams of up to `size` bytes into the buffer, one behind the other.
 * Returns how many, -1 with errno set. */
#ifdef __linux__
static int
receive(int fd, char *buffer, size_t size, Slot *slots, int count)
{
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < count; i++) {
        iov[i] = (struct iovec){buffer + (size_t)i * size, size};
        messages[i].msg_hdr.msg_iov = &iov[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &slots[i].from;
        messages[i].msg_hdr.msg_namelen = sizeof(slots[i].from);
    }
    int received;
    do {
        received = recvmmsg(fd, messages, (unsigned int)count, MSG_DONTWAIT, NULL);
    } while (received < 0 && errno == EINTR);
    for (int i = 0; i < received; i++) {
        slots[i].from_length = messages[i].msg_hdr.msg_namelen;
        slots[i].size = messages[i].msg_len;
    }
    return received;
}
#else
static int
receive(int fd, char *buffer, size_t size, Slot *slots, int count)
{
    int received = 0;
    while (received < count) {
        Slot *slot = &slots[received];
        slot->from_length = sizeof(slot->from);
        ssize_t length = recvfrom(fd, buffer + (size_t)received * size, size, MSG_DONTWAIT,
                                  &slot->from.sa, &slot->from_length);
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length < 0) {
            return received > 0 ? received : -1; /* the error comes again with the next call */
        }
        slot->size = (size_t)length;
        received++;
    }
    return received;
}
#endif

/* Receives with the socket's recvfrom(). 0, or -1 with its exception. */
static int
fill_by_socket(PaDatagram *d)
{
    PyObject *result =
        pa_transport_receive_max_size(&d->t, pa_transport_state(&d->t)->names.recvfrom);
    PyObject *data, *address;
    if (result == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int parsed = PyArg_ParseTuple(result, "OO", &data, &address);
    if (parsed) {
        (void)hold_steal(d, Py_NewRef(data), Py_NewRef(address));
    }
    Py_DECREF(result);
    return parsed ? 0 : -1;
}

static PyObject *
sender(PaDatagram *d, const Slot *slot)
{
    PyObject *address =
        pa_addrbook_object(&d->t.member.loop->addresses, &slot->from, slot->from_length);
    return address == NULL && !PyErr_Occurred() ? Py_NewRef(Py_None) : address;
}

/* Fills the empty store of held datagrams with what has come. 0, or -1 with an exception. */
static int
fill(PaDatagram *d)
{
    d->held_first = 0;
    if (!d->known_family || pa_transport_has_max_size(&d->t)) {
        pa_loop_poll_soon(d->t.member.loop); /* one at a time, as asyncio: others may wait */
        return fill_by_socket(d);
    }
    char *buffer = pa_loop_read_buffer(d->t.member.loop);
    if (buffer == NULL) {
        return -1;
    }
    size_t size = PA_READ_BUFFER_SIZE / d->slots;
    Slot slots[BATCH];
    int count = receive(d->t.fd, buffer, size, slots, d->slots);
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        }
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        PyObject *data = pa_spare_bytes_fill(&d->t.member.loop->spare_bytes,
                                             buffer + (size_t)i * size, (Py_ssize_t)slots[i].size);
        PyObject *address = data == NULL ? NULL : sender(d, &slots[i]);
        if (hold_steal(d, data, address) < 0) {
            return -1;
        }
    }
    return 0;
}

/* protocol.datagram_received(data, address) */
static int
deliver_steal(PaTransport *t, Received next)
{
    PyObject *args[] = {Py_NewRef(t->protocol), next.data, next.address};
    PyObject *result = PyObject_VectorcallMethod(pa_transport_state(t)->names.datagram_received,
                                                 args, Py_ARRAY_LENGTH(args), NULL);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(args); i++) {
        Py_DECREF(args[i]);
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static bool
may_deliver(const PaDatagram *d)
{
    return d->t.reading && !d->t.conn_lost;
}

/* The kernel does not tell of datagrams that are held: another turn delivers them, as if it had. Keeps a
 * raised exception. */
static void
deliver_later(PaDatagram *d)
{
    PyObject *exc = PyErr_GetRaisedException();
    pa_poll_queue(&d->t.poll, &d->t.member, UV_READABLE);
    PyErr_SetRaisedException(exc);
}

/* Hands out what is held, until a callback was scheduled meanwhile, whose turn in asyncio comes before
 * the next datagram: 1 then, else 0, or -1 with the exception of datagram_received(). */
static int
deliver_held(PaDatagram *d)
{
    const PaRing *ring = &d->t.member.loop->sched.ring;
    int result = 0;
    while (result == 0 && d->held_count > 0 && may_deliver(d)) {
        Received next = d->held[d->held_first++];
        d->held_count--;
        size_t scheduled = pa_ring_count(ring);
        int failed = deliver_steal(&d->t, next);
        result = failed < 0 ? -1 : pa_ring_count(ring) > scheduled;
    }
    if (result != 0 && d->held_count > 0 && may_deliver(d)) {
        deliver_later(d);
    }
    return result;
}

static int
read_ready(PaTransport *t)
{
    PaDatagram *d = cast(t);
    for (int i = 0; i < BATCHES_PER_EVENT && may_deliver(d); i++) {
        if (d->held_count == 0) {
            if (fill(d) < 0) {
                drop_held(d);
                return failed(t, "Fatal read error on datagram transport");
            }
            d->more = d->held_count == d->slots;
        }
        int delivered = deliver_held(d);
        if (delivered < 0) {
            return -1;
        }
        if (!d->more) {
            return 0;
        }
        if (delivered > 0) {
            break;
        }
    }
    pa_loop_poll_soon(t->member.loop);
    return 0;
}

PyObject *
pa_datagram_resume_reading(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PaDatagram *d = cast(self);
    if (pa_transport_resume_reading(&d->t) < 0) {
        return NULL;
    }
    if (d->held_count > 0 && may_deliver(d)) {
        deliver_later(d);
    }
    Py_RETURN_NONE;
}

/* ---- sending */

/* What came of a system call: 1 when it is done, 0 when it would block, -1 with an exception. */
typedef int SendResult;

static SendResult
sent_or_raise(ssize_t sent)
{
    if (sent >= 0) {
        return 1;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return 0;
    }
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* socket.send(data), or socket.sendto(data, address) if there is one. */
static SendResult
send_by_socket(PaTransport *t, PyObject *data, PyObject *address)
{
    PaNames *names = &pa_transport_state(t)->names;
    PyObject *sock = pa_transport_socket(t);
    if (sock == NULL) {
        return -1;
    }
    PyObject *args[] = {sock, data, address};
    PyObject *result = address == NULL ? PyObject_VectorcallMethod(names->send, args, 2, NULL)
                                       : PyObject_VectorcallMethod(names->sendto, args, 3, NULL);
    Py_DECREF(sock);
    if (result == NULL) {
        return pa_would_block() ? 0 : -1;
    }
    Py_DECREF(result);
    return 1;
}

/* sendto() or, for a NULL address, send(). */
static SendResult
send_native(PaTransport *t, PyObject *data, const PaAddr *to, socklen_t to_length)
{
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    ssize_t sent;
    do {
        sent = to == NULL ? send(t->fd, view.buf, (size_t)view.len, flags)
                          : sendto(t->fd, view.buf, (size_t)view.len, flags, &to->sa, to_length);
    } while (sent < 0 && errno == EINTR);
    SendResult result = sent_or_raise(sent);
    PyBuffer_Release(&view);
    return result;
}

/* Whether get_extra_info("peername") tells of a peer. -1 with an exception. */
static int
has_peername(PaTransport *t)
{
    PyObject *peer = pa_transport_extra_get(t, pa_transport_state(t)->names.peername);
    if (peer == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int truth = PyObject_IsTrue(peer);
    Py_DECREF(peer);
    return truth;
}

/* Whether the socket was connected when the transport was made. -1 with an exception. */
static int
is_connected(PaDatagram *d)
{
    if (d->connected < 0) {
        d->connected = (int8_t)has_peername(&d->t);
    }
    return d->connected;
}

/* The address that an object stands for; its length, 0 when the socket object has to resolve it. */
static socklen_t
address_of(PaTransport *t, PyObject *object, PaAddr *to)
{
    socklen_t length = pa_addrbook_address(t->member.loop->addresses, object, t->family, to);
    return length != 0 ? length : pa_addr_from_object(to, t->family, object);
}

/* Sends one datagram; address may be None. */
static SendResult
send_datagram(PaDatagram *d, PyObject *data, PyObject *address)
{
    PaTransport *t = &d->t;
    int connected = is_connected(d);
    if (connected < 0) {
        return -1;
    }
    if (connected) {
        return d->known_family ? send_native(t, data, NULL, 0) : send_by_socket(t, data, NULL);
    }
    PaAddr to;
    socklen_t length = address_of(t, address, &to);
    if (length == 0) {
        return send_by_socket(t, data, address);
    }
    if (PySys_Audit("socket.sendto", "OO", t->sock, address) < 0) {
        return -1;
    }
    return send_native(t, data, &to, length);
}

/* ---- sendto() */

/* Queues what could not be sent, as bytes that nobody can change any more. */
static int
queue_datagram(PaDatagram *d, PyObject *data, PyObject *address)
{
    PyObject *bytes = PyBytes_FromObject(data);
    PyObject *item = bytes == NULL ? NULL : PyTuple_Pack(2, bytes, address);
    int result = -1;
    if (item != NULL) {
        size_t size = (size_t)PyBytes_GET_SIZE(bytes) + HEADER_SIZE;
        result = pa_queue_push_item(&d->t.queue, item, size);
    }
    Py_XDECREF(item);
    Py_XDECREF(bytes);
    if (result < 0) {
        return -1;
    }
    d->t.write_blocked = true;
    pa_transport_watch(&d->t, false);
    return pa_transport_maybe_pause(&d->t);
}

static int
send_or_queue(PaDatagram *d, PyObject *data, PyObject *address)
{
    PaTransport *t = &d->t;
    if (t->lost || (t->conn_lost && d->address != NULL)) {
        return pa_transport_dropped(t);
    }
    if (t->queue.count == 0) {
        SendResult sent = send_datagram(d, data, address);
        if (sent < 0) {
            return failed(t, "Fatal write error on datagram transport");
        }
        if (sent > 0) {
            return 0;
        }
    }
    return queue_datagram(d, data, address);
}

static int
check_data(PyObject *data)
{
    if (PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data)) {
        return 0;
    }
    PyObject *name = PyType_GetName(Py_TYPE(data));
    if (name != NULL) {
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not %R", name);
        Py_DECREF(name);
    }
    return -1;
}

/* Whether a connected endpoint takes the address: 0, or -1 with ValueError. */
static int
check_address(PyObject *expected, PyObject *address)
{
    int same = address == Py_None ? 1 : PyObject_RichCompareBool(address, expected, Py_EQ);
    if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", expected);
    }
    return same > 0 ? 0 : -1;
}

static int
datagram_sendto(PaDatagram *d, PyObject *data, PyObject *address)
{
    if (check_data(data) < 0) {
        return -1;
    }
#if PY_VERSION_HEX < 0x030d0000
    int truth = PyObject_IsTrue(data);
    if (truth <= 0) {
        return truth;
    }
#endif
    if (d->address == NULL) {
        return send_or_queue(d, data, address);
    }
    PyObject *expected = Py_NewRef(d->address);
    int result = check_address(expected, address);
    if (result == 0) {
        result = send_or_queue(d, data, expected);
    }
    Py_DECREF(expected);
    return result;
}

/* The arguments data and addr=None, by position or by name. 0, or -1 with TypeError. */
static int
parse_sendto(PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **data,
             PyObject **address)
{
    *data = nargs > 0 ? args[0] : NULL;
    *address = nargs > 1 ? args[1] : NULL;
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    bool good = nargs <= 2;
    for (Py_ssize_t i = 0; i < nkw && good; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        PyObject **slot = PyUnicode_CompareWithASCIIString(name, "data") == 0   ? data
                          : PyUnicode_CompareWithASCIIString(name, "addr") == 0 ? address
                                                                                : NULL;
        good = slot != NULL && *slot == NULL;
        if (good) {
            *slot = args[nargs + i];
        }
    }
    if (!good || *data == NULL) {
        PyErr_SetString(PyExc_TypeError, "sendto() takes the arguments data and addr=None");
        return -1;
    }
    if (*address == NULL) {
        *address = Py_None;
    }
    return 0;
}

PyObject *
pa_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *data, *address;
    if (parse_sendto(args, nargs, kwnames, &data, &address) < 0 ||
        datagram_sendto(cast(self), data, address) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- the queue */

/* Sends from the queue until it is empty (1) or would block (0). -1 when a datagram has failed: it
 * is dropped, and the exception raised. */
static int
send_queue(PaDatagram *d)
{
    PaQueue *queue = &d->t.queue;
    while (queue->count > 0) {
        PyObject *item = Py_NewRef(pa_queue_first_item(queue));
        PyObject *data = PyTuple_GET_ITEM(item, 0);
        SendResult sent = send_datagram(d, data, PyTuple_GET_ITEM(item, 1));
        if (sent != 0) {
            PyObject *exc = PyErr_GetRaisedException();
            pa_queue_drop_item(queue, (size_t)PyBytes_GET_SIZE(data) + HEADER_SIZE);
            PyErr_SetRaisedException(exc);
        }
        Py_DECREF(item);
        if (sent <= 0) {
            return sent;
        }
    }
    return 1;
}

static int
write_ready(PaTransport *t)
{
    if (send_queue(cast(t)) < 0) {
        return failed(t, "Fatal write error on datagram transport");
    }
    if (pa_transport_maybe_resume(t) < 0) { /* may append to the queue */
        return -1;
    }
    if (t->queue.count > 0) {
        return 0;
    }
    t->write_blocked = false;
    pa_transport_watch(t, false);
    if (t->closing && !t->conn_lost) {
        t->conn_lost++;
        return pa_transport_lose(t, Py_None);
    }
    return 0;
}

static const PaTransportIo datagram_io = {read_ready, write_ready};

/* ---- the object */

static PyObject *
datagram_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop", "sock", "protocol", "address", "waiter", "extra", NULL};
    PaTransportArgs given = {0};
    PyObject *address = Py_None;
    PaState *st = pa_state_of_type(type);
    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO|OOO:DatagramTransport", keywords,
                                     st->loop_type, &given.loop, &given.sock, &given.protocol,
                                     &address, &given.waiter, &given.extra)) {
        return NULL;
    }
    int has_address = PyObject_IsTrue(address);
    if (has_address < 0) {
        return NULL;
    }
    PaDatagram *d = cast(pa_transport_new(type, &datagram_io, &given));
    if (d == NULL) {
        return NULL;
    }
    d->address = has_address ? Py_NewRef(address) : NULL;
    int family = d->t.family;
    bool is_ip = family == AF_INET || family == AF_INET6;
    d->known_family = is_ip || family == AF_UNIX;
    d->connected = -1;
    d->slots = is_ip ? BATCH : 1; /* a unix datagram may fill the whole buffer */
    return (PyObject *)d;
}

static int
datagram_traverse(PyObject *self, visitproc visit, void *arg)
{
    PaDatagram *d = cast(self);
    Py_VISIT(d->address);
    for (int i = 0; i < d->held_count; i++) {
        Py_VISIT(d->held[d->held_first + i].data);
        Py_VISIT(d->held[d->held_first + i].address);
    }
    return pa_transport_traverse(self, visit, arg);
}

static int
datagram_clear(PyObject *self)
{
    Py_CLEAR(cast(self)->address);
    drop_held(cast(self));
    return pa_transport_clear(self);
}

PyDoc_STRVAR(
    datagram_doc,
    "DatagramTransport(loop, sock, protocol, address=None, waiter=None, extra=None)\n"
    "--\n\n"
    "Transport of a datagram socket, which it owns from then on.\n\n"
    "address is the remote one of a connected endpoint. connection_made(), the start of reading\n"
    "and the waiter's result are scheduled on the loop. Stands for the transport that asyncio's\n"
    "selector loop makes in create_datagram_endpoint(). OSError when the descriptor cannot be\n"
    "watched, RuntimeError when the loop is closed.");

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, (void *)datagram_doc},       {Py_tp_new, datagram_new},
    {Py_tp_init, pa_transport_init},         {Py_tp_dealloc, pa_transport_dealloc},
    {Py_tp_finalize, pa_transport_finalize}, {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},           {Py_tp_repr, pa_transport_repr},
    {Py_tp_methods, pa_datagram_methods},    {Py_tp_getset, pa_transport_getset},
    {Py_tp_members, pa_transport_members},   {0, NULL},
};

static PyType_Spec datagram_spec = {
    .name = "pyasync._core.DatagramTransport",
    .basicsize = sizeof(PaDatagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = datagram_slots,
};

int
pa_datagram_init_type(PyObject *module, PaState *st)
{
    PyObject *bases = PyTuple_Pack(2, st->asyncio.FlowControlMixin, st->asyncio.DatagramTransport);
    if (bases == NULL) {
        return -1;
    }
    PyTypeObject *type = pa_add_type(module, &datagram_spec, bases);
    Py_DECREF(bases);
    int result = type == NULL ? -1 : pa_transport_set_default_max_size(type);
    Py_XDECREF(type); /* the module holds it */
    return result;
}
