"""A process that measures in-process rows on one loop, one row per line that it is given.

    python -m benchmarks.worker --loop pyasync

The child (`main()`) reads a JSON object per line, {"row", "seconds", "repeats"}, and answers with
{"value": ns per operation}; rows are those of task_rows.py, cold_rows.py and hand_rows.py. The
parent (`Worker`) keeps one such child per loop and asks all of them at once, as they count CPU
time. Each row runs on a fresh loop.
"""

import argparse
import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.cold_rows import COLD_ROWS
from benchmarks.hand_rows import BY_HAND, HAND_ROWS
from benchmarks.loops import LOOPS, LoopFactory, loop_factory
from benchmarks.processes import Failed, pinned, python_module, server_core
from benchmarks.task_rows import ROWS, Row, measure_row

TIME_LIMIT = 60.0  # s for one row

IN_PROCESS_ROWS: dict[str, Row] = {
    **ROWS,
    **COLD_ROWS,
    **{f"{BY_HAND} {key}": row for key, row in HAND_ROWS.items()},
}


class Worker:
    """The child process of one loop, pinned to the servers' core. Raises Failed when it fails."""

    def __init__(self, loop: str) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            pinned(python_module("benchmarks.worker", "--loop", loop), server_core()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def measure(self, row: str, seconds: float, repeats: int) -> dict[str, float]:
        """{"value": ns per operation} of one row: `repeats` measurements of about `seconds`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        order = {"row": row, "seconds": seconds, "repeats": repeats}
        try:
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise Failed(self._last_words()) from None
        readable, _, _ = select.select([stdout], [], [], TIME_LIMIT)
        if not readable:
            self.close()
            raise Failed(f"no end within {TIME_LIMIT:g} s")
        line = stdout.readline()
        if not line:
            raise Failed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def _last_words(self) -> str:
        """The status of the dead child and the last line that it said."""
        status = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return " ".join([f"ended with status {status}", *last])

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the child, whatever it does."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def run_row(factory: LoopFactory, row: Row, seconds: float, repeats: int) -> float:
    """ns per operation of one row on a fresh loop."""

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure_row(row, repeats, seconds))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    factory = loop_factory(parser.parse_args(arguments).loop)
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a row prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        row = IN_PROCESS_ROWS[order["row"]]
        answer: dict[str, float | str]
        try:
            answer = {"value": run_row(factory, row, order["seconds"], order["repeats"])}
        except Exception as exc:
            answer = {"failed": f"{type(exc).__name__}: {exc}"}
        os.write(answers, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
