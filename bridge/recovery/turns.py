"""How many tasks are in the air at once, so that neither the engine nor we are overrun; and who is sent first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from ..of_loop import Condition, Semaphore
from ..table.records import id_sort_key

#: Where a task stands among all: `id_sort_key` of its id.
Place = tuple[str, int, str]

#: Tasks that are decided about at the same time; most of that time is waiting.
TOGETHER: Final = 256
#: Of them, and of those that are followed: looked up, waited for and fetched at the same time.
_FEW: Final = 8
#: Of those that are followed: whose records are read between two looks.
_READ: Final = 100
#: So long what was lost as well is waited for: one that hangs does not keep the others from being rendered.
_COMING_SECONDS: Final = 60.0


class Turns:
    """Of one event loop."""

    #: What waits to be sent again, by when it was entered, as often as it is followed; and told whenever one of it was.
    to_send: list[Place]
    moved: Condition

    def __init__(self) -> None:
        self.asking, self.following, self.fetching = (Semaphore(_FEW) for _ in range(3))
        self.to_send, self.moved = [], Condition()
        self._followed: list[str] = []

    @contextlib.contextmanager
    def followed(self, task_id: str) -> Iterator[None]:
        """One more is followed; whether or not the engine is asked about it, its record is looked at."""
        self._followed.append(task_id)
        try:
            yield
        finally:
            self._followed.remove(task_id)

    def pause(self, seconds: float) -> float:
        """Between two looks at a record, where it would be `seconds` for a few."""
        return seconds * max(1.0, len(self._followed) / _READ)

    @contextlib.asynccontextmanager
    async def sending(self, task_id: str, gather_seconds: float, lost: set[str]) -> AsyncIterator[None]:
        """The turn of who was entered first, of all that have come within these seconds, and of the `lost` ones that
        are followed, however late they see it; these leave that set when they come."""
        place, clock = id_sort_key(task_id), asyncio.get_running_loop().time
        self.to_send.append(place)
        end = clock() + _COMING_SECONDS
        try:
            await asyncio.sleep(gather_seconds)
            await self._is_next(place)
            while clock() < end and any(id_sort_key(other) < place for other in lost.intersection(self._followed)):
                await asyncio.sleep(gather_seconds)
                await self._is_next(place)
            yield
        finally:
            self.to_send.remove(place)
            async with self.moved:
                self.moved.notify_all()

    async def _is_next(self, place: Place) -> None:
        """Of all that have come."""
        async with self.moved:
            await self.moved.wait_for(lambda: min(self.to_send) == place)
