"""What the tests of the load generator share: the program itself, and a server of plain threads."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

C_FOLDER = Path(__file__).parent.parent / "benchmarks" / "c"

Serve = Callable[[socket.socket], None]


def build_load(folder: Path) -> Path:
    """Compiles the load generator into `folder`."""
    program = folder / "load"
    subprocess.run(["make", "-s", "-C", C_FOLDER, f"OUT={folder}", program], check=True)
    return program


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Listens, and serves each connection in a thread of its own until the test ends."""
    threads = []

    def serve_one(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
            except ConnectionError:
                pass  # the load generator closes a connection at the first error

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed at the end of the test
            threads.append(threading.Thread(target=serve_one, args=(connection,)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()
