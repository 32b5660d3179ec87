/* What carrying bytes costs at the least: a server of system calls alone, one thread on epoll.
 *
 * It has no library below it and no protocol above it, so a server in any language that makes its
 * own system calls pays as much: one receiving and one sending call per message, and a share of the
 * waiting. Datagrams are received and sent as many at a time as there are.
 *
 *   bare_server [--unix=PATH | --udp | --accept] [--buffer=BYTES]
 *               [--work=NANOSECONDS --message=BYTES] [--answer=FILE [--file=FILE]]
 * echoes over TCP at a free port of 127.0.0.1, over a unix stream socket, or over UDP, or closes
 * each TCP connection that it accepts. At most --buffer bytes are read at a time (256 KiB).
 * With --work it stands in for a server that does some work: it keeps the processor busy for so
 * long per --message bytes that it reads, or per connection that it accepts only to close it. It
 * answers whatever it reads with --answer, if given, and with --file after it, by sendfile(2).
 * Prints one line once it listens: the port or the path. Ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_LIMIT = 1024 * 1024, BACKLOG = 1024, EVENTS = 512, DATAGRAMS = 32, DATAGRAM = 65536 };

typedef enum { ALL_SENT, BLOCKED, BROKEN } Progress;

typedef struct {
    int fd;
    char *unsent; /* owned; what the kernel did not take, or NULL */
    size_t begin, end;
    off_t file_at; /* where the file is sent from next; its end when nothing is left of it */
    bool blocked;  /* the kernel took no more; it says when there is room again */
} Connection;

static char buffer[BUFFER_LIMIT];
static size_t buffer_size = 256 * 1024;
static char *answer; /* sent in place of what was read */
static size_t answer_size;
static int file_fd = -1; /* sent after the answer, if there is one */
static off_t file_size;
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

static Progress
send_file(Connection *connection)
{
    if (connection->file_at == file_size) {
        return ALL_SENT;
    }
    size_t left = (size_t)(file_size - connection->file_at);
    return progress(sendfile(connection->fd, file_fd, &connection->file_at, left), left);
}

/* Sends what was kept, then what is left of the file. */
static Progress
send_rest(Connection *connection)
{
    if (connection->unsent != NULL) {
        size_t left = connection->end - connection->begin;
        const char *data = connection->unsent + connection->begin;
        ssize_t sent = send(connection->fd, data, left, MSG_NOSIGNAL);
        Progress made = progress(sent, left);
        if (made != ALL_SENT) {
            connection->begin += sent < 0 ? 0 : (size_t)sent;
            return made;
        }
        free(connection->unsent);
        connection->unsent = NULL;
    }
    return send_file(connection);
}

/* Sends `size` bytes, then the file if there is one: in the same packets, which costs the least. */
static Progress
send_answer(Connection *connection, const char *data, size_t size)
{
    connection->file_at = 0;
    int flags = MSG_NOSIGNAL | (file_size > 0 ? MSG_MORE : 0);
    ssize_t sent = send(connection->fd, data, size, flags);
    Progress made = progress(sent, size);
    if (made == BLOCKED) {
        size_t done = sent < 0 ? 0 : (size_t)sent;
        keep_rest(connection, data + done, size - done);
    }
    return made == ALL_SENT ? send_file(connection) : made;
}

/* Reads and answers, or goes on with the answer. It is read from again once all of it has gone. */
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
        const char *data = answer != NULL ? answer : buffer;
        made = send_answer(connection, data, answer != NULL ? answer_size : (size_t)count);
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
load_answer(const char *path)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &status) < 0) {
        die(path);
    }
    answer_size = (size_t)status.st_size;
    answer = malloc(answer_size);
    if (answer == NULL || fread(answer, 1, answer_size, file) != answer_size) {
        die(path);
    }
    fclose(file);
}

static void
open_file(const char *path)
{
    struct stat status;
    file_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file_fd < 0 || fstat(file_fd, &status) < 0) {
        die(path);
    }
    file_size = status.st_size;
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
        {"answer", required_argument, NULL, 'a'},
        {"file", required_argument, NULL, 'f'},
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
        case 'a':
            load_answer(optarg);
            break;
        case 'f':
            open_file(optarg);
            break;
        default:
            valid = false;
        }
    }
    valid = valid && optind == argc && buffer_size > 0 && buffer_size <= BUFFER_LIMIT;
    valid = valid && message_size > 0 && (file_fd < 0 || answer != NULL);
    if (!valid) {
        fprintf(stderr, "usage: bare_server [--unix=PATH | --udp | --accept] [--buffer=BYTES] "
                        "[--work=NANOSECONDS --message=BYTES] "
                        "[--answer=FILE [--file=FILE]]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) cannot be asked not to send it */
    tcp = path == NULL;
    int listener = path != NULL ? listen_unix(path) : listen_ip(udp);
    fflush(stdout);
    run(listener, udp);
}
