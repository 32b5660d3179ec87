/* base/state.h: the module state, one per interpreter, and how to reach it.
 *
 * There are no mutable globals: types, interned names, the asyncio objects that C calls and the
 * freelists live here. The order of the fields is the order of traverse and clear in state.c.
 * Objects that are hot keep a borrowed PaState pointer of their own; the module outlives them
 * because their types hold it. */
#ifndef PA_BASE_STATE_H
#define PA_BASE_STATE_H

#include "base/compat.h"
#include "base/freelist.h"
#include "base/inlinevalues.h"
#include "base/names.h"
#include "base/pool.h"

typedef struct {
#define PA_DECLARE_NAME(name) PyObject *name;
    PA_NAMES(PA_DECLARE_NAME)
#undef PA_DECLARE_NAME
} PaNames;

/* Keyword-name tuples for vectorcall. */
typedef struct {
    PyObject *context; // ("context",)
    PyObject *loop;    // ("loop",)
} PaKwnames;

/* What C needs of asyncio, imported once. Entries that a version lacks are NULL. */
typedef struct {
    PyObject *CancelledError;
    PyObject *InvalidStateError;
    PyObject *Future;       // asyncio.Future, the stock class
    PyObject *Task;         // asyncio.Task, the stock class
    PyObject *StreamReader; // exact types that the stream fast path recognises
    PyObject *StreamReaderProtocol;
    PyObject *Protocol;
    PyObject *BufferedProtocol;
    PyObject *TransportSocket;             // asyncio.trsock.TransportSocket
    PyObject *FlowControlMixin;            // asyncio.transports._FlowControlMixin
    PyObject *DatagramTransport;           // asyncio.DatagramTransport
    PyObject *constants;                   // module asyncio.constants
    PyObject *base_events;                 // module asyncio.base_events
    PyObject *futures;                     // module asyncio.futures
    PyObject *ConcurrentFuture;            // concurrent.futures.Future
    PyObject *set_result_unless_cancelled; // asyncio.futures._set_result_unless_cancelled
    PyObject *stream_data_received;        // asyncio.streams.StreamReaderProtocol.data_received
    PyObject *stream_feed_data;            // asyncio.streams.StreamReader.feed_data
    PyObject *iscoroutine;                 // asyncio.coroutines.iscoroutine
    PyObject *_set_running_loop;
    PyObject *_get_running_loop;
    PyObject *_enter_task;
    PyObject *_leave_task;
    PyObject *_swap_current_task; // 3.12+
    PyObject *_register_task;
    PyObject *_unregister_task;
    PyObject *_register_eager_task;           // 3.12+
    PyObject *_unregister_eager_task;         // 3.12+
    PyObject *_current_tasks;                 // the dict, up to 3.13
    PyObject *all_tasks;                      // the WeakSet, up to 3.13
    PyObject *all_tasks_parts;                // sched/weakregistry.c
    PyObject *all_tasks_remove;               // likewise
    PyObject *future_add_to_awaited_by;       // 3.14+
    PyObject *future_discard_from_awaited_by; // 3.14+
    PyObject *extract_stack;                  // asyncio.format_helpers.extract_stack
    PyObject *format_callback_source;         // asyncio.format_helpers._format_callback_source
    PyObject *check_ssl_socket;               // asyncio.base_events._check_ssl_socket
    PyObject *BaseSelectorEventLoop;          // asyncio.selector_events.BaseSelectorEventLoop
    PyObject *format_handle;                  // asyncio.base_events._format_handle
    PyObject *logger;                         // asyncio.log.logger
    PyObject *socket;                         // socket.socket
    PyObject *Server;                         // asyncio.base_events.Server
    PyObject *WeakSet;                        // weakref.WeakSet
    PyObject *create_task;                    // asyncio.BaseEventLoop.create_task
    PyObject *set_wakeup_fd;                  // signal.set_wakeup_fd
    PyObject *get_asyncgen_hooks;             // sys.get_asyncgen_hooks
    PyObject *set_asyncgen_hooks;             // sys.set_asyncgen_hooks
    PyObject *main_thread;                    // threading.main_thread
    PyObject *BaseTransport;
    PyObject *get_extra_info; // its method, as it was when it was imported
} PaAsyncio;

/* What C needs of the ssl module, imported with the first TLS connection; NULL before. */
typedef struct {
    PyObject *MemoryBIO;
    PyObject *bio_read, *bio_write; // its methods, unbound
    PyObject *SSLObject;
    PyObject *codec_type; // of the C object under an SSLObject; NULL before the first of them
    PyObject *codec_do_handshake, *codec_read, *codec_write;
    PyObject *SSLError;
    PyObject *SSLWantReadError;
    PyObject *SSLSyscallError;
    PyObject *CertificateError;
    PyObject *wrap_bio_keywords; // of SSLContext.wrap_bio(), a tuple
} PaSsl;

/* A protocol in C that takes received bytes as they lie in memory, which it may not keep: from
 * transports of this module, in place of data_received(). 0, or -1 with an exception. */
typedef struct {
    PyTypeObject *type; // owned: protocols of exactly this type
    int (*function)(PyObject *protocol, const char *data, Py_ssize_t size);
} PaFeed;

