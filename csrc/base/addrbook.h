/* base/addrbook.h: IP addresses and the Python objects made of them, so that none is converted twice.
 *
 * A datagram server answers to the very object that it was given with the datagram. The book finds
 * the object of a sender that was heard lately, and the address of an object by its identity. An
 * object is a tuple of str and int, so nobody can tell that it was handed out before, and the garbage
 * collector has nothing to find in it. An address has its place beside one other: a newcomer takes
 * that of the older of the two. One for each loop, on whose thread it is used. */
#ifndef PA_BASE_ADDRBOOK_H
#define PA_BASE_ADDRBOOK_H

#include "base/addr.h"

typedef struct PaAddrBook PaAddrBook;

/* pa_addr_to_object(), with an object that the book has if there is one. The book is made when it is
 * first needed. New reference. */
PyObject *pa_addrbook_object(PaAddrBook **book, const PaAddr *address, socklen_t length);

/* Copies the address of an object that the book has, if it is of the family; its length, else 0. */
socklen_t pa_addrbook_address(const PaAddrBook *book, PyObject *object, int family,
                              PaAddr *address);

/* Drops the book and what is in it. */
void pa_addrbook_free(PaAddrBook **book);

#endif
