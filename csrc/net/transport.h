/* net/transport.h: PaTransport, a connected stream socket (TCP or unix) and its protocol.
 *
 * libuv tells when the descriptor is ready; read.c and write.c make the system calls, and no other
 * file does. The flags follow asyncio's selector transport:
 *   conn_lost   counts from the moment connection_lost() is scheduled; nothing is read or written
 *   closing     close() or abort() was called, or an error came
 *   lost        connection_lost() has been called, the descriptor is closed
 * Any call into Python may close the transport: look at these flags after it, and hold a reference
 * to the transport across it. Functions that return int return 0, or -1 with an exception. */
#ifndef PA_NET_TRANSPORT_H
#define PA_NET_TRANSPORT_H

#include "base/addr.h"
#include "loop/poll.h"
#include "net/queue.h"

#include <structmember.h> // PyMemberDef of 3.11

typedef enum {
    PA_PROTOCOL_PLAIN,    // data_received(bytes)
    PA_PROTOCOL_BUFFERED, // get_buffer() and buffer_updated()
    PA_PROTOCOL_STREAM,   // exactly asyncio's StreamReaderProtocol: streams.c feeds its reader
    PA_PROTOCOL_FEED,     // in C: takes what was received where it lies (PaFeed)
} PaProtocolKind;

typedef struct PaTransport PaTransport;

/* What a type of transport does when its descriptor is ready. 0, or -1 with an exception that ends
 * the callback: it is reported, or leaves run_forever() when it is an exit. */
typedef struct {
    int (*read_ready)(PaTransport *t);
    int (*write_ready)(PaTransport *t);
} PaTransportIo;

struct PaTransport {
    PaMember member; // first
    PaPoll poll;
    const PaTransportIo *io;
    PyObject *weakrefs;
    PyObject *dict; // owned, or NULL: attributes that the application has set

    PyObject *protocol;      // owned, NULL once lost
    PyObject *server;        // owned or NULL: told when the transport comes and goes
    PyObject *sock;          // owned socket.socket; NULL until made on demand (extra.c)
    PyObject *extra;         // owned dict of get_extra_info(), made when first asked, or NULL
    PyObject *given_context; // owned: of the constructor (3.15), or NULL
    PyObject *read_context;  // owned: in which the protocol is called when the socket is ready
    PyObject *empty_waiter;  // owned: sendfile's future for an empty queue, or NULL

    PaIpAddr local, peer; // for sockname and peername, unless in `extra`
    int fd;               // kept after the close, as _sock_fd
    int family, type, proto;

    PaQueue queue;
    size_t high_water, low_water; // bytes in the queue
    size_t room;                  // bytes that the socket is known to take
    PaTransport *flush_previous, *flush_next;
    int (*before_flush)(PaTransport *t); // fills the queue first, once; NULL when nobody has to

    unsigned int conn_lost;
    /* Not 0 after a read that brought much: the next goes into memory of its own. About as many bytes
     * as messages have. */
    uint32_t large_read;
    uint8_t read_error; // errno that a further read met: the next one fails with it, 0 for none
    uint8_t kind;       // PaProtocolKind
    bool attached;      // constructed: the descriptor and the server are ours to release
    bool poll_open;     // between pa_poll_open() and pa_poll_close()
    bool closing;
    bool lost;
    bool paused;          // pause_reading()
    bool reading;         // the reader is registered; is still so after pause is lifted
    bool in_callback;     // inside a call to the protocol after which the queue is flushed
    bool eof_written;     // write_eof()
    bool write_blocked;   // the socket is full: the queue waits for UV_WRITABLE
    bool protocol_paused; // pause_writing() was called
    bool flush_linked;    // in the loop's list of transports with writes waiting
    bool deferred;        // the queue waits though it is above the high-water mark
    bool more_follows;    // a file goes right behind what is being sent
};

/* ---- transport.c: the life of a transport */

/* What is known of a connection that was made without a Python socket object. All borrowed. */
typedef struct {
    int family, type, proto;
    const struct sockaddr *peer; // NULL: ask the kernel
    socklen_t peer_length;
    PyObject *sock;    // socket.socket that owns the descriptor already, or NULL
    PyObject *server;  // or None
    PyObject *waiter;  // gets its result after connection_made(); or NULL
    PyObject *context; // given to the transport (3.15), or None or NULL
} PaConnectionInfo;

/* A transport for the descriptor of a connection; closes it on failure. New reference. */
PyObject *pa_transport_of_connection_steal(PaLoop *loop, int fd, const PaConnectionInfo *info,
                                           PyObject *protocol);

/* Arguments of a constructor, borrowed; all but the first three may be NULL. */
typedef struct {
    PyObject *loop, *sock, *protocol; // loop: a _core.Loop
    PyObject *waiter, *extra, *server, *context;
} PaTransportArgs;

