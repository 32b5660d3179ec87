"""Several interpreters of one process, each with a GIL of its own, run pyasync loops at once."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="InterpreterPoolExecutor is new in 3.14"
)

INTERPRETERS = 4


def serve_until_told(port_of_parent: int, index: int) -> tuple[int, int, str]:
    """Runs in a subinterpreter: echo over TCP on a pyasync loop, between two meetings.

    A meeting is over when every interpreter has come to it, which takes all loops at the same time.
    Returns the interpreter's id, the bytes echoed, and the class of the loop.
    """
    import asyncio
    from concurrent import interpreters

    import pyasync

    async def meet(reader, writer):
        writer.write(bytes([index]))
        assert await reader.readexactly(1) == b"!"

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def main():
        parent = await asyncio.open_connection("127.0.0.1", port_of_parent)
        await meet(*parent)
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        echoed = 0
        for _ in range(100):
            writer.write(b"x" * 1000)
            echoed += len(await reader.readexactly(1000))
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(10)))
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await meet(*parent)
        parent[1].close()
        await parent[1].wait_closed()
        return echoed, type(asyncio.get_running_loop()).__module__

    with asyncio.Runner(loop_factory=pyasync.new_event_loop) as runner:
        echoed, module = runner.run(main())
    assert pyasync._core.live_handles() == 0
    return interpreters.get_current().id, echoed, module.partition(".")[0]


def answer_meetings(listener, count: int) -> list[set[int]]:
    """Let the interpreters pass two meetings; who came to each."""
    connections = [listener.accept()[0] for _ in range(count)]
    meetings = []
    for _ in range(2):
        meetings.append({connection.recv(1)[0] for connection in connections})
        for connection in connections:
            connection.sendall(b"!")
    for connection in connections:
        connection.close()
    return meetings


def test_four_interpreters_run_loops_at_the_same_time():
    import socket
    from concurrent.futures import InterpreterPoolExecutor

    everybody = set(range(INTERPRETERS))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        InterpreterPoolExecutor(INTERPRETERS) as pool,
    ):
        listener.settimeout(30)
        port = listener.getsockname()[1]
        results = [pool.submit(serve_until_told, port, index) for index in sorted(everybody)]
        assert answer_meetings(listener, INTERPRETERS) == [everybody, everybody]
        done = [future.result(30) for future in results]
    assert len({interpreter for interpreter, _, _ in done}) == INTERPRETERS
    assert {(echoed, module) for _, echoed, module in done} == {(100_000, "pyasync")}


def test_a_loop_runs_in_an_interpreter_that_is_made_again_and_again():
    from concurrent import interpreters

    for _ in range(3):
        interpreter = interpreters.create()
        interpreter.exec(
            "import asyncio, pyasync\n"
            "asyncio.Runner(loop_factory=pyasync.new_event_loop).run(asyncio.sleep(0.001))\n"
        )
        interpreter.close()