typedef struct PaState {
    /* types */
    PyTypeObject *handle_type;
    PyTypeObject *timer_handle_type;
    PyTypeObject *threadsafe_handle_type;
    PyTypeObject *future_type; // pyasync.Future: the overlay, or asyncio.Future in stock mode
    PyTypeObject *task_type;   // pyasync.Task: the overlay, or asyncio.Task in stock mode
    /* NULL in stock mode: a task's callback on the future that it awaits, its next step where a
     * callable is needed, and what awaiting a future of ours runs. */
    PyTypeObject *wakeup_type;
    PyTypeObject *step_type;
    PyTypeObject *future_iter_type;
    PyTypeObject *loop_type; // _core.Loop
    PyTypeObject *socket_transport_type;
    PyTypeObject *listener_type;
    PyTypeObject *connecting_type;
    PyTypeObject *tls_transport_type;
    PyTypeObject *window_type; // tls/window.c
    PyTypeObject *socket_operation_type;
    PyTypeObject *chain_link_type; // loop/executor.c

    PaNames names;
    PaKwnames kwnames;
    PaAsyncio asyncio;
    PaSsl ssl;
    PaFeed feed;
    PyObject *spare_window; // owned, closed, or NULL

    /* loop/clock.c: whose monotonic() is the loops' clock (owned), and whether that may be another
     * function by now. */
    PyObject *time_module;
    bool monotonic_may_be_replaced;

    /* Task and Future: the overlay is in use, and the reason when it is not (a str). */
    bool overlay;
    PyObject *overlay_reason;
    uint64_t task_counter; // for "Task-N" names
    /* Whether an instance has attributes can be seen (sched/layout.h). */
    bool inline_values;
    /* Where asyncio's fields begin in a thread state (sched/threadslots.h), 0 when not known. */
    Py_ssize_t thread_slots_offset;

    /* loop/executor.c: asyncio's _chain_future() is one that we know; it asks for the running loop; and
     * what completes a chained future on the loop (owned). */
    bool chain_known;
    bool chain_asks_running_loop;
    PyObject *chain_set_state;

    /* Where the map of a contextvars.Context stands in it (sched/snapshot.h), 0 when not known. */
    Py_ssize_t context_map_offset;

    /* Where our fields begin in a Handle, TimerHandle or _ThreadSafeHandle: behind the slots of
     * the asyncio class, which differ between versions. */
    Py_ssize_t handle_offset;
    Py_ssize_t timer_handle_offset;
    Py_ssize_t threadsafe_handle_offset;

    PaFreelist handle_freelist;
    PaFreelist timer_handle_freelist;
    PaFreelist threadsafe_handle_freelist;
    PaFreelist future_freelist;
    PaFreelist task_freelist;
    PaFreelist socket_operation_freelist;
    PaPool wakeup_pool;
    PaPool future_iter_pool;

    /* tp_version_tag of StreamReaderProtocol when its data_received() was last seen to be asyncio's;
     * where instances of it and of StreamReader, with its feed_data(), have their attributes. */
    unsigned int stream_version;
    PaInlinePlaces stream_protocol_places, stream_reader_places;
    /* net/clients.c: the versions of Server and WeakSet as they were imported; whether a WeakSet may
     * have removals to make good. */
    unsigned int server_version, weak_set_version;
    bool weak_set_defers;
    bool freed_memory_kept; // by pa_state_keep_freed_memory()
    /* What socket.socket.fileno is in C; NULL when it is anything else. */
    PyCFunction socket_fileno;

    Py_ssize_t live_handles; // libuv handles initialised and not yet through their close callback
} PaState;

extern struct PyModuleDef pa_module_def;

static inline PaState *
pa_state_of_module(PyObject *module)
{
    return (PaState *)PyModule_GetState(module);
}

/* The state for a type made by this module or any subclass of one; NULL with TypeError. */
static inline PaState *
pa_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &pa_module_def);
    return module == NULL ? NULL : pa_state_of_module(module);
}

static inline PaState *
pa_state_of(PyObject *obj)
{
    return pa_state_of_type(Py_TYPE(obj));
}

/* For tp_dealloc: the state behind a type made by this module (not a subclass), or NULL once the
 * garbage collector has cleared the type, which it may do before the last of its objects. */
static inline PaState *
pa_state_if_alive(PyTypeObject *type)
{
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    return module == NULL ? NULL : pa_state_of_module(module);
}

/* Interns the names and imports the asyncio objects. 0, or -1 with an exception. */
int pa_state_init(PaState *st);
int pa_state_traverse(PaState *st, visitproc visit, void *arg);
void pa_state_clear(PaState *st);
/* Frees what the freelists hold beyond the usual. No Python code runs. */
void pa_state_trim(PaState *st);

/* For who begins to move large blocks of bytes. glibc returns such a block to the kernel as soon as it
 * is freed, and the next one is mapped and zeroed page by page. Freeing a block of 4 MiB once makes it
 * keep up to twice as much (mallopt(3), M_MMAP_THRESHOLD). */
void pa_state_keep_freed_memory(PaState *st);

/* A heap type of this module added to it under its own name: new reference, or NULL. */
PyTypeObject *pa_add_type(PyObject *module, PyType_Spec *spec, PyObject *base);

#endif
