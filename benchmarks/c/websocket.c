/* WebSockets for the load generator; websocket.h says what it promises. */
#include "websocket.h"

#include <string.h>

enum { FINAL_BINARY = 0x82, MASKED = 0x80, LENGTH_16 = 126, LENGTH_64 = 127 };

static const char request[] = "GET / HTTP/1.1\r\n"
                              "Host: 127.0.0.1\r\n"
                              "Upgrade: websocket\r\n"
                              "Connection: Upgrade\r\n"
                              "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
                              "Sec-WebSocket-Version: 13\r\n\r\n";
static const char accepted[] = "HTTP/1.1 101";
static const uint32_t end_of_head = 0x0d0a0d0a;

static void
set_head(Head *head, size_t size, unsigned masked)
{
    int bytes = size < LENGTH_16 ? 0 : size <= UINT16_MAX ? 2 : 8; /* of the extended length */
    unsigned length = bytes == 0 ? (unsigned)size : bytes == 2 ? LENGTH_16 : LENGTH_64;
    size_t used = 0;
    memset(head, 0, sizeof *head);
    head->bytes[used++] = (char)FINAL_BINARY;
    head->bytes[used++] = (char)(masked | length);
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
        head->bytes[used++] = (char)((uint64_t)size >> shift);
    }
    head->size = used + (masked ? 4 : 0); /* the mask is zero already */
}

void
websocket_prepare(Target *target)
{
    set_head(&target->head_out, target->size, MASKED);
    set_head(&target->head_in, target->size, 0);
}

int
websocket_send_request(const Client *client)
{
    ssize_t count = send(client->fd, request, sizeof request - 1, MSG_NOSIGNAL);
    return count == (ssize_t)(sizeof request - 1) ? 0 : -1;
}

int
websocket_read_answer(Client *client, const char *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (client->answered < sizeof accepted - 1 && data[i] != accepted[client->answered]) {
            return -1;
        }
        client->answered++;
        client->tail = client->tail << 8 | (unsigned char)data[i];
        if (client->tail == end_of_head) {
            return i + 1 == count ? 1 : -1;
        }
    }
    return 0;
}
