/* Load generator for echo servers: N connections over TCP, UDP or unix sockets, one epoll thread.
 *
 * With --tls the connections speak TLS, whose certificate is not checked; with --websocket they are
 * upgraded and every message is one binary frame; with --accept the server closes each connection
 * it has accepted (with --tls after the handshake), and connections are what is counted.
 * Every connection keeps exactly one message under way and checks every byte that comes back.
 * First all connections are opened, each with one echo; then
 *   - normally: messages are exchanged for a warm-up and then a measured window of time, over
 *     which the server's CPU clock is read too (--server-pid), and one JSON line is printed;
 *   - with --hold ROUNDS: a JSON line is printed and a line awaited on standard input; then every
 *     connection echoes ROUNDS messages, all at once; again a line out and a line in. All
 *     connections are open the whole time, so the caller can look at the server's memory.
 * A connection that fails or does not answer counts as an error and the exit status is 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "client.h"
#include "histogram.h"
#include "tls.h"
#include "websocket.h"

enum { OPENING_AT_ONCE = 64, EVENTS = 512, POLL_MS = 50 };

typedef struct {
    unsigned connections;
    size_t size;
    double warmup;
    double seconds;
    int server_pid;
    double patience; /* s without any progress before what is missing is lost */
    unsigned hold;   /* rounds; 0 is the normal, timed mode */
    bool tls;
} Options;

typedef struct {
    Options options;
    Target target;
    Client *clients; /* owned, options.connections of them */
    Histogram latency;
    uint64_t messages; /* echoed so far */
    uint64_t lost;     /* never came back, on a connection that did not fail */
} Load;

