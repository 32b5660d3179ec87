"""The benchmarks' load generator counts what it should: no error with a good server, and each kind
of fault of a bad one. A benchmark's "no errors" is worth what this file proves."""

import json
import socket
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.threaded_server import build_load, server

SIZE = 1000
AFTER = 50  # messages that a bad server echoes before its fault


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_load(tmp_path_factory.mktemp("load"))


def receive_message(connection: socket.socket) -> bytes:
    """One whole message, or what came before the end of file."""
    data = b""
    while len(data) < SIZE and (more := connection.recv(SIZE - len(data))):
        data += more
    return data


def corrupt(connection: socket.socket, message: bytes) -> bool:
    connection.sendall(message[:-1] + bytes([message[-1] ^ 1]))
    return True


def repeat(connection: socket.socket, message: bytes) -> bool:
    connection.sendall(message + message[:1])
    return True


def hang_up(connection: socket.socket, message: bytes) -> bool:
    connection.sendall(message[:-1])
    return False


def keep_silent(connection: socket.socket, message: bytes) -> bool:
    return True


def echo(connection: socket.socket, message: bytes) -> bool:
    connection.sendall(message)
    return True


Answer = Callable[[socket.socket, bytes], bool]


def echo_server(answer: Answer) -> AbstractContextManager[int]:
    """Echoes AFTER messages per connection, then answers by `answer` until it returns False."""

    def serve(connection: socket.socket) -> None:
        count = 0
        while len(message := receive_message(connection)) == SIZE:
            count += 1
            if not (echo if count <= AFTER else answer)(connection, message):
                return

    return server(serve)


def run_load(program: Path, port: int, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the JSON lines of one run with three connections."""
    command = [program, f"--tcp={port}", "--connections=3", f"--size={SIZE}", "--patience=0.3"]
    done = subprocess.run(
        [*command, "--warmup=0.05", "--seconds=0.3", *options],
        input=b"\n\n",
        stdout=subprocess.PIPE,
        timeout=30,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_good_server_has_no_errors_and_every_message_counts(load_program: Path) -> None:
    with echo_server(echo) as port:
        status, [result] = run_load(load_program, port)
    assert status == 0
    assert result["errors"] == {"connect": 0, "closed": 0, "mismatch": 0, "lost": 0}
    assert result["messages"] > 3 * AFTER
    assert 0 < result["latency_us"]["p50"] <= result["latency_us"]["p99"]
    assert result["messages_per_s"] == pytest.approx(
        result["messages"] / result["seconds"], rel=0.01
    )


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(corrupt, "mismatch"), (repeat, "mismatch"), (hang_up, "closed"), (keep_silent, "lost")],
)
def test_fault_of_the_server_is_counted_on_every_connection(
    load_program: Path, fault: Answer, kind: str
) -> None:
    with echo_server(fault) as port:
        status, [result] = run_load(load_program, port)
    assert status == 1
    assert result["errors"].pop(kind) == 3
    assert set(result["errors"].values()) == {0}


def test_refused_connection_is_counted(load_program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    status, [result] = run_load(load_program, port)
    assert status == 1
    assert result["errors"] == {"connect": 3, "closed": 0, "mismatch": 0, "lost": 0}
    assert result["messages"] == 0


def test_held_connections_stay_open_and_echo_in_every_burst(load_program: Path) -> None:
    with echo_server(echo) as port:
        status, [opened, echoed] = run_load(load_program, port, "--hold=4")
    assert status == 0
    assert (opened["open"], opened["messages"]) == (3, 3)
    assert (echoed["open"], echoed["messages"]) == (3, 3 + 3 * 4)


def test_connection_lost_while_held_is_counted(load_program: Path) -> None:
    with echo_server(hang_up) as port:
        status, [_, echoed] = run_load(load_program, port, f"--hold={AFTER}")
    assert status == 1
    assert echoed["open"] == 0
    assert echoed["errors"]["closed"] == 3
