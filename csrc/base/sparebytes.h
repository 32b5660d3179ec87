/* base/sparebytes.h: a few bytes objects that nobody else holds any more, for the next messages.
 *
 * Most messages are looked at and dropped by the callback that gets them, and the next one is about
 * as long. From 1,000 bytes on the C library's allocator takes a fifth of the instructions of an
 * echo to find such a block and to give it back; here the last ones are filled anew instead, once
 * the only reference left is this one. Who keeps a message keeps it unchanged. Small messages, which
 * Python's own allocator serves, and large ones, whose copying costs more, are not kept. Compiled out
 * where freelists are. One for each loop, on whose thread it is used. */
#ifndef PA_BASE_SPAREBYTES_H
#define PA_BASE_SPAREBYTES_H

#include "base/freelist.h"

#define PA_SPARE_SLOTS 20 // more than the answers that wait for each other (net/flush.c)

typedef struct {
    PyObject *bytes[PA_SPARE_SLOTS]; // owned or NULL
    Py_ssize_t room[PA_SPARE_SLOTS]; // what each was made for
    int last;                        // filled last
} PaSpareBytes;

/* PyBytes_FromStringAndSize(data, size), from the spare ones if one fits. New reference. */
PyObject *pa_spare_bytes_fill(PaSpareBytes *spare, const char *data, Py_ssize_t size);

/* The same without its text, which the caller writes before anybody else sees it, and then cuts. */
PyObject *pa_spare_bytes_new(PaSpareBytes *spare, Py_ssize_t size);
/* Makes such a one shorter. -1 with MemoryError, and *bytes NULL. */
int pa_spare_bytes_cut(PyObject **bytes, Py_ssize_t size);

/* Drops them. */
void pa_spare_bytes_clear(PaSpareBytes *spare);

#endif
