"""An echo server on the least loop that calls Python protocols (c/bare_loop.c); a child of floors.

    python -m benchmarks.bare_loop --style protocol [--unix PATH]

Runs the very protocols of echo_server.py, and its coroutine of streams. Listens on 127.0.0.1 at a
free port, or at PATH; prints the port or the path; ends on SIGTERM, or when a client does what an
echo's client does not.
"""

import argparse
import importlib.util
import socket
import subprocess
import sysconfig
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from benchmarks.echo_server import EchoBufferedProtocol, EchoProtocol
from benchmarks.floor_echoes import waiting_stream
from benchmarks.listen import BACKLOG, announce, tcp_listener
from benchmarks.loops import loop_factory
from benchmarks.processes import C_PROGRAMS, C_SOURCES
from benchmarks.results import OURS

MODULE = C_PROGRAMS / f"bare_loop{sysconfig.get_config_var('EXT_SUFFIX')}"
# Streams have the futures of a loop of pyasync, which never runs.
FACTORIES: dict[str, Callable[[], Callable[..., Any]]] = {
    "protocol": lambda: EchoProtocol,
    "buffered": lambda: EchoBufferedProtocol,
    "streams": lambda: partial(waiting_stream, loop_factory(OURS)()),
}


def build_bare_loop() -> None:
    """Builds the extension module for this interpreter if it is missing or out of date."""
    C_PROGRAMS.mkdir(parents=True, exist_ok=True)
    include = sysconfig.get_paths()["include"]
    make = ["make", "-s", "-C", str(C_SOURCES), f"OUT={C_PROGRAMS}", f"PYTHON_INCLUDE={include}"]
    subprocess.run([*make, str(MODULE)], check=True)


def load_bare_loop() -> ModuleType:
    """The extension module."""
    spec = importlib.util.spec_from_file_location("bare_loop", MODULE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listen(path: str | None) -> socket.socket:
    """A listening socket at `path`, or on a free port."""
    if path is None:
        return tcp_listener()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_loop", description=__doc__)
    parser.add_argument("--style", choices=FACTORIES, required=True)
    parser.add_argument("--unix", metavar="PATH", help="listen there instead of on a port")
    options = parser.parse_args()
    listener = listen(options.unix)
    announce(options.unix or listener.getsockname()[1])
    serve = load_bare_loop().serve
    factory = FACTORIES[options.style]()
    serve(listener.fileno(), factory, options.unix is None, options.style)


if __name__ == "__main__":
    main()
