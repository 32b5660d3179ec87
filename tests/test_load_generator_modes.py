"""The load generator's other modes: datagrams, WebSocket frames, and connections that the server
closes. As for plain echoes, what a good server does counts and each fault of a bad one is an error.
"""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.threaded_server import Serve, build_load, server

SIZE = 1000
NO_ERRORS = {"connect": 0, "closed": 0, "mismatch": 0, "lost": 0}


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_load(tmp_path_factory.mktemp("load"))


def run_load(program: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit status and the result of one run with three connections."""
    command = [program, "--connections=3", f"--size={SIZE}", "--patience=0.3", "--warmup=0.05"]
    done = subprocess.run([*command, "--seconds=0.3", *options], stdout=subprocess.PIPE, timeout=30)
    result: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, result


@contextmanager
def datagram_server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answers every datagram by `answer`, for as long as the block lasts."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    data, address = sock.recvfrom(2 * SIZE)
                except TimeoutError:
                    continue
                if reply := answer(data):
                    sock.sendto(reply, address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def exactly(connection: socket.socket, count: int) -> bytes:
    """`count` bytes, or fewer before the end of file."""
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def websocket(head: bytes, change: Callable[[bytes], bytes] = bytes) -> Serve:
    """A server that upgrades and echoes binary frames with `head` before the changed payload."""

    def serve(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += connection.recv(4096) or b"\r\n\r\n"
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
        masked = b"\x82\xfe" + SIZE.to_bytes(2, "big") + bytes(4)
        while len(frame := exactly(connection, len(masked) + SIZE)) == len(masked) + SIZE:
            assert frame.startswith(masked)
            connection.sendall(head + change(frame[len(masked) :]))

    return serve


GOOD_HEAD = b"\x82\x7e" + SIZE.to_bytes(2, "big")


def test_datagrams_are_echoed(load_program: Path) -> None:
    with datagram_server(bytes) as port:
        status, result = run_load(load_program, f"--udp={port}")
    assert (status, result["errors"]) == (0, NO_ERRORS)
    assert result["messages"] > 100


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(lambda data: b"", "lost"), (lambda data: data[::-1], "mismatch")],
    ids=["silent", "reversed"],
)
def test_wrong_and_missing_datagrams_are_counted(
    load_program: Path, answer: Callable[[bytes], bytes], kind: str
) -> None:
    with datagram_server(answer) as port:
        status, result = run_load(load_program, f"--udp={port}")
    assert (status, result["errors"]) == (1, {**NO_ERRORS, kind: 3})


def test_frames_are_echoed(load_program: Path) -> None:
    with server(websocket(GOOD_HEAD)) as port:
        status, result = run_load(load_program, f"--tcp={port}", "--websocket")
    assert (status, result["errors"]) == (0, NO_ERRORS)
    assert result["messages"] > 100


@pytest.mark.parametrize(
    ("serve", "kind"),
    [
        (websocket(b"\x81" + GOOD_HEAD[1:]), "mismatch"),
        (websocket(GOOD_HEAD, lambda data: data[:-1] + bytes([data[-1] ^ 1])), "mismatch"),
        (websocket(GOOD_HEAD, lambda data: data[:-1]), "lost"),
        (lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n"), "connect"),
    ],
    ids=["text frame", "corrupt payload", "short payload", "not upgraded"],
)
def test_wrong_frames_are_counted(load_program: Path, serve: Serve, kind: str) -> None:
    with server(serve) as port:
        status, result = run_load(load_program, f"--tcp={port}", "--websocket")
    assert (status, result["errors"]) == (1, {**NO_ERRORS, kind: 3})


def test_closed_connections_are_what_is_counted(load_program: Path) -> None:
    accepted = []
    with server(accepted.append) as port:
        status, result = run_load(load_program, f"--tcp={port}", "--accept")
    assert (status, result["errors"]) == (0, NO_ERRORS)
    assert 10 < result["messages"] <= len(accepted)


def test_a_connection_that_is_not_closed_is_lost(load_program: Path) -> None:
    with server(lambda connection: exactly(connection, 1) and None) as port:
        status, result = run_load(load_program, f"--tcp={port}", "--accept")
    assert (status, result["errors"]) == (1, {**NO_ERRORS, "lost": 3})


def test_data_where_only_an_end_is_expected_is_a_mismatch(load_program: Path) -> None:
    with server(lambda connection: connection.sendall(b"?")) as port:
        status, result = run_load(load_program, f"--tcp={port}", "--accept")
    assert (status, result["errors"]) == (1, {**NO_ERRORS, "mismatch": 3})
