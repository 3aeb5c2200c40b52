"""The numbers of a run's rows go into the sheet beside its work: nothing waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

log = logging.getLogger("wfrecovery")

#: Rows that are entered are collected until so long none has come, but not for ever: one call numbers them.
GATHER_SECONDS: Final = 0.5
_MOST_GATHERED: Final = 10
#: Seconds before what could not be written is tried again, and how often that is.
_AGAIN_SECONDS: Final = 3.0
_TRIES: Final = 5


class RunNumbering:
    """Calls `number` for the rows of a batch together; that one answers whether some are to be tried again."""

    def __init__(self, number: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        self._number = number
        self._running: asyncio.Task[None] | None = None
        self._news = False

    def entered(self) -> None:
        """A row's task was submitted."""
        self._news = True
        running = self._running
        if running is None or running.done() or running.get_loop() is not asyncio.get_running_loop():
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        tries = 0
        while self._news or 0 < tries < _TRIES:
            await self._gather()
            try:
                tries = tries + 1 if await self._number() else 0
            except Exception:  # a row without a number is found by all else
                log.exception("[wfrecovery] task numbers are not written")
                return
            if tries:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _gather(self) -> None:
        for _ in range(_MOST_GATHERED):
            if not self._news:
                return
            self._news = False
            await asyncio.sleep(GATHER_SECONDS)
        self._news = False
