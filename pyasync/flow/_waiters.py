"""A waiting room: tasks that wait for something, woken first in, first out, safe to cancel.

Invariant: a wake-up is never lost. A waiter that is cancelled after it was woken, but before
it ran, hands its wake-up back, by default to the next waiter. Two uses: as a condition (the
woken task looks again and may wait again), or as a hand-over (the waker has already given
the woken task what it waits for; then `undo` takes it back).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable


class Waiters:
    """A first in, first out room of waiting tasks."""

    def __init__(self) -> None:
        self._room: OrderedDict[asyncio.Future[Waiters], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._room)

    def enter(self, future: asyncio.Future[Waiters]) -> None:
        """Let `future` wait here; it may wait in several rooms at once."""
        self._room[future] = None

    def leave(self, future: asyncio.Future[Waiters]) -> None:
        """Take `future` out of the room, if it is still in it."""
        self._room.pop(future, None)

    def wake(self) -> bool:
        """Wake the one that has waited longest; False when nobody waits."""
        while self._room:
            future, _ = self._room.popitem(last=False)
            if not future.done():
                future.set_result(self)
                return True
        return False

    def wake_all(self) -> None:
        """Wake everyone who waits now."""
        while self.wake():
            pass

    async def wait(self, undo: Callable[[], object] | None = None) -> None:
        """Wait to be woken; raises CancelledError when the waiting task is cancelled.

        `undo` is called instead of `wake` when this task was woken and cancelled at once.
        """
        future: asyncio.Future[Waiters] = asyncio.get_running_loop().create_future()
        self.enter(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                (undo or self.wake)()
            raise
        finally:
            self.leave(future)
