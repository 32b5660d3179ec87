"""Runs each test in a process of its own, forked from this one.

This process has imported the test modules and never makes a loop or a thread, so a fork costs
milliseconds where a new interpreter costs half a second, and every test starts from the same
state. A child gets its own process group, working directory and output file, runs one test,
sends one line of JSON and leaves by os._exit. A child that sends no line has crashed; one that
sends none in time hangs: it is asked for its stacks (SIGABRT, faulthandler), then killed with
all that it started.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import unittest
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from .groups import Test

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
EXIT_GRACE = 2.0  # seconds between the last sign of a child and its being killed


@dataclass(frozen=True)
class Outcome:
    """How a test ended: `status`, a one-line `reason`, its output and its seconds."""

    test: Test
    status: str
    reason: str
    output: str
    seconds: float


@dataclass
class _Child:
    test: Test
    pid: int
    pipe: int
    folder: Path
    started: float
    message: bytes = b""


class _Result(unittest.TestResult):
    """Keeps the worst that happened to the one test of this process, fixtures included."""

    def __init__(self) -> None:
        super().__init__()
        self.status = PASSED
        self.reason = ""

    def _fail(self, what: str, err: Any) -> None:
        self.status, self.reason = FAILED, what
        print(what, file=sys.stderr)
        kind, value, tb = err
        traceback.print_exception(kind, value, tb)

    def addError(self, test: object, err: Any) -> None:
        self._fail("error", err)

    def addFailure(self, test: object, err: Any) -> None:
        self._fail("failure", err)

    def addSubTest(self, test: object, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self._fail(f"in {subtest}", err)

    def addUnexpectedSuccess(self, test: object) -> None:
        self.status, self.reason = FAILED, "expected to fail, and passed"

    def addSkip(self, test: object, reason: str) -> None:
        if self.status != FAILED:
            self.status, self.reason = SKIPPED, reason


def run(tests: Iterable[Test], *, jobs: int, timeout: float) -> Iterator[Outcome]:
    """Run `tests`, `jobs` at a time, each for at most `timeout` seconds; outcomes as they come."""
    with (
        tempfile.TemporaryDirectory(prefix="pyasync-cpython-") as base,
        _Pool(Path(base), timeout) as pool,
    ):
        for test in tests:
            while len(pool) >= jobs:
                yield from pool.wait()
            pool.start(test)
        while len(pool):
            yield from pool.wait()


class _Pool:
    """The children that run now."""

    def __init__(self, base: Path, timeout: float) -> None:
        self._base = base
        self._timeout = timeout
        self._number = 0
        self._selector = selectors.DefaultSelector()

    def __len__(self) -> int:
        return len(self._selector.get_map())

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()  # the children never touch, and so never copy, what is here already
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for key in list(self._selector.get_map().values()):
            self._end(key.data, grace=0.0)
        self._selector.close()

    def start(self, test: Test) -> None:
        """Fork a child that runs `test`."""
        self._number += 1
        folder = self._base / str(self._number)
        (folder / "cwd").mkdir(parents=True)
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _run_in_child(test, folder, writing)
        os.setpgid(pid, pid)
        os.close(writing)
        child = _Child(test, pid, reading, folder, time.monotonic())
        self._selector.register(reading, selectors.EVENT_READ, child)

    def wait(self) -> Iterator[Outcome]:
        """Wait until at least one child has ended or is out of time."""
        children = [key.data for key in self._selector.get_map().values()]
        deadline = min(child.started for child in children) + self._timeout
        for key, _ in self._selector.select(max(0.0, deadline - time.monotonic())):
            child = key.data
            data = os.read(child.pipe, 65536)
            child.message += data
            if not data or data.endswith(b"\n"):
                yield self._finish(child)
                children.remove(child)
        for child in children:
            if time.monotonic() >= child.started + self._timeout:
                yield self._give_up(child)

    def _finish(self, child: _Child) -> Outcome:
        code = self._end(child, grace=EXIT_GRACE)
        seconds = time.monotonic() - child.started
        output = _read_output(child.folder)
        if not child.message.endswith(b"\n"):
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            return Outcome(child.test, FAILED, f"crash: {how}", output, seconds)
        status, reason = json.loads(child.message)
        return Outcome(child.test, status, reason, output, seconds)

    def _give_up(self, child: _Child) -> Outcome:
        os.kill(child.pid, signal.SIGABRT)
        self._end(child, grace=EXIT_GRACE)
        seconds = time.monotonic() - child.started
        reason = f"hang: no result after {self._timeout:g} s"
        return Outcome(child.test, FAILED, reason, _read_output(child.folder), seconds)

    def _end(self, child: _Child, *, grace: float) -> int:
        """Give the child `grace` seconds to leave, kill it and its group; its exit code."""
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        deadline = time.monotonic() + grace
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        while not pid and time.monotonic() < deadline:
            time.sleep(0.0005)
            pid, status = os.waitpid(child.pid, os.WNOHANG)
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # nothing of the group is left
        if not pid:
            _, status = os.waitpid(child.pid, 0)
        return os.waitstatus_to_exitcode(status)


def _read_output(folder: Path) -> str:
    text = (folder / "output").read_text(errors="replace")
    shutil.rmtree(folder, ignore_errors=True)
    return text


def _run_in_child(test: Test, folder: Path, pipe: int) -> NoReturn:
    """What a forked child does; never returns."""
    try:
        _enter_child(folder)
        message = json.dumps(_run_test(test))
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(pipe, message.encode() + b"\n")
        os._exit(0)
    except BaseException:  # nothing may unwind into the parent's frames
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(70)


def _enter_child(folder: Path) -> None:
    """Make the process look like a fresh interpreter that was started for one test."""
    os.setpgid(0, 0)  # not a session: opening a pty must not make it our controlling terminal
    output = os.open(folder / "output", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(null)
    os.chdir(folder / "cwd")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    faulthandler.enable()
    warnings.simplefilter("default")


def _run_test(test: Test) -> tuple[str, str]:
    result = _Result()
    # A suite, because a suite runs the fixtures of the class and of the module as well.
    unittest.TestSuite([test.case(test.method)]).run(result)
    gc.collect()  # what the test left in cycles must be able to die
    # As at the end of an interpreter: executors are told to stop, other threads are waited for.
    threading._shutdown()  # type: ignore[attr-defined]  # has no public name
    return result.status, result.reason
