/* tls/tls.h: PaTls, the TLS protocol between a transport and the application's protocol.
 *
 * It drives an ssl.SSLObject of the user's SSLContext over two memory BIOs and behaves as asyncio's
 * SSLProtocol. To the transport below it is a protocol; to the application it shows a PaTlsTransport.
 * A SocketTransport below hands it received bytes without a Python call (PaProtocolFeed); any other
 * transport calls data_received().
 *
 * States go UNWRAPPED, HANDSHAKE, WRAPPED, FLUSHING, SHUTDOWN, and from each to UNWRAPPED. Only
 * ciphertext, the outgoing BIO's, is ever written below. Any call into Python may abort the
 * connection: look at the state after it. Functions that return int return 0, or -1 with an
 * exception that nobody here may handle: an exit, or what asyncio lets through. */
#ifndef PA_TLS_TLS_H
#define PA_TLS_TLS_H

#include "net/transport.h"
#include "tls/window.h"

typedef enum {
    PA_TLS_UNWRAPPED,
    PA_TLS_HANDSHAKE,
    PA_TLS_WRAPPED,
    PA_TLS_FLUSHING, // close() was called or the peer has ended: the last data goes both ways
    PA_TLS_SHUTDOWN, // close_notify is being exchanged
} PaTlsState;

/* How far the application's protocol has come: each of its callbacks is called once. */
typedef enum { PA_TLS_APP_INIT, PA_TLS_APP_CONNECTED, PA_TLS_APP_EOF, PA_TLS_APP_LOST } PaTlsApp;

#define PA_TLS_HEADER_SIZE 5

/* The record that the peer is sending: followed by what was stored, in incoming.c. */
typedef struct {
    size_t come; // bytes of it, header included: 0 between two records
    size_t size; // known once the header has come
    uint8_t header[PA_TLS_HEADER_SIZE];
    bool unknown; // what comes is no TLS
} PaTlsRecord;

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;

    PaLoop *loop;            // owned
    PyObject *transport;     // owned: below; NULL before connection_made() and once lost
    PaTransport *socket;     // borrowed: the same when it is a SocketTransport, else NULL
    PyObject *app_protocol;  // owned, NULL once lost
    PyObject *app_transport; // owned PaTlsTransport, NULL once lost
    PyObject *waiter;        // owned: future of the handshake, or NULL
    PyObject *sslcontext;    // owned
    PyObject *sslobj;        // owned ssl.SSLObject
    PyObject *codec;         // owned: what reads and writes go to, sslobj or the C object under it
    PyObject *incoming;      // owned ssl.MemoryBIO
    PyObject *outgoing;      // owned ssl.MemoryBIO
    PyObject *extra;         // owned dict: what TLS adds to get_extra_info()
    PyObject *handshake_timeout, *shutdown_timeout; // owned numbers, in seconds
    PyObject *handshake_timer, *shutdown_timer;     // owned handles, or NULL

    const char *arrived; // borrowed by pa_tls_feed(): ciphertext that is not in the BIO yet
    size_t arrived_size;
    PaTlsRecord record;

    PaQueue backlog; // plaintext to be encrypted
    size_t write_high, write_low;
    size_t read_high, read_low;
    double handshake_start; // in debug mode
    long conn_lost;

    uint8_t state;    // PaTlsState
    uint8_t app;      // PaTlsApp
    uint8_t app_kind; // PaProtocolKind of the application's protocol
    bool server_side;
    bool codec_in_c;     // the codec is the C object, whose methods nobody can replace
    bool reading;        // inside the application's callback: what it writes is encrypted after it
    bool encrypting;     // inside the encryption of the backlog
    bool incoming_empty; // known of the incoming BIO
    bool whole_record;   // known of it: it holds one record, of record.size, and nothing else
    bool more_decrypted; // the last read filled its buffer: OpenSSL may hold more plaintext
    bool eof_received;   // from below
    bool app_reading_paused; // by the application
    bool ssl_reading_paused; // the transport below, as the incoming BIO is full
    bool app_writing_paused; // pause_writing() of the application was called
    bool ssl_writing_paused; // by the transport below
} PaTls;

typedef struct {
    PyObject_HEAD
    PyObject *asyncio_slots[PA_ASYNCIO_SLOTS]; // of the base class
    PyObject *weakrefs;
    PyObject *dict; // owned, or NULL: attributes that the application has set
    PyObject *loop; // owned
    PaTls *tls;     // owned
    bool closed;
    bool closed_twice; // nobody asks any more: the context goes with the connection
} PaTlsTransport;

/* ---- engine.c: construction, the transport below, errors */

int pa_tls_set_app_protocol(PaTls *tls, PyObject *protocol);
/* Whether the exception raised means that OpenSSL waits for the peer; clears it then. */
bool pa_tls_wants_more(PaTls *tls);
/* Bytes in a BIO, -1 with an exception. */
Py_ssize_t pa_tls_bio_size(PaTls *tls, PyObject *bio);
/* Marks the application's transport as closed. */
void pa_tls_mark_closed(PaTls *tls);
/* Once the connection is lost: lets go of the context, though the transport may live on in a cycle
 * of the application's. */
