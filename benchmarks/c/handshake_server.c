/* What a TLS handshake costs at the least with OpenSSL: a C server, one thread on epoll, that shakes
 * hands with each TCP connection that it accepts, says that it closes, and closes.
 *
 *   handshake_server FOLDER
 * listens at a free port of 127.0.0.1 with FOLDER/cert.pem and FOLDER/key.pem, and prints the port.
 * OpenSSL reads and writes the sockets itself. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 512, PATH_SIZE = 4096 };

static void
check(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "handshake_server: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void
check_tls(long result, const char *what)
{
    if (result <= 0) {
        fprintf(stderr, "handshake_server: %s\n", what);
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
watch(int epoll_fd, int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void
accept_all(int epoll_fd, int listener, SSL_CTX *context)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
        SSL *connection = SSL_new(context);
        check_tls(connection != NULL && SSL_set_fd(connection, fd) == 1, "SSL_new");
        watch(epoll_fd, fd, connection);
    }
    check(errno == EAGAIN || errno == ECONNABORTED ? 0 : -1, "accept4");
}

/* Goes on with the handshake; the connection ends with it, or with an error. */
static void
shake(SSL *connection)
{
    ERR_clear_error();
    int result = SSL_accept(connection);
    int reason = SSL_get_error(connection, result);
    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
        return;
    }
    if (result == 1) {
        SSL_shutdown(connection);
    }
    int fd = SSL_get_fd(connection);
    SSL_free(connection);
    close(fd);
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: handshake_server FOLDER\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = make_context(argv[1]);
    int listener = listen_tcp();
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(epoll_fd, "epoll_create1");
    watch(epoll_fd, listener, NULL);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != NULL) {
                shake(events[i].data.ptr);
            }
            else {
                accept_all(epoll_fd, listener, context);
            }
        }
    }
}
