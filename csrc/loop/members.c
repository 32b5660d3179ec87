/* loop/members.c: what the loop keeps track of: open transports and listeners, file descriptors,
 * the shared read buffer. */
#include "loop/loop.h"

#include <string.h>

void
pa_loop_link(PaLoop *loop, PaMember *member)
{
    Py_INCREF(member);
    member->previous = NULL;
    member->next = loop->members;
    if (member->next != NULL) {
        member->next->previous = member;
    }
    loop->members = member;
    member->linked = true;
}

void
pa_loop_unlink(PaMember *member)
{
    if (!member->linked) {
        return;
    }
    if (member->previous != NULL) {
        member->previous->next = member->next;
    }
    else {
        member->loop->members = member->next;
    }
    if (member->next != NULL) {
        member->next->previous = member->previous;
    }
    member->linked = false;
    Py_DECREF(member);
}

int
pa_loop_run_ready(PyObject *op)
{
    PaMember *member = (PaMember *)op;
    member->kind->ready(member);
    return pa_loop_raise_kept_exit(member->loop);
}

PaFdSlot *
pa_loop_fd_slot(PaLoop *loop, int fd)
{
    if (fd < loop->fds_size) {
        return &loop->fds[fd];
    }
    int wanted = loop->fds_size == 0 ? 64 : loop->fds_size;
    while (wanted <= fd) {
        wanted *= 2;
    }
    PaFdSlot *grown = PyMem_RawRealloc(loop->fds, (size_t)wanted * sizeof(PaFdSlot));
    if (grown == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memset(grown + loop->fds_size, 0, (size_t)(wanted - loop->fds_size) * sizeof(PaFdSlot));
    loop->fds = grown;
    loop->fds_size = wanted;
    return &loop->fds[fd];
}

char *
pa_loop_read_buffer(PaLoop *loop)
{
    if (loop->read_buffer == NULL) {
        loop->read_buffer = PyMem_RawMalloc(PA_READ_BUFFER_SIZE);
        if (loop->read_buffer == NULL) {
            PyErr_NoMemory();
        }
    }
    return loop->read_buffer;
}
