"""How many tasks are in the air at the same time, so that neither the engine nor we are overrun."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

#: Where a task stands among all: `id_sort_key` of its id.
Place = tuple[str, int, str]

#: Tasks that are decided about at the same time; most of that time is waiting.
TOGETHER: Final = 256
#: Of them, and of those that are followed: looked up, waited for and fetched at the same time.
_FEW: Final = 8
#: Of those that are followed: whose records are read between two looks.
_READ: Final = 100


class Turns:
    """Of one event loop."""

    #: What waits to be sent again, by when it was entered, as often as it is followed; and told whenever one of it was.
    to_send: list[Place]
    moved: asyncio.Condition

    def __init__(self) -> None:
        self.asking, self.following, self.fetching = (asyncio.Semaphore(_FEW) for _ in range(3))
        self.to_send, self.moved = [], asyncio.Condition()
        self._followed = 0

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """One more is followed; whether or not the engine is asked about it, its record is looked at."""
        self._followed += 1
        try:
            yield
        finally:
            self._followed -= 1

    def pause(self, seconds: float) -> float:
        """Between two looks at a record, where it would be `seconds` for a few."""
        return seconds * max(1.0, self._followed / _READ)

    @contextlib.asynccontextmanager
    async def sending(self, place: Place, gather_seconds: float) -> AsyncIterator[None]:
        """The turn of who was entered first, of all that have come within these seconds."""
        self.to_send.append(place)
        try:
            await asyncio.sleep(gather_seconds)
            async with self.moved:
                await self.moved.wait_for(lambda: min(self.to_send) == place)
            yield
        finally:
            self.to_send.remove(place)
            async with self.moved:
                self.moved.notify_all()
