/* net/queue.c: the first-in first-out array of bytes behind every transport's write().
 *
 * An emptied queue gives its heap array back, so that an idle connection holds none. */
#include "net/queue.h"

#include <string.h>

static PyObject **
queue_chunks(const PaQueue *queue)
{
    return queue->chunks != NULL ? queue->chunks : (PyObject **)queue->few;
}

/* Room for one more chunk behind the last: moves them to the front, or doubles the array. */
static int
make_room(PaQueue *queue)
{
    PyObject **chunks = queue_chunks(queue);
    uint32_t capacity = queue->chunks != NULL ? queue->capacity : PA_QUEUE_INLINE;
    if (queue->head > capacity / 2) {
        memmove(chunks, chunks + queue->head, queue->count * sizeof(PyObject *));
        queue->head = 0;
        return 0;
    }
    if (capacity > UINT32_MAX / 2) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject **grown = PyMem_Malloc((size_t)capacity * 2 * sizeof(PyObject *));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(grown, chunks + queue->head, queue->count * sizeof(PyObject *));
    PyMem_Free(queue->chunks);
    queue->chunks = grown;
    queue->capacity = capacity * 2;
    queue->head = 0;
    return 0;
}

int
pa_queue_push_item(PaQueue *queue, PyObject *item, size_t size)
{
    uint32_t capacity = queue->chunks != NULL ? queue->capacity : PA_QUEUE_INLINE;
    if (queue->head + queue->count == capacity && make_room(queue) < 0) {
        return -1;
    }
    queue_chunks(queue)[queue->head + queue->count] = Py_NewRef(item);
    queue->count++;
    queue->size += size;
    return 0;
}

int
pa_queue_push(PaQueue *queue, PyObject *bytes)
{
    return pa_queue_push_item(queue, bytes, (size_t)PyBytes_GET_SIZE(bytes));
}

int
pa_queue_peek(const PaQueue *queue, struct iovec *iov, int room)
{
    PyObject **chunks = queue_chunks(queue) + queue->head;
    int filled = queue->count < (uint32_t)room ? (int)queue->count : room;
    for (int i = 0; i < filled; i++) {
        iov[i].iov_base = PyBytes_AS_STRING(chunks[i]);
        iov[i].iov_len = (size_t)PyBytes_GET_SIZE(chunks[i]);
    }
    if (filled > 0) {
        iov[0].iov_base = (char *)iov[0].iov_base + queue->offset;
        iov[0].iov_len -= queue->offset;
    }
    return filled;
}

PyObject *
pa_queue_first(const PaQueue *queue)
{
    return queue_chunks(queue)[queue->head];
}

static void
reset(PaQueue *queue)
{
    if (queue->chunks != NULL) {
        PyMem_Free(queue->chunks);
        queue->chunks = NULL;
    }
    queue->head = 0;
    queue->offset = 0;
}

void
pa_queue_consume(PaQueue *queue, size_t sent)
{
    if (queue->count == 1 && sent == queue->size) { /* mostly */
        PyObject *only = pa_queue_first(queue);
        queue->count = 0;
        queue->size = 0;
        reset(queue);
        Py_DECREF(only); /* exact bytes: no finalizer runs */
        return;
    }
    queue->size -= sent;
    sent += queue->offset;
    PyObject **chunks = queue_chunks(queue);
    while (queue->count > 0) {
        PyObject *first = chunks[queue->head];
        size_t length = (size_t)PyBytes_GET_SIZE(first);
        if (sent < length) {
            break;
        }
        sent -= length;
        queue->head++;
        queue->count--;
        Py_DECREF(first); /* exact bytes: no finalizer runs */
    }
    queue->offset = sent;
    if (queue->count == 0) {
        reset(queue);
    }
}

PyObject *
pa_queue_first_item(const PaQueue *queue)
{
    return queue->count == 0 ? NULL : queue_chunks(queue)[queue->head];
}

void
pa_queue_drop_item(PaQueue *queue, size_t size)
{
    PyObject *first = queue_chunks(queue)[queue->head++];
    queue->count--;
    queue->size -= size;
    if (queue->count == 0) {
        reset(queue);
    }
    Py_DECREF(first); /* last: it may run anything */
}

void
pa_queue_clear(PaQueue *queue)
{
    PyObject **chunks = queue_chunks(queue);
    while (queue->count > 0) {
        queue->count--;
        Py_DECREF(chunks[queue->head++]);
    }
    queue->size = 0;
    reset(queue);
}

int
pa_queue_traverse(PaQueue *queue, visitproc visit, void *arg)
{
    PyObject **chunks = queue_chunks(queue);
    for (uint32_t i = 0; i < queue->count; i++) {
        Py_VISIT(chunks[queue->head + i]);
    }
    return 0;
}
