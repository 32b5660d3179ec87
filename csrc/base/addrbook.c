/* base/addrbook.c: the book of addresses. See addrbook.h. */
#include "base/addrbook.h"

#include <string.h>

#define SETS          256 // an address has its place in one of them, beside one other
#define OBJECT_PLACES 2048

typedef struct {
    PaIpAddr address;
    PyObject *object; // owned, NULL in an empty entry
} Entry;

struct PaAddrBook {
    Entry entries[SETS * 2];
    /* The entry of an object, by the object's identity; may be out of date. */
    uint16_t by_object[OBJECT_PLACES];
};

static bool
is_ip(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET || sa->sa_family == AF_INET6;
}

static socklen_t
ip_length(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* One of so many places. */
static size_t
place(uint32_t mixed, uint32_t places)
{
    return ((uint64_t)(mixed * 0x9e3779b1u) * places) >> 32;
}

static size_t
set_of_address(const PaAddr *address)
{
    if (address->sa.sa_family == AF_INET) {
        return place(address->in.sin_addr.s_addr ^ ((uint32_t)address->in.sin_port << 16), SETS);
    }
    uint32_t words[4];
    memcpy(words, &address->in6.sin6_addr, sizeof(words));
    return place(
        words[0] ^ words[1] ^ words[2] ^ words[3] ^ ((uint32_t)address->in6.sin6_port << 16), SETS);
}

static size_t
place_of_object(const PyObject *object)
{
    return place((uint32_t)((uintptr_t)object >> 4), OBJECT_PLACES);
}

static bool
same_address(const Entry *entry, const PaAddr *address)
{
    if (entry->object == NULL || entry->address.sa.sa_family != address->sa.sa_family) {
        return false;
    }
    if (address->sa.sa_family == AF_INET) {
        return entry->address.in.sin_port == address->in.sin_port &&
               entry->address.in.sin_addr.s_addr == address->in.sin_addr.s_addr;
    }
    return memcmp(&entry->address.in6, &address->in6, sizeof(address->in6)) == 0;
}

static void
fill_entry(PaAddrBook *book, size_t index, const PaIpAddr *address, PyObject *object)
{
    book->entries[index] = (Entry){.address = *address, .object = object};
    if (object != NULL) {
        book->by_object[place_of_object(object)] = (uint16_t)index;
    }
}

/* The newcomer is the set's first; who was that is the second now, and the second is gone. */
static void
enter(PaAddrBook *book, size_t set, const PaAddr *address, PyObject *object)
{
    size_t first = set * 2;
    PyObject *gone = book->entries[first + 1].object;
    PaIpAddr newcomer;
    memcpy(&newcomer, address, sizeof(newcomer));
    Entry moved = book->entries[first];
    fill_entry(book, first + 1, &moved.address, moved.object);
    fill_entry(book, first, &newcomer, Py_NewRef(object));
    Py_XDECREF(gone);
}

PyObject *
pa_addrbook_object(PaAddrBook **book, const PaAddr *address, socklen_t length)
{
    if (length == 0 || !is_ip(&address->sa)) {
        return pa_addr_to_object(&address->sa, length);
    }
    if (*book == NULL && (*book = PyMem_RawCalloc(1, sizeof(PaAddrBook))) == NULL) {
        return PyErr_NoMemory();
    }
    size_t set = set_of_address(address);
    const Entry *entry = &(*book)->entries[set * 2];
    if (!same_address(entry, address)) {
        entry++;
    }
    if (same_address(entry, address)) {
        return Py_NewRef(entry->object);
    }
    PyObject *object = pa_addr_to_object(&address->sa, length);
    if (object != NULL && *book != NULL) { /* a collection may have run anything meanwhile */
        enter(*book, set, address, object);
    }
    return object;
}

socklen_t
pa_addrbook_address(const PaAddrBook *book, PyObject *object, int family, PaAddr *address)
{
    if (book == NULL) {
        return 0;
    }
    const Entry *entry = &book->entries[book->by_object[place_of_object(object)]];
    if (entry->object != object || entry->address.sa.sa_family != family) {
        return 0;
    }
    memcpy(address, &entry->address, sizeof(entry->address));
    return ip_length(&entry->address.sa);
}

void
pa_addrbook_free(PaAddrBook **book)
{
    PaAddrBook *old = *book;
    *book = NULL;
    for (size_t i = 0; old != NULL && i < SETS * 2; i++) {
        Py_XDECREF(old->entries[i].object);
    }
    PyMem_RawFree(old);
}
