"""Loop: the C loop over asyncio's own.

What runs per callback, task step, packet or timer is in C: _core.Loop comes first in the MRO. The
cold half is the standard library's own code of the running version, by inheritance: BaseEventLoop,
and the methods that asyncio keeps in its selector loop because they need nothing but add_reader()
and its siblings, which _core.Loop has. The selector and self-pipe of that class are never made.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import functools
import signal
import socket
import sys
import threading
import weakref
from asyncio import base_events, futures, sslproto
from asyncio.base_events import BaseEventLoop
from asyncio.unix_events import SelectorEventLoop
from collections.abc import Callable
from contextvars import Context, copy_context
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey

from pyasync import _core, literals
from pyasync.info import stock_tls

TYPE_CHECKING = False  # as typing has it: importing that takes longer than all of pyasync
if TYPE_CHECKING:
    from typing import Any, TypeVarTuple

    _Ts = TypeVarTuple("_Ts")

_asyncio_loop: Any = SelectorEventLoop  # for methods that its type stubs leave out
_set_result_unless_cancelled: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]  # private
_begin_connecting = _core.Connecting.begin
_getaddrinfo = socket.getaddrinfo
_getnameinfo = socket.getnameinfo
# The TLS protocol: in C (csrc/tls), or the standard library's over the same transports.
_TlsProtocol: Any = sslproto.SSLProtocol if stock_tls else _core.SSLProtocol


class _WatchedDescriptors:
    """What the standard library's transports ask a selector in their repr."""

    def __init__(self, loop: Loop) -> None:
        self._loop = weakref.ref(loop)

    def get_key(self, fd: int) -> SelectorKey:
        loop = self._loop()
        readable, writable = loop._watched(fd) if loop is not None else (False, False)
        if not readable and not writable:
            raise KeyError(f"{fd!r} is not registered")
        return SelectorKey(fd, fd, EVENT_READ * readable | EVENT_WRITE * writable, None)


def _plain_methods(*names: str) -> tuple[tuple[str, Any], ...]:
    return tuple((name, getattr(socket.socket, name, None)) for name in names)


# What asyncio's transports and servers call of a socket, and those in C do not.
_STREAM_METHODS = _plain_methods("recv", "recv_into", "send", "sendmsg", "shutdown")
_DATAGRAM_METHODS = _plain_methods("recvfrom", "send", "sendto")
_SERVER_METHODS = _plain_methods("accept")


def _brings_its_own(sock: socket.socket, plain: tuple[tuple[str, Any], ...]) -> bool:
    """Whether a class of the user's has other methods, which want to be called."""
    cls = type(sock)
    for name, method in plain:  # any() makes a generator per connection
        if getattr(cls, name, None) is not method:
            return True
    return False


def _sendfile_at_once(transp: Any, file: Any, offset: Any, count: Any) -> int:
    """Bytes of the file that were sent without waiting; 0 where asyncio has to look at the
    arguments, or at what there is to send."""
    if type(offset) is not int or type(count) is not int or offset < 0 or count <= 0:
        return 0
    if not isinstance(transp, _core.SocketTransport) or "b" not in getattr(file, "mode", "b"):
        return 0
    try:
        fileno = file.fileno()
    except (AttributeError, OSError):  # io.UnsupportedOperation is one
        return 0
    return transp._sendfile_at_once(fileno, offset, count)


def _new_child_watcher() -> Any:
    events: Any = asyncio.unix_events
    if events.can_use_pidfd():
        return events._PidfdChildWatcher()
    return events._ThreadedChildWatcher()


def _ignore_signal(number: int, frame: object) -> None:
    """The handler that makes Python write a signal's number to the wake-up descriptor."""


