/* What carrying bytes costs at the least: a server of system calls alone, one thread on epoll.
 *
 * It has no library below it and no protocol above it, so a server in any language that makes its
 * own system calls pays as much: one receiving and one sending call per message, and a share of the
 * waiting. Datagrams are received and sent as many at a time as there are.
 *
 *   bare_server [--unix=PATH | --udp | --accept] [--buffer=BYTES]
 *               [--work=NANOSECONDS --message=BYTES]
 * echoes over TCP at a free port of 127.0.0.1, over a unix stream socket, or over UDP, or closes
 * each TCP connection that it accepts. At most --buffer bytes are read at a time (256 KiB).
 * With --work it stands in for a server that does some work: it keeps the processor busy for so
 * long per --message bytes that it reads, or per connection that it accepts only to close it.
 * Prints one line once it listens: the port or the path. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_LIMIT = 1024 * 1024, BACKLOG = 1024, EVENTS = 512, DATAGRAMS = 32, DATAGRAM = 65536 };

typedef enum { ALL_SENT, BLOCKED, BROKEN } Progress;

typedef struct {
    int fd;
    char *unsent; /* owned; what the kernel did not take, or NULL */
    size_t begin, end;
    bool blocked; /* the kernel took no more; it says when there is room again */
} Connection;

static char buffer[BUFFER_LIMIT];
static size_t buffer_size = 256 * 1024;
static double work_ns, message_size = 1;
static bool closes, tcp = true;

static void
die(const char *what)
{
    fprintf(stderr, "bare_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
check(int result, const char *what)
{
    if (result < 0) {
        die(what);
    }
}

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Keeps busy for as long as `count` bytes stand for. */
static void
work(size_t count)
{
    if (work_ns > 0) {
        double end = now() + work_ns * (double)count / message_size;
        while (now() < end) {
        }
    }
}

static void
watch(int epoll_fd, int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};
    check(epoll_ctl(epoll_fd, operation, fd, &event), "epoll_ctl");
}

static void
close_connection(Connection *connection)
{
    close(connection->fd);
    free(connection->unsent);
    free(connection);
}

/* Keeps what the kernel did not take. */
static void
keep_rest(Connection *connection, const char *data, size_t size)
{
    connection->unsent = malloc(size);
    if (connection->unsent == NULL) {
        die("malloc");
    }
    memcpy(connection->unsent, data, size);
    connection->begin = 0;
    connection->end = size;
}

/* What comes of a call that sent `sent` bytes of `size`, or failed. What the kernel did not take at
 * once is not tried again before it says that there is room. */
static Progress
progress(ssize_t sent, size_t size)
{
    if (sent < 0 && errno != EAGAIN) {
        return BROKEN;
    }
    return sent >= 0 && (size_t)sent == size ? ALL_SENT : BLOCKED;
}

/* Sends what was kept. */
static Progress
send_rest(Connection *connection)
{
    size_t left = connection->end - connection->begin;
    const char *data = connection->unsent + connection->begin;
    ssize_t sent = send(connection->fd, data, left, MSG_NOSIGNAL);
    Progress made = progress(sent, left);
    if (made == ALL_SENT) {
        free(connection->unsent);
        connection->unsent = NULL;
    }
    else {
        connection->begin += sent < 0 ? 0 : (size_t)sent;
    }
    return made;
}

static Progress
send_back(Connection *connection, const char *data, size_t size)
{
    ssize_t sent = send(connection->fd, data, size, MSG_NOSIGNAL);
    Progress made = progress(sent, size);
    if (made == BLOCKED) {
        size_t done = sent < 0 ? 0 : (size_t)sent;
        keep_rest(connection, data + done, size - done);
    }
    return made;
}

/* Reads and sends it back, or goes on with that. It is read from again once all of it has gone. */
static void
serve(int epoll_fd, Connection *connection)
{
    Progress made;
    if (connection->blocked) {
        made = send_rest(connection);
    }
    else {
        ssize_t count = recv(connection->fd, buffer, buffer_size, 0);
        if (count <= 0) {
            if (count == 0 || errno != EAGAIN) {
                close_connection(connection);
            }
            return;
        }
        work((size_t)count);
        made = send_back(connection, buffer, (size_t)count);
    }
    if (made == BROKEN) {
        close_connection(connection);
    }
    else if (connection->blocked != (made == BLOCKED)) {
        connection->blocked = made == BLOCKED;
        uint32_t events = connection->blocked ? EPOLLOUT : EPOLLIN;
        watch(epoll_fd, EPOLL_CTL_MOD, connection->fd, events, connection);
    }
}

static void
accept_all(int epoll_fd, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (closes) {
            work((size_t)message_size);
            close(fd);
            continue;
        }
        if (tcp) {
            check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
        }
        Connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL) {
            die("calloc");
        }
        connection->fd = fd;
        watch(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, connection);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        die("accept4");
    }
}

