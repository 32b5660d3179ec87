"""The load generator of benchmarks/c against one server: command lines, one turn, its result.

The server runs on one core and the load on the other; what is returned is the load generator's own
JSON: messages (or connections) per second, latencies, the server's CPU time per
message, the share of their cores that both used, and the errors of each kind.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.certificate import certificate_folder
from benchmarks.echo_server import STYLES
from benchmarks.processes import (
    BARE_LOOP,
    BARE_SERVER,
    C_PROGRAMS,
    C_SERVER,
    Failed,
    Server,
    load_core,
    pinned,
    python_module,
)

PATIENCE = 5.0  # s without any echo before what is under way is given up
ECHO_STYLES = [style for style in STYLES if not style.endswith("accept")]
HELD_STYLES = [style for style in ECHO_STYLES if style not in ("udp", "websocket")]


def echo_server_command(name: str, style: str, path: str | None) -> list[str]:
    """The command line of an echo server: C_SERVER's, BARE_SERVER's, BARE_LOOP's, or that of a
    loop's name.

    `style` is one of echo_server.STYLES; with `path` it listens on a unix socket there.
    """
    if name == C_SERVER:
        return [str(C_PROGRAMS / "echo_server"), *(["unix", path] if path else ["tcp"])]
    if name == BARE_SERVER and style.startswith("tls"):
        flags = ["--accept"] if style.endswith("accept") else []
        return [str(C_PROGRAMS / "tls_server"), *flags, certificate_folder().name]
    if name == BARE_SERVER:
        flags = {"udp": ["--udp"], "accept": ["--accept"]}.get(style, [])
        return [str(C_PROGRAMS / "bare_server"), *flags, *([f"--unix={path}"] if path else [])]
    options = ["--unix", path] if path else []
    if name == BARE_LOOP:
        return python_module("benchmarks.bare_loop", "--style", style, *options)
    if style.startswith("tls"):
        options += ["--certificate", certificate_folder().name]
    return python_module("benchmarks.echo_server", "--loop", name, "--style", style, *options)


def load_command(name: str, style: str, address: str, connections: int) -> list[str]:
    """The command line of the load generator against the server `name`, which listens at `address`
    (a port or a path)."""
    kind = "unix" if not address.isdigit() else "tcp"
    flags = []
    if name != C_SERVER:
        kind = "udp" if style == "udp" else kind
        flags += ["--tls"] if style.startswith("tls") else []
        flags += ["--websocket"] if style == "websocket" else []
        flags += ["--accept"] if style.endswith("accept") else []
    return [str(C_PROGRAMS / "load"), f"--{kind}={address}", f"--connections={connections}", *flags]


def run_load(command: list[str], seconds: float) -> dict[str, Any]:
    """Runs the load generator on its core; raises Failed if it gives no result."""
    try:
        done = subprocess.run(
            pinned(command, load_core()), stdout=subprocess.PIPE, timeout=seconds + 60
        )
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"the load generator did not end in {exc.timeout:g} s") from None
    if done.returncode not in (0, 1):
        raise Failed(f"the load generator ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    if result["messages"] == 0:
        raise Failed(f"nothing came back in the measured time: {result['errors']}")
    return result


def echo_load(
    server: Server,
    name: str,
    style: str,
    connections: int,
    size: int,
    seconds: float,
    warm_up: float,
) -> dict[str, Any]:
    """Load on a server of echo_server_command(): the load generator's result, its errors counted
    but not judged. `size` in bytes, times in seconds. Raises Failed if there is no result."""
    command = load_command(name, style, server.address, connections)
    command += [f"--size={size}", f"--seconds={seconds}", f"--warmup={warm_up}"]
    command.append(f"--patience={PATIENCE:g}")
    result = run_load([*command, f"--server-pid={server.pid}"], seconds)
    server.check_alive()
    return result


def echo_turn(
    name: str,
    style: str,
    connections: int,
    size: int,
    seconds: float,
    warm_up: float = 0.3,
    unix: bool = False,
) -> dict[str, Any]:
    """echo_load() on a server that is started for it and ended after it."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "echo") if unix else None
        with Server(echo_server_command(name, style, path)) as server:
            return echo_load(server, name, style, connections, size, seconds, warm_up)
