"""Circuit breaker: stop calling what keeps failing, and look now and then whether it recovered.

States: "closed" lets calls through and watches them; too many failures open it. "open" refuses
every call for `reset_after` seconds. Then "half-open" lets `probes` calls through at a time:
as many successes close it, one failure opens it again.

Invariant: a call that is cancelled counts neither as a success nor as a failure, and gives its
probe back; so does one that began in an earlier state than the present one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

from ._policy import Guard, Thunk, check_count, check_positive
from .executors import Pool

State = Literal["closed", "open", "half-open"]
Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


class CircuitOpen(Exception):
    """A call was refused by an open breaker; `retry_in` is the seconds until it may pass.

    >>> from pyasync import flow
    >>> flow.CircuitOpen(1.5)
    CircuitOpen('the circuit is open, try again in 1.500 s')
    """

    def __init__(self, retry_in: float) -> None:
        super().__init__(f"the circuit is open, try again in {retry_in:.3f} s")
        self.retry_in = retry_in


class _Window:
    """Outcomes of the last `seconds`, and the failures since the last success."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._run: deque[float] = deque()

    def add(self, now: float, ok: bool) -> None:
        self._outcomes.append((now, ok))
        if ok:
            self._run.clear()
        else:
            self._failures += 1
            self._run.append(now)
        self._trim(now)

    def _trim(self, now: float) -> None:
        oldest = now - self._seconds
        while self._outcomes and self._outcomes[0][0] <= oldest:
            self._failures -= not self._outcomes.popleft()[1]
        while self._run and self._run[0] <= oldest:
            self._run.popleft()

    def clear(self) -> None:
        self._outcomes.clear()
        self._run.clear()
        self._failures = 0

    @property
    def calls(self) -> int:
        return len(self._outcomes)

    @property
    def rate(self) -> float:
        return self._failures / len(self._outcomes) if self._outcomes else 0.0

    @property
    def consecutive(self) -> int:
        return len(self._run)


class CircuitBreaker(Guard):
    """Refuse calls to something that keeps failing; see the module for its states.

    It opens after `failures` consecutive failures, or, with `failure_rate`, when that share
    (0 to 1) of at least `minimum` calls failed; both look at the last `window` seconds. `on`
    says what is a failure: exception types, or a function of the exception; other exceptions
    count as successes. `reset_after` is the seconds it stays open, `probes` how many calls
    pass at a time while half-open. `on_change(old, new)` is called at every change of state.

    Use it as `await breaker.call(worker, *args)`, `@breaker` or `async with breaker:`.

    Raises CircuitOpen instead of calling while it is open, or half-open with all probes out;
    ValueError or TypeError at once for options that cannot work.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     breaker = flow.CircuitBreaker(failures=1, reset_after=60)
    ...     for _ in range(2):
    ...         try:
    ...             await breaker.call(int, "x")
    ...         except (ValueError, flow.CircuitOpen) as error:
    ...             print(type(error).__name__, breaker.state)
    >>> asyncio.run(main())
    ValueError open
    CircuitOpen open
    """

    def __init__(
        self,
        *,
        failures: int | None = None,
        failure_rate: float | None = None,
        minimum: int = 10,
        window: float = 60.0,
        reset_after: float = 30.0,
        probes: int = 1,
        on: Errors = Exception,
        on_change: Callable[[State, State], object] | None = None,
        executor: Pool | None = None,
    ) -> None:
        super().__init__(executor)
        if failures is None and failure_rate is None:
            failures = 5
        if failures is not None:
            check_count("failures", failures)
        if failure_rate is not None and not 0 < failure_rate <= 1:
            raise ValueError(f"failure_rate must be above 0 and at most 1, not {failure_rate!r}")
        check_count("minimum", minimum)
        check_count("probes", probes)
        check_positive("window", window)
        check_positive("reset_after", reset_after, zero=True)
        self._failures = failures
        self._failure_rate = failure_rate
        self._minimum = minimum
        self._reset_after = reset_after
        self._probes = probes
        self._on = on
        self._on_change = on_change
        self._window = _Window(window)
        self._state: State = "closed"
        self._era = 0  # counts the changes of state; a call belongs to the era it began in
        self._opened_at = 0.0
        self._out = 0  # probes out
        self._passed = 0  # probes that came back well
        self._entered: dict[asyncio.Task[Any] | None, list[int]] = {}  # eras of open blocks

    @property
    def state(self) -> State:
        """ "closed", "open" or "half-open" (from the first call after `reset_after` on)."""
        return self._state

    def _change(self, state: State) -> None:
        old, self._state = self._state, state
        self._era += 1
        self._out = self._passed = 0
        self._window.clear()
        if self._on_change is not None:
            self._on_change(old, state)

    def _open(self) -> None:
        self._opened_at = asyncio.get_running_loop().time()
        self._change("open")

    def _admit(self) -> int:
        """Let a call in and return its era; raises CircuitOpen."""
        if self._state == "open":
            left = self._opened_at + self._reset_after - asyncio.get_running_loop().time()
            if left > 0:
                raise CircuitOpen(left)
            self._change("half-open")
        if self._state == "half-open":
            if self._out + self._passed >= self._probes:
                raise CircuitOpen(0.0)
            self._out += 1
        return self._era

    def _is_failure(self, error: Exception) -> bool:
        if isinstance(self._on, (type, tuple)):
            return isinstance(error, self._on)
        return bool(self._on(error))

    def _settle(self, era: int, error: BaseException | None) -> None:
        """Take note of how a call of `era` ended."""
        if era != self._era:
            return
        if self._state == "half-open":
            self._out -= 1
        if error is not None and not isinstance(error, Exception):
            return
        ok = error is None or not self._is_failure(error)
        if self._state == "half-open":
            if not ok:
                self._open()
            else:
                self._passed += 1
                if self._passed >= self._probes:
                    self._change("closed")
            return
        self._window.add(asyncio.get_running_loop().time(), ok)
        if not ok and self._too_many():
            self._open()

    def _too_many(self) -> bool:
        window = self._window
        if self._failures is not None and window.consecutive >= self._failures:
            return True
        return (
            self._failure_rate is not None
            and window.calls >= self._minimum
            and window.rate >= self._failure_rate
        )

    async def __aenter__(self) -> CircuitBreaker:
        era = self._admit()
        self._entered.setdefault(asyncio.current_task(), []).append(era)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = asyncio.current_task()
        if task not in self._entered:  # a generator that another task closes
            task = next(iter(self._entered))
        eras = self._entered[task]
        era = eras.pop()
        if not eras:
            del self._entered[task]
        self._settle(era, error)

    async def _apply(self, thunk: Thunk) -> Any:
        era = self._admit()
        try:
            result = await thunk()
        except BaseException as error:
            self._settle(era, error)
            raise
        self._settle(era, None)
        return result
