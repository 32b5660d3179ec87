/* A good, plain echo server in C on libuv: the limit that the Python loops are compared with.
 *
 * One thread, one read buffer for all connections. What was read is written back at once with
 * uv_try_write(); only what the kernel did not take is copied and queued with uv_write(), and the
 * connection is not read from until that queue has drained, so that memory stays bounded.
 *
 *   echo_server tcp          listens on 127.0.0.1, any free port
 *   echo_server unix PATH    listens on a unix stream socket
 *   echo_server tcp NANOSECONDS BYTES [FILE]
 *       stands in for a server that does some work: it keeps the processor busy for NANOSECONDS per
 *       BYTES that it reads, and answers whatever it reads with the bytes of FILE, if one is given
 * Prints one line once it listens: the port or the path. Ends on SIGTERM or SIGINT.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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
static uv_buf_t answer;      /* with a base: sent in place of what was read */
static double work_per_byte; /* nanoseconds */

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

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void
work(ssize_t count)
{
    double end = now() + work_per_byte * (double)count;
    while (now() < end) {
    }
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
    if (work_per_byte > 0) {
        work(count);
    }
    uv_buf_t data = answer.base != NULL ? answer : uv_buf_init(buffer->base, (unsigned)count);
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

static void
load_answer(const char *path)
{
    FILE *file = fopen(path, "rb");
    check(file == NULL || fseek(file, 0, SEEK_END) != 0 ? UV_EIO : 0, path);
    long size = ftell(file);
    check(size <= 0 || fseek(file, 0, SEEK_SET) != 0 ? UV_EIO : 0, path);
    answer = uv_buf_init(malloc((size_t)size), (unsigned)size);
    check(answer.base == NULL ? UV_ENOMEM : 0, path);
    check(fread(answer.base, 1, answer.len, file) != answer.len ? UV_EIO : 0, path);
    fclose(file);
}

int
main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    if (argc != 3 && argc >= 2 && argc <= 5 && strcmp(argv[1], "tcp") == 0) {
        if (argc >= 4) {
            work_per_byte = atof(argv[2]) / atof(argv[3]);
        }
        if (argc == 5) {
            load_answer(argv[4]);
        }
        listen_tcp(loop, &tcp);
    }
    else if (argc == 3 && strcmp(argv[1], "unix") == 0) {
        listen_unix(loop, &pipe, argv[2]);
    }
    else {
        fprintf(stderr,
                "usage: echo_server tcp [NANOSECONDS BYTES [FILE]] | echo_server unix PATH\n");
        return 2;
    }
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
