/* The load generator's connection; client.h says what it promises. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"
#include "websocket.h"

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

/* Hands what is left of the message to the kernel; its head and body in one call. */
static ssize_t
transmit(const Target *target, Client *client)
{
    size_t head = target->head_out.size;
    if (client->sent < head) {
        struct iovec parts[] = {
            {(char *)target->head_out.bytes + client->sent, head - client->sent},
            {(char *)client->message, target->size},
        };
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        return sendmsg(client->fd, &message, MSG_NOSIGNAL);
    }
    const char *rest = client->message + (client->sent - head);
    size_t size = target->size - (client->sent - head);
    return client->tls != NULL ? tls_send(client, rest, size)
                               : send(client->fd, rest, size, MSG_NOSIGNAL);
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
    size_t total = target->head_out.size + target->size;
    while (client->sent < total) {
        ssize_t count = transmit(target, client);
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
    uint32_t interest = client->sent < total ? EPOLLIN | EPOLLOUT : EPOLLIN;
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
    client->waiting = true;
    client->started = clock_ns();
}

ClientResult
client_send_next(Target *target, Client *client)
{
    if (target->accepts) {
        client_close(client);
        return client_open(target, client, client->index);
    }
    begin_message(target, client);
    return send_rest(target, client);
}

/* Whether the bytes just received go on where the echo stopped, and were sent already. */
static bool
is_echo(const Target *target, const Client *client, const char *data, size_t count)
{
    size_t head = target->head_in.size, from = client->echoed;
    size_t body_sent =
        client->sent > target->head_out.size ? client->sent - target->head_out.size : 0;
    if (from + count > head + body_sent + client->held) { /* TLS may have sent what it holds */
        return false;
    }
    if (from < head) {
        size_t part = count < head - from ? count : head - from;
        if (memcmp(data, target->head_in.bytes + from, part) != 0) {
            return false;
        }
        data += part;
        count -= part;
        from = head;
    }
    return memcmp(data, client->message + (from - head), count) == 0;
}

/* Reads on in the answer to the HTTP request; sends the first message when it is complete. */
static ClientResult
upgrade(Target *target, Client *client, const char *data, size_t count)
{
    int done = websocket_read_answer(client, data, count);
    if (done < 0) {
        return fail(client, &target->errors.connect);
    }
    if (done == 0) {
        return CLIENT_WAITING;
    }
    client->upgrading = false;
    return client_send_next(target, client);
}

static ClientResult
receive(Target *target, Client *client)
{
    ssize_t count = client->tls != NULL ? tls_receive(client, target->received, RECEIVE_SIZE)
                                        : recv(client->fd, target->received, RECEIVE_SIZE, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return CLIENT_WAITING;
    }
    if (count == 0 && target->accepts) {
        client->waiting = false;
        /* it would be reported again and again until the next connection takes its place */
        set_interest(target, client, 0, EPOLL_CTL_DEL);
        return CLIENT_ECHOED;
    }
    if (count <= 0) {
        return fail(client, &target->errors.closed);
    }
    if (client->upgrading) {
        return upgrade(target, client, target->received, (size_t)count);
    }
    if (!is_echo(target, client, target->received, (size_t)count)) {
        return fail(client, &target->errors.mismatch);
    }
    client->echoed += (size_t)count;
    client->waiting = client->echoed < target->head_in.size + target->size;
    return client->waiting ? CLIENT_WAITING : CLIENT_ECHOED;
}

/* The connect has ended: checks how, and sends what comes first. */
static ClientResult
connected(Target *target, Client *client)
{
    int err = 0;
    socklen_t length = sizeof err;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &err, &length);
    if (err != 0) {
        return fail(client, &target->errors.connect);
    }
    if (client->upgrading) {
        if (websocket_send_request(client) < 0 ||
            set_interest(target, client, EPOLLIN, EPOLL_CTL_MOD) < 0) {
            return fail(client, &target->errors.connect);
        }
        return CLIENT_WAITING;
    }
    if (send_rest(target, client) == CLIENT_FAILED) {
        return CLIENT_FAILED;
    }
    /* With nothing to send it is reading that begins a TLS handshake. */
    return target->accepts ? receive(target, client) : CLIENT_WAITING;
}

ClientResult
client_handle(Target *target, Client *client, uint32_t events)
{
    if (client->interest == EPOLLOUT) {
        return connected(target, client);
    }
    if ((events & EPOLLOUT) && send_rest(target, client) == CLIENT_FAILED) {
        return CLIENT_FAILED;
    }
    ClientResult result = CLIENT_WAITING;
    bool readable = events & (EPOLLIN | EPOLLHUP | EPOLLERR);
    while (readable && result == CLIENT_WAITING) {
        result = receive(target, client);
        readable = client->tls != NULL && tls_has_more(client);
    }
    return result;
}

/* Binds to a loopback address chosen by the index, so that 127.0.0.1's ports do not run out. */
static int
bind_source(int fd, uint32_t index)
{
    int one = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / CONNECTIONS_PER_SOURCE);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) < 0) {
        return -1;
    }
    return bind(fd, (const struct sockaddr *)&source, sizeof source);
}

/* Options of a TCP socket; one that will be closed soon leaves no TIME_WAIT behind. */
static int
prepare_tcp(const Target *target, int fd)
{
    int one = 1;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) {
        return -1;
    }
    return target->accepts ? setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) : 0;
}

/* The client's socket, not connected yet; -1 with errno set. */
static int
make_socket(const Target *target, uint32_t index)
{
    int family = target->address.ss_family;
    int fd = socket(family, target->socket_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    bool tcp = family == AF_INET && target->socket_type == SOCK_STREAM;
    if ((family == AF_INET && bind_source(fd, index) < 0) || (tcp && prepare_tcp(target, fd) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

ClientResult
client_open(Target *target, Client *client, uint32_t index)
{
    client->index = index;
    client->sequence = 0;
    client->upgrading = target->websocket;
    client->answered = 0;
    client->fd = make_socket(target, index);
    if (client->fd < 0 || (target->tls != NULL && tls_open(target, client) < 0)) {
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
