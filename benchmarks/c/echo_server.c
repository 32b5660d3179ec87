/* A good, plain echo server in C on libuv: the limit that the Python loops are compared with.
 *
 * One thread, one read buffer for all connections. What was read is written back at once with
 * uv_try_write(); only what the kernel did not take is copied and queued with uv_write(), and the
 * connection is not read from until that queue has drained, so that memory stays bounded.
 *
 *   echo_server tcp          listens on 127.0.0.1, any free port
 *   echo_server unix PATH    listens on a unix stream socket
 * Prints one line once it listens: the port or the path. Ends on SIGTERM or SIGINT.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { READ_BUFFER_SIZE = 256 * 1024, BACKLOG = 1024 };

typedef struct {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
} Connection;

typedef struct {
    uv_write_t request;
    Connection *connection; /* borrowed: closing waits for the request */
    char data[];
} PendingWrite;

static char read_buffer[READ_BUFFER_SIZE];

static void
check(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "echo_server: %s: %s\n", what, uv_strerror(err));
        exit(1);
    }
}

static void
free_connection(uv_handle_t *handle)
{
    free(handle->data);
}

/* A TCP connection is reset: a client that closed first is then not left with a TIME_WAIT socket.
 * Thousands of those make the kernel search ever longer for a free port, and a benchmark of
 * connecting would measure how many came before it. */
static void
close_connection(Connection *connection)
{
    if (uv_is_closing(&connection->u.handle)) {
        return;
    }
    bool tcp = connection->u.handle.type == UV_TCP;
    if (!tcp || uv_tcp_close_reset(&connection->u.tcp, free_connection) < 0) {
        uv_close(&connection->u.handle, free_connection);
    }
}

static void
allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(read_buffer, sizeof read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void
on_written(uv_write_t *request, int status)
{
    PendingWrite *pending = (PendingWrite *)request;
    Connection *connection = pending->connection;
    free(pending);
    if (status < 0 || uv_read_start(&connection->u.stream, allocate, on_read) < 0) {
        close_connection(connection);
    }
}

/* Queue what the kernel did not take, and stop reading until it has gone. */
static int
queue_rest(Connection *connection, const char *data, size_t size)
{
    PendingWrite *pending = malloc(sizeof *pending + size);
    if (pending == NULL) {
        return UV_ENOMEM;
    }
    pending->connection = connection;
    memcpy(pending->data, data, size);
    uv_read_stop(&connection->u.stream);
    uv_buf_t rest = uv_buf_init(pending->data, (unsigned)size);
    int err = uv_write(&pending->request, &connection->u.stream, &rest, 1, on_written);
    if (err < 0) {
        free(pending);
    }
    return err;
}

static void
on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    Connection *connection = stream->data;
    if (count == 0) {
        return; /* would block */
    }
    if (count < 0) {
        close_connection(connection);
        return;
    }
    uv_buf_t data = uv_buf_init(buffer->base, (unsigned)count);
    int written = uv_try_write(stream, &data, 1);
    if (written == UV_EAGAIN) {
        written = 0;
    }
    size_t left = data.len - (size_t)written;
    if (written < 0 || (left > 0 && queue_rest(connection, data.base + written, left) < 0)) {
        close_connection(connection);
    }
}

static void
on_connection(uv_stream_t *server, int status)
{
    check(status, "accept");
    Connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        check(UV_ENOMEM, "connection");
    }
    if (server->type == UV_TCP) {
        check(uv_tcp_init(server->loop, &connection->u.tcp), "uv_tcp_init");
    }
    else {
        check(uv_pipe_init(server->loop, &connection->u.pipe, 0), "uv_pipe_init");
    }
    connection->u.handle.data = connection;
    int err = uv_accept(server, &connection->u.stream);
    if (err == 0 && server->type == UV_TCP) {
        err = uv_tcp_nodelay(&connection->u.tcp, 1);
    }
    if (err < 0 || uv_read_start(&connection->u.stream, allocate, on_read) < 0) {
        close_connection(connection);
    }
}

static void
listen_tcp(uv_loop_t *loop, uv_tcp_t *server)
{
    struct sockaddr_in address;
    int length = sizeof address;
    check(uv_tcp_init(loop, server), "uv_tcp_init");
    check(uv_ip4_addr("127.0.0.1", 0, &address), "address");
    check(uv_tcp_bind(server, (const struct sockaddr *)&address, 0), "bind");
    check(uv_listen((uv_stream_t *)server, BACKLOG, on_connection), "listen");
    check(uv_tcp_getsockname(server, (struct sockaddr *)&address, &length), "getsockname");
    printf("%d\n", ntohs(address.sin_port));
}

static void
listen_unix(uv_loop_t *loop, uv_pipe_t *server, const char *path)
{
    check(uv_pipe_init(loop, server, 0), "uv_pipe_init");
    check(uv_pipe_bind(server, path), "bind");
    check(uv_listen((uv_stream_t *)server, BACKLOG, on_connection), "listen");
    printf("%s\n", path);
}

int
main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    if (argc == 2 && strcmp(argv[1], "tcp") == 0) {
        listen_tcp(loop, &tcp);
    }
    else if (argc == 3 && strcmp(argv[1], "unix") == 0) {
        listen_unix(loop, &pipe, argv[2]);
    }
    else {
        fprintf(stderr, "usage: echo_server tcp | echo_server unix PATH\n");
        return 2;
    }
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
