"""Looking into a running program: call graphs, `python -m asyncio ps`, awaited-by."""

import asyncio
import os
import re
import subprocess
import sys

import pytest

from tests.support import LOOP_SOURCES, PRELUDE, plain, turn

needs_3_14 = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="call graphs and `asyncio ps` came with Python 3.14"
)


@needs_3_14
def test_the_call_graph_of_the_current_task(same_as_asyncio):
    async def body(loop):
        async def leaf():
            await asyncio.sleep(0)
            return asyncio.format_call_graph()

        async def middle():
            return await leaf()

        async def waits(task):
            return await task

        inner = loop.create_task(middle(), name="inner")
        outer = loop.create_task(waits(inner), name="outer")
        return re.sub(r"line \d+, ", "", plain(await outer))

    text = same_as_asyncio(body)
    assert "name='inner'" in text and "leaf" in text and "middle" in text
    assert "name='outer'" in text


@needs_3_14
def test_the_call_graph_of_a_waiting_task(same_as_asyncio):
    async def body(loop):
        async def leaf():
            await loop.create_future()

        async def waits(task):
            await task

        inner = loop.create_task(leaf(), name="inner")
        outer = loop.create_task(waits(inner), name="outer")
        await asyncio.sleep(0.001)
        graph = asyncio.capture_call_graph(inner)
        result = (
            [entry.frame.f_code.co_name for entry in graph.call_stack],
            [parent.future.get_name() for parent in graph.awaited_by],
        )
        outer.cancel()
        await asyncio.wait([outer, inner])
        return result

    assert same_as_asyncio(body) == (["leaf"], ["outer"])


@needs_3_14
def test_awaited_by(same_as_asyncio):
    def body(loop):
        async def waits(thing):
            await thing

        future = loop.create_future()
        tasks = [loop.create_task(waits(future), name=f"waiter {i}") for i in range(3)]
        found = [future._asyncio_awaited_by]
        turn(loop)
        found.append(sorted(task.get_name() for task in future._asyncio_awaited_by))
        future.set_result(None)
        turn(loop, 2)
        found.append(not future._asyncio_awaited_by)
        assert all(task.done() for task in tasks)
        return found

    found = same_as_asyncio(body)
    assert found == [None, ["waiter 0", "waiter 1", "waiter 2"], True]


@needs_3_14
def test_asyncio_ps_sees_the_tasks(loop_name):
    source = (
        PRELUDE
        + LOOP_SOURCES[loop_name]
        + """
async def leaf():
    await asyncio.sleep(1000)

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="first leaf")
        group.create_task(leaf(), name="second leaf")
        await asyncio.sleep(0.01)
        print("ready", flush=True)

loop = new_loop()
loop.run_until_complete(loop.create_task(main(), name="the root"))
"""
    )
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [os.getcwd(), *sys.path])))
    command = [sys.executable, "-c", source]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            for verb in ("ps", "pstree"):
                done = subprocess.run(
                    [sys.executable, "-m", "asyncio", verb, str(process.pid)],
                    capture_output=True,
                    text=True,
                    timeout=10,
                )
                if "ermission" in done.stderr or "not permitted" in done.stderr:
                    pytest.skip(f"reading another process is not permitted here: {done.stderr}")
                assert done.returncode == 0, done.stderr
                for name in ("the root", "first leaf", "second leaf"):
                    assert name in done.stdout, (verb, done.stdout, done.stderr)
        finally:
            process.kill()


def test_tasks_of_every_kind_are_listed_together(loop):
    async def waits():
        await asyncio.sleep(1000)

    async def body():
        mine = loop.create_task(waits())
        stock = asyncio.Task(waits(), loop=loop)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {mine, stock, asyncio.current_task()}
        for task in (mine, stock):
            task.cancel()
        await asyncio.wait([mine, stock])

    loop.run_until_complete(body())


def test_isfuture_iscoroutine_and_ensure_future(loop):
    async def coroutine():
        return 1

    async def body():
        task = asyncio.ensure_future(coroutine())
        future = loop.create_future()
        assert asyncio.isfuture(task) and asyncio.isfuture(future)
        assert asyncio.ensure_future(task) is task
        assert asyncio.ensure_future(future) is future
        assert asyncio.iscoroutine(task.get_coro())
        return await task

    assert loop.run_until_complete(body()) == 1