/* Echoes the datagrams that are there, as many as fit into one call, to where they came from. */
static void
serve_datagrams(int fd)
{
    static char space[DATAGRAMS][DATAGRAM];
    struct sockaddr_in addresses[DATAGRAMS];
    struct iovec parts[DATAGRAMS];
    struct mmsghdr messages[DATAGRAMS];
    for (int i = 0; i < DATAGRAMS; i++) {
        parts[i] = (struct iovec){.iov_base = space[i], .iov_len = DATAGRAM};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &addresses[i],
                                              .msg_namelen = sizeof addresses[i],
                                              .msg_iov = &parts[i],
                                              .msg_iovlen = 1};
    }
    int count = recvmmsg(fd, messages, DATAGRAMS, MSG_DONTWAIT, NULL);
    if (count < 0 && errno != EAGAIN) {
        die("recvmmsg");
    }
    for (int i = 0; i < count; i++) {
        parts[i].iov_len = messages[i].msg_len;
        work(messages[i].msg_len);
    }
    if (count > 0) {
        int sent = sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT);
        check(sent < 0 && errno == EAGAIN ? 0 : sent, "sendmmsg"); /* what has no room is lost */
    }
}

static int
listen_ip(bool udp)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    check(fd, "socket");
    check(bind(fd, (struct sockaddr *)&address, length), "bind");
    check(udp ? 0 : listen(fd, BACKLOG), "listen");
    check(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
    printf("%d\n", ntohs(address.sin_port));
    return fd;
}

static int
listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    check(fd, "socket");
    check(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    check(listen(fd, BACKLOG), "listen");
    printf("%s\n", path);
    return fd;
}

static void
run(int listener, bool udp)
{
    struct epoll_event events[EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(epoll_fd, "epoll_create1");
    watch(epoll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != NULL) {
                serve(epoll_fd, events[i].data.ptr);
            }
            else if (udp) {
                serve_datagrams(listener);
            }
            else {
                accept_all(epoll_fd, listener);
            }
        }
    }
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"unix", required_argument, NULL, 'x'},
        {"udp", no_argument, NULL, 'd'},
        {"accept", no_argument, NULL, 'c'},
        {"buffer", required_argument, NULL, 'b'},
        {"work", required_argument, NULL, 'w'},
        {"message", required_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    bool udp = false, valid = true;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'x':
            path = optarg;
            break;
        case 'd':
            udp = true;
            break;
        case 'c':
            closes = true;
            break;
        case 'b':
            buffer_size = (size_t)atol(optarg);
            break;
        case 'w':
            work_ns = atof(optarg);
            break;
        case 'm':
            message_size = atof(optarg);
            break;
        default:
            valid = false;
        }
    }
    valid = valid && optind == argc && buffer_size > 0 && buffer_size <= BUFFER_LIMIT;
    if (!valid || message_size <= 0) {
        fprintf(stderr, "usage: bare_server [--unix=PATH | --udp | --accept] [--buffer=BYTES] "
                        "[--work=NANOSECONDS --message=BYTES]\n");
        return 2;
    }
    tcp = path == NULL;
    int listener = path != NULL ? listen_unix(path) : listen_ip(udp);
    fflush(stdout);
    run(listener, udp);
}
