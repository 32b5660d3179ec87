/* TLS for the load generator; tls.h says what it promises. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

enum { READ_AHEAD = 128 * 1024 };

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
    /* Many records with one system call, instead of each with two. */
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
    if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1) {
        return -1;
    }
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

ssize_t
tls_send(Client *client, const void *data, size_t size)
{
    size_t sent = 0;
    ERR_clear_error();
    int result = SSL_write_ex(client->tls, data, size, &sent);
    return result == 1 ? (ssize_t)sent : failed(client, result);
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
