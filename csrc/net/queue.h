/* net/queue.h: the write queue of a transport: bytes objects that wait to be sent, in order; for
 * datagrams (bytes, address) tuples, which are taken whole.
 *
 * The chunks lie next to each other from `head` on, so that one sendmsg() takes them all. Of the
 * first chunk `offset` bytes are sent already. A few chunks fit without an allocation. Chunks are
 * never empty, so size is 0 exactly when count is. */
#ifndef PA_NET_QUEUE_H
#define PA_NET_QUEUE_H

#include "base/compat.h" // first: Python.h decides which system interfaces are declared

#include <sys/uio.h>

#define PA_QUEUE_INLINE 4

typedef struct {
    PyObject **chunks; // heap array of owned bytes; NULL while `few` serves
    PyObject *few[PA_QUEUE_INLINE];
    uint32_t capacity; // of chunks
    uint32_t head;
    uint32_t count;
    size_t offset;
    size_t size; // bytes not sent yet
} PaQueue;

/* Takes a new reference to the non-empty bytes. 0, or -1 with MemoryError. */
int pa_queue_push(PaQueue *queue, PyObject *bytes);
/* Describes the first chunks, at most `room` of them; returns how many. */
int pa_queue_peek(const PaQueue *queue, struct iovec *iov, int room);
/* The first chunk, of which `offset` bytes are sent: borrowed; the queue must not be empty. */
PyObject *pa_queue_first(const PaQueue *queue);
/* Drops the first `sent` bytes, which must be there. */
void pa_queue_consume(PaQueue *queue, size_t sent);
/* The same for what is no bytes: the caller says what it counts for, more than 0. */
int pa_queue_push_item(PaQueue *queue, PyObject *item, size_t size);
/* The first of them, borrowed; NULL when there is none. */
PyObject *pa_queue_first_item(const PaQueue *queue);
/* Drops the first, which was pushed with this size. */
void pa_queue_drop_item(PaQueue *queue, size_t size);
void pa_queue_clear(PaQueue *queue);
int pa_queue_traverse(PaQueue *queue, visitproc visit, void *arg);

#endif
