/* One connection of the load generator: it sends a message, checks every byte that comes back,
 * and reports when the message is complete. Over a WebSocket each message is one binary frame; of a
 * server that closes what it accepts, the end of file is what is waited for, and the next "message"
 * is the next connection.
 *
 * Messages are windows into one random pool, a different window for each connection and sequence
 * number, so a byte that is lost, doubled or delivered to the wrong connection does not compare
 * equal, and nothing is generated while the clock runs. Single-threaded, sockets non-blocking.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef enum { CLIENT_WAITING, CLIENT_ECHOED, CLIENT_FAILED } ClientResult;

typedef struct {
    uint64_t connect;  /* could not connect */
    uint64_t closed;   /* reset or end of file before the echo was complete */
    uint64_t mismatch; /* a byte came back that was not sent */
} ClientErrors;

typedef struct {
    size_t size;
    char bytes[14]; /* the longest head of a frame */
} Head;

typedef struct {
    struct sockaddr_storage address;
    socklen_t address_length;
    int socket_type; /* SOCK_STREAM or SOCK_DGRAM */
    int epoll_fd;
    bool accepts;           /* the server closes what it accepts; size is 0 */
    bool websocket;         /* connections are upgraded and messages framed */
    Head head_out, head_in; /* in front of every message sent and received; empty without frames */
    size_t size;            /* bytes per message */
    char *pool;             /* owned: random bytes that messages are windows of */
    char *received;         /* owned: scratch buffer shared by all clients */
    struct ssl_ctx_st *tls; /* owned: connections speak TLS; or NULL */
    ClientErrors errors;
} Target;

typedef struct {
    int fd;             /* -1 once closed */
    struct ssl_st *tls; /* owned, or NULL */
    size_t held;        /* bytes that TLS has encrypted and the socket did not take all of */
    uint32_t index;
    uint32_t sequence;
    uint32_t interest;   /* epoll events currently asked for */
    bool waiting;        /* the current message is not complete yet */
    bool upgrading;      /* the answer to the WebSocket's HTTP request is not complete yet */
    size_t answered;     /* bytes of that answer so far */
    uint32_t tail;       /* its last four bytes */
    const char *message; /* window of the target's pool */
    size_t sent;         /* bytes of the current message, head included, handed to the kernel */
    size_t echoed;       /* bytes of its echo, head included, that came back */
    uint64_t started;    /* ns, when the current message was begun */
} Client;

uint64_t clock_ns(void);

/* Fills the pool; returns -1 with errno if there is no memory. */
int target_prepare(Target *target, size_t message_size);
void target_release(Target *target);

/* Opens a connection and sends its first message as soon as it is up. Counts its own errors. */
ClientResult client_open(Target *target, Client *client, uint32_t index);

/* Begins the next message of an idle client, or its next connection if the target accepts. */
ClientResult client_send_next(Target *target, Client *client);

/* Handles epoll events; CLIENT_ECHOED exactly once per message, when its last byte is verified. */
ClientResult client_handle(Target *target, Client *client, uint32_t events);

void client_close(Client *client);

#endif
