"""One turn of one row on one loop: what is started, what is measured, what is returned.

Every function returns figures by name; "value" is the one that ratios are made of, the others stand
beside it: "rate" (messages, requests or connections per second), "cpu_us" (server CPU per message),
"p99_us", "busy" (the server's share of its core, 0..1). A turn that does not work raises Failed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cold_rows import ACCEPTOR_PORT
from benchmarks.hand_rows import BY_HAND
from benchmarks.http import http_server_command
from benchmarks.load import echo_load, echo_server_command
from benchmarks.loops import LOOPS
from benchmarks.processes import C_SERVER, Failed, Server, load_core, pinned, server_core
from benchmarks.worker import Worker
from benchmarks.wrk import HttpFigures, measure

Figures = dict[str, float]
HTTP_CONNECTIONS = 50
START_LIMIT = 30.0  # s for one start-up


@dataclass(frozen=True)
class Effort:
    """How long to measure; seconds, except where a name says otherwise."""

    budget: float  # all rounds; what is left unfinished then is left out
    rounds: int
    together: int  # rounds of a row that follow each other, on the same processes
    task_seconds: float
    repeats: int
    load_seconds: float
    warm_up: float
    shared_seconds: float  # of servers that share a core
    pair_seconds: float  # of two that do
    wrk_seconds: float
    wrk_warm_up: float  # of a new server, which may have to import a framework first
    starts: int  # interpreters per turn of a start-up row


FULL = Effort(2280, 25, 5, 0.05, 2, 0.3, 0.05, 1.0, 0.5, 0.4, 0.7, 1)
QUICK = Effort(150, 6, 2, 0.02, 1, 0.15, 0.05, 0.3, 0.25, 0.3, 0.7, 3)


@dataclass
class Session:
    """What turns share: the effort, the worker process of each loop, the servers of a row."""

    effort: Effort
    workers: dict[str, Worker] = field(default_factory=dict)
    servers: dict[tuple[str, ...], Server] = field(default_factory=dict)
    acceptor: Server | None = None
    shared: float | None = None  # seconds of a turn, while several servers share the core
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def server(
        self, command: Sequence[str], warm_up: Callable[[Server], object] | None = None
    ) -> Server:
        """The server with that command line, started and warmed up if there is none."""
        server = self.servers.get(tuple(command))
        if server is None:
            server = self.servers[tuple(command)] = Server(command)
            if warm_up is not None:
                warm_up(server)
        return server

    def echo(
        self,
        name: str,
        style: str,
        size: int,
        connections: int,
        unix: bool = False,
        arguments: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The load generator's result with the echo server of `name`; `arguments` end the server's
        command line. Raises Failed if there is none, or errors are among it."""
        file = "".join([name, *arguments]).replace(" ", "-")  # of each command line another
        path = str(Path(self.folder.name) / file) if unix else None
        server = self.server([*echo_server_command(name, style, path), *arguments])
        turn = echo_load(
            server,
            name,
            style,
            connections,
            size,
            self.shared or self.effort.load_seconds,
            self.effort.warm_up,
        )
        errors = {kind: count for kind, count in turn["errors"].items() if count}
        if errors:
            raise Failed(", ".join(f"{kind}: {count}" for kind, count in errors.items()))
        return turn

    def end_row(self) -> None:
        """Ends the servers, which belong to one row."""
        for server in self.servers.values():
            server.stop()
        self.servers.clear()
        for path in Path(self.folder.name).iterdir():
            path.unlink()  # sockets, and what else servers were given

    def worker(self, loop: str) -> Worker:
        """The loop's worker process, started if there is none that lives; who drives by hand has
        one of asyncio's to itself."""
        if self.acceptor is None:
            command = echo_server_command(C_SERVER, "protocol", None)
            self.acceptor = Server(command, core=load_core())
            os.environ[ACCEPTOR_PORT] = self.acceptor.address
        if loop not in self.workers or not self.workers[loop].alive:
            self.workers[loop] = Worker("asyncio" if loop == BY_HAND else loop)
        return self.workers[loop]

    def end_rows(self) -> None:
        """Ends the workers, so that rows measured again are so in other processes."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def close(self) -> None:
        """Ends every process that was started here."""
        self.end_row()
        self.end_rows()
        self.folder.cleanup()
        if self.acceptor is not None:
            self.acceptor.stop()


def in_process_row(key: str, times: int, session: Session, loop: str) -> Figures:
    """ns per operation, in the loop's worker: the best of `times` as many measurements as usual."""
    order, effort = f"{BY_HAND} {key}" if loop == BY_HAND else key, session.effort
    return session.worker(loop).measure(order, effort.task_seconds, times * effort.repeats)


