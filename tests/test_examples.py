"""Every program of examples/ is run as a reader runs it, and must print what is expected here.

In the expected text `<n>` stands for a whole number and `<s>` for seconds, both measured by the
program, and `<bar>` for a progress bar; CHECKS says what must hold between the figures. Nothing
may come on standard error, and 15 seconds must be enough.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[0-9]*.py"))
LIMIT = 15  # seconds

# What an example needs and an interpreter or machine may lack.
PACKAGES = {
    "09_fetching_in_parallel": ["aiohttp"],
    "14_distributed_computing": ["distributed"],
    "15_patterns": ["aiohttp", "rich"],
}
COMMANDS = {"13_tls_server": ["openssl"]}

EXPECTED = {
    "01_basic_coroutine": """
        made a coroutine
        hello, Ada
        goodbye, Ada
        letters in the name: 3
        failed: nobody to greet
        the loop is a pyasync.Loop
    """,
    "02_creating_tasks": """
        one after the other: <s> s
        started, none is done yet: True
        as tasks: <s> s
        tea ready / eggs ready / rice ready
        failed: the pan is on fire
        soup was cancelled: True
    """,
    "03_results_and_callbacks": """
        too early: Result is not set.
        callback: late was cancelled
        callback: 6/3 gave 2.0
        callback: 1/0 failed: division by zero
        gathered: ['float', 'ZeroDivisionError', 'CancelledError']
        as completed: ['fast', 'medium', 'slow']
        future: set by a timer
    """,
    "04_pause_and_resume": """
        event, running: it counts: True
        event, paused:  it counts: False
        event, resumed: it counts: True
        gate, paused: tasks held: 3
        gate, paused: steps made: 0
        gate, resumed: all count: True
    """,
    "05_heavy_functions": """
        on the loop: 7837 primes, the loop stood still for <s> s
        process pool: [7837, 1229, 5133, 168]
          in other processes: True
          meanwhile the loop came round <n> times
        flow.map in processes: [7837, 1229, 5133, 168]
    """
    + (
        """
        flow.map in interpreters: [7837, 1229, 5133, 168]
          in this process: True
        """
        if sys.version_info >= (3, 14)
        else "interpreters: left out, they need Python 3.14 or newer"
    ),
    "06_sharing_through_queues": """
        squares: [1, 4, 9, 16, 25, 36, 49, 64, 81]
        workers that took part: ['A', 'B', 'C']
        PriorityQueue: [1, 2, 3]
        LifoQueue: [2, 1, 3]
        from a thread: ['first', 'second', 'third']
    """,
    "07_semaphore": """
        without a semaphore, at once: 12
        with a semaphore of 3, at once: 3
        all were served: True
        bounded: BoundedSemaphore released too many times
        with flow.map(limit=3), at once: 3
    """,
    "08_producer_consumer": """
        queue: 100 items, never more than 5 waiting
        queue: none lost, none twice: True
        channel: the sum of 1 to 100 is 5050
    """,
    "09_fetching_in_parallel": """
        one after the other: <s> s
        all at once: <s> s
        20 pages, 200150 characters
        five at a time: <s> s
        all came: True
    """,
    "10_mutex": """
        100 deposits without a lock: 1
        100 deposits with a lock: 100
        bought for 25, 5 left
    """,
    "11_barrier": """
        phase 0: all 3 have arrived
        phase 1: all 3 have arrived
        phase 2: all 3 have arrived
        order of the phases: [0, 0, 0, 1, 1, 1, 2, 2, 2]
        waiting at the barrier: 1
        broken: True
        usable again: True
    """,
    "12_generators_and_streams": """
        countdown: cleaned up
        squares: [36, 16, 4]
        first multiple of 7 from above: 999999
        countdown: cleaned up
        batches of [5, 2]
        answers: ['TO BE', 'OR NOT', 'TO BE']
    """,
    "13_tls_server": """
        stranger: self-signed certificate
        client: connected with TLSv1.3
        client: done: one
        server: stopping, connections open: 1
        client: done: two
        client: the server closed the connection: True
        server: stopped
        late client: refused
    """,
    "14_distributed_computing": """
        the workers run on ['pyasync.Loop'] in 3 processes
        killed a worker after 12 of 48 parts
        pi is about 3.1439, computed by the 2 workers left
        the same as without the cluster: True
        exit statuses of the workers: [-9, 0, 0]
    """,
    "15_patterns": """
        crawling <bar> 50/50
        rate limit: <n> requests in <s> s
        retry: 57 requests for 50 pages, given up: 0
        single flight: 50 pages got their author by <n> requests
        breaker: <n> images failed, <n> were not asked for, it is open
    """,
}

CHECKS = {
    "02_creating_tasks": lambda one_by_one, as_tasks: one_by_one >= 0.6 and as_tasks < one_by_one,
    "05_heavy_functions": lambda still, ticks: still > 0.02 and ticks > 3,
    "09_fetching_in_parallel": lambda single, all_at_once, five: (
        single >= 2 and 0.1 <= all_at_once < five < single
    ),
    "15_patterns": lambda total, seconds, authors, failed, left_alone: (
        total == 57 + authors + failed
        and total <= 10 + 100 * (seconds + 0.01)  # a burst of 10, then 100 per second
        and 2 <= authors < 50
        and 5 <= failed < 15  # ten visits at a time: nine may be on their way when it opens
        and failed + left_alone == 50
    ),
}


def run(name: str) -> str:
    """Run an example as `python examples/NAME.py` and return what it printed."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environ["PYTHONPATH"] = str(ROOT)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
        printed, errors = process.communicate()
        pytest.fail(f"not done after {LIMIT} s; it printed:\n{printed}\n{errors}")
    assert (process.returncode, errors) == (0, ""), (printed, errors)
    return printed


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def numbers(expected: str, printed: str) -> list[float]:
    """The figures of what was printed, which must be as expected line by line."""
    found: list[float] = []
    for line, pattern in zip(lines(printed), lines(expected), strict=False):
        regex = re.escape(pattern).replace("<bar>", r"\S+")
        regex = regex.replace("<n>", r"(\d+)").replace("<s>", r"(\d+\.\d+)")
        match = re.fullmatch(regex, line)
        assert match, f"printed {line!r}, expected {pattern!r}"
        found += map(float, match.groups())
    assert len(lines(printed)) == len(lines(expected)), printed
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    for package in PACKAGES.get(name, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: no wheel for this interpreter")
    for command in COMMANDS.get(name, ()):
        if shutil.which(command) is None:
            pytest.skip(f"the {command} command is not installed")
    figures = numbers(EXPECTED[name], run(name))
    check = CHECKS.get(name, lambda: True)
    assert check(*figures), figures


def test_every_example_is_on_the_map():
    """The README lists the examples in order, and each of them has its expectation here."""
    readme = (ROOT / "examples" / "README.md").read_text()
    assert re.findall(r"\]\((\d\d_\w+)\.py\)", readme) == EXAMPLES
    assert sorted(EXPECTED) == EXAMPLES