/* A transport of the type, whose instances begin with a PaTransport; takes over the socket. New
 * reference, NULL with an exception. */
PaTransport *pa_transport_new(PyTypeObject *type, const PaTransportIo *io,
                              const PaTransportArgs *args);

/* Slots for every such type; pa_transport_dealloc() clears by tp_clear. */
int pa_transport_init(PyObject *self, PyObject *args, PyObject *kwargs);
void pa_transport_finalize(PyObject *self);
int pa_transport_traverse(PyObject *self, visitproc visit, void *arg);
int pa_transport_clear(PyObject *self);
void pa_transport_dealloc(PyObject *self);

/* type.max_size, which asyncio's transports have: how much a read asks for. */
int pa_transport_set_default_max_size(PyTypeObject *type);

/* loop.call_soon(obj.name[, arg]) in the transport's context; arg may be NULL. */
int pa_transport_call_soon(PaTransport *t, PyObject *obj, PyObject *name, PyObject *arg);
/* The descriptor is readable, writable or both (UV_READABLE, UV_WRITABLE). */
int pa_transport_ready(PaTransport *t, int events);
int pa_transport_set_protocol(PaTransport *t, PyObject *protocol);
int pa_transport_schedule_reading(PaTransport *t);
int pa_transport_start_reading(PaTransport *t);
int pa_transport_pause_reading(PaTransport *t);
int pa_transport_resume_reading(PaTransport *t);
int pa_transport_close(PaTransport *t);
int pa_transport_abort(PaTransport *t);
/* Drops what is queued and schedules connection_lost(exc); exc may be None. Borrows exc. */
int pa_transport_force_close(PaTransport *t, PyObject *exc);
/* Logs an OSError in debug mode, reports anything else, and force-closes. Borrows exc. */
int pa_transport_fatal_error(PaTransport *t, PyObject *exc, const char *message);
/* The same for the raised exception, except that an exit stays raised: -1. */
int pa_transport_failed(PaTransport *t, const char *message);
/* Reports the raised exception of a protocol's method and goes on. 0, or -1 with an exit raised. */
int pa_transport_report(PaTransport *t, const char *message);
/* logger.debug(format, transport) */
int pa_transport_log_debug(PaTransport *t, const char *format);
/* connection_lost(exc) and the end of the transport; once. exc may be None. */
int pa_transport_lose(PaTransport *t, PyObject *exc);
/* Brings the watched events in line. A paused transport goes on being watched until data comes,
 * because to stop and start costs system calls (unless the kernel has not yet been told to start);
 * `exactly` stops it at once. */
void pa_transport_watch(PaTransport *t, bool exactly);
/* Lets add_writer() have the descriptor, for sendfile(), or ends that. */
void pa_transport_lend_descriptor(PaTransport *t, bool lend);

/* ---- extra.c: what get_extra_info() knows */

/* A new non-blocking socket.socket that owns fd; a closed one for fd -1. */
PyObject *pa_socket_new(PaState *st, int family, int type, int proto, int fd);
/* New reference to the socket.socket, made now if need be. NULL with an exception. */
PyObject *pa_transport_socket(PaTransport *t);
/* New reference, or NULL without an exception when there is no such information. */
PyObject *pa_transport_extra_get(PaTransport *t, PyObject *name);
/* self.get_extra_info(*args, **kwargs) by what somebody has put in the place of that method of asyncio's
 * BaseTransport (test suites do): a new reference, or NULL with an exception. NULL without one when it is
 * the method of old. */
PyObject *pa_extra_info_replaced(PaState *st, PyObject *self, PyObject *args, PyObject *kwargs);
/* Fills the dict with everything. Borrowed, NULL with an exception. */
PyObject *pa_transport_extra_dict(PaTransport *t);
/* Remembers both addresses while the descriptor is open. peer NULL: asks the kernel. */
int pa_transport_keep_addresses(PaTransport *t, const struct sockaddr *peer, socklen_t length);

/* ---- read.c */

/* The descriptor is readable. -1 only with an exit raised. */
int pa_transport_read_ready(PaTransport *t);
/* Whether the raised exception says "not now"; it is cleared then. */
bool pa_would_block(void);
/* Whether the application has set transport.max_size, how much a read asks for: reads go by it then. */
bool pa_transport_has_max_size(PaTransport *t);
/* sock.name(transport.max_size): new reference, NULL without an exception when nothing has come. */
PyObject *pa_transport_receive_max_size(PaTransport *t, PyObject *name);

/* ---- write.c */

int pa_transport_write(PaTransport *t, PyObject *data);
/* Queues a bytes that is not empty and behind which pa_transport_write() puts more at once, or
 * pa_transport_flush() is called: leaves with that. */
