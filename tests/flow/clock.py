"""A clock that a test moves: time passes when it says so, not while the machine is busy."""

from __future__ import annotations

from tests.support import turns


class Clock:
    """Takes over `loop.time`; the loop's timers follow it."""

    def __init__(self, loop):
        self._now = 1000.0
        loop.time = lambda: self._now

    async def advance(self, seconds):
        """Let that much time pass and everything that is due then happen."""
        self._now += seconds
        await turns(6)
