"""Where items come from: sync and async iterables, lists and mappings, pulled one at a time.

Invariants: an item is pulled only when somebody is ready to work on it; two pulls never
overlap, whoever asks; after the end, or an error, of the input every pull says END. A mapping
gives its (key, value) pairs. `aclose` closes an async input that can be closed.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterable, Iterable, Mapping, Sized
from typing import Any, Final, Literal


class _End(enum.Enum):
    END = enum.auto()


END: Final = _End.END
End = Literal[_End.END]


def check_items(items: object) -> None:
    """Raise TypeError unless `items` can be iterated, with `for` or `async for`."""
    if not hasattr(items, "__aiter__") and not hasattr(items, "__iter__"):
        try:
            iter(items)  # type: ignore[call-overload]  # the old protocol: __getitem__ alone
        except TypeError:
            raise TypeError(
                f"items must be an iterable, an async iterable or a mapping, not {items!r}"
            ) from None


def check_limit(limit: int | None, items: object) -> int | None:
    """Return `limit`; None stays None for an input that has a length.

    Raises TypeError when it is no int, ValueError when it is below 1, and ValueError when it
    is None though the input has no length (it might never end).
    """
    if limit is None:
        if not isinstance(items, Sized):
            raise ValueError(
                f"an input without a length needs a limit: pass limit= (got {items!r})"
            )
        return None
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit must be an int or None, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    return limit


class Source:
    """Pulls items of any input, one after the other."""

    def __init__(self, items: AsyncIterable[Any] | Iterable[Any] | Mapping[Any, Any]) -> None:
        self.length = len(items) if isinstance(items, Sized) else None
        self._ended = False
        self._async: Any = None
        self._sync: Any = None
        if isinstance(items, AsyncIterable):
            self._async = aiter(items)
            self._lock = asyncio.Lock()
        elif isinstance(items, Mapping):
            self._sync = iter(items.items())
        else:
            self._sync = iter(items)

    async def pull(self) -> Any:
        """The next item, or END. Raises what the input raises."""
        if self._async is not None:
            return await self._pull_async()
        if self._ended:
            return END
        try:
            return next(self._sync)
        except StopIteration:
            self._ended = True
            return END
        except BaseException:
            self._ended = True
            raise

    async def _pull_async(self) -> Any:
        async with self._lock:
            if self._ended:
                return END
            try:
                return await anext(self._async)
            except StopAsyncIteration:
                self._ended = True
                return END
            except BaseException:
                self._ended = True
                raise

    async def aclose(self) -> None:
        """Close an async generator (or anything with `aclose`) that was the input."""
        self._ended = True
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()
