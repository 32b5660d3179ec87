"""What the resilience policies share: call a worker under the policy, or decorate it with it.

A policy is made once and used for many calls, also at the same time. `await policy.call(worker,
*args)` makes one call, `@policy` makes every call of a function one; both give what the worker
returns. A worker that is no async function becomes one by this.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from .executors import Pool, call_once, check_executor

P = ParamSpec("P")
R = TypeVar("R")

Thunk = Callable[[], Coroutine[Any, Any, Any]]


def check_positive(name: str, value: float, *, zero: bool = False) -> None:
    """Raise ValueError unless `value` is above zero, or with `zero` not below it."""
    if not (value >= 0 if zero else value > 0):
        raise ValueError(f"{name} must be {'at least' if zero else 'above'} 0, not {value!r}")


def check_count(name: str, value: int) -> None:
    """Raise TypeError unless `value` is an int, ValueError unless it is at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


class Policy(abc.ABC):
    """A way of calling workers; see the module."""

    def __init__(self, executor: Pool | None = None) -> None:
        check_executor(executor)
        self._executor = executor

    @abc.abstractmethod
    async def _apply(self, thunk: Thunk) -> Any:
        """Call `thunk` under the policy; what each policy defines."""

    @overload
    async def call(
        self, worker: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def call(self, worker: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def call(self, worker: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `worker(*args, **kwargs)` under the policy and return its result.

        Raises what the worker raises, and what the policy raises.
        """
        check_executor(self._executor, worker)
        return await self._apply(
            functools.partial(call_once, self._executor, worker, *args, **kwargs)
        )

    @overload
    def __call__(
        self, worker: Callable[P, Awaitable[R]]
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, worker: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __call__(self, worker: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate `worker`: every call of it is made under the policy."""
        check_executor(self._executor, worker)

        @functools.wraps(worker)
        async def decorated(*args: Any, **kwargs: Any) -> Any:
            return await self.call(worker, *args, **kwargs)

        return decorated


class Guard(Policy):
    """A policy that is also an async context manager: `async with guard:` around any code."""

    @abc.abstractmethod
    async def __aenter__(self) -> Self:
        """Enter, or wait, or refuse."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave; what each guard that holds something defines."""

    async def _apply(self, thunk: Thunk) -> Any:
        async with self:
            return await thunk()
