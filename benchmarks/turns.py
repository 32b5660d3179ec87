"""One turn of one row on one loop: what is started, what is measured, what is returned.

Every function returns figures by name; "value" is the one that ratios are made of, the others stand
beside it: "rate" (messages, requests or connections per second), "cpu_us" (server CPU per message),
"p99_us", "busy" (the server's share of its core, 0..1). A turn that does not work raises Failed.
"""

import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field

from benchmarks.cold_rows import ACCEPTOR_PORT
from benchmarks.hand_rows import BY_HAND
from benchmarks.http import serve_and_load
from benchmarks.load import echo_server_command, echo_turn
from benchmarks.loops import LOOPS
from benchmarks.processes import C_SERVER, Failed, Server, load_core, pinned, server_core
from benchmarks.worker import Worker

Figures = dict[str, float]
HTTP_CONNECTIONS = 50
START_LIMIT = 30.0  # s for one start-up


@dataclass(frozen=True)
class Effort:
    """How long to measure; seconds, except where a name says otherwise."""

    budget: float  # all rounds; what is left unfinished then is left out
    rounds: int
    task_seconds: float
    repeats: int
    load_seconds: float
    warm_up: float
    wrk_seconds: int
    wrk_warm_up: int
    starts: int  # interpreters per turn of a start-up row


FULL = Effort(2280, 8, 0.1, 3, 1.0, 0.3, 1, 1, 4)
QUICK = Effort(160, 3, 0.03, 2, 0.3, 0.1, 1, 0, 2)


@dataclass
class Session:
    """What turns share: the effort, and the worker process of each loop."""

    effort: Effort
    workers: dict[str, Worker] = field(default_factory=dict)
    acceptor: Server | None = None

    def worker(self, loop: str) -> Worker:
        """The loop's worker process, started if there is none that lives."""
        if self.acceptor is None:
            command = echo_server_command(C_SERVER, "protocol", None)
            self.acceptor = Server(command, core=load_core())
            os.environ[ACCEPTOR_PORT] = self.acceptor.address
        if loop not in self.workers or not self.workers[loop].alive:
            self.workers[loop] = Worker(loop)
        return self.workers[loop]

    def end_round(self) -> None:
        """Ends the workers, so that no round is measured in the processes of the one before."""
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()

    def close(self) -> None:
        """Ends every process that was started here."""
        self.end_round()
        if self.acceptor is not None:
            self.acceptor.stop()


def in_process_row(key: str, session: Session, loop: str) -> Figures:
    """ns per operation, in the loop's worker; driven by hand in asyncio's."""
    if loop == BY_HAND:
        loop, key = "asyncio", f"{BY_HAND} {key}"
    return session.worker(loop).measure(key, session.effort.task_seconds, session.effort.repeats)


def echo_row(
    value: str, style: str, size: int, connections: int, unix: bool, session: Session, loop: str
) -> Figures:
    """The load generator against a fresh server of `loop`; `value` is "rate" or "cpu_us"."""
    effort = session.effort
    turn = echo_turn(loop, style, connections, size, effort.load_seconds, effort.warm_up, unix)
    errors = {kind: count for kind, count in turn["errors"].items() if count}
    if errors:
        raise Failed(", ".join(f"{kind}: {count}" for kind, count in errors.items()))
    figures = {
        "rate": turn["messages_per_s"],
        "cpu_us": turn["server_cpu_us"],
        "p99_us": turn["latency_us"]["p99"],
        "busy": turn["server_busy"],
        "load_busy": turn["client_busy"],
    }
    return {"value": figures[value], **figures}


def http_row(framework: str, path: str, session: Session, loop: str) -> Figures:
    """wrk against a fresh server; the value is its CPU per request in us."""
    effort = session.effort
    turn = serve_and_load(
        framework, loop, effort.wrk_seconds, HTTP_CONNECTIONS, path, effort.wrk_warm_up
    )
    if turn.errors:
        raise Failed(f"not 2xx: {turn.not_2xx}, socket errors: {turn.socket_errors}")
    return {
        "value": turn.cpu_us,
        "rate": turn.requests_per_s,
        "cpu_us": turn.cpu_us,
        "p99_us": turn.p99_us,
        "busy": turn.busy,
    }


def children_seconds() -> float:
    """CPU seconds of the children that have ended, in microseconds and not in clock ticks."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
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
    times = []
    for _ in range(session.effort.starts + 1):  # the first may have to compile what it imports
        before = children_seconds()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=START_LIMIT, env=env
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no end within {START_LIMIT:g} s") from None
        used = children_seconds() - before
        if done.returncode != 0:
            raise Failed((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
        times.append(used * 1000)
    return {"value": min(times)}
