/* What TLS costs at the least with OpenSSL: a C server, one thread on epoll, that echoes what it
 * reads; or that shakes hands with each connection, says that it closes, and closes when the peer has
 * said so too or has gone, as asyncio does.
 *
 *   tls_server [--accept] FOLDER
 * listens at a free port of 127.0.0.1 with FOLDER/cert.pem and FOLDER/key.pem, and prints the port.
 * OpenSSL reads and writes the sockets itself, many records with one system call. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    EVENTS = 512,
    PATH_SIZE = 4096,
    READ_AHEAD = 128 * 1024,
    WRITE_BEHIND = 128 * 1024,
    BUFFER_SIZE = 256 * 1024
};

typedef struct {
    SSL *tls;     /* owned, with its socket */
    char *unsent; /* owned; plaintext that waits for room in the socket, or NULL */
    size_t begin, end;
    bool blocked; /* nothing is read before all has gone */
    bool shaken;  /* the handshake is complete: the peer's end is waited for */
} Connection;

static char buffer[BUFFER_SIZE];
static int epoll_fd;
static bool closes;

static void
check(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "tls_server: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void
check_tls(long result, const char *what)
{
    if (result <= 0) {
        fprintf(stderr, "tls_server: %s\n", what);
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

/* As Python's ssl module sets a server's context up where it matters here. */
static SSL_CTX *
make_context(const char *folder)
{
    char path[PATH_SIZE];
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    check_tls(context != NULL, "SSL_CTX_new");
    snprintf(path, sizeof path, "%s/cert.pem", folder);
    check_tls(SSL_CTX_use_certificate_chain_file(context, path), path);
    snprintf(path, sizeof path, "%s/key.pem", folder);
    check_tls(SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM), path);
    const unsigned char id[] = "bench";
    check_tls(SSL_CTX_set_session_id_context(context, id, sizeof id - 1), "session id");
    if (!closes) {
        SSL_CTX_set_mode(context,
                         SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    }
    return context;
}

static int
listen_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(fd, "socket");
    check(bind(fd, (struct sockaddr *)&address, length), "bind");
    check(listen(fd, BACKLOG), "listen");
    check(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void
watch(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    check(epoll_ctl(epoll_fd, operation, fd, &event), "epoll_ctl");
}

/* TLS over the socket; what is written is collected for one system call, unless it is closed after
 * the handshake. */
static SSL *
open_tls(SSL_CTX *context, int fd)
{
    SSL *tls = SSL_new(context);
    check_tls(tls != NULL && SSL_set_fd(tls, fd) == 1, "SSL_new");
    SSL_set_accept_state(tls);
    if (!closes) {
        BIO *socket = SSL_get_rbio(tls), *behind = BIO_new(BIO_f_buffer());
        check_tls(behind != NULL && BIO_set_write_buffer_size(behind, WRITE_BEHIND) == 1, "BIO");
        BIO_up_ref(socket);
        SSL_set0_wbio(tls, BIO_push(behind, socket));
    }
    return tls;
}

static void
accept_all(int listener, SSL_CTX *context)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
        Connection *connection = calloc(1, sizeof *connection);
        check(connection == NULL ? -1 : 0, "calloc");
        connection->tls = open_tls(context, fd);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, connection);
    }
    check(errno == EAGAIN || errno == ECONNABORTED ? 0 : -1, "accept4");
}

static void
close_connection(Connection *connection)
{
    int fd = SSL_get_fd(connection->tls);
    SSL_free(connection->tls);
    close(fd);
    free(connection->unsent);
    free(connection);
}

/* Whether a call that gave `result` can be made again when the socket is ready. */
static bool
waits(const Connection *connection, int result)
{
    int reason = SSL_get_error(connection->tls, result);
    return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE;
}

/* Goes on with the handshake, then with the closing; the connection ends with that, or with an error. */
static void
shake(Connection *connection)
{
    ERR_clear_error();
    int result = connection->shaken ? 1 : SSL_accept(connection->tls);
    if (result == 1) {
        connection->shaken = true;
        result = SSL_shutdown(connection->tls);
        if (result == 0) { /* said; and whether the peer has */
            result = SSL_shutdown(connection->tls);
        }
    }
    if (result != 1 && waits(connection, result)) {
        return;
    }
    close_connection(connection);
}

/* Keeps what is left of `data`, if it is not what was kept already. */
static void
keep(Connection *connection, const char *data, size_t size)
{
    if (connection->unsent == NULL) {
        connection->unsent = malloc(size);
        check(connection->unsent == NULL ? -1 : 0, "malloc");
        memcpy(connection->unsent, data, size);
        connection->end = size;
    }
    else {
        connection->begin = connection->end - size;
    }
}

/* Encrypts and sends; what the socket has no room for is kept. False on an error. */
static bool
send_all(Connection *connection, const char *data, size_t size)
{
    size_t done = 0, taken;
    int result = 1;
    ERR_clear_error();
    while (done < size &&
           (result = SSL_write_ex(connection->tls, data + done, size - done, &taken))) {
        done += taken;
    }
    if (done < size && !waits(connection, result)) {
        return false;
    }
    BIO *behind = SSL_get_wbio(connection->tls);
    bool flushed = BIO_flush(behind) == 1;
    if (!flushed && !BIO_should_retry(behind)) {
        return false;
    }
    bool blocked = done < size || !flushed;
    if (blocked) {
        keep(connection, data + done, size - done);
    }
    if (blocked != connection->blocked) {
        connection->blocked = blocked;
        int fd = SSL_get_fd(connection->tls);
        watch(EPOLL_CTL_MOD, fd, blocked ? EPOLLOUT : EPOLLIN, connection);
    }
    return true;
}

/* Sends what was kept; false on an error, or while some of it is left. */
static bool
send_kept(Connection *connection)
{
    const char *data = connection->unsent + connection->begin;
    if (!send_all(connection, data, connection->end - connection->begin)) {
        close_connection(connection);
        return false;
    }
    if (connection->blocked) {
        return false;
    }
    free(connection->unsent);
    connection->unsent = NULL;
    connection->begin = connection->end = 0;
    return true;
}

/* Reads all that has come and sends it back, after what was kept. */
static void
echo(Connection *connection)
{
    if (connection->blocked && !send_kept(connection)) {
        return;
    }
    int result = 1;
    while (result == 1 && !connection->blocked) {
        size_t filled = 0, received;
        ERR_clear_error();
        while (filled < BUFFER_SIZE &&
               (result = SSL_read_ex(connection->tls, buffer + filled, BUFFER_SIZE - filled,
                                     &received)) == 1) {
            filled += received;
        }
        bool ended = result != 1 && !waits(connection, result);
        if (ended || (filled > 0 && !send_all(connection, buffer, filled))) {
            close_connection(connection);
            return;
        }
    }
}

int
main(int argc, char **argv)
{
    closes = argc == 3 && strcmp(argv[1], "--accept") == 0;
    if (argc != (closes ? 3 : 2)) {
        fprintf(stderr, "usage: tls_server [--accept] FOLDER\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = make_context(argv[argc - 1]);
    int listener = listen_tcp();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(epoll_fd, "epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            Connection *connection = events[i].data.ptr;
            if (connection == NULL) {
                accept_all(listener, context);
            }
            else if (closes) {
                shake(connection);
            }
            else {
                echo(connection);
            }
        }
    }
}