int pa_transport_write_part(PaTransport *t, PyObject *bytes);
int pa_transport_writelines(PaTransport *t, PyObject *lines);
int pa_transport_write_eof(PaTransport *t);
/* Has before_flush() called, if there is one. A failure is a fatal error; -1 only with an exit. */
int pa_transport_fill(PaTransport *t);
/* The same, and sends what is queued, if the socket takes it. */
int pa_transport_flush(PaTransport *t);
/* The descriptor is writable. */
int pa_transport_write_ready(PaTransport *t);
/* Calls pause_writing() if the queue is above the high-water mark. */
int pa_transport_maybe_pause(PaTransport *t);
/* Calls resume_writing() if it was paused and the queue is down to the low-water mark. */
int pa_transport_maybe_resume(PaTransport *t);
/* Counts a write to a lost connection; warns when the program does not notice. */
int pa_transport_dropped(PaTransport *t);

/* ---- flush.c */

/* Into the loop's list of transports with writes waiting, in which it must not be yet, and out. */
void pa_transport_flush_link(PaTransport *t);
void pa_transport_flush_unlink(PaTransport *t);
/* A poll of the running loop will come and flush; it will not for a loop that does not run, and may
 * come late for another thread's. */
bool pa_transport_flush_will_come(const PaTransport *t);
/* Has fill() called, which writes, when what this callback or batch wrote is sent. False when that
 * may not come soon: the caller writes at once. */
bool pa_transport_flush_later(PaTransport *t, int (*fill)(PaTransport *t));
/* What a method of the protocol wrote waits for those of the next few transports that are ready.
 * False when it has to leave now. */
bool pa_transport_flush_in_group(PaTransport *t);
/* Sends what waits so if it is enough. To be called in no context of a transport. */
void pa_transport_flush_full_group(PaLoop *loop);
/* Sends all that waits. */
void pa_transport_flush_all(PaLoop *loop);

/* ---- sendfile.c: methods that loop.sendfile() calls */

/* _sendfile_at_once(file, offset, count): descriptor and bytes; how many bytes of the file were sent
 * without waiting, 0 when it is not possible so. */
PyObject *pa_transport_sendfile_at_once(PyObject *self, PyObject *args);
PyObject *pa_transport_make_empty_waiter(PyObject *self, PyObject *ignored);
PyObject *pa_transport_reset_empty_waiter(PyObject *self, PyObject *ignored);

/* ---- streams.c */

/* Whether the protocol and its reader are asyncio's own, with nothing overridden. */
bool pa_stream_recognise(PaState *st, PyObject *protocol);
/* Gives the bytes to the protocol's StreamReader: 1 when done, 0 when data_received() has to be
 * called after all, -1 with an exception. */
int pa_stream_feed(PaState *st, PyObject *protocol, const char *data, Py_ssize_t size);
/* Memory at the end of a StreamReader's buffer to receive into. */
typedef struct {
    PyObject *reader, *buffer; // owned
    char *memory;
} PaStreamRoom;
/* 1 with room for `size` bytes; 0 when pa_stream_feed() has to be used, -1 with an exception. No
 * Python code may run before pa_stream_received(). */
int pa_stream_reserve(PaState *st, PyObject *protocol, Py_ssize_t size, PaStreamRoom *room);
/* Keeps the first `received` bytes of the room (none if that is negative), releases it, and does
 * what pa_stream_feed() does with bytes that came. 0, or -1 with an exception. */
int pa_stream_received(PaState *st, PaStreamRoom *room, Py_ssize_t received);

/* ---- methods.c, listener.c, connect.c */

extern PyMethodDef pa_transport_methods[];
extern PyGetSetDef pa_transport_getset[];
extern PyMemberDef pa_transport_members[];
PyObject *pa_transport_repr(PyObject *self);
/* The water marks as asyncio takes them: None means `fallback` for high, a quarter of high for low.
 * 0, or -1 with ValueError unless high >= low >= 0, or what comparing them raises. */
int pa_water_marks(PyObject *high, PyObject *low, long fallback, size_t *high_water,
                   size_t *low_water);

/* ---- udp.c: DatagramTransport, whose table of methods stands in methods.c */

extern PyMethodDef pa_datagram_methods[];
PyObject *pa_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *pa_datagram_resume_reading(PyObject *self, PyObject *ignored);
int pa_datagram_init_type(PyObject *module, PaState *st);

/* ---- clients.c: what a server knows of its transports. 0, or -1 with an exception */

int pa_server_attach(PaTransport *t);
int pa_server_detach(PaTransport *t);
int pa_clients_init(PaState *st);

int pa_listener_init_type(PyObject *module, PaState *st);
int pa_connecting_init_type(PyObject *module, PaState *st);
/* SocketTransport, DatagramTransport, Listener and Connecting. */
int pa_net_init_types(PyObject *module, PaState *st);

static inline PaState *
pa_transport_state(const PaTransport *t)
{
    return t->member.loop->sched.st;
}

static inline bool
pa_transport_debug(const PaTransport *t)
{
    return t->member.loop->sched.debug;
}

#endif
