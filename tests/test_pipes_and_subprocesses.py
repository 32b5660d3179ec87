"""Pipes and child processes: data both ways, ends, exit codes, nothing inherited or leaked."""

import asyncio
import os
import signal
import sys

import pytest

from tests.support import open_descriptors, turns, until

PYTHON = sys.executable
CAT = [PYTHON, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"]


async def read_pipe(fd):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    return transport, reader


class WritePipe(asyncio.BaseProtocol):
    def __init__(self):
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def write_pipe(fd):
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(WritePipe, os.fdopen(fd, "wb", 0))
    return protocol


async def test_from_pipe_to_pipe(loop):
    read_end, write_end = os.pipe()
    transport, reader = await read_pipe(read_end)
    writer = await write_pipe(write_end)
    data = os.urandom(1_000_000)
    writer.transport.write(data)
    writer.transport.write_eof()
    assert await reader.read() == data
    assert await writer.lost is None
    transport.close()
    await turns(3)
    assert "resume" in writer.events or writer.events == []


async def test_a_write_pipe_without_reader_is_lost(loop):
    read_end, write_end = os.pipe()
    writer = await write_pipe(write_end)
    os.close(read_end)
    exc = await asyncio.wait_for(writer.lost, 5)
    assert exc is None or isinstance(exc, BrokenPipeError)


async def test_a_fifo_whose_reader_goes_away(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = await write_pipe(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    writer.transport.write(b"x")
    await turns(2)
    assert os.read(read_end, 10) == b"x"
    os.close(read_end)
    exc = await asyncio.wait_for(writer.lost, 5)
    assert exc is None or isinstance(exc, BrokenPipeError)


async def test_regular_files_are_refused(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with open(path, "rb") as file, pytest.raises(ValueError, match="Pipe transport is"):
        await loop.connect_read_pipe(asyncio.Protocol, file)
    with open(path, "ab") as file, pytest.raises(ValueError, match="Pipe transport is"):
        await loop.connect_write_pipe(asyncio.BaseProtocol, file)


async def test_communicate(loop):
    process = await asyncio.create_subprocess_exec(
        *CAT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    data = os.urandom(1_000_000)
    out, err = await process.communicate(data)
    assert out == data and err is None and process.returncode == 0


async def test_a_shell_command(loop):
    process = await asyncio.create_subprocess_shell(
        "echo out; echo err >&2; exit 7",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert await process.communicate() == (b"out\n", b"err\n")
    assert process.returncode == 7 and await process.wait() == 7


async def test_signals_to_the_child(loop):
    process = await asyncio.create_subprocess_exec(PYTHON, "-c", "import time; time.sleep(100)")
    assert process.returncode is None
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == -signal.SIGTERM
    other = await asyncio.create_subprocess_exec(PYTHON, "-c", "import time; time.sleep(100)")
    other.kill()
    assert await other.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        other.terminate()


async def test_a_command_that_does_not_exist_leaks_nothing(loop):
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec(
                "/no/such/command",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
    await turns(3)
    kept = {fd for fd in open_descriptors() if fd not in before}
    assert len(kept) <= 2, "the child watcher may keep a pair of its own, pipes may not stay"


async def test_the_child_sees_the_end_of_its_input(loop):
    """A second child must not hold the first one's pipe open."""
    first = await asyncio.create_subprocess_exec(
        *CAT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    second = await asyncio.create_subprocess_exec(
        PYTHON, "-c", "import time; time.sleep(100)", stdin=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(first.communicate(b"data"), 10)
    assert out == b"data"
    second.kill()
    await second.wait()


async def test_the_child_inherits_only_its_own_descriptors(loop):
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-c",
        "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    # The last one is the descriptor of the directory being listed.
    assert out == b"[0, 1, 2, 3]\n"


async def test_the_child_may_reopen_its_standard_streams(loop_name, loop):
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-c",
        "open('/dev/stdout', 'w').write(open('/dev/stdin').read())",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(b"reopened")
    if loop_name == "asyncio" and b"No such device or address" in err:
        pytest.skip("asyncio gives the child a socketpair as its stdin, which cannot be reopened")
    assert (out, err) == (b"reopened", b"")


async def test_many_children_at_once(loop):
    async def run(number):
        process = await asyncio.create_subprocess_exec(
            PYTHON, "-S", "-c", f"print({number})", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        return int(out)

    assert await asyncio.gather(*(run(i) for i in range(10))) == list(range(10))


async def test_a_cancelled_communicate(loop):
    process = await asyncio.create_subprocess_exec(
        PYTHON, "-c", "import time; time.sleep(100)", stdout=asyncio.subprocess.PIPE
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await process.communicate()
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    await until(lambda: process._transport.is_closing())


async def test_the_subprocess_protocol(loop):
    events = []
    done = loop.create_future()

    class Watches(asyncio.SubprocessProtocol):
        def connection_made(self, transport):
            self.transport = transport
            events.append("made")

        def pipe_data_received(self, fd, data):
            events.append((fd, data))

        def pipe_connection_lost(self, fd, exc):
            events.append(("pipe lost", fd))

        def process_exited(self):
            events.append("exited")

        def connection_lost(self, exc):
            done.set_result(exc)

    transport, protocol = await loop.subprocess_exec(Watches, PYTHON, "-c", "print('hi')")
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert await done is None
    assert events[0] == "made" and "exited" in events
    assert b"".join(event[1] for event in events if event[0] == 1) == b"hi\n"
    assert {("pipe lost", fd) for fd in (0, 1, 2)} <= set(events)
    assert transport.get_returncode() == 0 and transport.get_pid() > 0
    transport.close()
