"""What every measured server does first: listen on a free port, and say so to its parent."""

import socket

BACKLOG = 1024


def tcp_listener() -> socket.socket:
    """A listening, non-blocking TCP socket on a free port of 127.0.0.1.

    Its protocol is named (not 0), as in sockets that asyncio makes itself: asyncio switches Nagle's
    algorithm off only on connections of such a listener.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def announce(address: str | int) -> None:
    """Tells the parent process that the server listens, and where (a port or a path)."""
    print(address, flush=True)
