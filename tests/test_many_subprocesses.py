"""Many subprocesses, fifty at a time: no output is lost, no zombie and no descriptor is left.

Runs 300 of them; PYASYNC_SUBPROCESSES=2000 asks for more. The children are started from the main
thread's loop and from a loop in another thread.
"""

import asyncio
import os
import threading

import psutil
import pytest

from tests.support import open_descriptors

COUNT = int(os.environ.get("PYASYNC_SUBPROCESSES", "300"))
AT_A_TIME = 50

pytestmark = pytest.mark.timeout(60 + COUNT // 5)


async def output_of(number: int, gate: asyncio.Semaphore) -> tuple[bytes, bytes, int]:
    async with gate:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            "read line; echo out $1 $line; echo err $1 >&2; exit $(($1 % 7))",
            "sh",
            str(number),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(b"in %d\n" % number)
        return out, err, await process.wait()


async def run_all(count: int) -> None:
    gate = asyncio.Semaphore(AT_A_TIME)
    results = await asyncio.gather(*(output_of(number, gate) for number in range(count)))
    for number, (out, err, status) in enumerate(results):
        assert out == b"out %d in %d\n" % (number, number)
        assert err == b"err %d\n" % number
        assert status == number % 7


def zombies() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE
    ]


async def test_nothing_is_lost_and_nothing_is_left(loop):
    await run_all(5)  # what the interpreter opens once, it opens now
    before = set(open_descriptors())
    await run_all(COUNT)
    await asyncio.sleep(0.05)
    assert zombies() == []
    assert set(open_descriptors()) == before


def test_from_a_loop_in_another_thread(new_loop):
    failures = []

    def work():
        loop = new_loop()
        try:
            loop.run_until_complete(run_all(60))
        except BaseException as exc:
            failures.append(exc)
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == [] and zombies() == []
