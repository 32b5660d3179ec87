"""recv() and send() that somebody put in the place of the C library's (LD_PRELOAD) are called."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/socket.h>

static int received, sent;

ssize_t recv(int fd, void *buffer, size_t size, int flags)
{
    ssize_t (*next)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
    received++;
    return next(fd, buffer, size, flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    ssize_t (*next)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
    sent++;
    return next(fd, data, size, flags);
}

__attribute__((destructor)) static void tell(void)
{
    dprintf(1, "%d %d\\n", received, sent);
}
"""

ECHOES = """
import asyncio, os, socket, sys, pyasync

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

async def main():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await loop.create_connection(Echo, sock=ours)
    for number in range(20):
        os.write(theirs.fileno(), b"%d" % number)
        while True:
            await asyncio.sleep(0)
            try:
                echoed = os.read(theirs.fileno(), 100)
                break
            except BlockingIOError:
                pass
        assert echoed == b"%d" % number
    transport.close()
    theirs.close()

factory = {"asyncio": asyncio.SelectorEventLoop, "pyasync": pyasync.new_event_loop}[sys.argv[1]]
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere libraries are replaced differently")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the library that counts")
@pytest.mark.parametrize("loop_name", ["asyncio", "pyasync"])
def test_replaced_functions_carry_every_byte(tmp_path: Path, loop_name: str):
    source, library = tmp_path / "counting.c", tmp_path / "counting.so"
    source.write_text(COUNTING)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    before = os.environ.get("LD_PRELOAD", "")  # a sanitizer has to be the first
    done = subprocess.run(
        [sys.executable, "-c", ECHOES, loop_name],
        env={**os.environ, "LD_PRELOAD": f"{before} {library}".strip()},
        capture_output=True,
        text=True,
        check=True,
    )
    received, sent = map(int, done.stdout.split())
    assert received >= 20
    assert sent >= 20
