"""Servers and load generators as pinned child processes.

The server runs on the first core this process may use and the load on the last, so that neither
steals from the other. A server announces that it listens by one line on its standard output (a
port or a path). Its CPU time is read from its process CPU clock, which counts all its threads.
"""

import ctypes
import json
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType


def libc_name() -> str:
    """The C library and its version, such as "glibc-2.36"."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or platform.machine()).replace(" ", "-")


C_SOURCES = Path(__file__).parent / "c"
# The programs are kept apart by C library: one built for a newer one does not start on an older.
C_PROGRAMS = C_SOURCES.parents[1] / "build" / "benchmarks" / libc_name()
C_SERVER = "C libuv"  # its name among the loops
BARE_SERVER = "bare C"  # the same for the one without any library, which the floors are made of
BARE_LOOP = "bare loop"  # the least loop that calls Python protocols, for the floors too
START_TIMEOUT = 20.0  # s


class Failed(SystemExit):
    """One measurement did not work, with the reason; a command that does not expect it ends."""


def server_core() -> int:
    """The core that servers are pinned to."""
    return min(os.sched_getaffinity(0))


def load_core() -> int:
    """The core that load generators are pinned to; the server's own if there is only one."""
    return max(os.sched_getaffinity(0))


def pinned(command: Sequence[str], core: int) -> list[str]:
    """The command line that runs `command` on one core."""
    return ["taskset", "-c", str(core), *command]


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def child_figures(limit: float, module: str, *arguments: str) -> dict[str, float]:
    """What a module run on the servers' core prints as JSON in its last line, within `limit` s.

    Raises Failed when it does not end in time, or ends with an error.
    """
    command = pinned(python_module(module, *arguments), server_core())
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(f"no end within {limit:g} s") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise Failed(" ".join([f"ended with status {done.returncode}", *last]))
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def build_c_programs() -> None:
    """Builds the programs of benchmarks/c that are missing or out of date."""
    for tool in ("make", "cc", "pkg-config"):
        if shutil.which(tool) is None:
            raise SystemExit(f"benchmarks/c needs {tool!r}, which is not installed")
    C_PROGRAMS.mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "-s", "-C", str(C_SOURCES), f"OUT={C_PROGRAMS}"], check=True)


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of process `pid` have used so far, in seconds."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(ctypes.c_int(pid), ctypes.byref(clock))
    if error:
        raise ProcessLookupError(error, f"no CPU clock for process {pid}: {os.strerror(error)}")
    return time.clock_gettime(clock.value)


def resident_bytes(pid: int) -> int:
    """Resident memory of process `pid` in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def raise_descriptor_limit(needed: int) -> None:
    """Lifts the limit of open files to at least `needed`; children inherit it.

    Only root can lift it over the hard limit; exits with a message if that is needed and refused.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        enough = hard if hard == resource.RLIM_INFINITY else max(hard, needed)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, enough))
        except (ValueError, OSError) as exc:
            raise SystemExit(
                f"{needed} open files are needed, but the hard limit is {hard} (ulimit -Hn): {exc}"
            ) from exc


class Server:
    """A server process for the length of a `with` block, pinned to `core` (server_core()).

    `address` is the line it printed once it listened. Raises Failed if the server does not start,
    or ends while it is measured, with the last line of its standard error, which is not shown.
    """

    def __init__(self, command: Sequence[str], core: int | None = None) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            pinned(command, server_core() if core is None else core),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.address = self._read_address(command)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read_address(self, command: Sequence[str]) -> str:
        output = self._process.stdout
        assert output is not None
        readable, _, _ = select.select([output], [], [], START_TIMEOUT)
        line = output.readline().strip() if readable else ""
        if not line:
            started = " ".join(command[1:5])  # the module and its loop, without paths
            raise Failed(f"did not start listening{self._last_error()}: {started}")
        return line

    def _last_error(self) -> str:
        """The last line of the server's standard error, in brackets."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""

    def check_alive(self) -> None:
        """Raises Failed if the server has ended on its own."""
        status = self._process.poll()
        if status is not None:
            raise Failed(f"the server ended with status {status}{self._last_error()}")

    def stop(self) -> None:
        """Ends the process by SIGTERM, and by SIGKILL if that has no effect."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
