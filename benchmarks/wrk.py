"""HTTP load by wrk: runs it against a server, reads its figures and prints them.

wrk hands its results to a few lines of Lua that print them as JSON, so nothing is parsed from text
meant for people. The server's CPU clock is read around wrk's run.
"""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass

from benchmarks.processes import Failed, Server, cpu_seconds, load_core, pinned
from benchmarks.report import Spread, console, ratios, table

WARM_UP = 1.0  # s
LONGER = 60  # s that wrk would run if nothing interrupted it
UNDISTURBED = 0.9  # a saturated server uses at least this share of its core

REPORT = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"not_2xx": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
"""


@dataclass(frozen=True)
class HttpFigures:
    """What one turn of load showed; latencies in us, CPU in us per request, busy in 0..1."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    busy: float
    not_2xx: int
    socket_errors: int

    @property
    def errors(self) -> int:
        return self.not_2xx + self.socket_errors


HttpRounds = list[dict[str, HttpFigures]]  # per round: loop -> figures


def requests_ratio(rounds: HttpRounds, loop: str, reference: str) -> Spread:
    """Requests/s of `loop` over those of `reference`, over the rounds."""
    return ratios(
        [turn[loop].requests_per_s for turn in rounds],
        [turn[reference].requests_per_s for turn in rounds],
    )


def per_cpu_ratio(rounds: HttpRounds, loop: str, reference: str) -> Spread:
    """Requests per second of server CPU of `loop` over those of `reference`, over the rounds."""
    return ratios(
        [turn[reference].cpu_us for turn in rounds], [turn[loop].cpu_us for turn in rounds]
    )


def print_http(title: str, rounds: HttpRounds, loops: list[str]) -> None:
    """Prints one line per loop: the medians of the rounds and the ratios to the first loop."""
    reference = loops[0]
    made = table(
        f"{title}; right: ratios to {reference}",
        "loop",
        "requests/s",
        "p99 ms",
        "CPU us/request",
        "busy",
        "requests/s (min-max)",
        "requests/CPU s (min-max)",
        "errors",
    )
    for loop in loops:
        own = [turn[loop] for turn in rounds]
        made.add_row(
            loop,
            f"{Spread.of(turn.requests_per_s for turn in own).median:,.0f}",
            f"{Spread.of(turn.p99_us for turn in own).median / 1000:.2f}",
            f"{Spread.of(turn.cpu_us for turn in own).median:.1f}",
            f"{Spread.of(turn.busy for turn in own).median:.0%}",
            requests_ratio(rounds, loop, reference).as_ratio(),
            per_cpu_ratio(rounds, loop, reference).as_ratio(),
            str(sum(turn.errors for turn in own)),
        )
    console.print(made)
    if any(turn[loop].busy < UNDISTURBED for turn in rounds for loop in loops):
        console.print(
            f"A server had less than {UNDISTURBED:.0%} of its core in some round (other work on "
            "this machine, or wrk at its limit): trust CPU figures more than requests/s and p99.",
            style="yellow",
        )


def check_wrk() -> None:
    """Exits with a message if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("the load generator 'wrk' is not installed (Debian, Ubuntu: wrk)")


def run_wrk(url: str, seconds: float, connections: int, script: str = "") -> dict[str, int]:
    """One run of wrk on the load core; `script` is Lua that chooses the requests.

    wrk itself counts whole seconds. An interrupt ends it at any time, within a tenth of a second,
    and it reports how long it took.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script + REPORT)
        lua.flush()
        longest = f"-d{seconds + LONGER:.0f}s"
        command = ["wrk", "-t1", f"-c{connections}", longest, "-s", lua.name, url]
        with subprocess.Popen(
            pinned(command, load_core()), stdout=subprocess.PIPE, text=True
        ) as wrk:
            with contextlib.suppress(subprocess.TimeoutExpired):
                wrk.wait(seconds)  # that long, unless it cannot start
            wrk.send_signal(signal.SIGINT)
            output = wrk.communicate()[0]
    _, found, result = output.partition("RESULT ")
    if wrk.returncode != 0 or not found:
        raise Failed(f"wrk ended with status {wrk.returncode}:\n{output}")
    figures: dict[str, int] = json.loads(result)
    return figures


def measure(
    server: Server,
    url: str,
    seconds: float,
    connections: int,
    script: str = "",
    warm_up: float = WARM_UP,
) -> HttpFigures:
    """Warms the server up for `warm_up` seconds, then measures it for `seconds`."""
    if warm_up:
        run_wrk(url, warm_up, connections, script)
    before = cpu_seconds(server.pid)
    load = run_wrk(url, seconds, connections, script)
    used = cpu_seconds(server.pid) - before
    server.check_alive()
    if load["requests"] == 0:
        raise Failed(f"no request to {url} was answered")
    elapsed = load["microseconds"] * 1e-6
    return HttpFigures(
        requests_per_s=load["requests"] / elapsed,
        p50_us=load["p50_us"],
        p99_us=load["p99_us"],
        cpu_us=used * 1e6 / load["requests"],
        busy=used / elapsed,
        not_2xx=load["not_2xx"],
        socket_errors=sum(load[kind] for kind in ("connect", "read", "write", "timeout")),
    )
