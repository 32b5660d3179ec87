"""Addresses that are written as numbers: what the system answers for them never changes."""

from __future__ import annotations

import functools
import socket

TYPE_CHECKING = False  # as typing has it: importing that takes longer than all of pyasync
if TYPE_CHECKING:
    from typing import Any

# With other flags the answer may depend on more than the arguments (AI_ADDRCONFIG).
_OTHER_FLAGS = ~int(socket.AI_PASSIVE | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)

_getaddrinfo = socket.getaddrinfo


def is_literal(host: object) -> bool:
    """Return whether host is an IP address in text form, which resolves without asking anybody.

    bytes are read as text. An address with a zone ("%eth0") counts as a name.
    """
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    if not isinstance(host, str) or "%" in host:
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


@functools.lru_cache(maxsize=256, typed=True)
def resolve(
    host: str, port: int, family: int, type: int, proto: int, flags: int
) -> list[Any] | None:
    """Return what socket.getaddrinfo() answers, or None when host is a name or a flag forbids it.

    The list is kept for the next call: the caller copies it. Raises as socket.getaddrinfo().
    """
    if not is_literal(host) or int(flags) & _OTHER_FLAGS:
        return None
    return _getaddrinfo(host, port, family, type, proto, flags)
