"""What the parts of the floors share: timing, and transports that only keep what is written."""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

CONNECTIONS = 20  # that take turns within one measurement
WARM_UP = 0.2  # of the measured time, before it


class Dropping(asyncio.Transport):
    """A transport that leaves what is written in a list; writing costs one call into C."""

    def __init__(self, written: list[Any]) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 80)})
        # An attribute of the instance, in C, costs no Python call of its own.
        vars(self).update(write=written.append, writelines=written.extend, is_closing=bool)

    def close(self) -> None:
        vars(self)["is_closing"] = lambda: True


class DroppingDatagrams(asyncio.DatagramTransport):
    """The same for datagrams: each that is sent is kept with the first address it was sent to."""

    def __init__(self, sent: dict[bytes, Any]) -> None:
        super().__init__()
        vars(self).update(sendto=sent.setdefault)

    def close(self) -> None:
        pass


def figures_of(seconds: float, repeats: int, measure: Callable[[], float]) -> list[float]:
    """`repeats` figures, each the mean of what `measure()` gives for `seconds`."""
    figures: list[float] = []
    for length in (WARM_UP * seconds, *[seconds] * repeats):
        end = time.perf_counter() + length
        found: list[float] = []
        while not found or time.perf_counter() < end:
            found.append(measure())
        figures.append(sum(found) / len(found))
    return figures[1:]


def best_of(seconds: float, repeats: int, measure: Callable[[], float]) -> float:
    """The least of the figures: for parts of rows that are the best of a few measurements too."""
    return min(figures_of(seconds, repeats, measure))


def median_of(seconds: float, repeats: int, measure: Callable[[], float]) -> float:
    """The median of the figures: for parts of rows that are one measurement each."""
    return statistics.median(figures_of(seconds, repeats, measure))
