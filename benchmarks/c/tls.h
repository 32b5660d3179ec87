/* TLS for the load generator: OpenSSL over a client's own socket. Certificates are not checked: the
 * server is this benchmark's, and the time belongs to it. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <stdbool.h>
#include <sys/types.h>

#include "client.h"

/* Makes the context in target->tls; returns -1 if there is none to be had. */
int tls_prepare(Target *target);
void tls_release(Target *target);

/* Puts TLS over the client's socket; the handshake is made by the first sends and receives. */
int tls_open(Target *target, Client *client);
void tls_close(Client *client);

/* As send() and recv() on a non-blocking socket: -1 with errno, EAGAIN when TLS has to wait. What
 * tls_receive() had no room for the kernel knows nothing of any more: tls_has_more(). */
ssize_t tls_send(Client *client, const void *data, size_t size);
ssize_t tls_receive(Client *client, void *buffer, size_t size);
bool tls_has_more(const Client *client);

#endif