void pa_tls_release(PaTls *tls);
/* Sends what was written before, then drops the connection. Borrows exc, which may be None. */
int pa_tls_force_close(PaTls *tls, PyObject *exc);
int pa_tls_abort(PaTls *tls, PyObject *exc);
/* Force-closes; OSErrors are logged in debug mode, the rest reported. Borrows exc. */
int pa_tls_fatal_error(PaTls *tls, PyObject *exc, const char *message);
/* The same for the raised exception, unless it is no Exception: -1. */
int pa_tls_failed(PaTls *tls, const char *message);
/* Reports the raised exception of a flow control callback. 0, or -1 with an exit raised. */
int pa_tls_report(PaTls *tls, const char *message);
int pa_tls_wake_waiter(PaTls *tls, PyObject *exc);
/* loop.call_soon(obj.name, *args) with arg, which may be NULL. */
int pa_tls_call_soon(PaTls *tls, PyObject *obj, PyObject *name, PyObject *arg);
/* loop.call_later(timeout, tls.name). New reference. */
PyObject *pa_tls_call_later(PaTls *tls, PyObject *timeout, PyObject *name);
void pa_tls_cancel_timer(PaTls *tls, PyObject **timer);
int pa_tls_log_debug(PaTls *tls, const char *format);

/* ---- handshake.c */

int pa_tls_start_handshake(PaTls *tls);
int pa_tls_do_handshake(PaTls *tls);
/* exc is borrowed, NULL for a handshake that has succeeded. */
int pa_tls_handshake_done(PaTls *tls, PyObject *exc);
int pa_tls_handshake_timed_out(PaTls *tls);

/* ---- incoming.c */

/* Takes ciphertext and does what the state asks for. */
int pa_tls_feed(PaTls *tls, const char *data, Py_ssize_t size);
/* What resume_reading() schedules. */
int pa_tls_resumed(PaTls *tls);
/* Bytes that a read may find, as ciphertext or decrypted; stores the next record if there are none.
 * 0 when nothing more has come, -1 with an exception. */
Py_ssize_t pa_tls_readable(PaTls *tls);
/* After a read, with whether there was data: then nothing of its record is left in the BIO. */
void pa_tls_was_read(PaTls *tls, bool data);
/* Puts everything that has arrived into the BIO, as nobody is going to read it now. */
int pa_tls_store_rest(PaTls *tls);

/* ---- read.c */

/* Decrypts what has come, gives it to the application, and sends what that wrote. */
int pa_tls_read(PaTls *tls);
int pa_tls_control_reading(PaTls *tls);
int pa_tls_app_eof(PaTls *tls);

/* ---- write.c */

int pa_tls_write(PaTls *tls, PyObject *data);
int pa_tls_writelines(PaTls *tls, PyObject *lines);
/* Puts a copy or reference of a non-empty buffer into the backlog. */
int pa_tls_push(PaTls *tls, PyObject *data);
/* Encrypts the backlog and hands the ciphertext down. Exceptions stay raised. */
int pa_tls_flush(PaTls *tls);
/* The same now for what was put off; a failure is a fatal error. */
int pa_tls_flush_pending(PaTls *tls);
/* Hands the ciphertext down. */
int pa_tls_process_outgoing(PaTls *tls);
int pa_tls_control_writing(PaTls *tls);
/* -1 with an exception. */
Py_ssize_t pa_tls_write_size(PaTls *tls);

/* ---- shutdown.c */

int pa_tls_start_shutdown(PaTls *tls);
/* State FLUSHING: the last data, then close_notify. */
int pa_tls_do_flush(PaTls *tls);
int pa_tls_do_shutdown(PaTls *tls);
/* eof_received() from below: 1 to keep the transport open, 0, or -1 with an exception. */
int pa_tls_eof_received(PaTls *tls);
int pa_tls_shutdown_timed_out(PaTls *tls);

/* ---- transport.c */

PyObject *pa_tls_transport_new(PaTls *tls);
int pa_tls_transport_init_type(PyObject *module, PaState *st);
int pa_tls_init_types(PyObject *module, PaState *st);

/* A buffer over memory for a call of the codec; close it afterwards. Classes of the user's get a
 * memoryview, which is more than a buffer. New reference, or NULL with an exception. */
PyObject *pa_tls_open_view(PaTls *tls, char *memory, Py_ssize_t size, bool writable);
void pa_tls_close_view_steal(PaTls *tls, PyObject *view);

static inline PaState *
pa_tls_state(const PaTls *tls)
{
    return tls->loop->sched.st;
}

static inline bool
pa_tls_debug(const PaTls *tls)
{
    return tls->loop->sched.debug;
}

/* codec.name(*args) with the codec as the first of `nargs` args; `method` is that of the C object. New
 * reference. */
static inline PyObject *
pa_tls_codec_call(PaTls *tls, PyObject *method, PyObject *name, PyObject *const *args, size_t nargs)
{
    return tls->codec_in_c ? PyObject_Vectorcall(method, args, nargs, NULL)
                           : PyObject_VectorcallMethod(name, args, nargs, NULL);
}

/* obj.name() with the result thrown away. 0, or -1 with an exception. */
static inline int
pa_tls_call(PyObject *obj, PyObject *name, PyObject *arg)
{
    PyObject *args[] = {obj, arg};
    PyObject *result = PyObject_VectorcallMethod(name, args, arg == NULL ? 1 : 2, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#endif