typedef struct {
    uint64_t wall, messages;
    double server_cpu, client_cpu; /* s */
} Snapshot;

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* CPU time of all threads of another process, s; exact to the scheduler's nanoseconds. */
static double
process_cpu(int pid)
{
    clockid_t clock;
    struct timespec used = {0};
    int err = clock_getcpuclockid(pid, &clock);
    if (err != 0 || clock_gettime(clock, &used) < 0) {
        errno = err ? err : errno;
        die("CPU clock of the server");
    }
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

static Snapshot
take_snapshot(const Load *load)
{
    Snapshot now = {.wall = clock_ns(), .messages = load->messages};
    now.client_cpu = (double)clock() / CLOCKS_PER_SEC;
    if (load->options.server_pid > 0) {
        now.server_cpu = process_cpu(load->options.server_pid);
    }
    return now;
}

static uint64_t
error_count(const Load *load)
{
    const ClientErrors *errors = &load->target.errors;
    return errors->connect + errors->closed + errors->mismatch + load->lost;
}

static void
print_errors(const Load *load)
{
    const ClientErrors *errors = &load->target.errors;
    printf("\"errors\": {\"connect\": %lu, \"closed\": %lu, \"mismatch\": %lu, \"lost\": %lu}",
           (unsigned long)errors->connect, (unsigned long)errors->closed,
           (unsigned long)errors->mismatch, (unsigned long)load->lost);
}

/* Closes the connections whose message has not come back; returns how many there were. */
static unsigned
close_unanswered(Load *load)
{
    unsigned closed = 0;
    for (unsigned i = 0; i < load->options.connections; i++) {
        Client *client = &load->clients[i];
        if (client->fd >= 0 && client->waiting) {
            client_close(client);
            closed++;
        }
    }
    return closed;
}

/* Opens all connections, a bounded number at a time; each is done when its first echo is back. */
static unsigned
open_all(Load *load)
{
    struct epoll_event events[EVENTS];
    unsigned next = 0, opened = 0, failed = 0, total = load->options.connections;
    uint64_t progress = clock_ns();
    while (opened + failed < total) {
        while (next < total && next - opened - failed < OPENING_AT_ONCE) {
            Client *client = &load->clients[next];
            if (client_open(&load->target, client, next++) == CLIENT_FAILED) {
                failed++;
            }
        }
        int count = epoll_wait(load->target.epoll_fd, events, EVENTS, POLL_MS);
        for (int i = 0; i < count; i++) {
            Client *client = &load->clients[events[i].data.u32];
            ClientResult result = client_handle(&load->target, client, events[i].events);
            opened += result == CLIENT_ECHOED;
            failed += result == CLIENT_FAILED;
        }
        uint64_t now = clock_ns();
        if (count > 0) {
            progress = now;
        }
        else if ((double)(now - progress) * 1e-9 > load->options.patience) {
            load->lost += total - opened - failed; /* those not begun too */
            close_unanswered(load);
            break;
        }
    }
    load->messages += opened;
    return opened;
}

static bool
is_open(const Client *client)
{
    return client->fd >= 0;
}

/* Sends one message on every open connection; returns how many are under way. */
static unsigned
send_on_all(Load *load)
{
    unsigned under_way = 0;
    for (unsigned i = 0; i < load->options.connections; i++) {
        Client *client = &load->clients[i];
        if (is_open(client) && client_send_next(&load->target, client) != CLIENT_FAILED) {
            under_way++;
        }
    }
    return under_way;
}

/* Waits for the messages under way; what makes no progress for a while (--patience) is lost. */
static void
collect(Load *load, unsigned under_way)
{
    struct epoll_event events[EVENTS];
    uint64_t progress = clock_ns();
    while (under_way > 0) {
        int count = epoll_wait(load->target.epoll_fd, events, EVENTS, POLL_MS);
        for (int i = 0; i < count; i++) {
            Client *client = &load->clients[events[i].data.u32];
            ClientResult result = client_handle(&load->target, client, events[i].events);
            load->messages += result == CLIENT_ECHOED;
            under_way -= result != CLIENT_WAITING;
        }
        uint64_t now = clock_ns();
        if (count > 0) {
            progress = now;
        }
        else if ((double)(now - progress) * 1e-9 > load->options.patience) {
            load->lost += close_unanswered(load);
            return;
        }
    }
}

/* One poll of the timed exchange; returns how many connections failed in it. */
static unsigned
exchange_once(Load *load)
{
    struct epoll_event events[EVENTS];
    unsigned failed = 0;
    int count = epoll_wait(load->target.epoll_fd, events, EVENTS, POLL_MS);
    for (int i = 0; i < count; i++) {
        Client *client = &load->clients[events[i].data.u32];
        ClientResult result = client_handle(&load->target, client, events[i].events);
        if (result == CLIENT_ECHOED) {
            load->messages++;
            histogram_record(&load->latency, clock_ns() - client->started);
            result = client_send_next(&load->target, client);
        }
        failed += result == CLIENT_FAILED;
    }
    return failed;
}

/* Exchanges messages until the given time of clock_ns(), or until no connection is left. */
static unsigned
exchange_until(Load *load, unsigned under_way, uint64_t end)
{
    while (under_way > 0 && clock_ns() < end) {
        under_way -= exchange_once(load);
    }
    return under_way;
}

static void
print_result(const Load *load, const Snapshot *from, const Snapshot *to)
{
    double seconds = (double)(to->wall - from->wall) * 1e-9;
    uint64_t messages = to->messages - from->messages;
    printf("{\"connections\": %u, \"size\": %zu, \"seconds\": %.4f, \"messages\": %lu, ",
           load->options.connections, load->options.size, seconds, (unsigned long)messages);
    printf("\"messages_per_s\": %.1f, ", (double)messages / seconds);
    printf("\"latency_us\": {\"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f}, ",
           (double)histogram_percentile(&load->latency, 0.5) * 1e-3,
           (double)histogram_percentile(&load->latency, 0.99) * 1e-3,
           (double)load->latency.maximum * 1e-3);
    if (load->options.server_pid > 0 && messages > 0) {
        double used = to->server_cpu - from->server_cpu;
        printf("\"server_cpu_us\": %.4f, \"server_busy\": %.4f, ", used * 1e6 / (double)messages,
               used / seconds);
    }
    printf("\"client_busy\": %.4f, ", (to->client_cpu - from->client_cpu) / seconds);
    print_errors(load);
    printf("}\n");
}

static void
run_timed(Load *load)
{
    open_all(load);
    uint64_t start = clock_ns();
    unsigned under_way = send_on_all(load);
    uint64_t warm = start + (uint64_t)(load->options.warmup * 1e9);
    under_way = exchange_until(load, under_way, warm);
    histogram_clear(&load->latency);
    Snapshot from = take_snapshot(load);
    uint64_t end = from.wall + (uint64_t)(load->options.seconds * 1e9);
    under_way = exchange_until(load, under_way, end);
    Snapshot to = take_snapshot(load);
    collect(load, under_way);
    print_result(load, &from, &to);
}

static void
report_hold(const Load *load, const char *phase, unsigned open)
{
    printf("{\"phase\": \"%s\", \"open\": %u, \"messages\": %lu, ", phase, open,
           (unsigned long)load->messages);
    print_errors(load);
    printf("}\n");
    fflush(stdout);
    while (getchar() != '\n' && !feof(stdin)) {
    }
}

static void
run_hold(Load *load)
{
    report_hold(load, "opened", open_all(load));
    for (unsigned round = 0; round < load->options.hold; round++) {
        collect(load, send_on_all(load));
    }
    unsigned open = 0;
    for (unsigned i = 0; i < load->options.connections; i++) {
        open += is_open(&load->clients[i]);
    }
    report_hold(load, "echoed", open);
}

static void
set_port(Target *target, int socket_type, const char *port)
{
    target->socket_type = socket_type;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&target->address, &address, sizeof address);
    target->address_length = sizeof address;
}

