/* The load generator's connection; client.h says what it promises. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"

enum {
    POOL_WINDOWS = 8192, /* distinct messages */
    RECEIVE_SIZE = 256 * 1024,
    CONNECTIONS_PER_SOURCE = 8192 /* then the next loopback address: ports run short at 28k */
};

uint64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int
target_prepare(Target *target, size_t message_size)
{
    target->size = message_size;
    target->pool = malloc(message_size + POOL_WINDOWS);
    target->received = malloc(RECEIVE_SIZE);
    if (target->pool == NULL || target->received == NULL) {
        return -1;
    }
    uint64_t state = clock_ns() | 1;
    for (size_t i = 0; i < message_size + POOL_WINDOWS; i++) {
        state ^= state << 13; /* xorshift64 */
        state ^= state >> 7;
        state ^= state << 17;
        target->pool[i] = (char)(state >> 32);
    }
    return 0;
}

void
target_release(Target *target)
{
    free(target->pool);
    free(target->received);
}

void
client_close(Client *client)
{
    if (client->fd >= 0) {
        tls_close(client);
        close(client->fd);
        client->fd = -1;
    }
}

static ssize_t
transmit(Client *client, const char *data, size_t size)
{
    return client->tls != NULL ? tls_send(client, data, size)
                               : send(client->fd, data, size, MSG_NOSIGNAL);
}

static ClientResult
fail(Client *client, uint64_t *counter)
{
    ++*counter;
    client_close(client);
    return CLIENT_FAILED;
}

static int
set_interest(Target *target, Client *client, uint32_t interest, int operation)
{
    struct epoll_event event = {.events = interest, .data.u32 = client->index};
    client->interest = interest;
    return epoll_ctl(target->epoll_fd, operation, client->fd, &event);
}

/* Hands as much of the message to the kernel as it takes; asks for EPOLLOUT while some is left. */
static ClientResult
send_rest(Target *target, Client *client)
{
    while (client->sent < target->size) {
        ssize_t count =
            transmit(client, client->message + client->sent, target->size - client->sent);
        if (count >= 0) {
            client->sent += (size_t)count;
        }
        else if (errno == EAGAIN) {
            break;
        }
        else if (errno != EINTR) {
            return fail(client, &target->errors.closed);
        }
    }
    uint32_t interest = client->sent < target->size ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (interest != client->interest && set_interest(target, client, interest, EPOLL_CTL_MOD) < 0) {
        return fail(client, &target->errors.closed);
    }
    return CLIENT_WAITING;
}

static void
begin_message(Target *target, Client *client)
{
    uint32_t window = (client->index * 2654435761u + client->sequence++ * 40503u) % POOL_WINDOWS;
    client->message = target->pool + window;
    client->sent = 0;
    client->echoed = 0;
    client->started = clock_ns();
}

ClientResult
client_send_next(Target *target, Client *client)
{
    begin_message(target, client);
    return send_rest(target, client);
}

static ClientResult
receive(Target *target, Client *client)
{
    ssize_t count = client->tls != NULL ? tls_receive(client, target->received, RECEIVE_SIZE)
                                        : recv(client->fd, target->received, RECEIVE_SIZE, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return CLIENT_WAITING;
    }
    if (count <= 0) {
        return fail(client, &target->errors.closed);
    }
    if ((size_t)count > client->sent - client->echoed ||
        memcmp(target->received, client->message + client->echoed, (size_t)count) != 0) {
        return fail(client, &target->errors.mismatch);
    }
    client->echoed += (size_t)count;
    return client->echoed == target->size ? CLIENT_ECHOED : CLIENT_WAITING;
}

ClientResult
client_handle(Target *target, Client *client, uint32_t events)
{
    if (client->interest == EPOLLOUT) { /* the connect has ended */
        int err = 0;
        socklen_t length = sizeof err;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &err, &length);
        if (err != 0) {
            return fail(client, &target->errors.connect);
        }
    }
    if ((events & EPOLLOUT) && send_rest(target, client) == CLIENT_FAILED) {
        return CLIENT_FAILED;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        return receive(target, client);
    }
    return CLIENT_WAITING;
}

/* Binds to a loopback address chosen by the index, so that 127.0.0.1's ports do not run out. */
static int
bind_source(int fd, uint32_t index)
{
    int one = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / CONNECTIONS_PER_SOURCE);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) {
        return -1;
    }
    return bind(fd, (const struct sockaddr *)&source, sizeof source);
}

ClientResult
client_open(Target *target, Client *client, uint32_t index)
{
    int family = target->address.ss_family;
    client->index = index;
    client->sequence = 0;
    client->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || (family == AF_INET && bind_source(client->fd, index) < 0)) {
        return fail(client, &target->errors.connect);
    }
    if (target->tls != NULL && tls_open(target, client) < 0) {
        return fail(client, &target->errors.connect);
    }
    int err =
        connect(client->fd, (const struct sockaddr *)&target->address, target->address_length);
    if ((err < 0 && errno != EINPROGRESS) ||
        set_interest(target, client, EPOLLOUT, EPOLL_CTL_ADD) < 0) {
        return fail(client, &target->errors.connect);
    }
    begin_message(target, client);
    return CLIENT_WAITING;
}
