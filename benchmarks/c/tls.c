/* TLS for the load generator; tls.h says what it promises. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

enum { READ_AHEAD = 128 * 1024, WRITE_BEHIND = 128 * 1024 };

int
tls_prepare(Target *target)
{
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets without MSG_NOSIGNAL */
    target->tls = SSL_CTX_new(TLS_client_method());
    if (target->tls == NULL) {
        return -1;
    }
    SSL_CTX_set_verify(target->tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(target->tls,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Many records with one system call, instead of each with two; in tls_open() also for sending. */
    SSL_CTX_set_read_ahead(target->tls, 1);
    SSL_CTX_set_default_read_buffer_len(target->tls, READ_AHEAD);
    return 0;
}

void
tls_release(Target *target)
{
    SSL_CTX_free(target->tls);
    target->tls = NULL;
}

int
tls_open(Target *target, Client *client)
{
    client->tls = SSL_new(target->tls);
    client->held = 0;
    if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1) {
        return -1;
    }
    BIO *behind = BIO_new(BIO_f_buffer());
    if (behind == NULL || BIO_set_write_buffer_size(behind, WRITE_BEHIND) != 1) {
        BIO_free(behind);
        return -1;
    }
    BIO *socket = SSL_get_rbio(client->tls);
    BIO_up_ref(socket);
    SSL_set0_wbio(client->tls, BIO_push(behind, socket));
    SSL_set_connect_state(client->tls);
    return 0;
}

void
tls_close(Client *client)
{
    SSL_free(client->tls);
    client->tls = NULL;
}

/* The result of a call that has not done anything, as a system call would give it. */
static ssize_t
failed(Client *client, int result)
{
    switch (SSL_get_error(client->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = ECONNRESET;
        return -1;
    }
}

/* Encrypts what there is, or nothing more while what was encrypted before waits for the socket. */
static int
encrypt(Client *client, const char *data, size_t size)
{
    int result = 1;
    if (client->held > 0) {
        return result;
    }
    while (client->held < size && result == 1) {
        size_t taken = 0;
        ERR_clear_error();
        result = SSL_write_ex(client->tls, data + client->held, size - client->held, &taken);
        client->held += taken;
    }
    return client->held > 0 ? 1 : result;
}

ssize_t
tls_send(Client *client, const void *data, size_t size)
{
    int result = encrypt(client, data, size);
    if (result != 1) {
        return failed(client, result);
    }
    BIO *behind = SSL_get_wbio(client->tls);
    if (BIO_flush(behind) <= 0) {
        errno = BIO_should_retry(behind) ? EAGAIN : ECONNRESET;
        return -1;
    }
    size_t sent = client->held;
    client->held = 0;
    return (ssize_t)sent;
}

ssize_t
tls_receive(Client *client, void *buffer, size_t size)
{
    size_t total = 0;
    int result = 1;
    while (total < size && result == 1) {
        size_t received = 0;
        ERR_clear_error();
        result = SSL_read_ex(client->tls, (char *)buffer + total, size - total, &received);
        total += received;
    }
    return total > 0 ? (ssize_t)total : failed(client, result);
}

bool
tls_has_more(const Client *client)
{
    return SSL_has_pending(client->tls) == 1;
}