@_core._own_methods
class Loop(_core.Loop, SelectorEventLoop):
    """An asyncio event loop in C on libuv.

    Stands for asyncio.SelectorEventLoop: same methods, exceptions and order of events. Takes no
    arguments. Raises OSError when the system has no descriptors left for it.
    """

    if TYPE_CHECKING:

        def _check_signal(self, sig: int) -> None: ...

    def __init__(self) -> None:
        self._signal_handlers: dict[int, asyncio.Handle] = {}
        BaseEventLoop.__init__(self)
        self._selector: _WatchedDescriptors | None = _WatchedDescriptors(self)
        self._internal_fds = 1  # the wake-up descriptor, as asyncio counts it
        self._ssock = self._csock = None
        self._unix_server_sockets: dict[socket.socket, int] = {}  # 3.13+
        self._listeners: dict[socket.socket, _core.Listener] = {}
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        if sys.version_info >= (3, 14):  # before, watchers of children belong to the policy
            self._watcher = _new_child_watcher()

    def close(self) -> None:
        """Close the loop: drop what is scheduled, close its handles, stop the default executor.

        Raises RuntimeError while the loop runs. Closing twice does nothing. Stands for asyncio's
        loop.close().
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if not sys.is_finalizing():
            for number in list(self._signal_handlers):
                self.remove_signal_handler(number)
        BaseEventLoop.close(self)
        self._close_handles()
        self._listeners.clear()
        self._selector = None
        self._internal_fds = 0

    # ---- sockets: transports and accepting are C's, see csrc/net; so is TLS, see csrc/tls

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(sock)
        return self._new_socket_transport(sock, protocol, waiter, extra, server, context)

    def _new_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
        context: Context | None,
    ) -> asyncio.Transport:
        """Of C's type; of asyncio's for a socket whose class brings methods of its own."""
        if _brings_its_own(sock, _STREAM_METHODS):
            given: Any = {} if context is None else {"context": context}
            transport: asyncio.Transport = _asyncio_loop._make_socket_transport(
                self, sock, protocol, waiter, extra=extra, server=server, **given
            )
            return transport
        return _core.SocketTransport(self, sock, protocol, waiter, extra, server, context)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport:
        if _brings_its_own(sock, _DATAGRAM_METHODS):
            transport: asyncio.DatagramTransport = _asyncio_loop._make_datagram_transport(
                self, sock, protocol, address, waiter, extra
            )
            return transport
        self._ensure_fd_no_transport(sock)
        return _core.DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        tls = _TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            True,  # call_connection_made
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        self._new_socket_transport(rawsock, tls, None, extra, server, context)
        transport: asyncio.Transport = tls._app_transport
        return transport

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Turn a connection into a TLS one; return the transport that protocol uses from then on.

        sslcontext is an ssl.SSLContext; ssl_handshake_timeout and ssl_shutdown_timeout are in
        seconds. What a server's StreamReader has read ahead of the client's TLS goes to the
        handshake. Raises TypeError for another context or a transport that cannot, and what ends
        the handshake: ssl.SSLError, ConnectionError. Stands for asyncio's loop.start_tls().
        """
        _check_start_tls(transport, sslcontext)
        waiter = self.create_future()
        tls = _TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        transport.pause_reading()  # nothing is received before the handshake has begun
        transport.set_protocol(tls)
        if server_side:
            _move_read_ahead(protocol, tls)
        begin = self.call_soon(tls.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            begin.cancel()
            resume.cancel()
            raise
        upgraded: asyncio.Transport = tls._app_transport
        return upgraded

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,  # from 3.15
    ) -> None:
        timeouts = (ssl_handshake_timeout, ssl_shutdown_timeout)

        def accepted(connection: socket.socket, address: Any) -> None:
            extra = {"peername": address}
            given = (self, protocol_factory, connection, extra, sslcontext, server, *timeouts)
            if context is None:
                self.create_task(_asyncio_loop._accept_connection2(*given))
            else:  # each connection has a copy of its own
                own = context.copy()
                accept = _asyncio_loop._accept_connection2(*given, context=own)
                self.create_task(accept, context=own)

        if _brings_its_own(sock, _SERVER_METHODS):
            newer: Any = {} if context is None else {"context": context}
            _asyncio_loop._start_serving(
                self, protocol_factory, sock, sslcontext, server, backlog, *timeouts, **newer
            )
            return
        self._listeners[sock] = _core.Listener(
            self,
            protocol_factory,
            sock,
            server,
            backlog,
            accepted if sslcontext is not None else None,
            context,
        )

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            listener.close()
        _asyncio_loop._stop_serving(self, sock)

    @functools.wraps(BaseEventLoop.create_connection, assigned=(), updated=())  # its signature
    async def create_connection(  # type: ignore[override]  # its overloads are many
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a TCP server; return the transport and the protocol that the factory made.

        Arguments, result and exceptions are those of asyncio's loop.create_connection(), which it
        stands for. An IP literal with a number as port, and nothing else given but None, is
        connected to in C.
        """
        connecting = None
        if not options or _say_nothing(options):
            connecting = _begin_connecting(self, host, port, _STEPS_OF_CONNECTING)
        if connecting is None:
            return await super().create_connection(protocol_factory, host, port, **options)
        try:
            if connecting.future is not None:
                await connecting.future
            context = copy_context() if sys.version_info >= (3, 15) else None
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = connecting.complete(protocol, waiter, context)
        except BaseException:
            connecting.abandon()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _serve(self, server: asyncio.Server, start_serving: bool, keep: bool) -> None:
        """Start serving as create_server() does, but leave no socket behind when that fails."""
        if not start_serving:
            return
        starting: Any = server
        try:
            starting._start_serving()
        except BaseException:
            if not keep:
                server.close()
            raise
        await asyncio.sleep(0)

    async def create_server(
        self, *args: Any, start_serving: bool = True, **options: Any
    ) -> asyncio.Server:
        """Serve TCP connections on a host and port, or on a listening socket.

        Arguments, result and exceptions are those of asyncio's loop.create_server(), which it
        stands for; what it opened is closed when it fails.
        """
        server = await super().create_server(*args, start_serving=False, **options)
        await self._serve(server, start_serving, options.get("sock") is not None)
        return server

    async def create_unix_server(
        self, *args: Any, start_serving: bool = True, **options: Any
    ) -> asyncio.Server:
        """Serve connections on the path of a unix socket, or on a listening socket.

        Arguments, result and exceptions are those of asyncio's loop.create_unix_server(), which
        it stands for; what it opened is closed when it fails.
        """
        server = await super().create_unix_server(*args, start_serving=False, **options)
        await self._serve(server, start_serving, options.get("sock") is not None)
        return server

    # ---- sendfile: csrc/net/sendfile.c, and the standard library's for what has to wait

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        sent = _sendfile_at_once(transp, file, offset, count)
        if sent and sent == count:
            # In asyncio the socket is asked once more, in the next poll.
            done: asyncio.Future[int] = self.create_future()
            self.call_soon(_set_result_unless_cancelled, done, sent)
            return await done
        if sent:
            return await self._sendfile_rest(transp, file.fileno(), offset, count, sent)
        # The base takes the transport out of _transports for the time, where ours isn't.
        fd = transp._sock_fd
        self._transports[fd] = transp
        try:
            total: int = await _asyncio_loop._sendfile_native(self, transp, file, offset, count)
        finally:
            self._transports.pop(fd, None)
        return total

    async def _sendfile_rest(
        self, transp: Any, fileno: int, offset: int, count: int | None, sent: int
    ) -> int:
        """Goes on where the socket was full, or the file shorter than was said."""
        was_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            done = self.create_future()
            _asyncio_loop._sock_sendfile_native_impl(
                self, done, None, transp._sock, fileno, offset + sent, count, count, sent
            )
            total: int = await done
            return total
        finally:
            transp._reset_empty_waiter()
            if was_reading:
                transp.resume_reading()

    # ---- bare sockets: csrc/loop/sockops.c; sendfile is the standard library's. What is awaited
    # may be done already, and waits for nothing then.

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to n bytes from a non-blocking socket.

        Raises OSError of the socket, TypeError for a TLS socket, ValueError in debug mode for a
        socket that may block, RuntimeError when a transport uses the socket. Stands for asyncio's
        loop.sock_recv().
        """
        got = self._start_recv(sock, n)
        await got
        return got.result

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive from a non-blocking socket into a writable buffer; return the number of bytes.

        Raises as sock_recv(). Stands for asyncio's loop.sock_recv_into().
        """
        got = self._start_recv_into(sock, buf)
        await got
        return got.result

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to bufsize bytes; return it and the address of its sender.

        Raises as sock_recv(). Stands for asyncio's loop.sock_recvfrom().
        """
        got = self._start_recvfrom(sock, bufsize)
        await got
        return got.result

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a writable buffer; return its size and the sender's address.

        nbytes is the most to receive, 0 for the buffer's length. Raises as sock_recv(). Stands for
        asyncio's loop.sock_recvfrom_into().
        """
        got = self._start_recvfrom_into(sock, buf, nbytes)
        await got
        return got.result

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of a buffer over a connected non-blocking socket.

        After an error nobody can tell how much was sent. Raises as sock_recv(). Stands for
        asyncio's loop.sock_sendall().
        """
        got = self._start_sendall(sock, data)
        if got is not None:  # as it is when all went at once
            await got

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram from a non-blocking socket to an address; return the number of bytes.

        Raises as sock_recv(). Stands for asyncio's loop.sock_sendto().
        """
        got = self._start_sendto(sock, data, address)
        await got
        return got.result

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; return its socket, which is non-blocking, and the peer's address.

        Raises as sock_recv(). Stands for asyncio's loop.sock_accept().
        """
        got = self._start_accept(sock)
        await got
        return got.result

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket to an address, of which a host name is resolved.

        Raises OSError when the connection fails, socket.gaierror for an unknown name, and as
        sock_recv(). Stands for asyncio's loop.sock_connect().
        """
        got = self._start_connect(sock, address)
        if got is NotImplemented:  # there may be a name to resolve
            await super().sock_connect(sock, address)
        else:
            await got

    # ---- names

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve a host and port to socket addresses without blocking the loop.

        Arguments and result are those of socket.getaddrinfo(). An address literal never leaves
        the thread; names are resolved in the default executor. Raises socket.gaierror. Stands for
        asyncio's loop.getaddrinfo().
        """
        if socket.getaddrinfo is _getaddrinfo and not self.get_debug():
            if host.__class__ is str and port.__class__ is int:
                answer = literals.resolve(host, port, family, type, proto, flags)
                if answer is not None:
                    return answer.copy()
            if (port is None or isinstance(port, int)) and literals.is_literal(host):
                return _getaddrinfo(host, port, family, type, proto, flags)
        return await super().getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Resolve a socket address to a host and a service name without blocking the loop.

        Arguments and result are those of socket.getnameinfo(). A purely numeric answer is made in
        the thread. Raises socket.gaierror. Stands for asyncio's loop.getnameinfo().
        """
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        if (
            flags & numeric == numeric
            and literals.is_literal(sockaddr[0])
            and socket.getnameinfo is _getnameinfo
        ):
            return _getnameinfo(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)

    # ---- signals: the wake-up descriptor is C's, see csrc/loop/signals.c

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        """Call callback(*args) in the loop whenever the process gets the signal.

        sig is the signal's number; an earlier handler is replaced. Raises TypeError for a
        coroutine or a number that is no int, ValueError for an invalid number, RuntimeError for a
        signal that can't be caught, outside the main thread, or when the loop is closed. Stands
        for asyncio's loop.add_signal_handler().
        """
        if asyncio.iscoroutine(callback) or _is_coroutine_function(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("set_wakeup_fd only works in main thread of the main interpreter")
        self._hold_signals(True)
        self._signal_handlers[sig] = asyncio.Handle(callback, args, self, None)
        try:
            signal.signal(sig, _ignore_signal)
            signal.siginterrupt(sig, False)
        except OSError as exc:
            del self._signal_handlers[sig]
            self._hold_signals(bool(self._signal_handlers))
            if exc.errno == 22:  # EINVAL
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Stop handling a signal, give it its default action, return whether it was handled.

        Raises TypeError or ValueError for an invalid number, RuntimeError for a signal that can't
        be caught. Stands for asyncio's loop.remove_signal_handler().
        """
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == 22:  # EINVAL
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        self._hold_signals(bool(self._signal_handlers))
        return True


# What connecting to a literal goes through in asyncio: as long as none of it is overridden or
# patched, csrc/net/connect.c stands for it. None is the loop.
_STEPS_OF_CONNECTING = (
    *(
        (None, name, getattr(Loop, name))
        for name in (
            "_ensure_resolved",
            "_connect_sock",
            "sock_connect",
            "_create_connection_transport",
            "_make_socket_transport",
        )
    ),
    *(
        (owner, name, getattr(owner, name))
        for owner, name in (
            (base_events, "_ipaddr_info"),
            (base_events, "socket"),
            (socket, "socket"),
            (socket.socket, "connect"),
        )
    ),
)


_NONE_BY_DEFAULT = {
    "ssl",
    "sock",
    "local_addr",
    "server_hostname",
    "ssl_handshake_timeout",
    "ssl_shutdown_timeout",
    "happy_eyeballs_delay",
    "interleave",
}


def _say_nothing(options: dict[str, Any]) -> bool:
    """Return whether options of create_connection() are all at their default, None."""
    return all(value is None and name in _NONE_BY_DEFAULT for name, value in options.items())


def _check_start_tls(transport: Any, sslcontext: Any) -> None:
    """Raise TypeError, as asyncio does, unless start_tls() can work with its arguments."""
    import ssl

    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")


def _move_read_ahead(protocol: Any, tls: Any) -> None:
    """Move what the reader of a StreamReaderProtocol holds to the protocol of the handshake."""
    if isinstance(protocol, asyncio.StreamReaderProtocol):
        reader = getattr(protocol, "_stream_reader", None)
        if reader is not None and reader._buffer:
            take = tls._incoming.write if stock_tls else tls.data_received
            take(reader._buffer)
            reader._buffer.clear()


def _is_coroutine_function(callback: object) -> bool:
    import inspect

    return inspect.iscoroutinefunction(callback)


def new_event_loop() -> Loop:
    """Return a new pyasync loop, which the caller closes.

    Stands for asyncio.new_event_loop(); to be passed as loop_factory= where asyncio takes one.
    """
    return Loop()
