"""What a library costs by itself, with no socket and no system call: the part of a row's cost that
stays the same on every loop. A child of benchmarks.floors.

    python -m benchmarks.floor_parts --part streams --size 1024
    python -m benchmarks.floor_parts --part tls --size 1024 --certificate FOLDER
    python -m benchmarks.floor_parts --part tasks --size 100 --loop pyasync
    python -m benchmarks.floor_parts --part round_trip

Prints {"cost": CPU us per message, ns for tasks, threads and processes; "bytes": how many the other
end gets of a message}. Everything runs hot and with nothing
in between, so each figure is less than the same code costs in a server: a floor made of them is
never too high for that reason. The parts are made by floor_echoes.py, floor_tls.py, floor_tasks.py
and floor_cold.py.
"""

import argparse
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pyasync
from benchmarks.floor_cold import COLD_PARTS
from benchmarks.floor_echoes import accept, buffered, datagrams, protocol, sock, streams
from benchmarks.floor_tasks import TASK_PARTS
from benchmarks.floor_timing import best_of
from benchmarks.floor_tls import handshake, tls
from benchmarks.loops import LOOPS

# Each runs on a pyasync loop, and gives CPU us and the bytes that the other end gets.
PARTS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, tuple[float, bytes]]]] = {
    "accept": accept,
    "protocol": protocol,
    "buffered": buffered,
    "datagrams": datagrams,
    "sock": sock,
    "streams": streams,
    "tls": tls,
    "handshake": handshake,
}
# Each needs no loop, or makes its own, and gives ns by one measurement.
PLAIN_PARTS = {**TASK_PARTS, **COLD_PARTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=[*PARTS, *PLAIN_PARTS], required=True)
    parser.add_argument("--size", type=int, default=1024, help="of the message, bytes; or tasks")
    parser.add_argument("--loop", choices=LOOPS, default="pyasync", help="that runs tasks")
    parser.add_argument("--certificate", metavar="FOLDER", help="with cert.pem and key.pem")
    parser.add_argument("--seconds", type=float, default=0.3, help="per repeat (0.3)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    figure, message = 0.0, b""
    if options.part in PLAIN_PARTS:
        measure = PLAIN_PARTS[options.part](options)
        figure = best_of(options.seconds, options.repeats, measure)
    else:
        figure, message = pyasync.run(PARTS[options.part](options))
    print(json.dumps({"cost": figure, "bytes": len(message)}))


if __name__ == "__main__":
    main()