def echo_row(
    style: str, size: int, connections: int, unix: bool, session: Session, loop: str
) -> Figures:
    """The load generator against the server of `loop`; the value is its CPU per message in us."""
    turn = session.echo(loop, style, size, connections, unix)
    return {
        "value": turn["server_cpu_us"],
        "rate": turn["messages_per_s"],
        "cpu_us": turn["server_cpu_us"],
        "p99_us": turn["latency_us"]["p99"],
        "busy": turn["server_busy"],
        "load_busy": turn["client_busy"],
    }


def http_turn(session: Session, command: Sequence[str], path: str) -> HttpFigures:
    """wrk against the server with that command line; raises Failed if there are errors."""
    effort = session.effort

    def load(server: Server, seconds: float) -> HttpFigures:
        url = f"http://127.0.0.1:{server.address}{path}"
        return measure(server, url, seconds, HTTP_CONNECTIONS, warm_up=0)

    server = session.server(command, lambda new: load(new, effort.wrk_warm_up))
    turn = load(server, session.shared or effort.wrk_seconds)
    if turn.errors:
        raise Failed(f"not 2xx: {turn.not_2xx}, socket errors: {turn.socket_errors}")
    return turn


def http_row(framework: str, path: str, session: Session, loop: str) -> Figures:
    """wrk against the server of `loop`; the value is its CPU per request in us."""
    turn = http_turn(session, http_server_command(framework, loop), path)
    return {
        "value": turn.cpu_us,
        "rate": turn.requests_per_s,
        "cpu_us": turn.cpu_us,
        "p99_us": turn.p99_us,
        "busy": turn.busy,
    }


def child_seconds(command: Sequence[str], env: Mapping[str, str]) -> float:
    """CPU seconds of a child from its start to its end, in microseconds and not in clock ticks.

    Others may run at the same time. Raises Failed if it does not end well, or within START_LIMIT.
    """
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=env)
        limit = threading.Timer(START_LIMIT, os.kill, (child.pid, signal.SIGKILL))
        limit.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        finally:
            limit.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode == -signal.SIGKILL:
            raise Failed(f"no end within {START_LIMIT:g} s")
        if child.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise Failed((lines or [f"status {child.returncode}"])[-1])
    return used.ru_utime + used.ru_stime


def start_up_program(loop: str, run: bool) -> str:
    """The program whose start is measured."""
    module, factory, _ = LOOPS[loop]
    if not run:
        return f"import asyncio, {module}"
    if loop == "pyasync":
        call = "pyasync.run(noop())"
    else:
        call = f"asyncio.Runner(loop_factory={module}.{factory}).run(noop())"
    return f"import asyncio, {module}\nasync def noop(): pass\n{call}"


def start_up_row(run: bool, session: Session, loop: str) -> Figures:
    """CPU ms of a fresh interpreter that imports the loop (and runs an empty coroutine): the least
    of a few."""
    command = pinned([sys.executable, "-c", start_up_program(loop, run)], server_core())
    env = os.environ.copy()
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have their byte code
    # the first may have to compile what it imports
    times = [child_seconds(command, env) * 1000 for _ in range(session.effort.starts + 1)]
    return {"value": min(times)}
