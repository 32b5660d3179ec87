/* tls/incoming.c: received ciphertext, from the transport below into the incoming BIO.
 *
 * What has come is stored record by record, each when the one before it was decrypted: the memory of
 * the BIO stays as small as a record and in the processor's cache. Where records end is followed in
 * their headers, so there is no read, which would cost as much as one that finds data, while only part
 * of a record is there. Of a stream that does not look like TLS all is stored at once, and OpenSSL
 * says what is wrong. Nothing outlives pa_tls_read() unstored. */
#include "tls/tls.h"

enum {
    FIRST_TYPE = 20, // change_cipher_spec
    LAST_TYPE = 24,  // heartbeat
    MAJOR_VERSION = 3,
    LARGEST_RECORD = 16 * 1024 + 2 * 1024, // bytes of ciphertext
};

/* ---- where records end */

static bool
looks_like_tls(const PaTlsRecord *record)
{
    const uint8_t *header = record->header;
    return header[0] >= FIRST_TYPE && header[0] <= LAST_TYPE && header[1] == MAJOR_VERSION &&
           record->size <= PA_TLS_HEADER_SIZE + LARGEST_RECORD;
}

/* Follows the header of the record under way: bytes of `data` that belong to it. */
static size_t
follow_header(PaTlsRecord *record, const char *data, size_t size)
{
    size_t taken = 0;
    while (taken < size && record->come + taken < PA_TLS_HEADER_SIZE) {
        record->header[record->come + taken] = (uint8_t)data[taken];
        taken++;
    }
    record->come += taken;
    if (record->come == PA_TLS_HEADER_SIZE) {
        const uint8_t *header = record->header;
        record->size = PA_TLS_HEADER_SIZE + ((size_t)header[3] << 8) + header[4];
        record->unknown = !looks_like_tls(record);
    }
    return taken;
}

/* How much of `data` belongs to the record under way; the next one begins after it. */
static size_t
follow(PaTlsRecord *record, const char *data, size_t size)
{
    size_t taken = 0;
    if (record->come < PA_TLS_HEADER_SIZE) {
        taken = follow_header(record, data, size);
    }
    if (record->unknown) {
        return size;
    }
    if (record->come >= PA_TLS_HEADER_SIZE) {
        size_t wanted = record->size - record->come;
        size_t left = size - taken;
        size_t part = left < wanted ? left : wanted;
        record->come += part;
        taken += part;
        if (record->come == record->size) {
            record->come = 0;
        }
    }
    return taken;
}

/* ---- into the BIO */

/* Takes `size` bytes from the front of what has arrived. */
static int
store(PaTls *tls, size_t size)
{
    PaState *st = pa_tls_state(tls);
    PyObject *chunk = pa_window_open(st, tls->arrived, (Py_ssize_t)size);
    if (chunk == NULL) {
        return -1;
    }
    tls->arrived += size;
    tls->arrived_size -= size;
    tls->incoming_empty = tls->whole_record = false;
    PyObject *args[] = {tls->incoming, chunk};
    PyObject *written = PyObject_Vectorcall(st->ssl.bio_write, args, 2, NULL);
    pa_window_close_steal(st, chunk);
    Py_XDECREF(written);
    return written == NULL ? -1 : 0;
}

/* The next record, or as much of it as has arrived. */
static int
store_record(PaTls *tls)
{
    size_t size = follow(&tls->record, tls->arrived, tls->arrived_size);
    bool whole = tls->incoming_empty && !tls->record.unknown && size == tls->record.size &&
                 tls->record.come == 0;
    int result = store(tls, size);
    tls->whole_record = whole && result == 0;
    return result;
}

int
pa_tls_store_rest(PaTls *tls)
{
    if (tls->arrived_size == 0) {
        return 0;
    }
    size_t followed = 0;
    while (followed < tls->arrived_size) {
        followed += follow(&tls->record, tls->arrived + followed, tls->arrived_size - followed);
    }
    return store(tls, tls->arrived_size);
}

void
pa_tls_was_read(PaTls *tls, bool data)
{
    tls->incoming_empty = data && tls->whole_record;
    tls->whole_record = false;
}

/* Bytes in the BIO, 0 while they are only part of a record; -1 with an exception. */
static Py_ssize_t
stored_size(PaTls *tls)
{
    if (tls->incoming_empty) {
        return 0;
    }
    if (tls->whole_record) {
        return (Py_ssize_t)tls->record.size;
    }
    Py_ssize_t size = pa_tls_bio_size(tls, tls->incoming);
    tls->incoming_empty = size == 0;
    bool part = !tls->record.unknown && size > 0 && (size_t)size <= tls->record.come;
    return part ? 0 : size;
}

/* What OpenSSL has decrypted and not given out. */
static Py_ssize_t
decrypted_size(PaTls *tls)
{
    if (!tls->more_decrypted) {
        return 0;
    }
    PyObject *pending = PyObject_CallMethodNoArgs(tls->codec, pa_tls_state(tls)->names.pending);
    if (pending == NULL) {
        return -1;
    }
    Py_ssize_t size = PyLong_AsSsize_t(pending);
    Py_DECREF(pending);
    tls->more_decrypted = size > 0;
    return size;
}

Py_ssize_t
pa_tls_readable(PaTls *tls)
{
    while (tls->codec != NULL) {
        Py_ssize_t size = stored_size(tls);
        if (size == 0) {
            size = decrypted_size(tls);
        }
        if (size < 0) {
            return -1;
        }
        if (size > 0) {
            return size + (Py_ssize_t)tls->arrived_size;
        }
        if (tls->arrived_size == 0) {
            return 0;
        }
        if (store_record(tls) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- from below */

static int
act_on_state(PaTls *tls)
{
    switch ((PaTlsState)tls->state) {
    case PA_TLS_HANDSHAKE:
        return pa_tls_do_handshake(tls);
    case PA_TLS_WRAPPED:
        return pa_tls_read(tls);
    case PA_TLS_FLUSHING:
        return pa_tls_do_flush(tls);
    case PA_TLS_SHUTDOWN:
        return pa_tls_do_shutdown(tls);
    case PA_TLS_UNWRAPPED:
        break;
    }
    return 0;
}

int
pa_tls_feed(PaTls *tls, const char *data, Py_ssize_t size)
{
    if (pa_tls_store_rest(tls) < 0) { /* of the feed that this one interrupts */
        return -1;
    }
    tls->arrived = data;
    tls->arrived_size = (size_t)size;
    bool at_once = tls->state != PA_TLS_WRAPPED || tls->app_reading_paused;
    int result = at_once ? pa_tls_store_rest(tls) : 0;
    if (result == 0) {
        result = act_on_state(tls);
    }
    tls->arrived = NULL; /* nothing is left but without memory for it, which ends the connection */
    tls->arrived_size = 0;
    return result;
}

int
pa_tls_resumed(PaTls *tls)
{
    return tls->state == PA_TLS_HANDSHAKE ? 0 : act_on_state(tls);
}
