/* net/flush.c: which transports have writes waiting, and when these leave.
 *
 * A transport that was written to joins its loop's list; the list is sent before the loop polls and
 * when it stops. What a method of the protocol wrote while its socket was read does not wait for
 * that: it leaves when the method returns if nothing else is ready, and otherwise with what the next
 * few protocols answer. Calls that send follow each other then, so that the receiver stays awake and
 * the processor stays in the same code, which costs less (a TCP echo 2-3%).
 * A method that takes long does not keep answers waiting: after a group that took too long they
 * leave one by one for a while. */
#include "net/transport.h"

enum { LARGEST_GROUP = 16, MOST_HALVINGS = 4 /* of it */, ALONE = 32 /* answers */ };
enum { MOST_FILLED = 64 * 1024 }; // bytes that stay in the processor's cache until they are sent
#define GROUP_SECONDS 200e-6

/* ---- the list */

void
pa_transport_flush_link(PaTransport *t)
{
    PaLoop *loop = t->member.loop;
    t->flush_linked = true;
    t->flush_previous = loop->flush_tail;
    t->flush_next = NULL;
    if (t->flush_previous != NULL) {
        t->flush_previous->flush_next = t;
    }
    else {
        loop->flush_head = t;
    }
    loop->flush_tail = t;
    loop->flush = pa_transport_flush_all;
    pa_loop_poll_soon(loop);
}

void
pa_transport_flush_unlink(PaTransport *t)
{
    if (!t->flush_linked) {
        return;
    }
    PaLoop *loop = t->member.loop;
    if (t->flush_previous != NULL) {
        t->flush_previous->flush_next = t->flush_next;
    }
    else {
        loop->flush_head = t->flush_next;
    }
    if (t->flush_next != NULL) {
        t->flush_next->flush_previous = t->flush_previous;
    }
    else {
        loop->flush_tail = t->flush_previous;
    }
    t->flush_previous = t->flush_next = NULL;
    t->flush_linked = false;
}

bool
pa_transport_flush_will_come(const PaTransport *t)
{
    return t->member.loop->sched.thread_id == PyThread_get_thread_ident();
}

bool
pa_transport_flush_later(PaTransport *t, int (*fill)(PaTransport *t))
{
    if (t->write_blocked || t->conn_lost || !pa_transport_flush_will_come(t)) {
        return false;
    }
    t->before_flush = fill;
    if (!t->in_callback && !t->flush_linked) {
        pa_transport_flush_link(t);
    }
    return true;
}

/* ---- groups of answers */

static int
group_limit(const PaLoop *loop)
{
    return LARGEST_GROUP >> loop->flush_halvings;
}

/* Whether answers are grouped now. While they are not, two try it again from time to time. */
static bool
grouping(PaLoop *loop)
{
    if (group_limit(loop) > 1) {
        return true;
    }
    if (++loop->flush_alone < ALONE) {
        return false;
    }
    loop->flush_alone = 0;
    loop->flush_halvings--;
    return true;
}

bool
pa_transport_flush_in_group(PaTransport *t)
{
    PaLoop *loop = t->member.loop;
    bool last = pa_ring_count(&loop->sched.ring) == 0;
    if (last || loop->sched.debug || t->write_blocked || t->conn_lost || !grouping(loop)) {
        return false;
    }
    if (!t->flush_linked) {
        pa_transport_flush_link(t);
    }
    if (loop->flush_group++ == 0) {
        loop->flush_group_began = pa_monotonic();
    }
    return true;
}

/* How long the group took decides about the next one. */
static void
end_group(PaLoop *loop)
{
    if (loop->flush_group == 0) {
        return;
    }
    loop->flush_group = 0;
    if (pa_monotonic() - loop->flush_group_began > GROUP_SECONDS) {
        loop->flush_halvings = MOST_HALVINGS;
    }
    else if (loop->flush_halvings > 0) {
        loop->flush_halvings--;
    }
}

void
pa_transport_flush_full_group(PaLoop *loop)
{
    if (loop->flush_group >= group_limit(loop)) {
        pa_transport_flush_all(loop);
    }
}

/* Fills the queues of the first few transports (TLS encrypts), which are sent after it: the processor
 * stays in the same code, which costs less (an echo over TLS streams 1-2%). */
static void
fill_group(PaLoop *loop)
{
    PaTransport *t = loop->flush_head;
    size_t filled = 0;
    for (int i = 0; t != NULL && i < LARGEST_GROUP && filled < MOST_FILLED; i++) {
        Py_INCREF(t);
        if (pa_transport_fill(t) < 0) {
            pa_loop_callback_failed(loop, "Exception while sending what was written");
        }
        filled += t->queue.size;
        PaTransport *next = t->flush_linked ? t->flush_next : NULL;
        Py_DECREF(t); /* what is linked belongs to the loop still */
        t = next;
    }
}

/* The transport whose turn it is to send, its queue filled; NULL when none is left. Borrowed. */
static PaTransport *
next_filled(PaLoop *loop)
{
    PaTransport *first = loop->flush_head;
    if (first != NULL && first->before_flush != NULL) {
        fill_group(loop);
    }
    return loop->flush_head;
}

/* Whoever is called here may write again, to this or another transport: that goes to the end of the
 * list and is sent as well. */
void
pa_transport_flush_all(PaLoop *loop)
{
    end_group(loop);
    loop->flushing = true;
    PaTransport *t;
    while ((t = next_filled(loop)) != NULL) {
        Py_INCREF(t);
        if (pa_transport_flush(t) < 0) {
            pa_loop_callback_failed(loop, "Exception while sending what was written");
        }
        Py_DECREF(t);
    }
    loop->flushing = false;
    loop->flush = NULL;
    loop->flush_size = 0;
}
