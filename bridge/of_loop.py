"""What belongs to one event loop.

Where a loop is closed in the middle (a `main.py` with a menu, left by Ctrl-C) asyncio's own locks raise at the end of
whoever has one while others wait for it: there is no loop. That comes in place of the end, and is taken for what went
wrong within the block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_One = TypeVar("_One")


class OfLoop(Generic[_One]):
    """One for each event loop: a `main.py` with a menu runs one after the other."""

    def __init__(self, make: Callable[[], _One]) -> None:
        self._make = make
        self._made: tuple[asyncio.AbstractEventLoop, _One] | None = None

    @property
    def one(self) -> _One:
        """That of the loop that runs."""
        loop = asyncio.get_running_loop()
        if self._made is None or self._made[0] is not loop:
            self._made = loop, self._make()
        return self._made[1]


class Lock(asyncio.Lock):
    """Of the loop that runs when it is made. Who waits in a loop that is closed waits no more."""

    def __init__(self) -> None:
        super().__init__()
        self._its_loop = asyncio.get_running_loop()

    def release(self) -> None:
        if not self._its_loop.is_closed():
            super().release()


class Semaphore(asyncio.Semaphore):
    """As `Lock`, for so many."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self._its_loop = asyncio.get_running_loop()

    def release(self) -> None:
        if not self._its_loop.is_closed():
            super().release()


class Condition(asyncio.Condition):
    """As `Lock`."""

    def __init__(self) -> None:
        super().__init__()
        self._its_loop = asyncio.get_running_loop()

    def notify_all(self) -> None:
        if not self._its_loop.is_closed():
            super().notify_all()
