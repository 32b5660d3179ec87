/* base/sparebytes.c: finding, filling and replacing spare bytes. See sparebytes.h. */
#include "base/sparebytes.h"

#include <stddef.h>
#include <string.h>

#define SMALLEST ((Py_ssize_t)480) // longer ones are not Python's own allocator's
#define LARGEST  ((Py_ssize_t)16 * 1024)

enum { TRIES = 4 };

/* A bytes is its head, its hash, the text, and a NUL. */
#define HASH_OFFSET  sizeof(PyVarObject)
#define LAYOUT_KNOWN (offsetof(PyBytesObject, ob_sval) == sizeof(PyVarObject) + sizeof(Py_hash_t))

/* Whether it is ours alone and neither too short nor wastefully long. */
static inline bool
fits(const PaSpareBytes *spare, int slot, Py_ssize_t size)
{
    PyObject *bytes = spare->bytes[slot];
    Py_ssize_t left = spare->room[slot] - size;
    return bytes != NULL && left >= 0 && left <= size / 8 && Py_REFCNT(bytes) == 1;
}

static inline int
after(int slot)
{
    return slot + 1 < PA_SPARE_SLOTS ? slot + 1 : 0;
}

/* New reference, with no text yet. */
static PyObject *
use_again(PyObject *bytes, Py_ssize_t size)
{
    Py_hash_t unknown = -1;
    memcpy((char *)bytes + HASH_OFFSET, &unknown, sizeof(unknown));
    Py_SET_SIZE((PyVarObject *)bytes, size);
    PyBytes_AS_STRING(bytes)[size] = '\0';
    return Py_NewRef(bytes);
}

PyObject *
pa_spare_bytes_new(PaSpareBytes *spare, Py_ssize_t size)
{
    if (!PA_FREELIST_ON || !LAYOUT_KNOWN || size < SMALLEST || size > LARGEST) {
        return PyBytes_FromStringAndSize(NULL, size);
    }
    /* The last is still in the cache if nobody holds it; those behind it were let go first. */
    for (int tries = 0, slot = spare->last; tries < TRIES; tries++, slot = after(slot)) {
        if (fits(spare, slot, size)) {
            spare->last = slot;
            return use_again(spare->bytes[slot], size);
        }
    }
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes != NULL) {
        int slot = spare->last = after(spare->last);
        Py_XSETREF(spare->bytes[slot], Py_NewRef(bytes));
        spare->room[slot] = size;
    }
    return bytes;
}

int
pa_spare_bytes_cut(PyObject **bytes, Py_ssize_t size)
{
    if (Py_REFCNT(*bytes) == 1) { /* not kept here */
        return _PyBytes_Resize(bytes, size);
    }
    Py_SET_SIZE((PyVarObject *)*bytes, size);
    PyBytes_AS_STRING(*bytes)[size] = '\0';
    return 0;
}

PyObject *
pa_spare_bytes_fill(PaSpareBytes *spare, const char *data, Py_ssize_t size)
{
    PyObject *bytes = pa_spare_bytes_new(spare, size);
    if (bytes != NULL && size > 0) {
        memcpy(PyBytes_AS_STRING(bytes), data, (size_t)size);
    }
    return bytes;
}

void
pa_spare_bytes_clear(PaSpareBytes *spare)
{
    for (int slot = 0; slot < PA_SPARE_SLOTS; slot++) {
        Py_CLEAR(spare->bytes[slot]);
    }
}
