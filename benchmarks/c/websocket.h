/* WebSockets for the load generator: the upgrade and the heads of its frames (RFC 6455).
 *
 * Every message is one unfragmented binary frame. Clients must mask what they send; the mask is
 * zero, which leaves the payload as it is, so messages need not be copied. Extensions are not
 * offered, so the server does not compress.
 */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include "client.h"

/* Sets the heads of frames for messages of target->size bytes. */
void websocket_prepare(Target *target);

/* Sends the HTTP request of a fresh connection; -1 if it could not be sent at once. */
int websocket_send_request(const Client *client);

/* Takes bytes of the answer: 1 when it is complete, 0 if more must come, -1 if the server refuses
 * or sends something after it. */
int websocket_read_answer(Client *client, const char *data, size_t count);

#endif