static void
set_unix(Target *target, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die(path);
    }
    strcpy(address.sun_path, path);
    target->socket_type = SOCK_STREAM;
    memcpy(&target->address, &address, sizeof address);
    target->address_length = sizeof address;
}

static void
usage(void)
{
    fprintf(stderr,
            "usage: load (--tcp PORT | --udp PORT | --unix PATH) [--connections N] [--size BYTES]\n"
            "            [--warmup S] [--seconds S] [--server-pid PID]\n"
            "            [--patience S] [--hold ROUNDS] [--tls] [--websocket] [--accept]\n");
    exit(2);
}

static void
parse_options(Load *load, int argc, char **argv)
{
    static const struct option names[] = {
        {"tcp", required_argument, NULL, 't'},
        {"udp", required_argument, NULL, 'd'},
        {"unix", required_argument, NULL, 'u'},
        {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 'm'},
        {"warmup", required_argument, NULL, 'w'},
        {"seconds", required_argument, NULL, 's'},
        {"server-pid", required_argument, NULL, 'p'},
        {"patience", required_argument, NULL, 'q'},
        {"hold", required_argument, NULL, 'h'},
        {"tls", no_argument, NULL, 'l'},
        {"websocket", no_argument, NULL, 'f'},
        {"accept", no_argument, NULL, 'a'},
        {NULL, 0, NULL, 0},
    };
    Options *options = &load->options;
    *options =
        (Options){.connections = 50, .size = 1024, .warmup = 0.3, .seconds = 3.0, .patience = 10.0};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 't':
            set_port(&load->target, SOCK_STREAM, optarg);
            break;
        case 'd':
            set_port(&load->target, SOCK_DGRAM, optarg);
            break;
        case 'u':
            set_unix(&load->target, optarg);
            break;
        case 'c':
            options->connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            options->size = strtoul(optarg, NULL, 10);
            break;
        case 'w':
            options->warmup = strtod(optarg, NULL);
            break;
        case 's':
            options->seconds = strtod(optarg, NULL);
            break;
        case 'p':
            options->server_pid = atoi(optarg);
            break;
        case 'q':
            options->patience = strtod(optarg, NULL);
            break;
        case 'h':
            options->hold = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'l':
            options->tls = true;
            break;
        case 'f':
            load->target.websocket = true;
            break;
        case 'a':
            load->target.accepts = true;
            break;
        default:
            usage();
        }
    }
    if (optind != argc || load->target.address_length == 0 || options->connections == 0 ||
        options->size == 0 || (load->target.websocket && options->tls)) {
        usage();
    }
    if (load->target.accepts) {
        options->size = 0;
    }
}

static void
raise_descriptor_limit(unsigned connections)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < connections + 16) {
        fprintf(stderr, "load: %u connections need a higher limit of open files than %lu\n",
                connections, (unsigned long)limit.rlim_max);
        exit(2);
    }
}

int
main(int argc, char **argv)
{
    static Load load;
    parse_options(&load, argc, argv);
    raise_descriptor_limit(load.options.connections);
    load.target.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load.clients = calloc(load.options.connections, sizeof *load.clients);
    if (load.target.epoll_fd < 0 || load.clients == NULL ||
        target_prepare(&load.target, load.options.size) < 0) {
        die("start");
    }
    if (load.target.websocket) {
        websocket_prepare(&load.target);
    }
    if (load.options.tls && tls_prepare(&load.target) < 0) {
        die("TLS");
    }
    for (unsigned i = 0; i < load.options.connections; i++) {
        load.clients[i].fd = -1;
    }
    if (load.options.hold > 0) {
        run_hold(&load);
    }
    else {
        run_timed(&load);
    }
    for (unsigned i = 0; i < load.options.connections; i++) {
        client_close(&load.clients[i]);
    }
    if (load.options.tls) {
        tls_release(&load.target);
    }
    target_release(&load.target);
    free(load.clients);
    return error_count(&load) == 0 ? 0 : 1;
}
