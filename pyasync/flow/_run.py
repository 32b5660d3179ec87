"""What every collection function returns: a call that is awaited as a whole or iterated.

Invariant: a `Run` runs once, either way. Nothing starts before it is awaited or iterated;
one that is dropped unused says so with a RuntimeWarning, like a coroutine.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._engine import Job, Keep

T = TypeVar("T")
R = TypeVar("R")


class Run(Coroutine[Any, Any, R], Generic[T, R]):
    """A call of a collection function that has not started yet.

    `await run` gives the whole result. `async for piece in run` gives its pieces as they
    come, with backpressure: at most `limit` items are running or waiting to be taken. When
    the loop may be left early, `async with run as pieces:` around it makes sure that
    everything has ended when the block is left.

    A Run is a coroutine for all purposes, so `asyncio.run`, `asyncio.create_task` and
    `TaskGroup.create_task` take it.

    Raises RuntimeError when it is used a second time.

    >>> import asyncio
    >>> from pyasync import flow
    >>> async def main():
    ...     async with flow.map(str.upper, "abc") as letters:
    ...         async for letter in letters:
    ...             print(letter)
    >>> asyncio.run(main())
    A
    B
    C
    """

    def __init__(
        self,
        name: str,
        whole: Callable[[], Coroutine[Any, Any, R]],
        pieces: Callable[[], AsyncGenerator[T, None]],
    ) -> None:
        self._name = name
        self.__name__ = self.__qualname__ = f"flow.{name}"  # what a task's repr shows
        self._whole = whole
        self._pieces = pieces
        self._coroutine: Coroutine[Any, Any, R] | None = None
        self._generator: AsyncGenerator[T, None] | None = None
        self._used = False

    def __repr__(self) -> str:
        return f"<Run of {self._name}>"

    def _begin(self) -> Coroutine[Any, Any, R]:
        if self._used:
            raise RuntimeError(f"this run of {self._name} has been used already: call it again")
        self._used = True
        self._coroutine = self._whole()
        return self._coroutine

    def _iterator(self) -> AsyncGenerator[T, None]:
        if self._generator is None:
            if self._used:
                raise RuntimeError(f"this run of {self._name} has been used already: call it again")
            self._used = True
            self._generator = self._pieces()
        return self._generator

    def __await__(self) -> Generator[Any, Any, R]:
        return self._begin().__await__()

    def send(self, value: Any) -> Any:
        """Step the coroutine; what a task does."""
        return (self._coroutine or self._begin()).send(value)

    def throw(self, *error: Any) -> Any:
        """Throw into the coroutine; what a task does when it is cancelled."""
        return (self._coroutine or self._begin()).throw(*error)

    def close(self) -> None:
        """Close the coroutine; one that has not begun never will."""
        self._used = True
        if self._coroutine is not None:
            self._coroutine.close()

    def __aiter__(self) -> AsyncIterator[T]:
        # The generator itself, not this object: a loop over an unnamed Run that is left early
        # then drops its only reference, and the event loop closes the generator.
        return self._iterator()

    async def aclose(self) -> None:
        """End the iteration: cancel what still runs and wait for it."""
        self._used = True
        if self._generator is not None:
            await self._generator.aclose()

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._iterator()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not getattr(self, "_used", True):
            warnings.warn(
                f"pyasync.flow.{self._name} was never awaited", RuntimeWarning, stacklevel=2
            )


def run_of(
    name: str,
    job: Job,
    keep: Keep,
    fold: Callable[[list[Any]], Any],
    *,
    flat: bool = False,
) -> Run[Any, Any]:
    """A Run whose pieces are `keep(item, result)`, or the elements of those when `flat`."""

    async def whole() -> Any:
        kept = await job.results(keep)
        return fold([piece for pieces in kept for piece in pieces] if flat else kept)

    async def flattened() -> AsyncGenerator[Any, None]:
        async with aclosing(job.pieces(keep)) as found:
            async for pieces in found:
                for piece in pieces:
                    yield piece

    return Run(name, whole, flattened if flat else lambda: job.pieces(keep))


def result_only(item: Any, result: Any) -> Any:
    """The piece of a function that gives results."""
    return result


def key_and_result(item: Any, result: Any) -> Any:
    """The piece of a function that gives a mapping's keys with the results."""
    return item[0], result


def as_list(pieces: list[Any]) -> list[Any]:
    """The whole of a function that gives a list."""
    return pieces
